"""The sample images: reproducible, readable, small, and with their licence."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

DATA = Path(__file__).parent.parent / "data"
DIGITS = DATA / "digits"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_the_script_reproduces_the_folder_exactly(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DATA / "make_digits.py", tmp_path], check=True)
    made, kept = contents(tmp_path), contents(DIGITS)
    assert made.keys() == kept.keys()
    assert [name for name in made if made[name] != kept[name]] == []


@pytest.mark.parametrize("digit", range(10))
def test_each_digit_has_25_readable_images(digit: int) -> None:
    files = sorted((DIGITS / str(digit)).iterdir())
    assert len(files) == 25
    for file in files:
        with Image.open(file) as image:
            image.load()
            assert (image.format, image.mode, image.size) == ("PNG", "L", (32, 32))
            darkest, brightest = image.getextrema()
            assert darkest == 0
            assert brightest > 200


def test_the_set_is_small_and_names_its_source() -> None:
    assert sum(map(len, contents(DIGITS).values())) < 300_000
    for file in (DATA / "README.md", DIGITS / "SOURCE.txt"):
        text = file.read_text(encoding="utf-8")
        assert "CC BY 4.0" in text
        assert "10.24432/C50P49" in text
