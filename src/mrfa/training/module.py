"""The Lightning module: one training step, the schedule, and what is logged."""

from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from mrfa.data.images import MIDDLE_BAND, TOP_BAND, band_energy
from mrfa.data.tensors import to_pictures
from mrfa.errors import InputError
from mrfa.network.model import Network
from mrfa.processes import ALONE, Processes
from mrfa.training.augmentation import Pair, augment, plain
from mrfa.training.config import Config, PartDropoutConfig
from mrfa.training.graph import GradientGraph, average_gradients
from mrfa.training.losses.adversarial import Discriminators
from mrfa.training.losses.keypoints import mean_of_found
from mrfa.training.losses.regions import region_weights
from mrfa.training.objective import Losses, Objective
from mrfa.training.pairs import PairBatch
from mrfa.training.passes import all_passes, detector_passes


class TrainingModule(L.LightningModule):
    """Network, objective, Adam and schedule (paper 3.4).

    Args:
        network: on the CPU.
        objective: losses.
        config: of both, and of the training.
        total_steps: of the whole training.
        output: folder for the batch of a step whose loss is not finite.
        processes: that train together.
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        config: Config,
        *,
        total_steps: int,
        output: Path,
        processes: Processes = ALONE,
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config.training
        self.averaged = Average(network) if self.config.average else None
        self.objective = objective
        self.discriminators: Discriminators | None = None
        if self.config.objective.adversarial.weight:
            self.discriminators = Discriminators().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.total_steps = total_steps
        self.output = output
        self.processes = processes
        self._graph: GradientGraph | None = None
        self._recorded = False
        self._last: _Step | None = None
        if network.refinement is not None:
            network.refinement.recomputed = self.config.checkpoint_activations
        if self.config.compile:
            network.compile()
            objective.compile_image_loss()

    @property
    def best_network(self) -> Network:
        """The network to keep and to show: the averaged one where there is one. Its `forward` is never the compiled one."""
        return self.network if self.averaged is None else self.averaged.module

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Update the weights, and let the average follow them: closely at first, when they are still far from good.

        Here and not at the batch's end, so that no callback sees (and no checkpoint holds) an average that lags an update behind.
        """
        super().optimizer_step(*args, **kwargs)
        if self.averaged is not None:
            updates = self.global_step + 1
            decay = min(self.config.average, (1 + updates) / (10 + updates)) if updates > 1 else 0.0
            self.averaged.follow(self.network, decay)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The schedule is the configuration's, not the checkpoint's: a run may be made longer or shorter when it goes on."""
        for scheduler in checkpoint["lr_schedulers"]:
            scheduler["milestones"] = Counter(self._milestones())

    def training_step(self, batch: PairBatch, batch_index: int) -> Tensor:
        # A step draws the same random numbers whether or not the run was interrupted before it.
        torch.manual_seed(self.config.seed * 1_000_003 + self.global_step * 1009 + self.global_rank)
        with torch.autocast(self.device.type, enabled=False):
            pair = augment(batch, self.config.augmentation)
        self._recorded = self._can_record()
        losses = self._losses_and_gradients(pair) if self._recorded else self._losses(pair)
        # Of the step before: the GPU is busy with this one while the CPU waits.
        self.stop_if_not_finite()
        self._last = _Step.of(self.global_step, batch, losses)
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.parts.items()})
        self.log("loss", losses.total.detach(), prog_bar=True)
        return losses.total

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Done already where the step is a recorded graph."""
        if not self._recorded:
            super().backward(loss, *args, **kwargs)

    def optimizer_zero_grad(self, *args: Any) -> None:
        """The same: between the losses and their gradients there is no place."""
        if not self._recorded:
            super().optimizer_zero_grad(*args)

    def on_after_backward(self) -> None:
        if self.processes.count > 1:
            average_gradients(self.parameters(), self.processes.count)

    def on_train_batch_start(self, batch: PairBatch, batch_index: int) -> None:
        """The dropout of part flows follows the training's progress."""
        if self.network.dense_motion is not None:
            progress = self.global_step / self.total_steps
            self.network.dense_motion.dropout = part_dropout(self.config.part_dropout, progress)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the network, or the prior's parts alone, each by its largest gradient; the discriminator never shares a limit."""
        limit = self.config.gradient_clip
        if self.discriminators is not None:
            clip_grad_norm_(self.discriminators.parameters(), limit)
        if self.config.clipping == "total":
            clip_grad_norm_(self.network.parameters(), limit)
            return
        for part in (self.network.detector, self.network.dense_motion, self.network.background):
            if part is not None:
                clip_grad_norm_(part.parameters(), limit, norm_type=float("inf"))

    def validation_step(self, batch: PairBatch, batch_index: int) -> None:
        """Errors on people held out, as shares of what repeating the source frame would give."""
        pair = plain(batch)
        output = self.best_network.forward(pair.source, pair.driving)
        size = (pair.driving.shape[2], pair.driving.shape[3])
        regions = {"picture": torch.ones_like(pair.driving[:, :1])}
        if pair.found.any():
            regions["eyes_and_lips"] = region_weights(pair.driving_groups, pair.found, size, 101.0) - 1
        for name, weight in regions.items():
            error = ((output.image - pair.driving).abs() * weight).sum()
            repeated = ((pair.source - pair.driving).abs() * weight).sum()
            self.log(f"validation/{name}", error / repeated.clamp_min(1e-6), batch_size=len(pair.source), sync_dist=True)
        for name, band in (("sharpness", MIDDLE_BAND), ("artefact", TOP_BAND)):
            got, true = (sum(band_energy(picture, band) for picture in to_pictures(x)) for x in (output.image, pair.target))
            share = torch.tensor(got / max(true, 1e-12))
            self.log(f"validation/{name}", share, batch_size=len(pair.source), sync_dist=True)
        if self.config.objective.guidance.weight:
            groups = self.network.conventions.from_half_pixel(pair.driving_groups, size)
            error = output.driving_keypoints.positions[:, : groups.shape[1]] - groups
            pixels = error * self.network.conventions.pixel_scale((256, 256), error).view(2)
            away = mean_of_found(pixels.norm(dim=-1).mean(1), pair.found)
            self.log("validation/keypoint_px_of_256", away, batch_size=len(pair.source), sync_dist=True)

    def configure_optimizers(self):  # type: ignore[no-untyped-def]
        """Adam, its rate divided by ten at each milestone; discriminators have a rate of their own."""
        groups: list[dict[str, Any]] = [{"params": self.network.parameters()}]
        if self.discriminators is not None:
            rate = self.config.learning_rate * self.config.objective.adversarial.rate
            groups.append({"params": self.discriminators.parameters(), "lr": rate})
        optimizer = Adam(groups, lr=self.config.learning_rate, betas=self.config.betas, fused=self.device.type == "cuda")
        scheduler = MultiStepLR(optimizer, self._milestones(), gamma=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _milestones(self) -> list[int]:
        return [round(share * self.total_steps) for share in self.config.milestones]

    def stop_if_not_finite(self) -> None:
        """All processes stop where the loss of one was not finite in the last step that began; that one saves its batch."""
        last, self._last = self._last, None
        if last is None:
            return
        finite = last.is_finite()
        if not self.processes.any(not finite):
            return
        if finite:
            raise InputError(f"the loss of another process is not finite at step {last.number}")
        path = self.output / f"not-finite-step-{last.number}-process-{self.processes.rank}.safetensors"
        save_file({name: value.contiguous() for name, value in last.batch.items()}, path)  # type: ignore[attr-defined]
        bad = ", ".join(name for name, value in last.losses.parts.items() if not torch.isfinite(value)) or "total"
        raise InputError(
            f"the loss is not finite at step {last.number} ({bad}); the batch is in {path}: "
            "lower training.learning_rate and resume from an earlier checkpoint"
        )

    def _losses(self, pair: Pair) -> Losses:
        config = self.config.objective
        if self._detector_alone():
            outputs = detector_passes(self.network, pair, config)
        else:
            outputs = all_passes(self.network, self.discriminators, pair, config)
        return self.objective(outputs, self.global_step)

    def _detector_alone(self) -> bool:
        guidance = self.config.objective.guidance
        return self.global_step < guidance.detector_steps and guidance.weight > 0

    def _can_record(self) -> bool:
        """Whether the step can be a CUDA graph: not while the dropout of part flows rises from step to step."""
        config, progress = self.config.part_dropout, self.global_step / self.total_steps
        rising = config.first != config.peak and progress < min(config.rise, config.until)
        return self.config.cuda_graph and self.device.type == "cuda" and not rising

    def _losses_and_gradients(self, pair: Pair) -> Losses:
        if self._graph is None:
            self._graph = GradientGraph(self._losses, (p for p in self.parameters() if p.requires_grad))
        dropout = 0.0 if self.network.dense_motion is None else self.network.dense_motion.dropout
        return self._graph(pair, (self._detector_alone(), self.objective.fools(self.global_step), dropout))


def part_dropout(config: PartDropoutConfig, progress: float) -> float:
    """Probability of leaving a part flow out at a share of the training in [0, 1]: it rises, stays, and ends."""
    if progress >= config.until:
        return 0.0
    return config.first + (config.peak - config.first) * min(progress / config.rise, 1.0)


class Average(nn.Module):
    """An exponential moving average of all weights and of batch norm's statistics.

    Args:
        network: the average starts as its copy.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.module = deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def follow(self, network: Network, decay: float) -> None:
        """Go to `decay` of itself and the rest of the network; what is no floating-point number is copied."""
        ours, theirs = self.module.state_dict().values(), network.state_dict().values()
        pairs = list(zip(ours, theirs, strict=True))
        for own, other in pairs:
            if not own.is_floating_point():
                own.copy_(other)
        averaged = [(own, other) for own, other in pairs if own.is_floating_point()]
        torch._foreach_lerp_([own for own, _ in averaged], [other for _, other in averaged], 1 - decay)


class _Step(NamedTuple):
    """A step whose loss is still on its way from the device.

    Attributes:
        number: of the step.
        batch: before its augmentation.
        losses: on the device.
        finite: whether the loss is finite, in the CPU's memory as soon as `known`.
        known: None: at once.
    """

    number: int
    batch: PairBatch
    losses: Losses
    finite: Tensor
    known: torch.cuda.Event | None

    @staticmethod
    def of(number: int, batch: PairBatch, losses: Losses) -> "_Step":
        """The step, its verdict sent on its way."""
        on_gpu = losses.total.is_cuda
        finite = torch.empty((), dtype=torch.bool, pin_memory=on_gpu)
        finite.copy_(torch.isfinite(losses.total.detach()), non_blocking=True)
        detached = Losses(losses.total.detach(), {name: value.detach() for name, value in losses.parts.items()})
        known = torch.cuda.Event() if on_gpu else None
        if known is not None:
            known.record()
        return _Step(number, batch, detached, finite, known)

    def is_finite(self) -> bool:
        """Wait for the verdict."""
        if self.known is not None:
            self.known.synchronize()
        return bool(self.finite)
