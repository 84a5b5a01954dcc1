"""CelebV-HQ (Zhu et al. 2022): cuts from `celebvhq_info.json`, as its own tool makes them.

Each clip has a span in seconds and one box in shares of the picture, which is grown by a fiftieth of the picture on each side and
of which the largest square is taken. The data set names no people: the source video stands for the person.
"""

import json
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

from mrfa.data.files import check_readable
from mrfa.datasets.cuts import LONGEST_VIDEO, Cut, check_box, check_name, check_number
from mrfa.datasets.manifest import Row
from mrfa.errors import InputError

GROWN = 0.02
LARGEST_FILE = 2**30


def read_celebvhq(metadata: Path, *, test: int, seed: int) -> tuple[list[Cut], list[Row]]:
    """The cuts of the JSON file, and a row for each of its clips that is unusable.

    Args:
        metadata: the file.
        test: clips for the test, drawn from all that the file names.
        seed: of that draw.

    Raises:
        InputError: it is no such file, or has too few clips.
    """
    check_readable(metadata, "celebvhq_info.json")
    if metadata.stat().st_size > LARGEST_FILE:
        raise InputError(f"{metadata} is larger than {LARGEST_FILE} bytes: is it celebvhq_info.json?")
    try:
        clips: dict[str, Any] = json.loads(metadata.read_text())["clips"]
        names = sorted(clips)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{metadata} is not celebvhq_info.json: it has no clips") from None
    if len(names) <= test:
        raise InputError(f"{metadata} has {len(names)} clips, so {test} cannot be put aside for the test: lower --test")
    tests = set(random.Random(seed).sample(names, test))
    cuts: list[Cut] = []
    problems: list[Row] = []
    for name in names:
        try:
            cuts.append(_read_clip(name, clips[name], name in tests))
        except (KeyError, TypeError):
            problems.append(Row.of_problem(name, "its video, duration or box is missing"))
        except InputError as error:
            problems.append(Row.of_problem(name, str(error)))
    return cuts, problems


def _read_clip(name: str, clip: dict[str, Any], test: bool) -> Cut:
    video = check_name(clip["ytb_id"], "video")
    # Hundredths of a second, exactly as they are written.
    begin, end = (
        Fraction(check_number(clip["duration"][key], key, 0, LONGEST_VIDEO)).limit_denominator(1000)
        for key in ("start_sec", "end_sec")
    )
    if end <= begin:
        raise InputError("it ends before it begins")
    x0, y0, x1, y1 = (check_number(clip["bbox"][key], f"the box's {key}", 0, 1) for key in ("left", "top", "right", "bottom"))
    check_box((x0, y0, x1, y1), "its box")
    box = (max(x0 - GROWN, 0), max(y0 - GROWN, 0), min(x1 + GROWN, 1), min(y1 + GROWN, 1))
    return Cut(check_name(name, "clip"), video, "test" if test else "train", video, begin, end, box, (1, 1), "within")
