"""`mrfa train`: prepare the data, build the run, fit, and write a model folder."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from rich.console import Console
from rich.progress import Progress

from mrfa.data.packed import unpack_clips
from mrfa.data.prepared import prepare_clips
from mrfa.data.shards import Shards, is_sharded
from mrfa.devices import pick_device
from mrfa.errors import InputError
from mrfa.network.model import Network
from mrfa.processes import Processes, launch
from mrfa.training.callbacks import Checkpoints, ImagesPerSecond, PictureGrid
from mrfa.training.compact import read_compact, write_compact
from mrfa.training.config import Config
from mrfa.training.module import TrainingModule
from mrfa.training.objective import Objective
from mrfa.training.pairs import PairData, TrainingClip, count_identities
from mrfa.weights import find_model, load_model

STORED_SIZE = 256
# Pairs a process from which batch norms have statistics of their own; with fewer, they share those of all processes.
ENOUGH = 32


def train(
    config: Config,
    *,
    data: Path | str | Sequence[Path | str],
    output: Path,
    validation: Path | str | None = None,
    cache: Path | None = None,
    init: str | None = None,
    resume: bool = False,
    checkpoint_every: int = 500,
    time_limit: float | None = None,
    compact: bool = False,
    device: str | None = None,
) -> Path:
    """Train a model, on all devices of this machine or as one of the processes that torchrun started.

    Args:
        config: network and training settings.
        data: folder of clips or of stills (see `mrfa.data.clips`), packed file of `mrfa pack`, folder or address of shards of
            `mrfa shard`, or several of them.
        output: folder of the run: checkpoints, logs, and the model folder `model`.
        validation: folder of clips of other people, measured at every checkpoint.
        cache: folder for prepared clips; `output/cache` by default.
        init: model folder or bundled model to start from; what differs in size starts afresh.
        resume: go on from the run's last checkpoint.
        checkpoint_every: steps between checkpoints.
        time_limit: stop cleanly this many minutes from now, the preparation of the data included, with a checkpoint to resume
            from.
        compact: also leave the checkpoint in small files, in `output/compact`, from which `resume` goes on where there is no
            other checkpoint (see `mrfa.training.compact`).
        device: the one device to train on; None: all GPUs of this machine, else what there is.

    Returns:
        The model folder.

    Raises:
        InputError: unusable data, nothing to resume, an existing run without `resume`, no such device, or a loss that is not
            finite.
    """
    arguments = locals()
    chosen = None if device is None else pick_device(device)
    devices = torch.cuda.device_count() if chosen is None else 1
    if devices > 1 and not Processes.started():
        return launch(devices, partial(train, **arguments))
    processes = Processes.join()
    if chosen is not None and processes.count > 1:
        raise InputError(f"{processes.count} processes have a device each: leave --device out")
    end = None if time_limit is None else time.monotonic() + time_limit * 60
    last, parts = output / "checkpoints" / "last.ckpt", output / "compact"
    # The command line of a run that is started again is the same, and there may be no checkpoint yet.
    # Of several machines only the one that failed counts a restart.
    resume = resume or (processes.any(Processes.restarted()) and last.is_file())
    if processes.rank == 0:
        _check_output(output, resume, averaged=config.training.average > 0)
    processes.wait()
    L.seed_everything(config.training.seed, workers=True)
    torch.set_float32_matmul_precision("high")
    network, objective = _build(config, init), Objective(config.training.objective)
    if objective.teacher is not None:
        objective.teacher.check(network)
    cache = cache or output / "cache"
    clips = _prepare_all([data] if isinstance(data, Path | str) else data, cache, config, processes)
    pairs = PairData(config.training, clips, _prepare(validation, cache, config, processes) if validation else None)
    module = TrainingModule(network, objective, config, total_steps=pairs.total_steps, output=output, processes=processes)
    trainer = _trainer(config, output, pairs, processes, checkpoint_every, end, chosen)
    # weights_only: a checkpoint is read without running any code from it.
    trainer.fit(module, pairs, ckpt_path=last if resume else None, weights_only=True)
    if processes.rank == 0 and trainer.global_step < pairs.total_steps:
        message = f"stopped after {trainer.global_step} of {pairs.total_steps} steps: --resume goes on"
        Console(stderr=True).print(message, style="yellow")
    if compact and processes.rank == 0:
        write_compact(last, parts)
    return output / "model"


def _check_output(output: Path, resume: bool, *, averaged: bool) -> None:
    """Make the folder of a new run, or see that there is something to resume."""
    last, parts = output / "checkpoints" / "last.ckpt", output / "compact"
    if last.is_file() and not resume:
        raise InputError(f"{output} holds a run already: add --resume to go on, or give another --output")
    try:
        last.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {output}: {error.strerror}") from None
    if resume and not last.is_file() and any(parts.glob("part-*")):
        read_compact(parts, last, averaged=averaged)
    if resume and not last.is_file():
        raise InputError(f"nothing to resume: there is no {last}")


def _build(config: Config, init: str | None) -> Network:
    network = Network(config.network)
    if init is not None:
        _take_over(network, load_model(init), find_model(init))
    # Convolutions on a CPU and on tensor cores are fastest in this layout.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _take_over(network: Network, start: Network, origin: Path) -> None:
    """Copy every weight of the same name and shape, and say which parts start afresh and which are left behind."""
    state, offered = network.state_dict(), start.state_dict()
    fitting = {key: value for key, value in offered.items() if key in state and value.shape == state[key].shape}
    if not fitting:
        raise InputError(f"no weight of {origin} fits the configuration: is it a model of another kind?")
    network.load_state_dict(fitting, strict=False)
    console = Console(stderr=True)
    ours, theirs = network.config.coordinates, start.config.coordinates
    if ours != theirs:
        hint = f"to keep them, add --set network.coordinates={theirs}"
        console.print(
            f"{origin} reads positions as {theirs}, this network as {ours}, and has to learn that; {hint}", style="yellow"
        )
    if fresh := _modules(state.keys() - fitting.keys()):
        console.print(f"started afresh, as {origin} has no weights of these sizes there: {fresh}", style="yellow")
    if unused := _modules(offered.keys() - state.keys()):
        console.print(f"left behind, as the configuration has no such parts: {unused}", style="yellow")


def _modules(keys: set[str]) -> str:
    """Names of the modules that parameters belong to."""
    return ", ".join(sorted({key.rpartition(".")[0] for key in keys}))


def _prepare_all(roots: Sequence[Path | str], cache: Path, config: Config, processes: Processes) -> list[TrainingClip]:
    """The clips of several data sets, each with its data set's weight."""
    weights = config.training.sampling.weights
    if len(weights) > len(roots):
        raise InputError(f"training.sampling.weights has {len(weights)} values for {len(roots)} data sets: one for each --data")
    clips: list[TrainingClip] = []
    for number, root in enumerate(roots):
        weight = weights[number] if number < len(weights) else 1.0
        clips += [clip._replace(weight=weight) for clip in _prepare(root, cache, config, processes)]
    return clips


