"""What a run shows and keeps: speed, picture grids, and a model folder that is always current."""

import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from mrfa.data.flow_colours import flow_colours
from mrfa.network.geometry import HALF_PIXEL, Conventions
from mrfa.network.model import Output
from mrfa.training.augmentation import Pair, plain
from mrfa.training.config import Config, dump_training
from mrfa.training.module import TrainingModule
from mrfa.weights import save_model

# Normalised displacement that is shown in full colour: the same all the way, so that steps can be compared.
FULL_COLOUR = 0.3


class ImagesPerSecond(Callback):
    """Puts the number of generated training pictures a second beside the progress bar."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.since = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.since = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *unused: Any) -> None:
        every = 20
        if trainer.global_step % every == 0:
            now = time.perf_counter()
            pl_module.log("images/s", every * self.batch_size / max(now - self.since, 1e-6), prog_bar=True)
            self.since = now


class Checkpoints(Callback):
    """Keeps a checkpoint to resume from and a model folder of the same step, and stops the run when its time is over.

    The same where one of the processes is told to end (SIGTERM): all stop after the step at hand.

    Args:
        config: of the network and of the training.
        checkpoint: the file, replaced when the next one is complete.
        model: the model folder.
        every: steps from one checkpoint to the next; there is one at the end, too.
        end: when to stop, in seconds of `time.monotonic`; None: not before the training's end.
    """

    def __init__(self, config: Config, checkpoint: Path, model: Path, *, every: int, end: float | None) -> None:
        self.config = config
        self.checkpoint = checkpoint
        self.model = model
        self.every = every
        self.end = end
        self._told_to_end = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        def remember(*unused: Any) -> None:
            self._told_to_end = True

        # Instead of Lightning's, which sends a message at once that no other process waits for. It puts back what was there.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, remember)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *unused: Any) -> None:
        assert isinstance(pl_module, TrainingModule)
        # Clocks differ: all processes stop when the first one says so.
        over = self.end is not None and time.monotonic() >= self.end
        if pl_module.processes.any(over or self._told_to_end):
            trainer.should_stop = True
        step = trainer.global_step
        if trainer.should_stop or step == trainer.max_steps or step % self.every == 0:
            pl_module.stop_if_not_finite()
            self._save_checkpoint(trainer)
            self._save_model(trainer, pl_module)

    def _save_checkpoint(self, trainer: L.Trainer) -> None:
        temporary = self.checkpoint.with_suffix(".incomplete")
        trainer.save_checkpoint(temporary, weights_only=False)
        if trainer.is_global_zero:
            temporary.replace(self.checkpoint)

    def _save_model(self, trainer: L.Trainer, module: TrainingModule) -> None:
        if trainer.is_global_zero:
            pairs = trainer.global_step * self.config.training.batch_size
            card = f"# A face-animation model\n\nTrained with `mrfa train` for {trainer.global_step} steps, {pairs} pairs.\n"
            save_model(module.best_network, self.model, card, half=True, training=dump_training(self.config))


class PictureGrid(Callback):
    """Logs rows of source, driving, coarse warp, result, the flow of each iteration, and the last occlusion map."""

    ROWS = 4

    def __init__(self, logger: TensorBoardLogger, *, every: int) -> None:
        self.logger = logger
        self.every = every

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, TrainingModule)
        network = pl_module.best_network
        network.eval()
        with torch.no_grad():
            pair = plain({key: value[: self.ROWS] for key, value in batch.items()})  # type: ignore[arg-type, misc]
            output = network.forward(pair.source, pair.driving)
        network.train()
        picture = picture_grid(pair, output, network.conventions)
        self.logger.experiment.add_image("pictures", picture, trainer.global_step)  # type: ignore[attr-defined]


def picture_grid(pair: Pair, output: Output, conventions: Conventions) -> Tensor:
    """`[3, rows * H, columns * W]` in [0, 1]."""
    size = pair.driving.shape[2:]
    coarse = conventions.resize_displacement(conventions.to_displacement(output.coarse.flow), size)
    columns = [pair.source, pair.driving, conventions.warp(pair.source, coarse), output.image]
    columns += [HALF_PIXEL.resize(flow_colours(flow, FULL_COLOUR, conventions), size) for flow in output.motion.flows]
    columns.append(conventions.resize(output.motion.occlusions[-1], size).expand(-1, 3, -1, -1))
    rows = torch.cat([column.float().clamp(0, 1) for column in columns], dim=3)
    return torch.cat(list(rows), dim=1)
