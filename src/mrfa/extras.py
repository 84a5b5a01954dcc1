"""Optional dependencies."""

from importlib.util import find_spec

from mrfa.errors import InputError


def require(module: str, *, extra: str) -> None:
    """Check that an optional dependency is there.

    Raises:
        InputError: it is not; the message says what to install.
    """
    if find_spec(module) is None:
        raise InputError(f"this needs {module}: install it with  pip install 'mrfa[{extra}]'")
