"""A real extractor that needs no network, and a program that embeds with it.

``python -m tests.grid_colours FOLDER STORE`` embeds a folder and prints the report.
"""

import argparse
import dataclasses
import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clusterkit.embedding import embed as pipeline
from clusterkit.embedding import on_ray
from clusterkit.embedding.shards import Shard
from clusterkit.extractors.base import Extraction, Extractor
from clusterkit.images.folder import ImageFolder
from clusterkit.utils.ray_engine import RayEngine
from clusterkit.utils.text import escape_path

REPOSITORY = Path(__file__).parent.parent


class GridColours(Extractor):
    """The mean colours of a grid of cells: (red, green, blue) of each, row by row.

    Parameters
    ----------
    cells : int
        Cells along each side.
    seconds : float
        Time of a batch, so that a test can interrupt it.
    log : str
        File to which a line is added for each batch: its number of images.
    """

    name = "grid-colours"
    image_size = (32, 32)
    _neutral_parameters = frozenset({"batch_size", "seconds", "log"})

    def __init__(
        self,
        cells: int = 2,
        *,
        batch_size: int = 8,
        resize: str = "stretch",
        seconds: float = 0.0,
        log: str = "",
    ) -> None:
        self.cells = cells
        self.batch_size = batch_size
        self.resize = resize
        self.seconds = seconds
        self.log = log

    @property
    def dimension(self) -> int:  # type: ignore[override]
        return 3 * self.cells**2

    def _forward(self, images: NDArray[np.uint8]) -> Extraction:
        time.sleep(self.seconds)
        n, side = len(images), self.image_size[0] // self.cells
        cells = images.reshape(n, self.cells, side, self.cells, side, 3)
        if self.log:
            with Path(self.log).open("a") as log:
                # Padding is black; the images of the tests are not.
                log.write(f"{images.any(axis=(1, 2, 3)).sum()}\n")
        return Extraction(cells.mean(axis=(2, 4), dtype=np.float32).reshape(n, -1))


def embed_command(folder: Path, store: Path, **options: object) -> list[str]:
    """Return the command that embeds a folder in a separate process."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "tests.grid_colours", str(folder), str(store), *flags]


def without_privileges(command: list[str]) -> list[str]:
    """Make permissions apply to a command even if root runs the tests, or skip the test."""
    import pytest

    if os.name != "posix":
        pytest.skip("needs POSIX permissions")
    if os.geteuid() != 0:
        return command
    if shutil.which("setpriv") is None:
        pytest.skip("root passes over permissions, and there is no setpriv to give that up")
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", *command]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("store")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--log", default="")
    parser.add_argument("--part-rows", type=int, default=pipeline.PART_ROWS)
    parser.add_argument("--shard", type=Shard.parse)
    parser.add_argument("--ray-address", help="address of a Ray cluster that embeds the images")
    options = parser.parse_args()
    pipeline.PART_ROWS = options.part_rows
    on_ray.PIECE_ROWS = {"CPU": options.part_rows}
    extractor = GridColours(seconds=options.seconds, log=options.log)
    images = ImageFolder(options.folder)
    engine = RayEngine(options.ray_address) if options.ray_address else "local"
    report = pipeline.embed_to_store(
        images, extractor, options.store, shard=options.shard, engine=engine
    )
    document = dataclasses.asdict(report)
    document["failures"] = {escape_path(path): reason for path, reason in report.failures}
    print(json.dumps(document))


if __name__ == "__main__":
    main()
