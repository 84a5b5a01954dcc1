import os
from pathlib import Path

import pytest

from mrfa.data.files import replacing
from mrfa.errors import InputError


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".json"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_users_mask_decides_who_may_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = os.umask(0o027)
    try:
        # The mask is the process's: to ask for it is to change it, under the feet of other threads.
        monkeypatch.delattr(os, "umask")
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("text")
    finally:
        monkeypatch.undo()
        os.umask(kept)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is a folder"), replacing(tmp_path):
        pass
    with pytest.raises(InputError, match="No such file"), replacing(tmp_path / "absent" / "a.txt"):
        pass
