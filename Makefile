# Each target does all of its own set-up in .venv; a machine needs Python 3.11 or later, pip and make.
PYTHON ?= python3
export OMP_WAIT_POLICY = passive

.PHONY: demo test lint site

demo: .venv/run.done
	.venv/bin/mrfa demo

test: .venv/dev.done
	.venv/bin/python -m pytest -n 2

site: .venv/dev.done
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet

lint: .venv/dev.done
	.venv/bin/ruff check src benchmarks tests
	.venv/bin/ruff format --check --quiet src benchmarks tests
	.venv/bin/mypy

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run.done: pyproject.toml constraints.txt | .venv/bin/python
	.venv/bin/python -m pip install --quiet -c constraints.txt -e .
	touch $@

.venv/dev.done: pyproject.toml constraints.txt | .venv/bin/python
	.venv/bin/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@ .venv/run.done
