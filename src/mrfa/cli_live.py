"""The command `mrfa live`."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from mrfa.cli_options import DeviceOption, ModelOption, PrecisionOption
from mrfa.cli_stop import keeps


def live(
    portraits: Annotated[list[Path], typer.Argument(help="Pictures of a face; the key n goes on to the next.")],
    camera: Annotated[int, typer.Option(min=0, help="Which camera drives them.")] = 0,
    video: Annotated[Path | None, typer.Option("--input", help="A video that takes the camera's place, at its own pace.")] = None,
    repeat: Annotated[bool, typer.Option("--repeat", help="Begin such a video again at its end.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page on this machine; 0: any that is free.")] = 8765,
    virtual_camera: Annotated[bool, typer.Option("--virtual-camera", help="Be a camera to other programs, too.")] = False,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
    mirror: Annotated[bool, typer.Option(help="As a mirror shows it.")] = True,
    smooth: Annotated[float, typer.Option(min=0, max=1, help="Steady the motion.")] = 0.5,
    paste_back: Annotated[bool, typer.Option(help="Show the whole portrait, not only the face's crop.")] = True,
    model: ModelOption = "small",
    device: DeviceOption = None,
    precision: PrecisionOption = "auto",
) -> None:
    """Let portraits follow a camera, in the browser or as a camera of their own."""
    import webbrowser

    from rich.console import Console

    from mrfa.animation.animator import Animator
    from mrfa.live.camera import Camera, device_pictures, file_pictures
    from mrfa.live.page import LivePage
    from mrfa.live.session import LiveSession
    from mrfa.live.virtual_camera import VirtualCamera

    animator = Animator.from_pretrained(model, device=device, dtype=precision)
    session = LiveSession(animator, portraits, mirror=mirror, smooth=smooth, paste_back=paste_back)
    pictures = device_pictures(camera) if video is None else file_pictures(video, repeat=repeat)
    console = Console(stderr=True)
    with ExitStack() as stack:
        stack.enter_context(keeps("nothing is kept of what was shown"))
        page = stack.enter_context(LivePage(port, session.ask))
        other = stack.enter_context(VirtualCamera()) if virtual_camera else None
        console.print(f"{page.url} shows it; Ctrl-C, or q there, ends it")
        if browser:
            webbrowser.open(page.url)
        line = stack.enter_context(console.status("waiting for the camera"))
        shown = 0
        with Camera(pictures) as stream:
            for picture in session.pictures(stream):
                shown += 1
                face = "" if picture.followed else "no face seen"
                speed = f"{picture.rate:.1f} pictures/s, {1000 * picture.delay:.0f} ms late"
                page.show(picture.image, {"speed": speed, "settings": session.settings} | ({"face": face} if face else {}))
                if other is not None:
                    other.show(picture.image)
                line.update(f"{speed}, {session.settings}{face and ', ' + face}")
        seen = stream.count
    typer.echo(f"{shown} pictures shown of {seen}")
