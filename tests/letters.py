"""Text files in the place of photos, one per letter, for tests of sorting that decode nothing."""

from pathlib import Path


def take(folder: Path, names: str = "abcd") -> list[Path]:
    """Write a file for each letter, each with different content."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.jpg").write_text(f"photo {name}")
    return [folder / f"{name}.jpg" for name in names]


def texts(folder: Path) -> dict[str, str]:
    """Return the content of each file below a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*.jpg")
        if path.exists()
    }
