"""Pairs of frames of one clip, sampled by identity (paper 3.4), and stills, of which augmentation makes pairs."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mrfa.data.clips import square
from mrfa.data.prepared import PreparedClip
from mrfa.data.shards import ShardedClip
from mrfa.errors import InputError
from mrfa.faces.person import PersonSegmenter
from mrfa.training.config import SamplingConfig, TrainingConfig
from mrfa.training.stills import HEAD_POINTS, head_points

# What pairs are drawn from: each has an identity, a number of frames and a weight, and reads single frames.
TrainingClip = PreparedClip | ShardedClip

_of_thread = threading.local()


class PairBatch(TypedDict):
    """A batch of pairs.

    Keys:
        source, driving: uint8 RGB `[B, 3, H, W]`.
        source_groups, driving_groups: `[B, G, 2]` half-pixel normalised landmark groups; zeros where there are none.
        found: `[B]`, whether both frames have landmarks.
        still: `[B]`, whether source and driving picture are the same still.
        heads: `[B, HEAD_POINTS, 3]`, of stills with landmarks, see `mrfa.training.stills`; zeros of others.
        source_person, driving_person: uint8 `[B, 1, MASK_SIDE, MASK_SIDE]`, where a person is; one zero if nothing asks.
    """

    source: Tensor
    driving: Tensor
    source_groups: Tensor
    driving_groups: Tensor
    found: Tensor
    still: Tensor
    heads: Tensor
    source_person: Tensor
    driving_person: Tensor


class _People:
    """Clips by the people that they show. The same person in data sets of different weights counts as two."""

    def __init__(self, clips: dict[int, TrainingClip]) -> None:
        people: dict[tuple[str, float], list[int]] = defaultdict(list)
        for number, clip in clips.items():
            people[clip.identity, clip.weight].append(number)
        # Arrays, which processes share: a list's numbers are counted, and so copied, by whoever looks at them.
        self.numbers = [np.array(numbers) for numbers in people.values()]
        self.limits = np.cumsum([weight for _, weight in people])

    def draw(self, rng: np.random.Generator) -> int:
        """Number of a clip: a person by weight, then any clip of that person."""
        numbers = self.numbers[np.searchsorted(self.limits, rng.random() * self.limits[-1], side="right")]
        return int(numbers[rng.integers(len(numbers))])


class PairDraw:
    """Pair number `i` is always the same pair, so that a resumed run sees what an unbroken one would."""

    def __init__(self, clips: Sequence[TrainingClip], sampling: SamplingConfig, *, seed: int) -> None:
        moving = {number: clip for number, clip in enumerate(clips) if not clip.still}
        stills = {number: clip for number, clip in enumerate(clips) if clip.still}
        self.moving, self.stills = (_People(chosen) if chosen else None for chosen in (moving, stills))
        self.share = sampling.stills if moving else 1.0
        self.clips = clips
        self.seed = seed

    def __call__(self, index: int) -> tuple[int, list[int]]:
        """Number of a clip and two of its frames, which of a still are the same."""
        rng = np.random.default_rng((self.seed, index))
        if self.stills is not None and rng.random() < self.share:
            return self.stills.draw(rng), [0, 0]
        assert self.moving is not None
        number = self.moving.draw(rng)
        return number, [int(i) for i in rng.choice(self.clips[number].frames, 2, replace=False)]


class PairDataset(Dataset[dict[str, np.ndarray]]):
    """Pairs decoded from prepared clips one by one."""

    def __init__(
        self, clips: Sequence[TrainingClip], sampling: SamplingConfig, *, size: int, seed: int, people: bool = False
    ) -> None:
        self.draw = PairDraw(clips, sampling, seed=seed)
        self.size = size
        self.people = people

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        number, chosen = self.draw(index)
        clip = self.draw.clips[number]
        frames = clip.read(chosen)
        segmenter = _segmenter() if self.people else None
        images = [_to_size(image, self.size) for image in frames.images]
        return {
            "source": images[0],
            "driving": images[1],
            "source_groups": frames.groups[0],
            "driving_groups": frames.groups[1],
            "found": np.asarray(frames.found.all()),
            "still": np.asarray(clip.still),
            "heads": _heads(frames.groups[:1], frames.found[:1] & clip.still)[0],
            "source_person": _person(images[0], segmenter),
            "driving_person": _person(images[1], segmenter),
        }


class ResidentPairs(Dataset[PairBatch]):
    """Whole batches from frames that all lie in the device's memory, for data sets that fit there.

    Item `i` is batch number `i`, already on the device.
    """

    def __init__(
        self,
        clips: Sequence[TrainingClip],
        sampling: SamplingConfig,
        *,
        size: int,
        seed: int,
        batch: int,
        device: torch.device,
        people: bool = False,
    ) -> None:
        self.draw = PairDraw(clips, sampling, seed=seed)
        self.batch = batch
        self.offsets = np.cumsum([0, *(clip.frames for clip in clips)])
        with ThreadPoolExecutor() as pool:
            parts = list(pool.map(lambda clip: self._load(clip, size, people), clips))
        groups, found = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
        still = np.repeat([clip.still for clip in clips], [clip.frames for clip in clips])
        self.images = torch.cat([part[0] for part in parts]).to(device)
        self.people = torch.cat([part[3] for part in parts]).to(device)
        self.groups, self.found, self.still, self.heads = (
            torch.from_numpy(values).to(device) for values in (groups, found, still, _heads(groups, found & still))
        )

    def __getitem__(self, number: int) -> PairBatch:
        chosen = [self.draw(number * self.batch + i) for i in range(self.batch)]
        frames = torch.tensor([[self.offsets[clip] + i for i in pair] for clip, pair in chosen])
        source, driving = frames.to(self.images.device, non_blocking=True).unbind(1)
        return {
            "source": self.images[source],
            "driving": self.images[driving],
            "source_groups": self.groups[source],
            "driving_groups": self.groups[driving],
            "found": self.found[source] & self.found[driving],
            "still": self.still[source],
            "heads": self.heads[source],
            "source_person": self.people[source],
            "driving_person": self.people[driving],
        }

    @staticmethod
    def _load(clip: TrainingClip, size: int, people: bool) -> tuple[Tensor, np.ndarray, np.ndarray, Tensor]:
        frames = clip.read(range(clip.frames))
        images = [_to_size(image, size) for image in frames.images]
        segmenter = _segmenter() if people else None
        persons = [_person(image, segmenter) for image in images]
        return torch.from_numpy(np.stack(images)), frames.groups, frames.found, torch.from_numpy(np.stack(persons))


def _heads(groups: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """`[N, HEAD_POINTS, 3]` of landmark groups `[N, G, 2]` where they are wanted; zeros elsewhere."""
    heads = np.zeros((len(groups), HEAD_POINTS, 3), np.float32)
    if wanted.any():
        heads[wanted] = head_points(torch.from_numpy(groups[wanted])).numpy()
    return heads


def _to_size(image: np.ndarray, size: int) -> np.ndarray:
    """`[H, W, 3]` to `[3, size, size]`."""
    return np.ascontiguousarray(square(image, size).transpose(2, 0, 1))


def _person(image: np.ndarray, segmenter: PersonSegmenter | None) -> np.ndarray:
    """Where a picture `[3, H, W]` shows a person: `[1, MASK_SIDE, MASK_SIDE]`, or a zero where nothing tells."""
    return np.zeros((1, 1, 1), np.uint8) if segmenter is None else segmenter(image.transpose(1, 2, 0))[None]


def _segmenter() -> PersonSegmenter:
    """This thread's: others need not wait for it, and a picture alone is not worth to load one."""
    if not hasattr(_of_thread, "segmenter"):
        _of_thread.segmenter = PersonSegmenter()
    return _of_thread.segmenter


