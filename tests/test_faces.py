"""Faces are found where they are: small, turned, several, in pictures of any shape, and followed from frame to frame."""

from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from mrfa.cli import app
from mrfa.data.images import read_image, write_image
from mrfa.errors import InputError
from mrfa.faces import networks
from mrfa.faces.choice import choose_face, parse_face
from mrfa.faces.detector import SHORT_RANGE, FaceDetector
from mrfa.faces.finder import Face, FaceFinder
from mrfa.faces.landmarks import FaceLandmarker, face_box
from mrfa.faces.mesh import FaceMesh, region_of_detection
from mrfa.faces.networks import SHA256, cut, load_network, read_model
from mrfa.faces.regions import Region, tiles, whole


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    """512 x 512; the face is about 100 pixels high, its middle near (224, 115)."""
    return read_image(Path(str(resources.files("mrfa"))) / "assets" / "astronaut.jpg")


@pytest.fixture(scope="module")
def find() -> FaceFinder:
    return FaceFinder()


def pasted(picture: np.ndarray, height: int, width: int, x: int, y: int) -> np.ndarray:
    """A picture on a large, softly patterned one."""
    cells = np.random.default_rng(0).integers(60, 190, (max(height // 60, 2), max(width // 60, 2), 3), np.uint8)
    canvas = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return canvas


def assert_at(face: Face | None, x: float, y: float, side: float) -> None:
    """The middle of the box is near (x, y), and its longer side near the one given."""
    assert face is not None
    x0, y0, x1, y1 = face.box
    assert (x0 + x1) / 2 == pytest.approx(x, abs=0.2 * side)
    assert (y0 + y1) / 2 == pytest.approx(y, abs=0.2 * side)
    assert max(x1 - x0, y1 - y0) == pytest.approx(side, rel=0.2)


# --- networks


def test_a_damaged_or_missing_model_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks.resources, "files", lambda package: tmp_path)
    with pytest.raises(InputError, match=r"face_detection_short_range\.tflite cannot be read"):
        read_model.__wrapped__("face_detection_short_range")
    (tmp_path / "faces" / "models").mkdir(parents=True)
    (tmp_path / "faces" / "models" / "face_detection_short_range.tflite").write_bytes(b"x")
    with pytest.raises(InputError, match=r"face_detection_short_range\.tflite is damaged"):
        read_model.__wrapped__("face_detection_short_range")


def test_the_notice_names_every_model_and_its_sum() -> None:
    folder = resources.files("mrfa") / "faces" / "models"
    notice = (folder / "NOTICE").read_text()
    assert sorted(file.name for file in folder.iterdir()) == sorted(["NOTICE", *(f"{name}.tflite" for name in SHA256)])
    for name, checksum in SHA256.items():
        assert f"{name}.tflite" in notice and checksum in notice


def test_the_parts_of_a_model_compute_what_it_does(astronaut: np.ndarray) -> None:
    model = read_model("face_detection_short_range")
    blob = cv2.dnn.blobFromImage(cv2.resize(astronaut, (128, 128)), 1 / 127.5, mean=(127.5, 127.5, 127.5))
    middle, scores = 114, 170  # the features of the finer grid, and that grid's scores
    first, second = load_network(cut(model, (0,), (middle,))), load_network(cut(model, (middle,), (scores,)))
    uncut = load_network(model)
    uncut.setInput(blob)
    first.setInput(blob)
    second.setInput(first.forward())
    np.testing.assert_allclose(second.forward(), uncut.forward("classificators")[:, :512], atol=1e-4)


@pytest.mark.parametrize("fault", ["refuses", "loses outputs"])
def test_an_opencv_that_cannot_run_the_models_is_a_clear_error(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> cv2.dnn.Net:
        if fault == "refuses":
            raise cv2.error("unsupported operator")
        return cv2.dnn.Net()

    monkeypatch.setattr(cv2.dnn, "readNetFromTFLite", read)
    with pytest.raises(InputError, match=r"OpenCV \d\..* pip install 'opencv-python-headless<5'"):
        FaceDetector()


def test_an_opencv_with_two_engines_is_asked_for_the_one_that_knows_several_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenCV 5 does, which lets one choose for files alone."""
    asked: list[tuple[bytes, int]] = []

    def read(file: str, engine: int) -> str:
        asked.append((Path(file).read_bytes(), engine))
        return file

    monkeypatch.setattr(cv2.dnn, "ENGINE_CLASSIC", 1, raising=False)
    monkeypatch.setattr(cv2.dnn, "readNetFromTFLite", read)
    file = networks._read_network(b"a model")
    assert asked == [(b"a model", 1)]
    assert not Path(str(file)).exists()


# --- regions


def test_a_region_is_cut_out_where_its_fractions_lie() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    np.testing.assert_array_equal(Region(19.5, 11.5, 16).cut_out(image, 16), image[4:20, 12:28])
    np.testing.assert_allclose(Region(19.5, 11.5, 16).to_picture(np.array([[0, 0], [1, 0.5]])), [[11.5, 3.5], [27.5, 11.5]])
    turned = Region(20.0, 10.0, 8, np.pi / 2)
    np.testing.assert_allclose(turned.to_picture(np.array([[0.5, 0.5], [1, 0.5], [0.5, 1]])), [[20, 10], [20, 14], [16, 10]])


def test_beyond_the_border_a_region_is_black_or_repeats() -> None:
    image = np.full((20, 20, 3), 90, np.uint8)
    assert (Region(0, 10, 8).cut_out(image, 8)[:, :3] == 0).all()
    assert (Region(0, 10, 8).cut_out(image, 8, cv2.BORDER_REPLICATE) == 90).all()
    assert (Region(-50, -50, 8).cut_out(image, 8) == 0).all()


def test_a_huge_region_does_not_alias() -> None:
    stripes = np.zeros((1200, 40000, 3), np.uint8)
    stripes[:, ::2] = 200
    seen = whole(stripes).cut_out(stripes, 128)
    assert np.abs(seen[63:65, 2:-2].astype(int) - 100).max() <= 2


def test_tiles_cover_the_picture_and_overlap() -> None:
    image = np.zeros((300, 1000, 3), np.uint8)
    assert [(tile.x, tile.y) for tile in tiles(image, 1000)] == [(499.5, 149.5)]
    places = [tile.x for tile in tiles(image, 300)]
    assert places[0] == 149.5 and places[-1] == 849.5
    assert max(np.diff(places)) <= 200


# --- detector and mesh


def test_points_of_the_detector_and_landmarks_agree(astronaut: np.ndarray) -> None:
    detection, *others = FaceDetector(SHORT_RANGE)(astronaut)
    assert not others and detection.score > 0.8
    mesh = FaceMesh()(astronaut, region_of_detection(detection))
    assert mesh.presence > 0.9
    assert mesh.points.shape == (478, 3) and mesh.points.dtype == np.float32
    eyes = np.stack([mesh.points[468, :2], mesh.points[473, :2]])
    np.testing.assert_allclose(detection.points[:2], eyes, atol=6)
    np.testing.assert_allclose(detection.points[2], mesh.points[1, :2], atol=6)


def test_threads_may_share_a_landmarker(astronaut: np.ndarray) -> None:
    landmarker = FaceLandmarker()
    pictures = [np.ascontiguousarray(np.roll(astronaut, 10 * shift, 1)) for shift in range(4)] * 4
    alone = [landmarker(picture) for picture in pictures[:4]]
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(landmarker, pictures)):
            np.testing.assert_array_equal(found, alone[number % 4])


# --- the search


def test_turned_faces(astronaut: np.ndarray, find: FaceFinder) -> None:
    for quarters, middle in enumerate([(224, 115), (115, 287), (287, 396), (396, 224)]):
        face = find(np.ascontiguousarray(np.rot90(astronaut, quarters)))
        assert_at(face, *middle, side=105)
        assert face is not None and face.turn == -90 * quarters % 360


@pytest.mark.parametrize(("height", "width", "x", "y"), [(1500, 2400, 1900, 400), (300, 2400, 1200, 40), (3000, 240, 10, 2200)])
def test_a_small_face_in_a_large_picture(
    astronaut: np.ndarray, find: FaceFinder, height: int, width: int, x: int, y: int
) -> None:
    small = cv2.resize(astronaut, (200, 200), interpolation=cv2.INTER_AREA)
    assert_at(find(pasted(small, height, width, x, y)), x + 0.39 * 224, y + 0.39 * 115, side=41)


def test_no_face_in_patterns(find: FaceFinder) -> None:
    assert find(pasted(np.zeros((2, 2, 3), np.uint8), 500, 700, 0, 0)) is None
    assert find(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)) is None
    assert find(np.full((1, 1, 3), 9, np.uint8)) is None
    assert find.all(np.zeros((40, 600, 3), np.uint8)) == []


def test_several_faces_the_largest_first(astronaut: np.ndarray, find: FaceFinder) -> None:
    head = astronaut[:256, 96:352]
    picture = pasted(cv2.resize(head, (160, 160), interpolation=cv2.INTER_AREA), 400, 900, 40, 60)
    picture[20:276, 400:656] = head
    picture[200:296, 750:846] = cv2.resize(head, (96, 96), interpolation=cv2.INTER_AREA)
    faces = find.all(picture)
    assert len(faces) == 3
    for face, (x, y, scale) in zip(faces, [(400, 20, 1), (40, 60, 160 / 256), (750, 200, 96 / 256)], strict=True):
        assert_at(face, x + 128 * scale, y + 115 * scale, side=105 * scale)
    assert_at(find(picture), 528, 135, side=105)


@pytest.fixture(scope="module")
def two(astronaut: np.ndarray) -> np.ndarray:
    """A large face near (228, 135), and a smaller one near (670, 132)."""
    head = astronaut[:256, 96:352]
    picture = pasted(cv2.resize(head, (160, 160), interpolation=cv2.INTER_AREA), 400, 900, 590, 60)
    picture[20:276, 100:356] = head
    return picture


@pytest.mark.parametrize(("choice", "x"), [("largest", 228), ("1", 228), (" 2", 670), ("600,300", 670), ("200,120", 228)])
def test_the_face_that_is_meant(two: np.ndarray, choice: str, x: float) -> None:
    x0, _, x1, _ = choose_face(two, parse_face(choice), "group.png").box
    assert (x0 + x1) / 2 == pytest.approx(x, abs=15)


def test_a_face_that_is_not_there(two: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"group\.png shows 2 face\(s\), so none of number 3: see {2}mrfa crop group\.png"):
        choose_face(two, parse_face("3"), "group.png")
    for text in ("0", "-1", "1.5", "left", "1,2,3", ""):
        with pytest.raises(InputError, match="is no choice of a face: give largest"):
            parse_face(text)


def test_the_command_shows_what_is_found(two: np.ndarray, tmp_path: Path) -> None:
    source, preview = tmp_path / "group.png", tmp_path / "faces.png"
    write_image(source, two)
    result = CliRunner().invoke(app, ["crop", str(source), "-o", str(preview)])
    assert result.exit_code == 0, result.output
    first, second, last = result.output.splitlines()
    assert first.startswith("face 1: --crop ") and second.startswith("face 2: --crop ") and str(preview) in last
    x, _, side, _ = (int(value) for value in second.split()[-1].split(","))
    assert x < 670 < x + side and side < 180
    changed = (read_image(preview) != two).any(-1)
    assert changed[:, :450].any() and changed[:, 450:].any() and changed.mean() < 0.1
    write_image(source, np.ascontiguousarray(two[::-1, ::-1]))
    assert "turned by 180 degrees" in CliRunner().invoke(app, ["crop", str(source)]).output
    write_image(source, np.zeros((50, 50, 3), np.uint8))
    refused = CliRunner().invoke(app, ["crop", str(source)])
    assert isinstance(refused.exception, InputError) and "no face found in" in str(refused.exception)


def test_a_face_is_followed_though_another_is_larger(astronaut: np.ndarray) -> None:
    follow = FaceFinder(tracking=True)
    head = cv2.resize(astronaut[:256, 96:352], (160, 160), interpolation=cv2.INTER_AREA)
    assert_at(follow(pasted(head, 400, 900, 40, 60)), 120, 132, side=66)
    both = pasted(head, 400, 900, 50, 64)
    both[20:276, 400:656] = astronaut[:256, 96:352]
    assert_at(follow(both), 130, 136, side=66)
    cut_away = pasted(np.zeros((2, 2, 3), np.uint8), 400, 900, 0, 0)
    assert follow(cut_away) is None
    assert_at(follow(both), 528, 135, side=105)


def test_a_face_that_is_followed_closely_is_detected_only_when_it_is_lost(
    astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    often, closely = FaceFinder(tracking=True), FaceFinder(tracking=True, closely=True)
    images = [np.roll(astronaut, -shift, axis=1) for shift in (0, 5, 10, 15, 200, 205)]
    faces = [often(image) for image in images]
    detected: list[np.ndarray] = []
    detect = FaceDetector.__call__
    monkeypatch.setattr(FaceDetector, "__call__", lambda self, *seen: detected.append(seen[0]) or detect(self, *seen))
    for image, face in zip(images, faces, strict=True):
        followed = closely(image)
        assert face is not None and followed is not None
        assert followed.box == pytest.approx(face.box, abs=0.04 * 105) and followed.turn == face.turn
    # At first, and after it jumped.
    assert {number for number, image in enumerate(images) if any(image is seen for seen in detected)} == {0, 4}


def test_networks_are_loaded_once(astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    FaceFinder()(astronaut)
    monkeypatch.setattr("mrfa.faces.detector.load_network", None)
    monkeypatch.setattr("mrfa.faces.mesh.load_network", None)
    face = FaceFinder(tracking=True)(astronaut)
    assert face is not None and face.landmarks.shape == (468, 3)


def test_a_video_without_faces_is_searched_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[bool] = []
    monkeypatch.setattr(FaceFinder, "_steps", lambda self, image, thorough: searched.append(thorough) or [])
    follow = FaceFinder(tracking=True)
    for _ in range(40):
        assert follow(np.zeros((8, 8, 3), np.uint8)) is None
    assert [number for number, thorough in enumerate(searched) if thorough] == [0, 1, 2, 4, 8, 16, 32]


def test_face_box_of_a_face(astronaut: np.ndarray, find: FaceFinder) -> None:
    face = find(astronaut)
    assert face is not None and face.box == face_box(face.landmarks) and face.turn == 0
    assert_at(face, 224, 115, side=105)
