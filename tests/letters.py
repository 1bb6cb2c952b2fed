"""Photos that are texts, one for each letter: to be sorted, and never to be looked at."""

from pathlib import Path


def take(folder: Path, names: str = "abcd") -> list[Path]:
    """Write a photo for each letter, each with content of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.jpg").write_text(f"photo {name}")
    return [folder / f"{name}.jpg" for name in names]


def texts(folder: Path) -> dict[str, str]:
    """Return what can be read below a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*.jpg")
        if path.exists()
    }
