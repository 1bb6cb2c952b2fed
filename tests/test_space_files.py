"""JSON documents that contain their own digest."""

import json
from pathlib import Path

import pytest

from clusterkit.store.space_files import read_sealed, write_sealed

DOCUMENT = {"dimension": 3072, "name": "caf\u00e9", "values": [1.5, None, {"a": True}]}


def test_what_is_written_is_read_however_it_is_laid_out(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_sealed(file, DOCUMENT)
    assert read_sealed(file) == DOCUMENT
    file.write_text(json.dumps(json.loads(file.read_text()), sort_keys=True))
    assert read_sealed(file) == DOCUMENT


def test_one_wrong_digit_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_sealed(file, DOCUMENT)
    text = file.read_text()
    for place in (place for place, letter in enumerate(text) if letter.isdigit()):
        wrong = "1" if text[place] != "1" else "2"
        file.write_text(text[:place] + wrong + text[place + 1 :])
        with pytest.raises(ValueError, match="digest"):
            read_sealed(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": 1}', "[" * 100_000])
def test_what_is_no_such_document(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r".+"):
        read_sealed(tmp_path / "a.json")
