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
from mrfa.evaluation.sharpness import laplacian_energy
from mrfa.network.model import Network
from mrfa.training.augmentation import Pair, augment, plain
from mrfa.training.config import Config
from mrfa.training.dropout import part_dropout
from mrfa.training.guidance import mean_of_found
from mrfa.training.importance import region_weights
from mrfa.training.objective import Losses, Objective
from mrfa.training.pairs import PairBatch


class TrainingModule(L.LightningModule):
    """Network, objective, Adam and schedule (paper 3.4)."""

    def __init__(self, network: Network, objective: Objective, config: Config, *, total_steps: int, output: Path) -> None:
        super().__init__()
        self.network = network
        self.config = config.training
        self.averaged = _average(network) if self.config.average else None
        self.objective = objective
        self.total_steps = total_steps
        self.output = output
        if self.config.compile:
            network.compile()
            objective.compile_image_loss()

    @property
    def best_network(self) -> Network:
        """The network to keep and to show: the averaged one where there is one. Its `forward` is never the compiled one."""
        return self.network if self.averaged is None else cast(Network, self.averaged.module)

    def on_train_batch_end(self, *unused: object) -> None:
        """Let the average follow the weights: closely at first, when they are still far from good."""
        if self.averaged is not None:
            step = self.global_step
            decay = min(self.config.average, (1 + step) / (10 + step))
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
        """Clip the prior's parts alone, each by its largest gradient, where the configuration says so."""
        if self.config.clipping == "total":
            self.clip_gradients(optimizer, gradient_clip_val=gradient_clip_val, gradient_clip_algorithm=gradient_clip_algorithm)
            return
        for part in (self.network.detector, self.network.dense_motion, self.network.background):
            if part is not None:
                clip_grad_norm_(part.parameters(), self.config.gradient_clip, norm_type=float("inf"))

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
        sharpness = laplacian_energy(output.image.float()).mean() / laplacian_energy(pair.driving).mean().clamp_min(1e-12)
        self.log("validation/sharpness", sharpness, batch_size=len(pair.source), sync_dist=True)
        if self.config.objective.guidance.weight:
            count = pair.driving_groups.shape[1]
            distance = (output.driving_keypoints.positions[:, :count] - pair.driving_groups).norm(dim=-1).mean(1)
            share = mean_of_found(distance, pair.found)
            self.log("validation/keypoint_px_of_256", share * 127.5, batch_size=len(pair.source), sync_dist=True)

    def configure_optimizers(self):  # type: ignore[no-untyped-def]
        """Adam, its rate divided by ten at each milestone."""
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = Adam(learned, lr=self.config.learning_rate, betas=self.config.betas)
        scheduler = MultiStepLR(optimizer, self._milestones(), gamma=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _milestones(self) -> list[int]:
        return [round(share * self.total_steps) for share in self.config.milestones]

    def _losses(self, pair: Pair) -> Losses:
        if self.global_step < self.config.objective.guidance.detector_steps:
            return self.objective.detector_loss(self.network, pair)
        return self.objective(self.network, pair, self.network(pair.source, pair.driving), self.global_step)

    def _stop_if_not_finite(self, losses: Losses, batch: PairBatch) -> None:
        if torch.isfinite(losses.total):
            return
        path = self.output / f"not-finite-step-{self.global_step}.safetensors"
        save_file({name: value.contiguous() for name, value in batch.items()}, path)  # type: ignore[attr-defined]
        bad = ", ".join(name for name, value in losses.parts.items() if not torch.isfinite(value)) or "total"
        raise InputError(
            f"the loss is not finite at step {self.global_step} ({bad}); the batch is in {path}: "
            "lower training.learning_rate and resume from an earlier checkpoint"
        )


def _average(network: Network) -> AveragedModel:
    """An exponential moving average of all weights and of batch norm's statistics."""
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(), use_buffers=True).requires_grad_(False)
