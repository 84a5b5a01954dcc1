"""Learning from a trained model: what its keypoints and flow are compared with, and that it itself never changes."""

from pathlib import Path

import pytest
import torch
from conftest import TINY
from torch import Tensor

from mrfa.data.guidance import GROUPS
from mrfa.errors import InputError
from mrfa.network.geometry import CORNER_ALIGNED, HALF_PIXEL, Conventions
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network
from mrfa.training.augmentation import Pair
from mrfa.training.config import Config, load_config
from mrfa.training.losses.distillation import Lesson, Teacher, flow_lesson_loss, keypoint_lesson_loss
from mrfa.training.objective import Losses, Objective
from mrfa.training.passes import all_passes, detector_passes
from mrfa.training.run import train
from mrfa.weights import save_model

SIZE = (64, 64)


@pytest.fixture
def teacher(tiny_network: Network, tmp_path: Path) -> str:
    """A model folder."""
    save_model(tiny_network, tmp_path / "teacher", "")
    return str(tmp_path / "teacher")


def _config(teacher: str, **more: object) -> Config:
    settings = {"training.objective.teacher.model": teacher, "training.objective.detector_share": 0.5}
    return load_config("small", TINY | settings | {key.replace("__", "."): value for key, value in more.items()})


def _pair(count: int = 4) -> Pair:
    images, groups = torch.rand(2, count, 3, *SIZE), torch.rand(2, count, GROUPS, 2) - 0.5
    known, nowhere = torch.ones(count, dtype=torch.bool), torch.zeros_like(images[0][:, :1])
    return Pair(images[0], images[1], images[1], groups[0], groups[1], known, nowhere)


def _losses(student: Network, objective: Objective, pair: Pair) -> Losses:
    return objective(all_passes(student, None, pair, objective.config), 0)


def test_a_copy_of_the_teacher_has_nothing_to_learn(teacher: str, tiny_network: Network) -> None:
    objective, pair = Objective(_config(teacher).training.objective), _pair()
    same = _losses(tiny_network, objective, pair)
    torch.manual_seed(1)
    other = _losses(Network(tiny_network.config).eval(), objective, pair)
    # Its coarse flow learns from its refined one.
    for name, little in {"taught_keypoints": 1e-5, "taught_flow": 1e-3}.items():
        assert float(same.parts[name].detach()) < little < 2e-3 < float(other.parts[name].detach()), name


def test_the_student_learns_and_the_teacher_stays(teacher: str, tiny_network: Network) -> None:
    torch.manual_seed(1)
    student, objective = Network(tiny_network.config), Objective(_config(teacher).training.objective).train()
    assert objective.teacher is not None
    before = {name: value.clone() for name, value in objective.teacher.state_dict().items()}
    parts = _losses(student, objective, _pair()).parts
    (parts["taught_keypoints"] + parts["taught_flow"]).backward()
    for part in (student.detector, student.dense_motion, student.refinement):
        assert part is not None
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    assert all(p.grad is None and not p.requires_grad for p in objective.teacher.parameters())
    for name, value in objective.teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_teacher_sees_a_share_of_the_pairs_and_helps_the_detector_alone(teacher: str, tiny_network: Network) -> None:
    config, pair = _config(teacher).training.objective, _pair()
    objective = Objective(config)
    assert objective.teacher is not None
    seen: list[Tensor] = []
    objective.teacher.register_forward_pre_hook(lambda module, pictures: seen.extend(pictures))
    parts = objective(detector_passes(tiny_network, pair, config), 0).parts
    assert "taught_keypoints" in parts and "taught_flow" not in parts
    assert torch.equal(seen[0], pair.source[:2]) and torch.equal(seen[1], pair.driving[:2])


def test_places_are_compared_across_conventions() -> None:
    """Keypoints at the same pixels, and flows that move by the same pixels, are the same."""
    torch.manual_seed(0)
    positions, affine = torch.rand(2, 5, 2) - 0.5, torch.rand(2, 5, 2, 2)
    flow = torch.rand(1, 8, 8, 2) - 0.5

    def as_in(conventions: Conventions) -> tuple[Keypoints, Tensor]:
        turned = conventions.from_half_pixel(affine.transpose(-1, -2), SIZE).transpose(-1, -2)
        displaced = conventions.from_half_pixel(flow, SIZE).permute(0, 3, 1, 2)
        return Keypoints(conventions.from_half_pixel(positions, SIZE), turned), conventions.to_flow(displaced)

    lesson = Lesson(Keypoints(positions, affine), [flow.permute(0, 3, 1, 2)], [torch.ones(1, 1, 8, 8)])
    for conventions in (HALF_PIXEL, CORNER_ALIGNED):
        keypoints, flows = as_in(conventions)
        assert float(keypoint_lesson_loss(keypoints, lesson, conventions, SIZE)) < 1e-6
        assert float(flow_lesson_loss([flows], lesson, conventions, SIZE)) < 1e-6
    assert float(keypoint_lesson_loss(as_in(HALF_PIXEL)[0], lesson, CORNER_ALIGNED, SIZE)) > 1e-3
    assert float(flow_lesson_loss([flows + 0.1], lesson, CORNER_ALIGNED, SIZE)) == pytest.approx(0.1 * 63 / 64, rel=1e-4)


def test_what_the_source_hides_is_not_taught() -> None:
    flow = HALF_PIXEL.grid(8, 8, torch.zeros(1))[None]
    visible = torch.zeros(1, 1, 8, 8)
    visible[..., :4] = 1
    wrong = torch.zeros(1, 2, 8, 8)
    wrong[..., 4:] = 1
    lesson = Lesson(Keypoints(torch.zeros(2, 1, 2), None), [wrong], [visible])
    assert float(flow_lesson_loss([flow], lesson, HALF_PIXEL, SIZE)) < 1e-6
    assert float(flow_lesson_loss([flow], lesson._replace(visible=[1 - visible]), HALF_PIXEL, SIZE)) == pytest.approx(1)


def test_a_teacher_of_other_keypoints_is_refused(teacher: str, tiny_network: Network, tmp_path: Path) -> None:
    config = _config(teacher, network__detector__keypoints=30)
    with pytest.raises(InputError, match=r"teacher has 28 keypoints of kind affine, the network 30"):
        train(config, data=tmp_path, output=tmp_path / "run")
    Teacher(tiny_network).check(tiny_network)


def test_the_preset_for_webcams_learns_from_the_bundled_model() -> None:
    config = load_config("live")
    assert config.training.objective.teacher.model == "small"
    Teacher(Network(load_config("small").network)).check(Network(config.network))
