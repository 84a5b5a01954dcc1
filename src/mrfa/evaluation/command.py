"""What `mrfa evaluate` does: load, evaluate with a progress bar, print, write."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mrfa.data.files import check_writable
from mrfa.evaluation.contact_sheet import write_contact_sheet
from mrfa.evaluation.reconstruction import Evaluation, evaluate_reconstruction
from mrfa.evaluation.report import make_table, summarise, to_json, write_json
from mrfa.weights import load_model


def run_reconstruction(
    model: str, data: Path, *, output: Path | None, sheet: Path | None, frames_per_clip: int | None, clips: int | None
) -> Evaluation:
    """Evaluate self-reconstruction, print a table, and write what was asked for.

    Args:
        model: model folder, or name of a bundled model.
        data: folder of clips.
        output: JSON file for all figures, if wanted.
        sheet: PNG file for a contact sheet, if wanted.
        frames_per_clip, clips: how many, evenly spaced; None for all.

    Raises:
        InputError: the model or the data cannot be used, or an output cannot be written.
    """
    for path in (output, sheet):
        if path is not None:
            check_writable(path)
    network = load_model(model)
    # Broken clips and the bar are for the person watching; the table alone goes to standard output.
    messages = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=messages) as bar:
        task = bar.add_task("clips", total=None)
        evaluation = evaluate_reconstruction(
            network,
            data,
            frames_per_clip=frames_per_clip,
            clips=clips,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for problem in evaluation.problems:
        messages.print(f"skipped: {problem}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    summary = summarise(evaluation.clips)
    Console().print(make_table(summary))
    if output is not None:
        write_json(output, to_json(evaluation, summary, model=model, data=str(data)))
    if sheet is not None:
        write_contact_sheet(sheet, evaluation.clips)
    return evaluation
