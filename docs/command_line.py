"""What mkdocs does beside its plugins: the page of the command line gets what Typer writes of each command."""

import subprocess
import sys
from typing import Any

PAGE = "cli.md"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page's text, with all commands and options where it is that of the command line."""
    if page.file.src_uri != PAGE:
        return markdown
    command = [sys.executable, "-m", "typer", "mrfa.cli", "utils", "docs", "--name", "mrfa"]
    commands = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # One level down: the page has a title of its own.
    return markdown + "\n" + "\n".join(f"#{line}" if line.startswith("#") else line for line in commands.splitlines())
