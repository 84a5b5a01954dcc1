"""Grids of pictures: places, sizes, and text that fits."""

import numpy as np
import pytest

from mrfa.evaluation.picture_grid import MISSING, SMALLEST_FONT, Row, draw_grid, fit_text, font_size, line_height


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


@pytest.mark.parametrize("text", ["short", "a title of fair length", "x" * 300, "Model/" * 30])
@pytest.mark.parametrize("width", [40, 128, 300])
def test_text_always_fits(text: str, width: int) -> None:
    fitted, font = fit_text(text, width, 14)
    assert font.getlength(fitted) <= width
    assert SMALLEST_FONT <= font.size <= 14
    assert fitted == text or ("..." in fitted and fitted[0] == text[0] and fitted[-1] == text[-1])


def test_fonts_grow_with_the_cells() -> None:
    assert font_size(line_height(64)) < font_size(line_height(256))
