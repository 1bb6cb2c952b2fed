"""Text: paths that are reversible, valid, and without control characters for terminals; counts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clusterkit.embedding.embed import EmbedReport
from clusterkit.preparation.splitting import FolderSplit
from clusterkit.routing.undoing import Undoing
from clusterkit.utils.text import escape_path, json_text, printable, unescape_path

NAMES = {
    b"caf\xe9.png": r"caf\udce9.png",
    b"two\nlines.png": r"two\nlines.png",
    b"\x1b[31mred\x1b[2J.png": r"\x1b[31mred\x1b[2J.png",
    "\u202egnp.exe.png".encode(): r"\u202egnp.exe.png",
    "\x9b31m\x7f.png".encode(): r"\x9b31m\x7f.png",
    "end\u2028of line\u2029.png".encode(): r"end\u2028of line\u2029.png",
    "hidden\u200b\U000e0041.png".encode(): r"hidden\u200b\U000e0041.png",
    "café 東京\u3000👩\u200d👧.png".encode(): "café 東京\u3000👩\u200d👧.png",
    rb"back\slash\udce9.png": r"back\slash\udce9.png",
}


@pytest.mark.parametrize(("name", "shown"), NAMES.items())
def test_a_name_is_printed_on_one_line_without_its_effects(name: bytes, shown: str) -> None:
    assert printable(os.fsdecode(name)) == shown


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("only_ascii", [False, True])
def test_json_is_valid_and_brings_the_name_back(name: bytes, only_ascii: bool) -> None:
    path = os.fsdecode(name)
    text = json_text({"path": path, "paths": {path: [path]}}, only_ascii=only_ascii)
    assert text.encode("ascii" if only_ascii else "utf-8")
    assert all(line.isprintable() or "\u200d" in line for line in text.split("\n"))
    document = json.loads(text)
    assert [unescape_path(document["path"]), document["paths"]] == [
        path,
        {escape_path(path): [escape_path(path)]},
    ]


def test_counts_have_separators_of_thousands() -> None:
    undone = Undoing(Path("sorted"), 1234, [("a.png", "changed")] * 1000, [], False, {"cat": 1234})
    assert undone.to_text() == "  1,234  cat\n1,234 files taken back, 1,000 kept"
    report = EmbedReport(9000, 4000, 3000, 0, [], "pixels", 2, 1.0, "pixels-1", "/photos", "x")
    assert "4,000 embedded, 3,000 reused, 0 failed" in report.to_text()
    names, parts = [f"{row}.png" for row in range(3000)], ["train"] * 2000 + ["test"] * 1000
    split = FolderSplit(
        Path("split"), "list", names, ["cat"] * 3000, parts, [], [], None, None, dry_run=False
    )
    assert split.to_text().startswith(
        "cat: train 2,000, test 1,000\n3,000 images listed in split: "
    )
    assert split.to_text().endswith(": train 2,000, test 1,000")


def test_json_has_no_other_numbers_than_json_knows() -> None:
    assert json.loads(json_text({"a": [float("nan"), float("inf"), 1.5]})) == {
        "a": [None, None, 1.5]
    }


def test_paths_are_the_same_in_every_locale() -> None:
    code = (
        "import os\n"
        "from clusterkit.utils.text import escape_path, json_text, unescape_path\n"
        "for name in (b'caf\\xc3\\xa9', b'caf\\xe9'):\n"
        "    text = escape_path(os.fsdecode(name))\n"
        "    assert os.fsencode(unescape_path(text)) == name\n"
        "    print(ascii(text))\n"
        "print(json_text({'a': 'said \\u2026'}, only_ascii=True))"
    )
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout
    assert printed.splitlines()[:2] == [r"'caf\xe9'", r"'caf\\udce9'"]
