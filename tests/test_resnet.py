import torch

from mrfa.network.resnet import ResNet18


def test_names_and_shapes_are_torchvisions() -> None:
    shapes = {name: tuple(value.shape) for name, value in ResNet18(3, 7).state_dict().items()}
    assert len(shapes) == 122
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer1.1.bn2.running_var"] == (64,)
    assert shapes["layer2.0.downsample.0.weight"] == (128, 64, 1, 1)
    assert shapes["layer4.1.conv2.weight"] == (512, 512, 3, 3)
    assert shapes["fc.weight"] == (7, 512)
    assert "layer1.0.downsample.0.weight" not in shapes


def test_runs_at_any_size_and_each_picture_alone() -> None:
    torch.manual_seed(0)
    network = ResNet18(6, 5, width=4).eval()
    images = torch.rand(3, 6, 70, 45)
    together = network(images)
    assert together.shape == (3, 5)
    assert torch.allclose(together[1:2], network(images[1:2]), atol=1e-5)


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    network = ResNet18(3, 4, width=16)
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