class PairNumbers(Sampler[int]):
    """This process's share of the pair (or batch) numbers of the whole training, from the present step on.

    Its length is that of the whole training, as Lightning counts a resumed epoch's batches from the epoch's start.
    """

    def __init__(self, trainer: L.Trainer, *, steps: int, per_step: int) -> None:
        self.trainer = trainer
        self.steps = steps
        self.per_step = per_step

    def __iter__(self) -> Iterator[int]:
        start, stop = self.trainer.global_step * self.per_step, self.steps * self.per_step
        return iter(range(start + self.trainer.global_rank, stop, self.trainer.world_size))

    def __len__(self) -> int:
        return self.steps * self.per_step // self.trainer.world_size


class PairData(L.LightningDataModule):
    """Training pairs, and a fixed set of pairs of held-out clips where a validation folder is given."""

    VALIDATION_PAIRS = 96

    def __init__(
        self, config: TrainingConfig, clips: Sequence[TrainingClip], validation_clips: Sequence[TrainingClip] | None
    ) -> None:
        super().__init__()
        self.config = config
        self.clips = clips
        self.validation_clips = None if validation_clips is None else [clip for clip in validation_clips if not clip.still]
        if self.validation_clips == []:
            raise InputError("the validation data are stills: give clips, whose motion can be compared with the truth")
        self.total_steps = config.steps or self._steps_of_epochs()

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self.trainer
        assert trainer is not None
        size = self.config.batch_size
        if size % trainer.world_size:
            raise InputError(f"training.batch_size={size} must be a multiple of the {trainer.world_size} processes")
        if self.config.resident:
            return self._resident_loader(trainer, size // trainer.world_size)
        dataset = PairDataset(
            self.clips, self.config.sampling, size=self.config.image_size, seed=self.config.seed, people=self.config.needs_people
        )
        numbers = PairNumbers(trainer, steps=self.total_steps, per_step=size)
        return self._loader(dataset, numbers, size // trainer.world_size)

    def val_dataloader(self) -> list[DataLoader[dict[str, np.ndarray]]]:
        """All pairs in every process, as these must log the same figures."""
        if self.validation_clips is None:
            return []
        dataset = PairDataset(self.validation_clips, self.config.sampling, size=self.config.image_size, seed=1)
        return [self._loader(dataset, range(self.VALIDATION_PAIRS), 8)]

    def _resident_loader(self, trainer: L.Trainer, batch: int) -> DataLoader[Any]:
        dataset = ResidentPairs(
            self.clips,
            self.config.sampling,
            size=self.config.image_size,
            seed=self.config.seed,
            batch=batch,
            device=trainer.strategy.root_device,
            people=self.config.needs_people,
        )
        numbers = PairNumbers(trainer, steps=self.total_steps, per_step=trainer.world_size)
        return DataLoader(dataset, batch_size=None, sampler=numbers)

    def _loader(self, dataset: PairDataset, numbers: "PairNumbers | range", batch: int) -> DataLoader[dict[str, np.ndarray]]:
        return DataLoader(
            dataset,
            batch_size=batch,
            sampler=numbers,
            num_workers=self.config.workers,
            persistent_workers=self.config.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _steps_of_epochs(self) -> int:
        moving = [clip for clip in self.clips if not clip.still]
        pairs = count_identities(moving or self.clips) * self.config.pairs_per_identity * self.config.epochs
        return max(1, pairs // self.config.batch_size)


def count_identities(clips: Sequence[TrainingClip]) -> int:
    """Number of different people."""
    return len({clip.identity for clip in clips})
