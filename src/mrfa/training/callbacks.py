"""What a run shows and keeps: speed, picture grids, and a model folder that is always current."""

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mrfa.data.flow_colours import flow_colours
from mrfa.network.geometry import Conventions
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


class TimeLimit(Callback):
    """Stops the run cleanly after some seconds, with a checkpoint written.

    Args:
        end: in seconds of `time.monotonic`; checked after each step.
    """

    def __init__(self, end: float) -> None:
        self.end = end

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *unused: Any) -> None:
        if time.monotonic() >= self.end and not trainer.should_stop:
            trainer.should_stop = True
            checkpoint = trainer.checkpoint_callback
            if checkpoint is not None:
                trainer.save_checkpoint(Path(checkpoint.dirpath) / "last.ckpt")  # type: ignore[attr-defined]


class ModelFolder(Callback):
    """Writes the network as a model folder with every checkpoint and at the end."""

    def __init__(self, config: Config, folder: Path, *, every: int) -> None:
        self.config = config
        self.folder = folder
        self.every = every

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *unused: Any) -> None:
        if trainer.global_step % self.every == 0:
            self._save(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._save(trainer, pl_module)

    def _save(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        if trainer.is_global_zero:
            pairs = trainer.global_step * self.config.training.batch_size
            card = f"# A face-animation model\n\nTrained with `mrfa train` for {trainer.global_step} steps, {pairs} pairs.\n"
            save_model(module.best_network, self.folder, card, half=True, training=dump_training(self.config))


class PictureGrid(Callback):
    """Logs rows of source, driving, coarse warp, result, the flow of each iteration, and the last occlusion map."""

    ROWS = 4

    def __init__(self, *, every: int) -> None:
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
        logger = trainer.logger
        if logger is not None:
            logger.experiment.add_image("pictures", picture_grid(pair, output, network.conventions), trainer.global_step)  # type: ignore[attr-defined]


def picture_grid(pair: Pair, output: Output, conventions: Conventions) -> Tensor:
    """`[3, rows * H, columns * W]` in [0, 1]."""
    height, width = pair.driving.shape[2:]
    resize = conventions.resize
    coarse = conventions.to_flow(resize(conventions.to_displacement(output.coarse.flow), (height, width)))
    columns = [pair.source, pair.driving, conventions.sample(pair.source, coarse), output.image]
    columns += [resize(flow_colours(flow, FULL_COLOUR, conventions), (height, width)) for flow in output.motion.flows]
    columns.append(resize(output.motion.occlusions[-1], (height, width)).expand(-1, 3, -1, -1))
    rows = torch.cat([column.float().clamp(0, 1) for column in columns], dim=3)
    return torch.cat(list(rows), dim=1)
