"""The measurement: ways to run a network, in turn and several times, so that what else the machine does falls on all alike."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from mrfa.animation.composite import Canvas
from mrfa.animation.crop import picture_crop
from mrfa.animation.portrait import drawn_crops
from mrfa.bench.machine import Machine, Stopwatch, describe, matrix_peak
from mrfa.bench.memory import Memory, peak_memory
from mrfa.bench.subject import Subject, make_subject
from mrfa.bench.ways import BASELINE, ENCODE, Way, default_modes, load_network, make_way
from mrfa.data.images import read_image
from mrfa.data.tensors import to_tensor
from mrfa.data.video import VideoReader, VideoWriter
from mrfa.devices import pick_batch_size, precision_name
from mrfa.faces.finder import FaceFinder
from mrfa.network.model import Network, Output

# Pictures drawn for the comparison of ways, and for compositing alone.
EXAMPLES = 4
# Batches drawn before anything is measured: graphs are recorded at the second, and replayed at the third.
WARM = 3


@dataclass(frozen=True)
class Spread:
    """The median of rounds, and the least and the most."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Figures:
    """What was measured of a way.

    Attributes:
        name: of the way.
        model_only: frames a second of the network alone.
        file_to_file: frames a second from decoding to encoding, the driver's first reading for its face and motion included.
        faster: how many times as fast as the baseline in the same round, the network alone.
        faster_file_to_file: likewise from file to file.
        parts: milliseconds of the network's parts: `detect` and `animate` a frame, `encode` once a portrait.
        share_of_peak: of the rate of matrix products in the same precision, what the operations that a frame needs come to.
        difference: mean, of pictures in [0, 1], from the baseline's.
        memory: at most.
    """

    name: str
    model_only: Spread
    file_to_file: Spread
    faster: Spread
    faster_file_to_file: Spread
    parts: dict[str, Spread]
    share_of_peak: float
    difference: float
    memory: Memory


@dataclass(frozen=True)
class Report:
    """A benchmark.

    Attributes:
        model: its name.
        machine: where.
        batch_size: frames computed together, but for the baseline.
        frames: of the driver.
        side: of portrait and driver, in pixels.
        rounds: how often each way was measured.
        gflop: operations that a frame needs, two for each multiplication with its sum, in 10⁹.
        peaks: 10⁹ operations a second of matrix products, by precision.
        stages: milliseconds a frame of what lies around the network, each alone.
        ways: the baseline first.
    """

    model: str
    machine: Machine
    batch_size: int
    frames: int
    side: int
    rounds: int
    gflop: float
    peaks: dict[str, float]
    stages: dict[str, Spread]
    ways: list[Figures]


def measure(
    model: str,
    modes: Sequence[str] = (),
    *,
    device: str | None = None,
    batch_size: int | None = None,
    frames: int,
    rounds: int,
    side: int,
    progress: Callable[[int, int], object],
) -> Report:
    """Measure a model.

    Args:
        model: name of a bundled model, model folder, or preset, which gets random weights.
        modes: see `make_way`; by default float32 and the precision that is fastest on the device.
        device: where to compute; None: see `pick_device`.
        batch_size: frames computed together; None: see `pick_batch_size`.
        frames: of the driver, at least one.
        rounds: how often.
        side: of portrait and driver, in pixels.
        progress: called with the rounds done and their number.

    Raises:
        InputError: no such model, mode or device.
    """
    network = load_network(model, device)
    place, size = next(network.parameters()).device, network.config.image_size
    together = pick_batch_size(batch_size, place)
    ways = [make_way(network, mode, together) for mode in (BASELINE, *(modes or default_modes(place)))]
    taken: list[list[_Round]] = [[] for _ in ways]
    stages: list[dict[str, float]] = []
    with TemporaryDirectory(prefix="mrfa-bench-") as folder:
        subject = make_subject(Path(folder), frames=frames, side=side, size=size, device=place)
        examples = [[way.example(subject.source, frame) for frame in subject.frames[:EXAMPLES]] for way in ways]
        for way in ways:
            way.draw(subject.source, subject.frames[: WARM * together])
        for number in range(rounds):
            progress(number, rounds)
            for way, before in zip(ways, taken, strict=True):
                before.append(_round(way, subject))
            stages.append(_stages(network, subject, examples[0]))
        progress(rounds, rounds)
        memory = [peak_memory(model, way.name, device, together, subject.portrait, subject.driver) for way in ways]
    operations = _operations(network, subject)
    peaks = {way.dtype: matrix_peak(place, way.dtype) for way in ways}
    figures = []
    for way, own, drawn, used in zip(ways, taken, examples, memory, strict=True):
        speed = Spread.of([frames / one.network for one in own])
        figures.append(
            Figures(
                name=way.name,
                model_only=speed,
                file_to_file=Spread.of([frames / one.file for one in own]),
                faster=Spread.of([base.network / one.network for base, one in zip(taken[0], own, strict=True)]),
                faster_file_to_file=Spread.of([base.file / one.file for base, one in zip(taken[0], own, strict=True)]),
                parts=_milliseconds([one.parts for one in own], frames),
                share_of_peak=speed.median * operations / peaks[way.dtype],
                difference=_difference(drawn, examples[0]),
                memory=used,
            )
        )
    return Report(
        model=model,
        machine=describe(place),
        batch_size=together,
        frames=frames,
        side=side,
        rounds=rounds,
        gflop=operations / 1e9,
        peaks={precision_name(dtype): peak / 1e9 for dtype, peak in peaks.items()},
        stages=_milliseconds(stages, frames),
        ways=figures,
    )


