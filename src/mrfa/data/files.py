"""Outputs that appear only when they are complete."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mrfa.errors import InputError


def check_writable(path: Path) -> None:
    """Find out before the work, not after it, that an output cannot be written.

    Raises:
        InputError: the folder does not exist or cannot be written to, or `path` is a folder.
    """
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except FileNotFoundError as error:
        raise InputError(f"cannot write {path}: {error.strerror}, there is no folder {path.parent}") from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, renamed to it on success and deleted on failure.

    Raises:
        InputError: the folder does not exist or cannot be written to, or `path` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    temporary = path.with_name(f".mrfa-{secrets.token_hex(8)}{path.suffix}")
    try:
        # Not by tempfile, whose files are private: what a new file may be used for, the system decides by the user's mask.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
