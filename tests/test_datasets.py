"""Public data sets become clips: checked against videos whose pictures say where and when they are."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from mrfa.cli import app
from mrfa.data.clips import list_clips
from mrfa.data.images import read_image
from mrfa.data.video import VideoReader
from mrfa.datasets import cutting, folder
from mrfa.datasets.celebvhq import read_celebvhq
from mrfa.datasets.cuts import Cut, Rectangle, Rules, follow, rectangle
from mrfa.datasets.cutting import Work, check_downloader, make_clips
from mrfa.datasets.manifest import NAME, Row, read_manifest
from mrfa.datasets.voxceleb import read_voxceleb
from mrfa.errors import InputError

WIDTH, HEIGHT = 160, 90
SHADE_LOST = 0.005
# What coding twice takes from where a place is found to be, in shares of the picture: less than a pixel of 160.
CODED = 0.005
RULES = Rules(size=64, smallest=16, fewest=4)


def write_map(path: Path, frames: int, *, rate: Fraction = Fraction(25), width: int = WIDTH, height: int = HEIGHT) -> Path:
    """A video whose red says the column, its green the row, and its blue the frame, all in shares of the whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.rint(255 * (np.arange(width) + 0.5) / width)
    image[..., 1] = np.rint(255 * (np.arange(height) + 0.5) / height)[:, None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "4", "g": "12", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        for number in range(frames):
            image[..., 2] = round(255 * number / frames)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def places(clip: Path, frames: int) -> tuple[np.ndarray, list[int]]:
    """What of a map's video a clip shows: (x0, y0, x1, y1) in shares of the picture, and the numbers of its frames.

    Shades that are written twice lose a level or two, which is taken off.
    """
    images = np.stack([frame.image for frame in VideoReader(clip)]).astype(float)
    size, inner = images.shape[1], slice(8, -8)
    columns, rows = images[:, inner, inner, 0].mean((0, 1)), images[:, inner, inner, 1].mean((0, 2))
    lines = [np.polynomial.Polynomial.fit(np.arange(size)[inner] + 0.5, values / 255, 1) for values in (columns, rows)]
    box = np.array([line(place) for place in (0, size) for line in lines])
    return box + SHADE_LOST, [round((value / 255 + SHADE_LOST) * frames) for value in images[..., 2].mean((1, 2))]


def utterance(path: Path, boxes: dict[int, tuple[int, int, int, int]]) -> None:
    """A text file of VoxCeleb1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    identity, video = path.parts[-3], path.parts[-2]
    head = (
        f"Identity  : \t{identity}\nReference : \t{video}\nOffset    : \t-1\nFV Conf   : \t17.997\t(1)\nASD Conf  : \t6.338\n\n"
    )
    lines = "".join(f"{number:06} \t{x} \t{y} \t{w} \t{h} \n" for number, (x, y, w, h) in boxes.items())
    path.write_text(f"{head}FRAME \tX \tY \tW \tH \n{lines}")


def test_spans_of_a_video_are_what_iterating_gives(tmp_path: Path) -> None:
    """Also where frames are stored in another order than they are shown in, and where the file is entered on the way."""
    for rate in (Fraction(25), Fraction(30000, 1001)):
        for suffix in ("mp4", "mkv"):
            reader = VideoReader(write_map(tmp_path / f"{rate.denominator}.{suffix}", 90, rate=rate, width=32, height=32))
            everything = list(reader)
            for begin, end in ((0, Fraction(1, 2)), (Fraction(13, 10), Fraction(2)), (Fraction(52, 25), Fraction(9))):
                wanted = [frame for frame in everything if begin <= frame.pts * reader.time_base < end]
                got = list(reader.span(Fraction(begin), end))
                assert [frame.pts for frame in got] == [frame.pts for frame in wanted] and len(got) > 8
                assert all((one.image == other.image).all() for one, other in zip(got, wanted, strict=True))


def test_spans_do_not_decode_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = VideoReader(write_map(tmp_path / "a.mp4", 120, width=32, height=32))
    decoded = 0
    decode = VideoReader._decode

    def counting(self: VideoReader, *arguments: Any) -> Any:
        nonlocal decoded
        for frame in decode(self, *arguments):
            decoded += 1
            yield frame

    monkeypatch.setattr(VideoReader, "_decode", counting)
    assert len(list(reader.span(Fraction(4), Fraction(9, 2)))) == 13 and decoded < 60


def test_voxceleb_is_cut_where_and_when_its_text_files_say(tmp_path: Path) -> None:
    """Boxes are in pixels of a picture 360 high, frames at 25 a second, whatever the video's size and rate."""
    write_map(tmp_path / "videos" / "abcDEF-_123.mp4", 60)
    write_map(tmp_path / "videos" / "fifty.mp4", 60, rate=Fraction(50))
    moving = {number: (200 + number, 80, 120, 100) for number in range(10, 30)}
    utterance(tmp_path / "txt" / "id10001" / "abcDEF-_123" / "00001.txt", moving)
    utterance(tmp_path / "txt" / "id10270" / "fifty" / "00001.txt", dict.fromkeys(range(10, 20), (240, 80, 160, 160)))
    rows = make_clips(*read_voxceleb(tmp_path / "txt", RULES), Work(tmp_path / "videos", tmp_path / "out", RULES, workers=1))
    assert [row.clip for row in rows] == ["test/id10270/fifty_000010_000020", "train/id10001/abcDEF-_123_000010_000030"]
    assert [row.problem for row in rows] == ["", ""] and [row.frames for row in rows] == [20, 20]
    # The union is 139 x 100 of 640 x 360, so 34.75 x 25 pixels; a tenth more on each side makes a square of 42.
    assert rows[1].box == Rectangle(49, 12, 91, 54)
    box, numbers = places(tmp_path / "out" / f"{rows[1].clip}.mp4", 60)
    assert np.abs(box - np.array([49 / 160, 12 / 90, 91 / 160, 54 / 90])).max() < CODED
    assert numbers == list(range(10, 30))
    assert places(tmp_path / "out" / f"{rows[0].clip}.mp4", 60)[1] == list(range(20, 40))
    times = [
        frame.pts * reader.time_base for reader in [VideoReader(tmp_path / "out" / f"{rows[0].clip}.mp4")] for frame in reader
    ]
    assert times == [Fraction(number, 50) for number in range(20)]
    assert [clip.identity for clip in list_clips(tmp_path / "out" / "train")] == ["id10001"]


def test_the_fields_list_is_cut_as_it_is(tmp_path: Path) -> None:
    write_map(tmp_path / "videos" / "WMh3ye5tBsE.mp4", 60)
    metadata = tmp_path / "vox-metadata.csv"
    head = "video_id,start,end,bbox,fps,width,height,partition,person_id\n"
    lines = ["WMh3ye5tBsE,5,45,200-40-520-280,25,640,360,test,id10005", "../x,5,45,0-0-9-9,25,640,360,train,id1", "short,1"]
    metadata.write_text(head + "\n".join([*lines, "a,9,5,0-0-9-9,25,640,360,train,id1", "a,1,5,0-0-9-9,25,640,360,dev,id1"]))
    cuts, problems = read_voxceleb(metadata, RULES)
    assert len(cuts) == 1 and cuts[0].split == "test" and [row.clip.split()[-1] for row in problems] == ["3", "4", "5", "6"]
    (row,) = [
        row for row in make_clips(cuts, problems, Work(tmp_path / "videos", tmp_path / "out", RULES, workers=1)) if row.frames
    ]
    assert row.clip == "test/id10005/WMh3ye5tBsE_000005_000045"
    box, numbers = places(tmp_path / "out" / f"{row.clip}.mp4", 60)
    assert np.abs(box - np.array([200 / 640, 40 / 360, 520 / 640, 280 / 360])).max() < CODED and numbers == list(range(5, 45))


def info(path: Path, **clips: dict[str, Any]) -> Path:
    """A file celebvhq_info.json."""
    path.write_text(json.dumps({"meta_info": {"appearance_mapping": []}, "clips": clips}))
    return path


def celeb(video: str, begin: float, end: float, *box: float) -> dict[str, Any]:
    """A clip of such a file; the box is top, bottom, left, right."""
    corners = dict(zip(("top", "bottom", "left", "right"), box, strict=True))
    return {"ytb_id": video, "duration": {"start_sec": begin, "end_sec": end}, "bbox": corners, "version": "v0.1"}


def test_celebvhq_is_cut_where_and_when_its_file_says(tmp_path: Path) -> None:
    write_map(tmp_path / "videos" / "M2Ohb0FAaJU.mp4", 60)
    metadata = info(tmp_path / "celebvhq_info.json", M2Ohb0FAaJU_1=celeb("M2Ohb0FAaJU", 0.4, 1.62, 0.0, 0.8, 0.2, 0.7))
    rows = make_clips(*read_celebvhq(metadata, test=0, seed=0), Work(tmp_path / "videos", tmp_path / "out", RULES, workers=1))
    assert rows[0].clip == "train/M2Ohb0FAaJU/M2Ohb0FAaJU_1" and not rows[0].problem
    # Grown by a fiftieth, within the picture: rows 0 to 73.8, columns 28.8 to 115.2; the square is as wide as the shorter side.
    assert rows[0].box == Rectangle(36, 0, 109, 73)
    box, numbers = places(tmp_path / "out" / f"{rows[0].clip}.mp4", 60)
    assert np.abs(box - np.array([36 / 160, 0, 109 / 160, 73 / 90])).max() < CODED and numbers == list(range(10, 41))


def test_clips_for_the_test_are_drawn_by_the_seed(tmp_path: Path) -> None:
    metadata = info(tmp_path / "info.json", **{f"clip{n}": celeb("v", 0, 1, 0, 1, 0, 1) for n in range(20)})

    def tests(seed: int) -> set[str]:
        return {cut.name for cut in read_celebvhq(metadata, test=5, seed=seed)[0] if cut.split == "test"}

    assert len(tests(0)) == 5 and tests(0) == tests(0) != tests(1)
    with pytest.raises(InputError, match="has 20 clips, so 20 cannot be put aside"):
        read_celebvhq(metadata, test=20, seed=0)


def test_what_cannot_be_made_is_in_the_manifest(tmp_path: Path) -> None:
    write_map(tmp_path / "videos" / "good.mp4", 30)
    (tmp_path / "videos" / "bad.mp4").write_bytes(b"no video")
    metadata = info(
        tmp_path / "info.json",
        good=celeb("good", 0.2, 0.8, 0, 1, 0, 1),
        small=celeb("good", 0.2, 0.8, 0.4, 0.5, 0.4, 0.45),
        short=celeb("good", 0.2, 0.25, 0, 1, 0, 1),
        late=celeb("good", 0.2, 9, 0, 1, 0, 1),
        damaged=celeb("bad", 0, 1, 0, 1, 0, 1),
        lost=celeb("lost", 0, 1, 0, 1, 0, 1),
        empty={},
        backwards=celeb("good", 2, 1, 0, 1, 0, 1),
        outside=celeb("good", 0, 1, -3, 1, 0, 1),
        endless=celeb("good", 0, 1e30, 0, 1, 0, 1),
        traveller=celeb("x/../good", 0, 1, 0, 1, 0, 1),
        word=celeb("good", 0, 1, 0, 1, 0, "wide"),  # type: ignore[arg-type]
        nothing=celeb("good", 0, float("nan"), 0, 1, 0, 1),
    )
    rows = make_clips(*read_celebvhq(metadata, test=0, seed=0), Work(tmp_path / "videos", tmp_path / "out", RULES, workers=1))
    problems = {row.clip.split("/")[-1]: row.problem for row in rows}
    expected = {
        "good": "",
        "small": "smaller than 16",
        "short": "frames, fewer than 4",
        "late": "ends before 9.00 s",
        "damaged": "cannot read the video",
        "lost": "its video is not there",
        "empty": "is missing",
        "backwards": "ends before it begins",
        "outside": "the box's top is -3",
        "endless": "end_sec is 1e+30",
        "traveller": "no name of a video",
        "word": "'wide' is no number",
        "nothing": "end_sec is nan",
    }
    assert problems.keys() == expected.keys()
    assert {name: text for name, text in problems.items() if expected[name] not in text} == {}
    made = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(made) == ["good.mp4", NAME]
    assert read_manifest(tmp_path / "out") == {row.clip: row for row in rows}


def test_a_preparation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there stays, what was lost or has changed is made again, and a line that was cut short is no obstacle."""
    write_map(tmp_path / "videos" / "v.mp4", 30)
    clips = {name: celeb("v", 0.2 * number, 1, 0, 1, 0, 1) for number, name in enumerate("abc")}
    made: list[str] = []
    write = cutting.write_clip
    monkeypatch.setattr(cutting, "write_clip", lambda reader, cut, *more: (made.append(cut.name), write(reader, cut, *more))[1])
    monkeypatch.setattr(
        cutting, "run_apart", lambda function, jobs, workers, report: [report(job, function(job)) for job in jobs]
    )
    work = Work(tmp_path / "videos", tmp_path / "out", RULES)

    def run(rules: Rules = RULES) -> list[Row]:
        made.clear()
        cuts, problems = read_celebvhq(info(tmp_path / "info.json", **clips), test=0, seed=0)
        return make_clips(cuts, problems, work._replace(rules=rules))

    first = run()
    assert made == ["a", "b", "c"] and run() == first and made == []
    manifest = tmp_path / "out" / NAME
    manifest.write_text(manifest.read_text()[:-20])
    (tmp_path / "out" / f"{first[0].clip}.mp4").unlink()
    assert run() == first and made == ["a", "c"]
    clips["b"]["duration"]["end_sec"] = 0.9
    run()
    assert made == ["b"]
    run(RULES._replace(size=32))
    assert made == ["a", "b", "c"]
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(["{", *lines]))
    with pytest.raises(InputError, match="line 1 cannot be read"):
        run()


def test_text_files_that_lie(tmp_path: Path) -> None:
    good = dict.fromkeys(range(4), (10, 10, 100, 100))
    for name, change in {
        "a": {0: (10, 10, 0, 100)},
        "b": {0: (10, 10, 10**9, 100)},
        "c": {10**9: (10, 10, 100, 100)},
        "d": {0: ("x", 10, 100, 100)},
        "e": {0: (0.1, 0.1, 0.3, 0.3)},
    }.items():
        utterance(tmp_path / "id10001" / "v" / f"{name}.txt", good | change)  # type: ignore[arg-type]
    (tmp_path / "id10001" / "v" / "f.txt").write_text("")
    utterance(tmp_path / "id10001" / "v" / "g.txt", good)
    cuts, problems = read_voxceleb(tmp_path, RULES)
    assert len(cuts) == 1 and len(problems) == 6
    messages = ["box is empty", "not between", "not between", "'x' is no number", "as VoxCeleb2's are", "no frames in it"]
    assert all(message in row.problem for message, row in zip(messages, problems, strict=True))
    with pytest.raises(InputError, match="no metadata of VoxCeleb1"):
        read_voxceleb(tmp_path / "id10001", RULES)


def test_faces_are_followed_while_they_stay() -> None:
    here, there = (0.0, 0.0, 10.0, 10.0), (50.0, 0.0, 60.0, 10.0)
    near = (2.0, 0.0, 12.0, 10.0)
    assert follow([here, near, here, there, there], RULES) == [(0, 3, (0.0, 0.0, 12.0, 10.0)), (3, 5, there)]
    assert follow([here] * 5, RULES._replace(most=2)) == [(0, 2, here), (2, 4, here), (4, 5, here)]


def test_gaps_and_places_part_an_utterance(tmp_path: Path) -> None:
    boxes = dict.fromkeys((*range(5), *range(9, 14)), (10, 10, 100, 100)) | dict.fromkeys(range(14, 20), (300, 10, 100, 100))
    utterance(tmp_path / "Ewan" / "v" / "1.txt", boxes)
    cuts, _ = read_voxceleb(tmp_path, RULES)
    assert [cut.name for cut in cuts] == ["v_000000_000005", "v_000009_000014", "v_000014_000020"]
    assert [cut.box[0] for cut in cuts] == [10, 10, 300] and {cut.split for cut in cuts} == {"test"}
    assert [(cut.begin, cut.end) for cut in cuts][1] == (Fraction(9, 25), Fraction(14, 25))


def test_squares_that_leave_the_picture_are_refused() -> None:
    cut = Cut("n", "i", "train", "v", Fraction(0), Fraction(1), (0.0, 40.0, 100.0, 140.0), (None, 360), "enlarged")
    for box in (cut.box, (50.0, 5.0, 150.0, 105.0), (550.0, 50.0, 638.0, 150.0), (100.0, 255.0, 200.0, 355.0)):
        with pytest.raises(InputError, match="leaves the picture of 640x360"):
            rectangle(cut._replace(box=box), 640, 360, RULES)
    assert rectangle(cut._replace(shape="moved"), 640, 360, RULES) == Rectangle(0, 30, 120, 150)
    inside = cut._replace(box=(20.0, 40.0, 120.0, 140.0))
    assert rectangle(inside, 640, 360, RULES) == Rectangle(10, 30, 130, 150)
    assert rectangle(inside, 1280, 720, RULES) == Rectangle(20, 60, 260, 300)
    with pytest.raises(InputError, match="outside the picture"):
        rectangle(cut._replace(box=(700.0, 0.0, 800.0, 100.0), shape="as-is"), 640, 360, RULES)


def test_missing_videos_are_fetched_without_a_shell(tmp_path: Path) -> None:
    write_map(tmp_path / "v.mp4", 30)
    script = tmp_path / "fetch.py"
    script.write_text("import shutil, sys\nif 'gone' in sys.argv[1]: sys.exit('not available')\nshutil.copy(*sys.argv[2:])\n")
    command = f"{sys.executable} '{script}' {{url}} '{tmp_path / 'v.mp4'}' {{output}}"
    metadata = info(tmp_path / "i.json", a=celeb("one$(x)", 0, 1, 0, 1, 0, 1), b=celeb("gone", 0, 1, 0, 1, 0, 1))
    (tmp_path / "videos").mkdir()
    work = Work(tmp_path / "videos", tmp_path / "out", RULES, check_downloader(command), 1)
    rows = make_clips(*read_celebvhq(metadata, test=0, seed=0), work)
    assert not rows[1].problem and (tmp_path / "videos" / "one$(x).mp4").is_file()
    assert rows[0].problem.endswith("failed: not available")
    for bad in ("yt-dlp {url}", "yt-dlp -o {output}", "yt-dlp 'x"):
        with pytest.raises(InputError, match="--downloader"):
            check_downloader(bad)


def test_own_videos_are_cut_where_a_face_stays(tmp_path: Path) -> None:
    """A face, then nothing, then the face elsewhere: two clips; a video without faces: none, and why."""
    portrait = read_image(Path(str(folder.__file__)).parents[1] / "assets" / "astronaut.jpg")[:256, 90:346]
    scene = np.full((256, 640, 3), 90, np.uint8)
    left, right = scene.copy(), scene.copy()
    left[:, :256], right[:, -256:] = portrait, portrait
    (tmp_path / "videos" / "eileen").mkdir(parents=True)
    write_frames(tmp_path / "videos" / "eileen" / "talk.mp4", [left] * 13 + [scene] * 9 + [right] * 13)
    write_map(tmp_path / "videos" / "nobody.mp4", 3, width=64, height=64)
    rules = Rules(size=64, smallest=40, fewest=8, enlarge=0.3)
    spans = folder.find_spans(VideoReader(tmp_path / "videos" / "eileen" / "talk.mp4"), rules)
    assert [round(begin * 25) for begin, _, _ in spans] == [0, 24] and [(end * 25).__ceil__() for _, end, _ in spans] == [13, 33]
    assert spans[1][2][0] - spans[0][2][0] == pytest.approx(640 - 256, abs=6)
    work = Work(tmp_path / "videos", tmp_path / "out", rules, workers=1)
    rows = folder.make_own_clips(work, test=0, seed=0)
    assert [(row.clip, row.frames) for row in rows] == [
        ("nobody", 0),
        ("train/eileen/talk_000", 13),
        ("train/eileen/talk_001", 9),
    ]
    assert rows[0].problem == "no face stays in it for 8 frames"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.mp4")}
    assert folder.make_own_clips(work, test=0, seed=0) == rows
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.mp4")} == before


def write_frames(path: Path, frames: list[np.ndarray]) -> None:
    """A video at 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def test_another_shot_begins_another_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a face takes the place of another between two looks."""

    class Finder:
        def __init__(self, tracking: bool) -> None:
            assert tracking

        def __call__(self, image: np.ndarray) -> Any:
            return type("Face", (), {"box": (10.0, 10.0, 50.0, 50.0)})

    monkeypatch.setattr(folder, "FaceFinder", Finder)
    dark, light = np.full((64, 64, 3), 20, np.uint8), np.full((64, 64, 3), 200, np.uint8)
    write_frames(tmp_path / "v.mp4", [dark] * 10 + [light] * 10)
    spans = folder.find_spans(VideoReader(tmp_path / "v.mp4"), RULES._replace(fewest=2))
    assert [round(begin * 25) for begin, _, _ in spans] == [0, 12]


def test_the_command_line_prepares(tmp_path: Path) -> None:
    write_map(tmp_path / "videos" / "v.mp4", 30)
    metadata = info(tmp_path / "info.json", a=celeb("v", 0, 1, 0, 1, 0, 1), b=celeb("lost", 0, 1, 0, 1, 0, 1))
    arguments = [
        "prepare",
        "celebvhq",
        metadata,
        tmp_path / "videos",
        "-o",
        tmp_path / "out",
        "--test=0",
        "--size=64",
        "--workers=1",
    ]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "1 clips, 0 of them for the test; 1 are missing" in result.output and str(tmp_path / "out" / NAME) in result.output


def test_a_run_that_is_stopped_ends_its_workers(tmp_path: Path) -> None:
    """At once, and the clips that are complete stay."""
    code = (
        "import os, signal, threading, time\nfrom mrfa.cli_stop import Stopped, stoppable\nfrom mrfa.processes import run_apart\n"
        "threading.Timer(2, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "try:\n    with stoppable():\n        run_apart(time.sleep, [60, 61], 1, print)\nexcept Stopped:\n    print('stopped')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert result.stdout == "stopped\n", result.stderr
