"""Jobs in a file: a row of a CSV file or a mapping of a YAML list each, with the options of `mrfa animate`."""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import Field, ValidationError

from mrfa.animation.options import Options
from mrfa.config import CONFIG_NAME, explain, load_yaml, read_text
from mrfa.data.files import check_output, check_readable, is_folder
from mrfa.errors import InputError
from mrfa.weights import WEIGHTS_NAME, find_model

# Where something is computed, and not what.
_PLACE = {"output", "device", "batch_size"}


class Job(Options):
    """What `mrfa animate` is given: files, options, and where to compute."""

    source: Path
    driving: Path
    output: Path
    model: str = "small"
    device: str | None = None
    precision: str | None = "auto"
    backend: str = "torch"
    batch_size: int | None = Field(None, ge=1)

    def fingerprint(self) -> str:
        """Short name of all that the output is made from: options, and files by name, size and time of their last change.

        Raises:
            InputError: a file is missing.
        """
        model = find_model(self.model)
        files = [self.source, self.driving, model / CONFIG_NAME, model / WEIGHTS_NAME]
        options = self.model_dump(mode="json", exclude=_PLACE)
        text = json.dumps([options, [_state(file) for file in files]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Entry(NamedTuple):
    """A job as it stands in the file: its line, and of each key its line and value."""

    line: int
    values: dict[str, tuple[int, Any]]


def read_jobs(path: Path) -> list[Job]:
    """Read jobs, and check all of them as far as it goes without their pictures and videos.

    Names of files are taken from the folder of `path` on. A key is an option of `mrfa animate` such as `driving-crop`; an empty
    value is the default.

    Args:
        path: .csv, with the names of the columns in the first line; or .yaml, a list of mappings.

    Raises:
        InputError: what is wrong with which line of it.
    """
    readers = {".csv": _read_csv, ".yaml": _read_yaml, ".yml": _read_yaml}
    if path.suffix.lower() not in readers:
        raise InputError(f"cannot read jobs from {path}: its name must end in {' or '.join(readers)}")
    entries = readers[path.suffix.lower()](path)
    if not entries:
        raise InputError(f"{path} holds no jobs")
    jobs = [_job(path, entry) for entry in entries]
    _check_files(path, [entry.line for entry in entries], jobs)
    return jobs


def _read_csv(path: Path) -> list[_Entry]:
    text = read_text(path, "jobs file")
    header = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True)
    entries: list[_Entry] = []
    try:
        names = [name.strip() for name in next(reader, [])]
        begin = reader.line_num + 1
        for row in reader:
            if len(row) > len(names):
                raise InputError(f"{path}, line {begin}: {len(row)} values, but the first line names {len(names)} columns")
            if any(cell.strip() for cell in row):
                # That a column is unknown is the first line's fault.
                cells = zip(names, row, strict=False)
                entries.append(_Entry(begin, _keyed(path, [(name, begin, cell.strip()) for name, cell in cells], names_line=1)))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from None
    return entries


def _read_yaml(path: Path) -> list[_Entry]:
    text = read_text(path, "jobs file")
    values = load_yaml(text, str(path)) or []
    if not isinstance(values, list):
        raise InputError(f"{path} must hold a list of jobs")
    entries = []
    nodes: Any = yaml.compose(text, Loader=yaml.SafeLoader)  # the same once more, with its lines
    for value, node in zip(values, nodes.value if values else [], strict=True):
        line = node.start_mark.line + 1
        if not isinstance(value, dict):
            raise InputError(f"{path}, line {line}: a job is a mapping, such as {{source: a.jpg, driving: b.mp4, output: c.mp4}}")
        cells = [(str(key.value), key.start_mark.line + 1, value.get(key.value)) for key, _ in node.value]
        entries.append(_Entry(line, _keyed(path, cells)))
    return entries


def _keyed(path: Path, cells: Sequence[tuple[str, int, Any]], names_line: int | None = None) -> dict[str, tuple[int, Any]]:
    """Lines and values by the name of the field, without empty ones.

    Args:
        path: of the file.
        cells: name, line and value of each.
        names_line: where the names stand, where it is not beside the values.
    """
    values: dict[str, tuple[int, Any]] = {}
    for name, line, value in cells:
        key = name.replace("-", "_")
        if key not in Job.model_fields:
            known = ", ".join(field.replace("_", "-") for field in sorted(Job.model_fields))
            raise InputError(f"{path}, line {names_line or line}: mrfa animate has no option '{name}'; it has {known}")
        if key in values:
            raise InputError(f"{path}, line {names_line or line}: '{name}' is there twice")
        values[key] = line, value
    return {key: (line, value) for key, (line, value) in values.items() if value not in (None, "")}


def _job(path: Path, entry: _Entry) -> Job:
    values = {key: value for key, (_, value) in entry.values.items()}
    line = entry.line
    try:
        for key in ("source", "driving", "output", "certificate", "key"):
            if key in values:
                values[key] = _beside(path, values[key])
        if "model" in values and is_folder(_beside(path, values["model"])):
            values["model"] = str(_beside(path, values["model"]))
        job = Job(**values)
        job.check()
    except ValidationError as error:
        key, _, problem = explain(error).partition(": ")
        line = entry.values.get(key, (line, None))[0]
        raise InputError(f"{path}, line {line}: {key.replace('_', '-')}: {problem}") from None
    except InputError as error:
        raise InputError(f"{path}, line {line}: {error}") from None
    return job


def _beside(path: Path, name: object) -> Path:
    """A file that is named in another one."""
    if not isinstance(name, str) or "\0" in name:
        raise InputError(f"{name!r} is no name of a file")
    return (path.parent / name).absolute()


def _check_files(path: Path, lines: Sequence[int], jobs: Sequence[Job]) -> None:
    """That every output can be written, by one job, and is nobody's input."""
    from mrfa.data.video_writer import SUFFIXES

    inputs = {file.resolve(): line for job, line in zip(jobs, lines, strict=True) for file in (job.source, job.driving)}
    outputs: dict[Path, int] = {}
    for job, line in zip(jobs, lines, strict=True):
        place = job.output.resolve()
        if place in outputs:
            raise InputError(f"{path}, line {line}: writes the output of line {outputs[place]}, {job.output}")
        if place in inputs:
            raise InputError(f"{path}, line {line}: the output {job.output} is an input of line {inputs[place]}")
        outputs[place] = line
        try:
            check_output(job.output, [], sorted(SUFFIXES))
        except InputError as error:
            raise InputError(f"{path}, line {line}: {error}") from None


def _state(path: Path) -> list[Any]:
    """What changes where a file, or one of a folder's files, does."""
    if not is_folder(path):
        check_readable(path, "file")
    try:
        files = sorted(path.iterdir()) if is_folder(path) else [path]
        return [[str(file), (stat := file.stat()).st_size, stat.st_mtime_ns] for file in files]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
