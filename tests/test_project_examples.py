"""The examples of the five projects and the loop run, on a few images and for an epoch or two."""

import subprocess
import sys
from pathlib import Path

from tests.small_sets import CHANNELS, paint, take, take_posters

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(script: str, folder: Path, *arguments: str | Path) -> str:
    """Run a script as a reader would, in a folder of its own, and return what it prints."""
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_digits(shared: Path, tmp_path: Path) -> None:
    lines = (shared / "data/mnist/kaggle_2000.csv").read_text().splitlines()[:301]
    (tmp_path / "digits-300.csv").write_text("\n".join(lines))
    out = run("10_digits.py", tmp_path, tmp_path / "digits-300.csv", "--epochs", "1")
    for name in ("nn", "dnn", "dnn-dropout", "cnn", "dcnn"):
        assert (tmp_path / "digits" / f"{name}.keras").is_file()
        assert f"\n{name} " in out
    assert out.count("precision 0.") == 3
    assert (tmp_path / "digits.png").is_file()
    assert (tmp_path / "predictions.png").is_file()
    assert len(list(tmp_path.glob("digits-*-confusion.png"))) == 3


def test_anime_shows(shared: Path, tmp_path: Path) -> None:
    images = take(shared / "data/anime5", tmp_path / "images", 6)
    out = run("07_anime_shows.py", tmp_path, images, "--epochs", "1")
    assert "'Death Note': 6" in out
    assert out.rstrip().endswith("%")
    assert (tmp_path / "anime-report/predictions.csv").is_file()


def test_cats_dogs_wild(shared: Path, tmp_path: Path) -> None:
    images = take(shared / "data/cat_dog_wild", tmp_path / "images", 5)
    out = run("06_cats_dogs_wild.py", tmp_path, images, "--epochs", "1")
    assert "best on the validation images: " in out
    assert (tmp_path / "cats_dogs_wild.png").is_file()
    assert (tmp_path / "predictions.png").is_file()


def test_unbalanced_animals(shared: Path, tmp_path: Path) -> None:
    images = take(shared / "data/imbalanced10", tmp_path / "images", 4)
    out = run("08_unbalanced_animals.py", tmp_path, images, "--epochs", "1")
    for name in ("alike", "weighted", "transfer"):
        assert f"\n{name}: macro recall" in out
    assert out.count("gas_pump") == 3
    assert (tmp_path / "unbalanced.png").is_file()


def test_poster_genres(shared: Path, tmp_path: Path) -> None:
    table = take_posters(shared / "data/posters700", tmp_path / "posters", 40)
    out = run("09_poster_genres.py", tmp_path, table, "--epochs", "1")
    assert out.count("with a threshold for each genre") == 2
    assert out.count("with thresholds of 0.5") == 2
    assert (tmp_path / "posters-report/report.json").is_file()


def test_the_loop(shared: Path, tmp_path: Path) -> None:
    labelled, mixed = tmp_path / "labelled", tmp_path / "mixed"
    for name in CHANNELS:
        kinds = 3 if name == "wild" else 1
        paint(labelled, name, 20, seed=0, kinds=kinds)
        paint(mixed, name, 15, seed=1, kinds=kinds)
    for _ in range(2):  # again, with what the first run sorted
        out = run("11_the_loop.py", tmp_path, labelled, mixed, "--epochs", "6")
        assert "routed: {" in out
        assert "promoted: {" in out
        assert len(list((tmp_path / "routed/wild").iterdir())) >= 10
        assert len([path for path in (tmp_path / "classes").iterdir() if path.is_dir()]) >= 2
        assert (tmp_path / "kinds.keras").is_file()
