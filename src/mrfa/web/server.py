"""The server of the page: on this machine, offline, and with all its files in one folder of its own."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

from mrfa.animation.animator import Animator
from mrfa.animation.job import demo_files
from mrfa.data.files import private_folder
from mrfa.errors import InputError
from mrfa.web.jobs import Jobs
from mrfa.web.limits import Limits

# Events of all users that gradio lets wait; animations have a limit of their own.
WAITING_EVENTS = 64
# Addresses that only this machine reaches.
LOOPBACK = ("127.0.0.1", "localhost")


@contextmanager
def serving(animator: Animator, limits: Limits, *, host: str, port: int) -> Iterator[str]:
    """Serve the page, at the address that the context gets. What was uploaded and made is deleted at the end.

    Args:
        animator: that computes.
        limits: of what users may ask for.
        host: 127.0.0.1 for this machine alone, 0.0.0.0 for all that reach it.
        port: to listen on; 0: any that is free.

    Raises:
        InputError: it cannot listen there.
    """
    with ExitStack() as stack:
        port = _free_port(host, port)
        folder = stack.enter_context(private_folder("mrfa-serve"))
        stack.enter_context(_gradio_files_in(folder))
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from mrfa.web.page import LOOK, Page

        _fetch_nothing()
        jobs = stack.enter_context(Jobs(folder / "jobs", limits.waiting))
        blocks = Page(animator, limits, folder, jobs).blocks
        # No other site may have a browser ask us under a name of its own that leads here.
        names = ["127.0.0.1", "localhost"] if host in LOOPBACK else ["*"]
        blocks.queue(max_size=WAITING_EVENTS, api_open=False)
        _, url, _ = blocks.launch(
            server_name=host,
            server_port=port,
            max_file_size=f"{limits.megabytes}mb",
            allowed_paths=[str(path) for path in demo_files()],
            app_kwargs={"middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=names)]},
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            # What the environment or a default would else decide: nobody but us is told anything, and nothing else is started.
            share=False,
            run_history=False,
            enable_monitoring=False,
            mcp_server=False,
            ssr_mode=False,
            pwa=False,
            num_workers=0,
            **LOOK,
        )
        stack.callback(blocks.close, verbose=False)
        yield url


def _free_port(host: str, port: int) -> int:
    """The port, or a free one for 0.

    Raises:
        InputError: nobody can listen there.
    """
    try:
        with socket.create_server((host, port)) as server:
            return int(server.getsockname()[1])
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen on {host}:{port} ({getattr(error, 'strerror', error)}): choose another --port") from None


@contextmanager
def _gradio_files_in(folder: Path) -> Iterator[None]:
    """Let gradio keep what it is given and what it makes in a folder, so that it goes with it, even if the process is killed."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = before


def _fetch_nothing() -> None:
    """Gradio fetches the address that a browser may send instead of a file: let it refuse."""
    from gradio import processing_utils

    async def refuse(url: str) -> NoReturn:
        raise InputError(f"files are uploaded, not fetched: {url}")

    processing_utils.async_ssrf_protected_get = refuse
