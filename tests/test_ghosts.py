"""Ghosts: parts of the portrait's person that stay where its head was are painted over, and nothing else is."""

import cv2
import numpy as np
import pytest

from mrfa.animation.composite import Canvas
from mrfa.animation.crop import whole_picture
from mrfa.animation.ghosts import GhostRemover
from mrfa.faces.person import MASK_SIDE

SIDE, CELLS, MOVE = 256, 128, 0.25
GREY, RED = (90, 100, 110), (200, 30, 30)


def _picture(*discs: tuple[float, float, float]) -> np.ndarray:
    """Red discs (x, y, radius), in sides of the picture, on grey."""
    picture = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    for x, y, radius in discs:
        cv2.circle(picture, (round(x * SIDE), round(y * SIDE)), round(radius * SIDE), RED, -1)
    return picture


HEAD, EAR = (0.35, 0.5, 0.2), (0.55, 0.5, 0.05)
PORTRAIT = _picture(HEAD, EAR)


@pytest.fixture(autouse=True)
def _red_is_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    def segment(picture: np.ndarray) -> np.ndarray:
        return cv2.resize((picture[..., 0] > 150).astype(np.uint8) * 255, (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA)

    monkeypatch.setattr("mrfa.animation.ghosts.PersonSegmenter", lambda: segment)


def _moved(still: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The portrait moved to the right but for a disc, which shows what it showed: crop and displacement."""
    displacement = np.zeros((CELLS, CELLS, 2), np.float32)
    displacement[..., 0] = -MOVE
    stays = np.zeros((CELLS, CELLS), np.uint8)
    cv2.circle(stays, (round(still[0] * CELLS), round(still[1] * CELLS)), round(still[2] * CELLS), 1, -1)
    displacement[stays == 1] = 0
    places = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), -1).astype(np.float32)
    large = cv2.resize(displacement, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    return cv2.remap(PORTRAIT, places + SIDE * large, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), displacement


def test_a_part_left_behind_is_painted_over() -> None:
    ghost = (0.2, 0.5, 0.06)  # a part of the head, where it was
    crop, displacement = _moved(ghost)
    clean = GhostRemover(PORTRAIT)(crop, displacement)
    there = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (51, 128), 20, 1, -1) == 1
    assert (crop[there][:, 0] > 150).mean() > 0.3
    assert np.abs(clean[there].astype(int) - GREY).max() < 12
    away = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (51, 128), 40, 1, -1) == 0
    np.testing.assert_array_equal(clean[away], crop[away])


def test_a_portrait_that_stands_still_or_moves_as_a_whole_stays_as_it_is() -> None:
    remover = GhostRemover(PORTRAIT)
    for step in (0.0, -MOVE):
        displacement = np.full((CELLS, CELLS, 2), (step, 0), np.float32)
        assert remover(PORTRAIT, displacement) is PORTRAIT


def test_a_large_detached_part_is_left_alone() -> None:
    crop, displacement = _moved((0.2, 0.5, 0.12))
    assert GhostRemover(PORTRAIT)(crop, displacement) is crop


def test_what_was_detached_in_the_portrait_is_no_ghost() -> None:
    """Another person, say: the mask of the largest part alone counts."""
    portrait = _picture(HEAD, (0.85, 0.2, 0.06))
    assert GhostRemover(portrait)(portrait, np.zeros((CELLS, CELLS, 2), np.float32)) is portrait


def test_without_a_person_nothing_happens() -> None:
    crop, displacement = _moved((0.2, 0.5, 0.06))
    assert GhostRemover(_picture())(crop, displacement) is crop


def test_where_nobody_is_surely_seen_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = cv2.resize((PORTRAIT[..., 0] > 150).astype(np.uint8) * 100, (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA)
    monkeypatch.setattr("mrfa.animation.ghosts.PersonSegmenter", lambda: lambda picture: mask)
    crop, displacement = _moved((0.2, 0.5, 0.06))
    assert GhostRemover(PORTRAIT)(crop, displacement) is crop


def test_a_canvas_draws_no_ghosts_of_a_still() -> None:
    crop, displacement = _moved((0.2, 0.5, 0.06))
    canvas = Canvas(PORTRAIT, whole_picture(SIDE, SIDE), SIDE, paste_back=False, compare=False, with_driver=False)
    assert canvas.draw(crop, displacement, None)[128, 51, 0] < 120
    canvas.show(PORTRAIT, whole_picture(SIDE, SIDE))
    assert canvas.draw(crop, displacement, None)[128, 51, 0] > 150


def test_a_little_background_is_no_ghost() -> None:
    portrait = np.full((SIDE, SIDE, 3), RED, np.uint8)
    portrait[:40, :40] = GREY
    assert GhostRemover(portrait)(portrait, np.zeros((CELLS, CELLS, 2), np.float32)) is portrait
