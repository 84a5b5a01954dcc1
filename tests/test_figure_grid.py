"""Grids of pictures: places, sizes, and text that fits."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mrfa.evaluation.figures.grid import MISSING, SMALLEST_FONT, Row, draw_grid, line_height, write_line


def _plain(shade: int, side: int = 40) -> np.ndarray:
    return np.full((side, side, 3), shade, np.uint8)


def test_pictures_stand_where_they_belong() -> None:
    rows = [Row([_plain(10), None, _plain(30)], title="first"), Row([_plain(40)], captions=["one"])]
    grid = draw_grid(rows, columns=["a", "b", "c"], cell=100)
    line = line_height(100)
    assert grid.shape == (4 * line - line + 2 * 102, 3 * 102 - 2, 3)
    top = 2 * line
    assert (grid[top : top + 100, :100] == 10).all()
    assert (grid[top : top + 100, 102:202] == MISSING).all()
    assert (grid[top : top + 100, 204:] == 30).all()
    second = top + 102 + line
    assert (grid[second : second + 100, :100] == 40).all() and (grid[second:, 102:] == 255).all()


def test_titles_are_written_above_their_pictures_alone() -> None:
    grid = draw_grid([Row([_plain(255), _plain(255)])], columns=["", "gypsum, very long indeed " * 3], cell=100)
    dark = np.argwhere(grid.min(axis=2) < 128)
    assert len(dark) > 20
    assert dark[:, 0].max() < line_height(100) and dark[:, 1].min() >= 102  # nothing in the pictures, nothing beside


def test_what_draws_itself_fills_its_cell() -> None:
    def draw(axes: Axes) -> None:
        axes.set_axis_off()
        axes.imshow(np.full((2, 2), 0.0), cmap="gray", vmin=0, vmax=1)

    grid = draw_grid([Row([_plain(255), draw, _plain(255)], title=" ")], cell=100)
    dark = np.argwhere(grid.max(axis=2) < 128)
    line = line_height(100)
    assert dark.min(axis=0).tolist() == [line, 102] and dark.max(axis=0).tolist() == [line + 99, 201]


@pytest.mark.parametrize("text", ["short", "a title of fair length", "x" * 300, "Model/" * 30])
@pytest.mark.parametrize("width", [40, 128, 300])
def test_text_always_fits(text: str, width: int) -> None:
    sheet = Figure(figsize=(4, 1), dpi=100)
    write_line(sheet, text, (10, 20, width, 20))
    (written,) = sheet.texts
    box = written.get_window_extent()
    assert box.x0 >= 10 and box.x1 <= 10 + width and 60 <= (box.y0 + box.y1) / 2 <= 80
    fitted = written.get_text()
    assert SMALLEST_FONT <= round(written.get_fontsize() * 100 / 72) <= 14
    assert fitted == text or ("..." in fitted and fitted[0] == text[0] and fitted[-1] == text[-1])


def test_lines_grow_with_the_cells() -> None:
    assert line_height(64) < line_height(256)
