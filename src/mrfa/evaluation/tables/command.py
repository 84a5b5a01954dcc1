"""What `mrfa table` does: evaluate every model, or take over what was evaluated before, and write the table."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mrfa.data.files import check_writable, replacing
from mrfa.errors import InputError
from mrfa.evaluation.protocols import Variant, evaluate_model
from mrfa.evaluation.tables.assemble import METHOD, Measured, assemble
from mrfa.evaluation.tables.layout import Table, to_csv, to_markdown
from mrfa.evaluation.tables.published import PublishedTable, published_table
from mrfa.evaluation.tables.speed import measure_speed


def make_paper_table(
    number: int,
    models: Sequence[str],
    *,
    data: Path,
    folder: Path,
    variant: Variant = "paper",
    judges: Sequence[str] | None = None,
    weights: Path | None = None,
    frames_per_clip: int | None = None,
    clips: int | None = None,
    device: str = "cpu",
    output: Path | None = None,
    report: Callable[[str], None] | None = None,
) -> Table:
    """Evaluate models as a table of the paper was, and lay their figures out beside the published ones.

    Args:
        number: 1 to 6.
        models: `[KEY=]MODEL` each: a model folder, a bundled model, or a folder of result videos; the key of a published row,
            such as `affine-npmr` in Table 3 or `fomm` in Table 1, puts it there.
        data: folder of clips.
        folder: holds each model's evaluation, which is taken over when it is complete.
        variant, judges, weights, frames_per_clip, clips, device: see `mrfa.evaluation.protocols.evaluate_model`.
        output: Markdown file to write; beside it goes the same as CSV.
        report: called with a line for each model.

    Returns:
        The table.

    Raises:
        InputError: no such table, no model, two models of one key, or one that cannot be evaluated.
    """
    if number not in range(1, 7):
        raise InputError(f"the paper has no table {number}: choose 1 to 6")
    if not models:
        raise InputError("no models: name some by --models [KEY=]MODEL")
    if output is not None:
        check_writable(output)
    published = published_table(number)
    measured: dict[str, Measured] = {}
    for text in models:
        key, model = _keyed(text)
        if key in measured:
            raise InputError(f"two models are called {key}: give each a key of its own, KEY=MODEL")
        summary = evaluate_model(
            model,
            data,
            folder / key,
            protocol="cross-identity" if published.protocol == "cross-identity" else "reconstruction",
            variant=variant,
            judges=judges,
            weights=weights,
            frames_per_clip=frames_per_clip,
            clips=clips,
            device=device,
        )
        measured[key] = Measured(key, _title(published, key, model), _with_speed(summary, published, model, device))
        if report:
            report(f"{key}: {summary['clips']} clips")
    table = assemble(published, list(measured.values()), _notes(variant, measured))
    if output is not None:
        write_table(table, output)
    return table


def write_table(table: Table, output: Path) -> None:
    """Write a table as Markdown, and beside it as CSV."""
    for path, text in ((output, to_markdown(table)), (output.with_suffix(".csv"), to_csv(table))):
        with replacing(path) as temporary:
            temporary.write_text(text)


def _keyed(text: str) -> tuple[str, str]:
    key, equals, model = text.partition("=")
    if equals and not Path(text).exists():
        return key, model
    path = Path(text).absolute()
    return (path.parent.name if path.name == "model" else path.name), text


def _title(published: PublishedTable, key: str, model: str) -> str | None:
    return None if published.row(key) else f"{key} ({model})" if key != model else key


def _with_speed(summary: dict[str, Any], published: PublishedTable, model: str, device: str) -> dict[str, Any]:
    """Table 6 has a column of frames per second."""
    if "FPS" not in published.metrics:
        return summary
    if Path(model).is_dir() and not (Path(model) / "config.yaml").is_file():
        return summary | {"problems": [*summary["problems"], "FPS: result videos have no speed"]}
    speed = measure_speed(model, device=device)
    summary = json.loads(json.dumps(summary))
    summary["methods"][METHOD][f"FPS ({speed.device})"] = {"mean": speed.frames_per_second, "low": None, "high": None}
    return summary


def _notes(variant: str, measured: dict[str, Measured]) -> list[str]:
    some = next(iter(measured.values())).summary
    return [
        f"measured here on {some['clips']} clips of `{some['data']}`, {some['frames']} frames, variant `{variant}`; in brackets: "
        "95 % bootstrap interval over clips",
        "a judge with a name in brackets is that judge: figures of different judges are not to be compared",
    ]