class _Round(NamedTuple):
    """Seconds that one way took in one round: of the network's parts for all frames, and from file to file."""

    parts: dict[str, float]
    file: float

    @property
    def network(self) -> float:
        """Of the network for all frames."""
        return sum(took for name, took in self.parts.items() if name != ENCODE)


def _round(way: Way, subject: Subject) -> _Round:
    parts = way.draw(subject.source, subject.frames)
    clock = Stopwatch()
    way.animate_file(subject.portrait, subject.driver, subject.driver.with_name("out.mp4"))
    return _Round(parts, clock.lap())


def _stages(network: Network, subject: Subject, drawn: Sequence[Output]) -> dict[str, float]:
    """Seconds that the stages around the network take for all frames, each alone."""
    reader, find, clock = VideoReader(subject.driver), FaceFinder(tracking=True), Stopwatch()
    frames = list(reader)
    seconds = {"decode": clock.lap()}
    for frame in frames:
        find(frame.image)
    seconds["find faces"] = clock.lap()
    image = read_image(subject.portrait)
    box, _ = picture_crop(image, "auto", subject.portrait)
    canvas = Canvas(image, box, network.config.image_size, paste_back=True, compare=False, with_driver=False)
    clock.lap()
    pictures = []
    for _, output in zip(frames, cycle(drawn), strict=False):
        pictures.append(canvas.draw(*next(drawn_crops(output, network.conventions)), None))
    seconds["composite"] = clock.lap()
    path, size = subject.driver.with_name("out.mp4"), (canvas.width, canvas.height)
    with VideoWriter(path, width=size[0], height=size[1], time_base=reader.time_base, rate=reader.average_rate) as writer:
        for picture, frame in zip(pictures, frames, strict=True):
            writer.write(picture, frame.pts, frame.duration)
    seconds["encode video"] = clock.lap()
    return seconds


def _operations(network: Network, subject: Subject) -> int:
    """What a frame needs, two for each multiplication with its sum: the portrait is encoded already."""
    device = next(network.parameters()).device
    still, moving = (to_tensor(picture[None], device) for picture in (subject.source, subject.frames[0]))
    with torch.inference_mode():
        source = network.encode_source(still)
        with FlopCounterMode(display=False) as counter:
            network.animate(source, network.detect(moving))
    return counter.get_total_flops()


def _difference(drawn: Sequence[Output], expected: Sequence[Output]) -> float:
    """Mean difference of pictures in [0, 1]."""
    pairs = zip(drawn, expected, strict=True)
    return statistics.fmean(float((one.image.float() - other.image).abs().mean()) for one, other in pairs)


def _milliseconds(rounds: Sequence[dict[str, float]], frames: int) -> dict[str, Spread]:
    """Of parts in seconds for all frames, a frame; of what is done once, once."""
    return {name: Spread.of([1000 * one[name] / (1 if name == ENCODE else frames) for one in rounds]) for name in rounds[0]}