def _prepare(root: Path | str, cache: Path, config: Config, processes: Processes) -> Sequence[TrainingClip]:
    console = Console(stderr=True, quiet=processes.rank > 0)
    if is_sharded(root):
        shards = Shards(root, cache, processes)
        if config.training.objective.needs_landmarks and not shards.landmarks:
            raise InputError(f"{root} was made without landmarks, which this configuration needs: add --landmarks to mrfa shard")
        return shards.clips()
    root = Path(root)
    if root.is_file():
        return unpack_clips(root, cache, processes=processes)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"preparing {root}", total=None)
        clips, problems = prepare_clips(
            root,
            cache,
            size=max(STORED_SIZE, config.training.image_size),
            landmarks=config.training.objective.needs_landmarks,
            processes=processes,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    for problem in problems:
        console.print(f"skipped: {problem}", style="yellow")
    frames = sum(clip.frames for clip in clips)
    console.print(f"{root}: {len(clips)} clips, {frames} frames, {count_identities(clips)} identities")
    return clips


def share_norms(config: Config, processes: Processes) -> bool:
    """Whether batch norms have the statistics of all processes, which torch can do on GPUs alone."""
    few = config.training.batch_size < ENOUGH * processes.count
    return processes.count > 1 and few and torch.cuda.is_available()


class _Replicas(DDPStrategy):
    """Processes with a copy of the module each, equal at first; the module averages their gradients.

    A recorded step has no place for the hooks of DistributedDataParallel.
    """

    def configure_ddp(self) -> None:
        assert self.lightning_module is not None
        for value in self.lightning_module.state_dict().values():
            torch.distributed.broadcast(value, 0)


def _trainer(
    config: Config,
    output: Path,
    pairs: PairData,
    processes: Processes,
    checkpoint_every: int,
    end: float | None,
    device: torch.device | None,
) -> L.Trainer:
    distributed, validated = processes.count > 1, pairs.validation_clips is not None
    callbacks: list[Callback] = [
        Checkpoints(config, output / "checkpoints" / "last.ckpt", output / "model", every=checkpoint_every, end=end),
        ImagesPerSecond(config.training.batch_size),
        LearningRateMonitor(),
        TQDMProgressBar(refresh_rate=20),
    ]
    logger: Logger
    try:
        logger = TensorBoardLogger(output, name="", version="logs")
        callbacks.append(PictureGrid(logger, every=checkpoint_every))
    except ModuleNotFoundError:
        logger = CSVLogger(output, name="", version="logs")
    trainer = L.Trainer(
        max_steps=pairs.total_steps,
        precision=config.training.precision,
        gradient_clip_val=config.training.gradient_clip,
        callbacks=callbacks,
        logger=logger,
        log_every_n_steps=20,
        val_check_interval=checkpoint_every if validated else None,
        check_val_every_n_epoch=None if validated else 1,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if validated else 0,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        accelerator="auto" if device is None else device.type,
        devices=[device.index or 0] if device is not None and device.type == "cuda" else processes.local_count,
        num_nodes=processes.count // processes.local_count,
        strategy=_Replicas() if distributed else "auto",
        sync_batchnorm=share_norms(config, processes),
        # cuDNN's own trials make a step 4 % faster and take most of a minute at the start of every phase.
        benchmark=False,
        default_root_dir=output,
    )
    # Before each step Lightning asks all GPUs whether a process was told to end, and the CPU waits for the answer. `Checkpoints`
    # asks the CPUs.
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    return trainer
