"""The command `mrfa doctor`."""

import json
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mrfa.doctor import Finding

SIGNS = {"works": ("+", "green"), "absent": ("-", "yellow"), "broken": ("!", "red")}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Look at what is installed and works here, and say what to install for the rest; exit code 1 where something is broken."""
    from mrfa.doctor import examine

    findings = list(examine())
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in findings], indent=1))
    else:
        _show(findings)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def _show(findings: list["Finding"]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    for part, found in groupby(findings, lambda finding: finding.part):
        table.add_row(Text(part, "bold"))
        for finding in found:
            sign, colour = SIGNS[finding.state]
            table.add_row(Text(f"  {sign} {finding.name}", colour), Text(finding.text))
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    remedies = dict.fromkeys(finding.remedy for finding in findings if finding.remedy is not None)
    if remedies:
        console.print(Text("\nto have the rest, as you need it", "bold"))
        for remedy in remedies:
            console.print(Text(f"  {remedy}"))
