"""The Lightning module: one training step, the schedule, and what is logged."""

from collections import Counter
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import MultiStepLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mrfa.errors import InputError
from mrfa.network.model import Network
from mrfa.training.augmentation import Pair, augment, plain
from mrfa.training.config import Config, PartDropoutConfig
from mrfa.training.losses.adversarial import PatchDiscriminator
from mrfa.training.losses.image import laplacian
from mrfa.training.losses.keypoints import mean_of_found
from mrfa.training.losses.regions import region_weights
from mrfa.training.objective import Losses, Objective
from mrfa.training.pairs import PairBatch
from mrfa.training.passes import all_passes, detector_passes


class TrainingModule(L.LightningModule):
    """Network, objective, Adam and schedule (paper 3.4)."""

    def __init__(self, network: Network, objective: Objective, config: Config, *, total_steps: int, output: Path) -> None:
        super().__init__()
        self.network = network
        self.config = config.training
        self.averaged = _average(network) if self.config.average else None
        self.objective = objective
        self.discriminator = PatchDiscriminator() if self.config.objective.adversarial.weight else None
        self.total_steps = total_steps
        self.output = output
        if self.config.compile:
            network.compile()
            objective.compile_image_loss()

    @property
    def best_network(self) -> Network:
        """The network to keep and to show: the averaged one where there is one. Its `forward` is never the compiled one."""
        return self.network if self.averaged is None else cast(Network, self.averaged.module)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Update the weights, and let the average follow them: closely at first, when they are still far from good.

        Here and not at the batch's end, so that no callback sees (and no checkpoint holds) an average that lags an update behind.
        """
        super().optimizer_step(*args, **kwargs)
        if self.averaged is not None:
            updates = self.global_step + 1
            decay = min(self.config.average, (1 + updates) / (10 + updates))
            self.averaged.multi_avg_fn = get_ema_multi_avg_fn(decay)
            self.averaged.update_parameters(self.network)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The schedule is the configuration's, not the checkpoint's: a run may be made longer or shorter when it goes on."""
        for scheduler in checkpoint["lr_schedulers"]:
            scheduler["milestones"] = Counter(self._milestones())

    def training_step(self, batch: PairBatch, batch_index: int) -> Tensor:
        # A step draws the same random numbers whether or not the run was interrupted before it.
        torch.manual_seed(self.config.seed * 1_000_003 + self.global_step * 1009 + self.global_rank)
        with torch.autocast(self.device.type, enabled=False):
            pair = augment(batch, self.config.augmentation)
        losses = self._losses(pair)
        self._stop_if_not_finite(losses, batch)
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.parts.items()})
        self.log("loss", losses.total.detach(), prog_bar=True)
        return losses.total

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
        if self.discriminator is not None:
            clip_grad_norm_(self.discriminator.parameters(), limit)
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
        sharpness = _sharpness(output.image) / _sharpness(pair.driving).clamp_min(1e-12)
        self.log("validation/sharpness", sharpness, batch_size=len(pair.source), sync_dist=True)
        if self.config.objective.guidance.weight:
            groups = self.network.conventions.from_half_pixel(pair.driving_groups, size)
            error = output.driving_keypoints.positions[:, : groups.shape[1]] - groups
            pixels = error * self.network.conventions.pixel_scale((256, 256), error).view(2)
            away = mean_of_found(pixels.norm(dim=-1).mean(1), pair.found)
            self.log("validation/keypoint_px_of_256", away, batch_size=len(pair.source), sync_dist=True)

    def configure_optimizers(self):  # type: ignore[no-untyped-def]
        """Adam, its rate divided by ten at each milestone."""
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = Adam(learned, lr=self.config.learning_rate, betas=self.config.betas)
        scheduler = MultiStepLR(optimizer, self._milestones(), gamma=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _milestones(self) -> list[int]:
        return [round(share * self.total_steps) for share in self.config.milestones]

    def _losses(self, pair: Pair) -> Losses:
        config = self.config.objective
        if self.global_step < config.guidance.detector_steps and config.guidance.weight:
            outputs = detector_passes(self.network, pair, config)
        else:
            outputs = all_passes(self.network, self.discriminator, pair, config)
        return self.objective(outputs, self.global_step)

    def _stop_if_not_finite(self, losses: Losses, batch: PairBatch) -> None:
        """All processes stop where the loss of one is not finite; that one saves its batch."""
        finite = bool(torch.isfinite(losses.total))
        if self.trainer.strategy.reduce_boolean_decision(finite):
            return
        if finite:
            raise InputError(f"the loss of another process is not finite at step {self.global_step}")
        path = self.output / f"not-finite-step-{self.global_step}-process-{self.global_rank}.safetensors"
        save_file({name: value.contiguous() for name, value in batch.items()}, path)  # type: ignore[attr-defined]
        bad = ", ".join(name for name, value in losses.parts.items() if not torch.isfinite(value)) or "total"
        raise InputError(
            f"the loss is not finite at step {self.global_step} ({bad}); the batch is in {path}: "
            "lower training.learning_rate and resume from an earlier checkpoint"
        )


def part_dropout(config: PartDropoutConfig, progress: float) -> float:
    """Probability of leaving a part flow out at a share of the training in [0, 1]: it rises, stays, and ends."""
    if progress >= config.until:
        return 0.0
    return config.first + (config.peak - config.first) * min(progress / config.rise, 1.0)


def _sharpness(image: Tensor) -> Tensor:
    """Mean square of the Laplacian over pictures `[B, 3, H, W]`."""
    return laplacian(image.float()).square().mean()


def _average(network: Network) -> AveragedModel:
    """An exponential moving average of all weights and of batch norm's statistics."""
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(), use_buffers=True).requires_grad_(False)
