"""Inputs that are looked at before they are opened, and outputs that appear only when they are complete."""

import errno
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from mrfa.errors import InputError

# Errors of writing, which may come up anywhere in the work on an output.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
# Longer suffixes are part of a name, and the temporary name should not become longer than the final one for their sake.
_LONGEST_SUFFIX = 16


def check_readable(path: str | Path, kind: str) -> None:
    """Check that there is a regular file at `path`. A pipe would be waited for, and cannot be read twice.

    Args:
        path: of the file.
        kind: what it should be, in the words of the error: `video`, `picture`, ...

    Raises:
        InputError: there is none, or nobody may look at it; says why.
    """
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        raise InputError(f"no {kind} at {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {_reason(error)}") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"cannot read {path} as a {kind}: it is a folder")
    if not stat.S_ISREG(mode):
        raise InputError(f"cannot read {path} as a {kind}: it is no regular file; save what it gives to a file first")
    if not os.access(path, os.R_OK):
        raise InputError(f"cannot read {path}: {os.strerror(errno.EACCES)}")


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder; what cannot be looked at is none."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def check_writable(path: Path) -> None:
    """Find out before the work, not after it, that an output cannot be written.

    Raises:
        InputError: the folder does not exist or cannot be written to, or `path` is a folder, no regular file, or a name that the
            file system does not take.
    """
    _check_target(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except FileNotFoundError as error:
        raise InputError(f"cannot write {path}: {error.strerror}, there is no folder {path.parent}") from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def check_output(output: Path, inputs: Sequence[Path], suffixes: Sequence[str]) -> None:
    """Check, before any work, that an output can be written and is no input.

    Raises:
        InputError: it cannot, or it would replace an input.
    """
    if output.suffix.lower() not in suffixes:
        raise InputError(f"cannot write {output}: its name must end in {' or '.join(suffixes)}")
    for path in inputs:
        if os.path.realpath(output) == os.path.realpath(path) or _is_same_file(output, path):
            raise InputError(f"the output {output} would replace its own input: choose another name")
    check_writable(output)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, renamed to it on success and deleted on failure.

    What a run that was killed left of the same output is deleted first.

    Raises:
        InputError: the folder does not exist or cannot be written to, `path` is a folder, or the disk is full.
    """
    path = Path(path)
    _check_target(path)
    with _failures(path), _claimed(path) as temporary:
        yield temporary
        temporary.replace(path)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path`, which is absent or empty, renamed to it on success and deleted on failure.

    Raises:
        InputError: it cannot be made or moved there, or the disk is full.
    """
    path = Path(path)
    with _failures(path), _claimed(path, folder=True) as temporary:
        try:
            yield temporary
        except InputError as error:  # of a file in it, whose folder nobody will find
            raise InputError(str(error).replace(str(temporary), str(path))) from None
        temporary.replace(path)


@contextmanager
def alone(path: Path, work: str) -> Iterator[None]:
    """Keep other processes from the same work on a file, for as long as this one lives; where the system has locks.

    Raises:
        InputError: another process is at it.
    """
    with path.open("rb") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another {work} is at work on {path}: wait for its end, or stop it") from None
        except (ImportError, OSError):
            pass
        yield


@contextmanager
def private_folder(name: str) -> Iterator[Path]:
    """A folder of this process's own among the system's temporary files, which no other user may look into; deleted at the end.

    What processes of this user that were killed left under the same name is deleted first.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    with _claimed(Path(tempfile.gettempdir()).resolve() / f"{name}-{user}", folder=True) as folder:
        folder.chmod(0o700)
        yield folder


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False  # one of them is not there, or nobody may look at it


def _check_target(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return  # a new file; whether it can be made is seen when it is
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {path}: {_reason(error)}") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"cannot write {path}: it is a folder")
    if not stat.S_ISREG(mode):
        raise InputError(f"cannot write {path}: it is no regular file")


@contextmanager
def _failures(path: Path) -> Iterator[None]:
    """Errors of writing as one line that says which output; others pass."""
    try:
        yield
    except SafetensorError as error:
        raise InputError(f"cannot write {path}: {error}") from None
    except OSError as error:
        if error.errno in _FULL or Path(os.fsdecode(error.filename or "")).name.startswith(_stem(path)):
            raise InputError(f"cannot write {path}: {_reason(error)}") from None
        raise


def _stem(path: Path) -> str:
    """How the names of an output's temporary files begin: the same for every run, and short whatever the output's name."""
    return f".mrfa-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}-"


@contextmanager
def _claimed(path: Path, folder: bool = False) -> Iterator[Path]:
    """A new temporary file or folder, locked for as long as this process lives, and deleted at the end."""
    _clear_leftovers(path)
    suffix = path.suffix if len(path.suffix) <= _LONGEST_SUFFIX else ""
    with ExitStack() as stack:
        while True:
            temporary = path.with_name(f"{_stem(path)}{secrets.token_hex(4)}{suffix}")
            # Not by tempfile, whose files are private: what a new file may be used for, the system decides by the user's mask.
            if folder:
                temporary.mkdir()
            lock = os.open(temporary, os.O_RDONLY if folder else os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            if not _lock(lock, wait=True):
                os.close(lock)
                break
            if temporary.exists():
                stack.callback(os.close, lock)
                break
            os.close(lock)  # another run on this output took it for a leftover before it was locked
        try:
            yield temporary
        finally:
            if folder:
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)


def _clear_leftovers(path: Path) -> None:
    """Delete the temporary files of runs on this output that were killed: those on which nobody holds a lock."""
    for leftover in path.parent.glob(f"{_stem(path)}*"):
        with suppress(OSError), ExitStack() as stack:
            lock = os.open(leftover, os.O_RDONLY)
            stack.callback(os.close, lock)
            if not _lock(lock, wait=False):
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Take the lock of an open file, which the system frees when no process has the file open any more.

    False where another has it and is not waited for, and where there are no locks: on some network file systems, and on Windows.
    """
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
