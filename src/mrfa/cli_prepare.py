"""The commands `mrfa prepare ...` and `mrfa shard`: data sets become clips, and clips become shards."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrfa.cli_evaluate import progress_bar
from mrfa.cli_stop import keeps

if TYPE_CHECKING:
    from mrfa.datasets.manifest import Row

prepare = typer.Typer(help="Make clips of public data sets, or of videos of one's own.", no_args_is_help=True)

VideosArgument = Annotated[Path, typer.Argument(metavar="VIDEOS", help="Folder of source videos, VIDEO.mp4 each.")]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="Folder of the data set; a run that was stopped goes on there.")
]
SizeOption = Annotated[int, typer.Option(help="Side of the clips' pictures, in pixels.", min=32, max=2048)]
SmallestOption = Annotated[
    int | None,
    typer.Option(min=1, help="Pixels that the longer side of a face's box must have in its video; as --size asks by default."),
]
FewestOption = Annotated[int, typer.Option(min=2, help="Frames that a clip must have.")]
MostOption = Annotated[int, typer.Option(min=2, help="Frames after which a new clip begins.")]
EnlargeOption = Annotated[float, typer.Option(min=0, max=4, help="Share of the box that is added on each side.")]
DownloaderOption = Annotated[
    str | None,
    typer.Option(metavar="COMMAND", help="Fetches a video that is not there: with {url} or {id}, and {output}, in it."),
]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Processes; one for each core by default.")]
SeedOption = Annotated[int, typer.Option(help="Of the draw of the test's clips.")]


@prepare.command()
def voxceleb1(
    metadata: Annotated[Path, typer.Argument(help="Folder of the data set's text files, or the list vox-metadata.csv.")],
    videos: VideosArgument,
    output: OutputOption,
    size: SizeOption = 256,
    smallest: SmallestOption = None,
    fewest_frames: FewestOption = 64,
    most_frames: MostOption = 1024,
    enlarge: EnlargeOption = 0.1,
    downloader: DownloaderOption = None,
    workers: WorkersOption = None,
) -> None:
    """VoxCeleb1, with the official test people apart."""
    from mrfa.datasets.cuts import Rules
    from mrfa.datasets.cutting import Work, check_downloader, make_clips
    from mrfa.datasets.voxceleb import read_voxceleb

    rules = Rules(size, smallest or size, fewest_frames, most_frames, enlarge)
    work = Work(videos, output, rules, downloader and check_downloader(downloader), workers)
    _run(output, lambda progress: make_clips(*read_voxceleb(metadata, rules), work, progress))


@prepare.command()
def celebvhq(
    metadata: Annotated[Path, typer.Argument(help="The file celebvhq_info.json.")],
    videos: VideosArgument,
    output: OutputOption,
    test: Annotated[int, typer.Option(min=0, help="Clips for the test.")] = 500,
    seed: SeedOption = 0,
    size: SizeOption = 256,
    smallest: SmallestOption = None,
    fewest_frames: FewestOption = 2,
    downloader: DownloaderOption = None,
    workers: WorkersOption = None,
) -> None:
    """CelebV-HQ, with clips for the test drawn by a seed."""
    from mrfa.datasets.celebvhq import read_celebvhq
    from mrfa.datasets.cuts import Rules
    from mrfa.datasets.cutting import Work, check_downloader, make_clips

    work = Work(
        videos, output, Rules(size, smallest or size, fewest_frames), downloader and check_downloader(downloader), workers
    )
    _run(output, lambda progress: make_clips(*read_celebvhq(metadata, test=test, seed=seed), work, progress))


@prepare.command()
def folder(
    videos: Annotated[Path, typer.Argument(metavar="VIDEOS", help="Folder of videos; a person is a folder in it.")],
    output: OutputOption,
    test: Annotated[int, typer.Option(min=0, help="People for the test.")] = 0,
    seed: SeedOption = 0,
    size: SizeOption = 256,
    smallest: SmallestOption = None,
    fewest_frames: FewestOption = 64,
    most_frames: MostOption = 1024,
    enlarge: EnlargeOption = 0.3,
    workers: WorkersOption = None,
) -> None:
    """Any videos: the parts of them in which one face stays where it is."""
    from mrfa.datasets.cuts import Rules
    from mrfa.datasets.cutting import Work
    from mrfa.datasets.folder import make_own_clips

    # The square around the smallest face is as large as the clip.
    rules = Rules(size, smallest or round(size / (1 + 2 * enlarge)), fewest_frames, most_frames, enlarge)
    work = Work(videos, output, rules, workers=workers)
    _run(output, lambda progress: make_own_clips(work, test=test, seed=seed, progress=progress))


def shard(
    data: Annotated[Path, typer.Argument(help="Folder of clips, or of stills.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the shards; a run that was stopped goes on there.")],
    size: SizeOption = 256,
    landmarks: Annotated[
        bool, typer.Option("--landmarks", help="Find landmark groups, too, for presets that are guided.")
    ] = False,
    clips_per_shard: Annotated[int, typer.Option(min=1, help="Clips in each file.")] = 64,
    workers: WorkersOption = None,
) -> None:
    """Put any number of clips into a few large files, of which training reads single frames, from a disk or object storage."""
    from mrfa.data.shards import write_shards

    kept = f"{output} keeps the shards that are complete, and the same command goes on there"
    with keeps(kept), progress_bar("shards") as progress:
        clips, problems = write_shards(
            data, output, size=size, landmarks=landmarks, clips_a_shard=clips_per_shard, workers=workers, progress=progress
        )
    for problem in problems:
        typer.echo(f"skipped: {problem}", err=True)
    typer.echo(f"{output}: {clips} clips")


def _run(output: Path, make: Callable[[Callable[[int, int], None]], list["Row"]]) -> None:
    from mrfa.datasets.manifest import NAME

    with keeps(f"{output} keeps the clips that are made, and the same command goes on there"), progress_bar("videos") as progress:
        rows = make(progress)
    made = [row for row in rows if not row.problem]
    test = sum(row.split == "test" for row in made)
    typer.echo(
        f"{output}: {len(made)} clips, {test} of them for the test; {len(rows) - len(made)} are missing, and why: {output / NAME}"
    )
