"""A benchmark as tables, and as a picture."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrfa.bench.measure import Figures, Report, Spread
from mrfa.bench.ways import ANIMATE, DETECT, ENCODE

if TYPE_CHECKING:
    from rich.table import Table

# Of the chart, in pixels.
BAR, CHART_WIDTH, CHART_TOP = 34, 900, 110


def to_json(report: Report) -> str:
    """All that was measured."""
    return json.dumps(asdict(report) | {"machine": report.machine._asdict()}, indent=1)


def make_tables(report: Report) -> list["Table"]:
    """The ways, and the stages around the network."""
    from rich.table import Table

    machine = report.machine
    ways = Table(
        title=f"{report.model}: {report.gflop:.1f} GFLOP a frame, {report.frames} frames of {report.side}x{report.side}, "
        f"batches of {report.batch_size}, median of {report.rounds} rounds [least to most]",
        caption=f"{machine.processor} ({', '.join(machine.instructions)}), {machine.threads} threads on {machine.cores} cores, "
        f"device {machine.device}; {', '.join(f'{name} {number}' for name, number in machine.versions.items())}; "
        + "matrix products: "
        + ", ".join(f"{peak:.0f} GFLOP/s in {name}" for name, peak in report.peaks.items()),
    )
    for column in ("way", "frames/s, network", "times", "frames/s, files", "times", "ms: detect", "animate", "encode once"):
        ways.add_column(column, justify="left" if column == "way" else "right")
    for column in ("of the peak", "difference", "memory, MB"):
        ways.add_column(column, justify="right")
    for way in report.ways:
        ways.add_row(*_row(way))
    stages = Table(title="around the network, each alone: milliseconds a frame")
    for name in report.stages:
        stages.add_column(name, justify="right")
    stages.add_row(*(_spread(took) for took in report.stages.values()))
    return [ways, stages]


def draw_chart(report: Report) -> np.ndarray:
    """Frames a second of every way, the network alone and from file to file: uint8 RGB `[H, W, 3]`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = CHART_TOP + 2 * BAR * len(report.ways)
    sheet = Figure(figsize=(CHART_WIDTH / 100, height / 100), dpi=100, facecolor="white", layout="constrained")
    canvas, axes = FigureCanvasAgg(sheet), sheet.subplots()
    for shift, label, colour in ((-0.2, "network alone", "#4c78a8"), (0.2, "from file to file", "#f58518")):
        speeds = [way.model_only if shift < 0 else way.file_to_file for way in report.ways]
        faster = [way.faster if shift < 0 else way.faster_file_to_file for way in report.ways]
        medians = [speed.median for speed in speeds]
        errors = [[one.median - one.low for one in speeds], [one.high - one.median for one in speeds]]
        places = [number + shift for number in range(len(speeds))]
        axes.barh(places, medians, 0.38, label=label, color=colour, xerr=errors, ecolor="#555555")
        for place, speed, times in zip(places, speeds, faster, strict=True):
            axes.annotate(
                f"{speed.median:.1f}  (x {times.median:.2f})",
                (speed.high, place),
                (6, 0),
                va="center",
                fontsize=8,
                textcoords="offset points",
            )
    axes.set_yticks(range(len(report.ways)), [way.name for way in report.ways])
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xlabel("frames a second")
    axes.set_title(
        f"{report.model}, {report.side}x{report.side}: {report.machine.processor}, {report.machine.device}", fontsize=10
    )
    axes.legend(fontsize=8, loc="upper right")
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def write_json(report: Report, path: Path) -> None:
    """Write all that was measured."""
    path.write_text(to_json(report) + "\n")


def _row(way: Figures) -> list[str]:
    host, device = way.memory
    return [
        way.name,
        _spread(way.model_only),
        f"{way.faster.median:.2f}",
        _spread(way.file_to_file),
        f"{way.faster_file_to_file.median:.2f}",
        *(f"{way.parts[name].median:.1f}" if name in way.parts else "" for name in (DETECT, ANIMATE, ENCODE)),
        f"{way.share_of_peak:.0%}",
        f"{way.difference:.1e}",
        ("?" if host is None else f"{host:.0f}") + ("" if device is None else f" + {device:.0f} of the GPU"),
    ]


def _spread(values: Spread) -> str:
    return f"{values.median:.1f} [{values.low:.1f} to {values.high:.1f}]"
