"""Command line of the examples from 06 on: images, weights and number of epochs."""

import argparse
import os
from pathlib import Path

SHARED = Path(os.environ.get("CLUSTERKIT_SHARED", Path(__file__).parents[2] / "shared"))


def read_options(
    description: str, *, weights: str = "xception_imagenet_notop.h5", **folders: str
) -> argparse.Namespace:
    """Read the command line: images of your own instead of those of SHARED, epochs and weights."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in folders.items():
        parser.add_argument(name, nargs="?", type=Path, default=SHARED / "data" / default)
    parser.add_argument("--epochs", type=int, help="maximum number of epochs")
    # Without a file, Keras downloads the weights once.
    file = SHARED / "weights" / weights
    parser.add_argument("--weights", type=Path, default=file if file.is_file() else None)
    return parser.parse_args()
