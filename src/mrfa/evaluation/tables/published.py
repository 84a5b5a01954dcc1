"""Published figures of the paper's Tables 1 to 6, from `published.yaml`."""

from functools import cache
from importlib import resources
from typing import Literal

import yaml
from pydantic import TypeAdapter

from mrfa.network.config import Section


class PublishedRow(Section):
    """A method of a table: what the paper calls it, and its figures in the order of the data sets and their metrics."""

    title: str
    values: tuple[float | None, ...]


class PublishedTable(Section):
    """A table of the paper. Its rows are keyed by short names, those of the presets where there are any."""

    caption: str
    protocol: Literal["reconstruction", "cross-identity"]
    data: tuple[str, ...]
    metrics: tuple[str, ...]
    methods_across: bool = False
    rows: dict[str, PublishedRow]

    def figures(self, key: str) -> dict[tuple[str, str], float]:
        """Data set and metric to figure, of a row; without those that the paper does not have."""
        names = [(data, metric) for data in self.data for metric in self.metrics]
        return {name: value for name, value in zip(names, self.rows[key].values, strict=True) if value is not None}


def published_table(number: int) -> PublishedTable:
    """A table of the paper by its number, 1 to 6."""
    return _tables()[number]


@cache
def _tables() -> dict[int, PublishedTable]:
    content = yaml.safe_load((resources.files("mrfa.evaluation.tables") / "published.yaml").read_text())
    return TypeAdapter(dict[int, PublishedTable]).validate_python(content)
