"""The command `mrfa verify`."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrfa.errors import InputError

if TYPE_CHECKING:
    from mrfa.data.credentials import Statement

STATES = {
    "Trusted": "unchanged since, by a certificate that is trusted",
    "Valid": "unchanged since, by a certificate that is on no list of trusted ones",
    "Invalid": "but the file was changed since",
}


def verify(file: Annotated[Path, typer.Argument(help="Picture or video.")]) -> None:
    """Say what a file tells of its origin: exit code 0 where it says that it is synthetic, 1 where not, 2 if it is unreadable."""
    from mrfa.data.origin import is_synthetic, read_notes

    notes = read_notes(file)
    found = notes.origin is not None or is_synthetic(notes.source_type)
    if notes.origin is not None:
        typer.echo(f"note: {notes.origin}")
    if notes.source_type is not None:
        typer.echo(f"XMP: digital source type {notes.source_type}")
    if (statement := _statement(file)) is not None:
        state = STATES.get(statement.state, statement.state)
        typer.echo(f"content credentials: {statement.source_type or 'no source type'}, signed by {statement.signer}; {state}")
        found = found or is_synthetic(statement.source_type)
    typer.echo(f"{file}: {'says that it is synthetic' if found else 'says nothing of being synthetic, which is no proof'}")
    if not found:
        raise typer.Exit(1)


def _statement(file: Path) -> "Statement | None":
    """Content credentials, where they can be read: the file itself can."""
    from mrfa.data.credentials import read_statement

    if find_spec("c2pa") is None:
        typer.echo("content credentials are not looked for: pip install 'mrfa[c2pa]'", err=True)
        return None
    try:
        return read_statement(file)
    except InputError as error:
        typer.echo(f"warning: {error}", err=True)
        return None
