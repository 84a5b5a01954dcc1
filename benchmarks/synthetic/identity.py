"""Who a synthetic head is: shape, colours, hair, light and background, drawn from a seed."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from benchmarks.synthetic.parts import HairStyle
from benchmarks.synthetic.shape import Features, Proportions

Colour = tuple[float, float, float]

_SKINS = ("f3d3bd", "eac0a2", "e0ac88", "d09a72", "b97f58", "9a6443", "7b4b31", "5b3725")
_HAIRS = ("17120f", "2b1d15", "4a2f1d", "6b4527", "8e6438", "b98d51", "d3b27c", "7a3519", "8d8a86", "c9c5be")
_IRISES = ("3b2416", "5a3a1e", "6f5a2c", "5d7148", "52778c", "6d8fa8", "6f7a80")
_CLOTHES = ("22324e", "7d2b2f", "e6e3dc", "2f3331", "3d6a52", "8a7ba8", "c48a3a", "5d86a8")


@dataclass(frozen=True)
class Colours:
    """Colours of a head, RGB in [0, 1]."""

    skin: Colour
    lips: Colour
    hair: Colour
    brows: Colour
    iris: Colour
    clothes: Colour


@dataclass(frozen=True)
class Marks:
    """What is drawn on the skin.

    Attributes:
        brow_thickness: 1 in the mean.
        brow_height: of the brows over the eyes, in decimetres.
        beard, moustache: density, 0 to 1.
        blush, freckles: strength, 0 to 1.
    """

    brow_thickness: float
    brow_height: float
    beard: float
    moustache: float
    blush: float
    freckles: float


@dataclass(frozen=True)
class Light:
    """A lamp far away and light from all around.

    Attributes:
        direction: towards the lamp, in the camera's frame, of length 1.
        colour: of the lamp, RGB, with its strength; (0, 0, 0) for the plain colours of all surfaces.
        ambient: light from all around, RGB; (1, 1, 1) for the plain colours of all surfaces.
    """

    direction: tuple[float, float, float]
    colour: Colour
    ambient: Colour


PLAIN_LIGHT = Light((0.0, 0.0, 1.0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class SyntheticHead:
    """One identity: all that does not change within a clip.

    Attributes:
        seed: of the random detail (skin, strands of hair, background).
        zoom: half pictures a decimetre at the head's distance.
        centre: where the origin between the eyes of an unmoved head lies, in half pictures from the middle, y down.
    """

    seed: int
    features: Features
    proportions: Proportions
    colours: Colours
    marks: Marks
    hair: HairStyle
    light: Light
    background: tuple[Colour, Colour]
    zoom: float
    centre: tuple[float, float]

    @classmethod
    def draw(cls, seed: int) -> Self:
        """An identity that depends on the seed alone."""
        random = np.random.default_rng(seed)
        male = random.random() < 0.5
        hair = _draw_hair(random, male)
        return cls(
            seed=seed,
            features=Features(*_spread(random, 9)),
            proportions=_draw_proportions(random, male),
            colours=(colours := _draw_colours(random, male)),
            marks=_draw_marks(random, male, grown=hair.volume > 0 or random.random() < 0.5),
            hair=hair,
            light=_draw_light(random),
            background=_draw_background(random, colours),
            zoom=float(random.uniform(0.6, 0.72)),
            centre=(float(random.uniform(-0.05, 0.05)), float(random.uniform(-0.12, 0.0))),
        )


def _spread(random: np.random.Generator, count: int) -> list[float]:
    return [float(value) for value in np.clip(random.normal(0, 0.6, count), -1.3, 1.3)]


def _colour(code: str) -> np.ndarray:
    return np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255


def _between(random: np.random.Generator, codes: tuple[str, ...]) -> np.ndarray:
    """A colour between two neighbours of a palette."""
    place = random.uniform(0, len(codes) - 1)
    low = min(int(place), len(codes) - 2)
    return _colour(codes[low]) + (place - low) * (_colour(codes[low + 1]) - _colour(codes[low]))


def _tuple(colour: np.ndarray) -> Colour:
    red, green, blue = (float(value) for value in np.clip(colour, 0, 1))
    return red, green, blue


def _draw_proportions(random: np.random.Generator, male: bool) -> Proportions:
    width, jaw, lower_face, forehead = _spread(random, 4)
    shift = 0.4 if male else -0.4
    return Proportions(width, jaw + shift, lower_face + 0.5 * shift, forehead)


def _draw_colours(random: np.random.Generator, male: bool) -> Colours:
    skin = _between(random, _SKINS)
    hair = _colour(_HAIRS[random.integers(len(_HAIRS) if skin[0] > 0.7 else 4)])
    painted = 0.0 if male else random.uniform(0, 0.6)
    lips = skin * np.array([0.88, 0.66, 0.64])
    lips = lips + painted * (_colour("a8323a") - lips)
    clothes = _colour(_CLOTHES[random.integers(len(_CLOTHES))])
    return Colours(
        skin=_tuple(skin),
        lips=_tuple(lips),
        hair=_tuple(hair),
        brows=_tuple(hair * 0.75 + 0.06 * skin),
        iris=_tuple(_colour(_IRISES[random.integers(len(_IRISES) if skin[0] > 0.8 else 3)])),
        clothes=_tuple(clothes * random.uniform(0.8, 1.1)),
    )


def _draw_marks(random: np.random.Generator, male: bool, grown: bool) -> Marks:
    bearded = male and grown and random.random() < 0.45
    return Marks(
        brow_thickness=float(random.uniform(0.9, 1.4) if male else random.uniform(0.65, 1.05)),
        brow_height=float(random.uniform(0.2, 0.25)),
        beard=float(random.uniform(0.25, 0.85) if bearded else random.uniform(0, 0.12) * male),
        moustache=float(random.uniform(0.2, 0.8) if bearded else random.uniform(0, 0.12) * male),
        blush=float(random.uniform(0.2, 0.9)),
        freckles=float(max(0.0, random.uniform(-1.0, 0.5))),
    )


def _draw_hair(random: np.random.Generator, male: bool) -> HairStyle:
    hairline = float(random.uniform(0.62, 0.76))
    if male:
        volume = 0.0 if random.random() < 0.15 else random.uniform(0.03, 0.15)
        return HairStyle(float(volume), hairline, float(random.uniform(-0.6, -0.4)), 110.0, float(random.uniform(0, 1)))
    if random.random() < 0.2:
        hairline -= 0.25  # a fringe
    length = random.choice([-0.6, -1.1, -1.6, -1.9])
    volume, side = random.uniform(0.08, 0.2), random.uniform(62, 85)
    return HairStyle(float(volume), hairline, float(length), float(side), float(random.uniform(0.2, 1)))


def _draw_light(random: np.random.Generator) -> Light:
    turn, rise = np.radians(random.uniform(-60, 60)), np.radians(random.uniform(10, 50))
    warmth = random.uniform(-0.06, 0.06) * np.array([1, 0.1, -1])
    strength = random.uniform(0.55, 0.8)
    direction = (float(np.sin(turn) * np.cos(rise)), float(np.sin(rise)), float(np.cos(turn) * np.cos(rise)))
    return Light(direction, _tuple(strength * (1 + warmth)), _tuple((1.08 - strength) * (1 - warmth)))


def _draw_background(random: np.random.Generator, colours: Colours) -> tuple[Colour, Colour]:
    while True:
        first, second = random.uniform(0.1, 0.85, (2, 3))
        first = first.mean() + 0.45 * (first - first.mean())
        second = second.mean() + 0.45 * (second - second.mean())
        # A wall in the colour of the skin would hide the head's outline.
        if min(np.abs(colour - np.array(colours.skin)).max() for colour in (first, second)) > 0.12:
            return _tuple(first), _tuple(second)
