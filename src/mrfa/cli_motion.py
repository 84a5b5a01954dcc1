"""The commands `mrfa motion ...`: motion templates are made, looked at, and edited."""

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mrfa.cli_options import BatchSizeOption, DeviceOption, ModelOption, PrecisionOption
from mrfa.cli_progress import frames_progress, report
from mrfa.errors import InputError

if TYPE_CHECKING:
    from mrfa.animation.template import MotionTemplate
    from mrfa.animation.template_editing import LoopKind

motion = typer.Typer(help="Make, look at and edit motion templates, small files that drive any portrait.", no_args_is_help=True)

CropOption = Annotated[str, typer.Option(metavar="auto|none|X,Y,W,H", help="Where the face is in the driver.")]
TemplateArgument = Annotated[Path, typer.Argument(metavar="MOTION", help="The template (.safetensors).")]
TemplateOutput = Annotated[Path, typer.Option("--output", "-o", help="The template to write (.safetensors).")]
EaseOption = Annotated[str, typer.Option(metavar="SECONDS", help="How long one motion takes to fade into the other.")]
MOMENT = "N|SECONDS"


@motion.command()
def extract(
    driving: Annotated[Path, typer.Argument(help="Video or folder of pictures.")],
    output: TemplateOutput,
    model: ModelOption = "small",
    crop: CropOption = "auto",
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    batch_size: BatchSizeOption = None,
) -> None:
    """Save a driver's motion as a small template that drives any portrait later."""
    with frames_progress(output) as on_progress:
        from mrfa.animation.animator import Animator
        from mrfa.animation.extraction import extract_motion

        animator = Animator.from_pretrained(model, device=device, dtype=precision, batch_size=batch_size)
        result = extract_motion(driving, output, model=animator, driving_crop=crop, on_progress=on_progress)
    report(output, result.frames, result.warnings)


@motion.command()
def show(
    template: TemplateArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A plot to write (.png), or a video of a stick face (.mp4).")
    ] = None,
) -> None:
    """Say what a template does, and draw it."""
    from rich.console import Console
    from rich.table import Table

    from mrfa.animation.template import MotionTemplate
    from mrfa.animation.template_view import SUFFIXES, summarise, write_view
    from mrfa.data.files import check_output

    if output is not None:
        check_output(output, [template], SUFFIXES)
    shown = MotionTemplate.load(template)
    table = Table(box=None, show_header=False, pad_edge=False)
    for line in summarise(shown).items():
        table.add_row(*line)
    Console().print(table)
    if output is not None:
        write_view(shown, output)
        report(output, len(shown), [])


@motion.command()
def trim(
    template: TemplateArgument,
    output: TemplateOutput,
    begin: Annotated[str, typer.Option("--from", metavar=MOMENT, help="The first frame, or when it is, as 1.5s.")] = "0",
    end: Annotated[str | None, typer.Option("--to", metavar=MOMENT, help="The first frame that is left out.")] = None,
) -> None:
    """Cut a part out; it keeps all that is known of its frames."""
    from mrfa.animation.template_editing import frame_number, trim

    def edit(templates: list["MotionTemplate"]) -> "MotionTemplate":
        (whole,) = templates
        return trim(whole, frame_number(whole, begin), len(whole) if end is None else frame_number(whole, end))

    _edit([template], output, edit)


@motion.command()
def join(
    templates: Annotated[list[Path], typer.Argument(metavar="MOTION...", help="The templates (.safetensors), in their order.")],
    output: TemplateOutput,
    ease: EaseOption = "0.5",
) -> None:
    """Put templates one after another, each fading into the next, all done by the first one's person."""
    from mrfa.animation.template_editing import join

    _edit(templates, output, lambda parts: join(parts, _number(ease, "--ease")))


@motion.command()
def mirror(template: TemplateArgument, output: TemplateOutput) -> None:
    """Swap left and right."""
    from mrfa.animation.template_editing import mirror

    _edit([template], output, lambda parts: mirror(parts[0]))


@motion.command()
def retime(
    template: TemplateArgument,
    output: TemplateOutput,
    speed: Annotated[str, typer.Option(metavar="FACTOR", help="2 is twice as fast.")] = "1",
    rate: Annotated[str | None, typer.Option(metavar="RATE", help="Frames a second, such as 30 or 30000/1001.")] = None,
) -> None:
    """Play faster or slower, or with other frames a second."""
    from mrfa.animation.template_editing import retime

    factor, new_rate = _number(speed, "--speed"), None if rate is None else _number(rate, "--rate")
    _edit([template], output, lambda parts: retime(parts[0], factor, new_rate))


@motion.command()
def loop(
    template: TemplateArgument,
    output: TemplateOutput,
    kind: Annotated[
        str, typer.Option(metavar="fade|back", help="The end fades into the start, or the motion goes back as it came.")
    ] = "fade",
    ease: EaseOption = "0.5",
    times: Annotated[int, typer.Option(help="How often the loop is played.", min=1)] = 1,
) -> None:
    """Let the end meet the start, so that the motion can be played again and again."""
    from mrfa.animation.template_editing import loop

    seconds = _number(ease, "--ease")
    _edit([template], output, lambda parts: loop(parts[0], cast("LoopKind", kind), seconds, times))  # the kind is checked there


def _edit(paths: list[Path], output: Path, edit: Callable[[list["MotionTemplate"]], "MotionTemplate"]) -> None:
    from mrfa.animation.template import SUFFIX, MotionTemplate
    from mrfa.data.files import check_output

    check_output(output, paths, (SUFFIX,))
    templates = [MotionTemplate.load(path) for path in paths]
    try:
        edited = edit(templates)
    except InputError as error:
        raise InputError(f"{', '.join(map(str, paths))}: {error}") from None
    edited.save(output)
    report(output, len(edited), [])


def _number(text: str, option: str) -> Fraction:
    """A number such as 2, 0.5 or 30000/1001."""
    if re.fullmatch(r"\d{1,6}(\.\d{1,6}|/0*[1-9]\d{0,5})?", text) is None:
        raise InputError(f"{option} takes a number such as 2, 0.5 or 30000/1001, got '{text}'")
    return Fraction(text)
