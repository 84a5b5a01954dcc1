"""The pictures of a study: what the refinement changes, with intervals, and what every variant draws."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.study.measure import SHOWN
from benchmarks.study.plan import Study
from benchmarks.study.report import differences_table, of_variant, title
from benchmarks.study.results import Result
from benchmarks.study.run import EXAMPLES_FILE
from mrfa.data.files import replacing
from mrfa.data.images import read_image, write_image
from mrfa.data.origin import Origin
from mrfa.evaluation.figures.grid import Row, draw_grid


def draw_differences(study: Study, results: Sequence[Result], path: Path) -> None:
    """A panel a metric; in it a point with its interval for each comparison and seed, and a line where nothing changes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = differences_table(study, results)
    names, places = [row.title for row in table.rows], np.arange(len(table.rows))
    size = 3 + 1.7 * len(table.columns), 0.8 + 0.3 * len(names)
    sheet = Figure(figsize=size, dpi=100, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(sheet)
    panels = sheet.subplots(1, len(table.columns), sharey=True, squeeze=False)[0]
    for panel, column in zip(panels, table.columns, strict=True):
        for place, row in zip(places, table.rows, strict=True):
            figure = row.figures.get(column.title)
            if figure is not None:
                colour = "black" if "all seeds" in row.title else "tab:blue"
                panel.plot([figure.low, figure.high], [place, place], color=colour)
                panel.plot(figure.mean, place, "o", color=colour, markersize=4)
        panel.axvline(0, color="grey", linewidth=0.8)
        panel.set_title(column.title, fontsize=9)
        panel.tick_params(labelsize=8)
        panel.locator_params(axis="x", nbins=3)
    panels[0].set_yticks(places, names, fontsize=8)
    panels[0].invert_yaxis()
    canvas.draw()
    with replacing(path) as temporary:
        sheet.savefig(temporary, format="png")


def draw_examples(study: Study, results: Sequence[Result], folder: Path, path: Path) -> None:
    """A row a test clip: portrait, driving frame, and what the first seed of every variant draws.

    Args:
        study: the study.
        results: of its finished runs.
        folder: of the study, in which each run left its pictures.
        path: PNG file.
    """
    columns, rows = ["portrait", "driving"], defaultdict[int, list[np.ndarray]](list)
    for variant in study.variants:
        for result in of_variant(results, variant)[:1]:
            columns.append(title(study, variant))
            sheet = read_image(folder / f"{variant}-seed{result.seed}" / EXAMPLES_FILE)
            for number, strip in enumerate(np.split(sheet, len(sheet) // SHOWN)):
                portrait, driving, _, made = np.split(strip, 4, axis=1)
                rows[number] += [made] if rows[number] else [portrait, driving, made]
    grid = draw_grid([Row(cells) for cells in rows.values()], columns=columns, cell=SHOWN)
    write_image(path, grid, origin=Origin.now(composite=True))
