"""A broken image is a row with its reason, and a second run embeds only what is new."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import clusterkit as ck
from clusterkit.embedding import embed_to_store
from clusterkit.extractors import Extraction, Extractor

SAMPLES = Path(__file__).parent.parent / "data" / "digits"


class MeanColour(Extractor):
    """The mean colour of an image: enough to see the store at work."""

    name = "mean-colour"
    image_size = (32, 32)
    dimension = 3

    def _forward(self, images: NDArray[np.uint8]) -> Extraction:
        return Extraction(images.mean(axis=(1, 2)).astype(np.float32))


with tempfile.TemporaryDirectory() as folder:
    photos = Path(folder, "photos")
    shutil.copytree(SAMPLES / "0", photos)
    photos.joinpath("empty.jpg").touch()
    photos.joinpath("text.jpg").write_text("not a picture")
    whole = next(photos.glob("*.png")).read_bytes()
    photos.joinpath("truncated.png").write_bytes(whole[: len(whole) // 2])

    store = Path(folder, ".clusterkit")
    first = embed_to_store(ck.ImageFolder(photos), MeanColour(), store)
    print(f"first run: {first.embedded} embedded, {first.failed} failed")
    for path, reason in first.failures:
        print(f"  {path}: {reason}")

    other = next(Path(SAMPLES, "1").glob("*.png"))
    # One file is mended, one is renamed: only the mended one goes through the network.
    photos.joinpath("truncated.png").write_bytes(other.read_bytes())
    next(photos.glob("digit*.png")).rename(photos / "renamed.png")
    second = embed_to_store(ck.ImageFolder(photos), MeanColour(), store)
    print(f"second run: {second.embedded} embedded, {second.reused} reused, {second.failed} failed")
