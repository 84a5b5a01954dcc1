"""What `mrfa figure` does: check the output, choose, draw, write."""

from collections.abc import Sequence
from pathlib import Path

from mrfa.data.files import check_writable
from mrfa.data.images import format_of, write_image
from mrfa.evaluation.figures.flow import draw_flow
from mrfa.evaluation.figures.results import draw_results, load_methods
from mrfa.evaluation.figures.shots import cross_identity_shots, reconstruction_shots
from mrfa.weights import load_model


def figure_reconstruction(
    models: Sequence[str],
    output: Path,
    *,
    data: Path | None = None,
    clips: Sequence[str] = (),
    rows: int = 4,
    seed: int = 0,
    coarse: bool = False,
    cell: int = 192,
    device: str = "cpu",
) -> None:
    """Write a picture like Figure 4: clips driven by themselves, with absolute motion.

    Args:
        models: see `load_methods`.
        output: picture to write.
        data, clips, rows, seed: see `reconstruction_shots`.
        coarse: also show what the coarse motion alone gives.
        cell: side of each picture in pixels.
        device: where the networks compute.

    Raises:
        InputError: models or clips cannot be used, or the output cannot be written.
    """
    _check_output(output)
    shots = reconstruction_shots(data, clips, rows=rows, seed=seed)
    methods = load_methods(models, relative=False, device=device)
    write_image(output, draw_results(shots, methods, coarse=coarse, cell=cell))


def figure_cross_identity(
    models: Sequence[str],
    output: Path,
    *,
    data: Path | None = None,
    pairs: Sequence[str] = (),
    rows: int = 4,
    seed: int = 0,
    absolute: bool = False,
    coarse: bool = False,
    cell: int = 192,
    device: str = "cpu",
) -> None:
    """Write a picture like Figures 5 and 6: portraits driven by other people.

    Args:
        absolute: take the driver's pose, not its motion since its first frame.
        pairs: see `cross_identity_shots`.

    The other arguments and errors are those of `figure_reconstruction`.
    """
    _check_output(output)
    shots = cross_identity_shots(data, pairs, rows=rows, seed=seed)
    methods = load_methods(models, relative=not absolute, device=device)
    write_image(output, draw_results(shots, methods, coarse=coarse, cell=cell))


def figure_flow(
    model: str,
    output: Path,
    *,
    data: Path | None = None,
    clips: Sequence[str] = (),
    pairs: Sequence[str] = (),
    rows: int = 1,
    seed: int = 0,
    absolute: bool = False,
    cell: int = 192,
    device: str = "cpu",
) -> None:
    """Write a picture like Figure 7: the flow of every iteration; see `draw_flow`.

    Args:
        model: model folder, or name of a bundled model.
        clips: shown driven by themselves.
        pairs: shown after these. Without either, clips of `data` are chosen.

    The other arguments and errors are those of `figure_cross_identity`.
    """
    _check_output(output)
    shots = cross_identity_shots(data, pairs, rows=rows, seed=seed) if pairs else []
    if clips or not pairs:
        shots = reconstruction_shots(data, clips, rows=rows, seed=seed) + shots
    write_image(output, draw_flow(load_model(model, device), shots, absolute=absolute, cell=cell))


def _check_output(path: Path) -> None:
    format_of(path)
    check_writable(path)
