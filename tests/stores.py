"""Photos, rows and stores that several test files share."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from clusterkit.store.part_file import Row
from clusterkit.store.store import Store

BROKEN = b"no image"
SPACE = {"extractor": "own", "fingerprint": "0123456789abcdef", "dimension": 3}


def make_photos(folder: Path, n: int = 20, *, seed: int = 0) -> Path:
    """Write small pictures of random colours, every seventh of them broken."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        path = folder / f"{i:03}.png"
        if i % 7 == 6:
            path.write_bytes(BROKEN + bytes([i]))
        else:
            colours = rng.integers(1, 256, (2, 2, 3), dtype=np.uint8)
            Image.fromarray(colours).resize((24, 20), Image.Resampling.NEAREST).save(path)
    return folder


def rows_of(store: Path) -> dict[str, tuple[Any, ...]]:
    """Return all rows of the only space of a store, with all columns, by file."""
    space = Store(store).space()
    rows = {}
    tables = (pq.read_table(BytesIO(part.read_bytes())) for part in space.parts)
    for row in (row for table in tables for row in table.to_pylist()):
        file = space.file_of(row.pop("root"), row.pop("path"))
        assert file not in rows, "two rows of one file"
        rows[file] = tuple(row.values())
    return rows


def make_row(i: int, path: str = "", root: str = "photos") -> Row:
    """Return the row of an image whose vector contains its number."""
    row = Row(path or f"{i}.png", root, f"{i:064x}", size=i, mtime_ns=i, width=3, height=2)
    if i == 4:
        row.error = "the file is empty"
    else:
        row.vector = np.array([i, 1, 0.1], np.float32)
        row.top5 = [("fox", 0.75), ("cat", 0.25)]
    return row
