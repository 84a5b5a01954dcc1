"""Published figures of the paper's Tables 1 to 6, from `published.yaml`."""

from functools import cache
from importlib import resources
from typing import NamedTuple

import yaml


class PublishedRow(NamedTuple):
    """A method of a table.

    Attributes:
        key: short name, that of the preset where there is one.
        title: what the paper calls it.
        values: data set to metric to figure; None where the paper has none.
    """

    key: str
    title: str
    values: dict[str, dict[str, float | None]]


class PublishedTable(NamedTuple):
    """A table of the paper.

    Attributes:
        number: 1 to 6.
        caption: what it shows, in our words.
        protocol: `reconstruction` or `cross-identity`.
        data: names of its data sets.
        metrics: names of its metrics.
        methods_across: a column a method, as in Table 2; else a row a method.
        rows: its methods, in its order.
    """

    number: int
    caption: str
    protocol: str
    data: tuple[str, ...]
    metrics: tuple[str, ...]
    methods_across: bool
    rows: tuple[PublishedRow, ...]

    def row(self, key: str) -> PublishedRow | None:
        """The row of a key, if there is one."""
        return next((row for row in self.rows if row.key == key), None)


def published_table(number: int) -> PublishedTable:
    """A table of the paper by its number, 1 to 6."""
    return _tables()[number]


@cache
def _tables() -> dict[int, PublishedTable]:
    content = yaml.safe_load((resources.files("mrfa.evaluation.tables") / "published.yaml").read_text())
    return {number: _table(number, values) for number, values in content.items()}


def _table(number: int, values: dict) -> PublishedTable:  # type: ignore[type-arg]
    data, metrics = values["data"], values["metrics"]
    rows = []
    for key, row in values["rows"].items():
        figures = iter(row["values"])
        rows.append(PublishedRow(key, row["title"], {name: {metric: next(figures) for metric in metrics} for name in data}))
    across = values.get("methods_across", False)
    return PublishedTable(number, values["caption"], values["protocol"], tuple(data), tuple(metrics), across, tuple(rows))
