"""Small sets of images for scripts and commands that train on whole folders."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

CHANNELS = {"cat": 0, "dog": 1, "wild": 2}


def take(source: Path, target: Path, n: int, *, first: int = 0) -> Path:
    """Copy ``n`` images of each class to a folder with the same structure."""
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        (target / folder.name).mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.iterdir())[first : first + n]:
            shutil.copy(file, target / folder.name)
    return target


def take_posters(source: Path, target: Path, n: int) -> Path:
    """Copy the first ``n`` posters and their table, and return the table."""
    lines = (source / "labels.csv").read_text().splitlines()[: n + 1]
    (target / "images").mkdir(parents=True)
    for line in lines[1:]:
        shutil.copy(source / line.partition(",")[0], target / "images")
    (target / "labels.csv").write_text("\n".join(lines))
    return target / "labels.csv"


def paint(folder: Path, name: str, n: int, *, seed: int, kinds: int = 1) -> Path:
    """Write noisy pictures of a named colour; kinds differ in the width of their stripes."""
    rng = np.random.default_rng(seed)
    (folder / name).mkdir(parents=True)
    for number in range(n):
        pixels = rng.integers(0, 60, (72, 72, 3), dtype=np.uint8)
        pixels[..., CHANNELS[name]] += 150
        if kinds > 1:
            width = 6 * 2 ** (number % kinds)
            pixels[:, np.arange(72) // width % 2 == 0] //= 3
        Image.fromarray(pixels).save(folder / name / f"{seed}-{number}.png")
    return folder
