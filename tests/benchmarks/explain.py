"""Measure whether explanations are true: the maps, their cost, and the verdict on colour tone.

``python -m tests.benchmarks.explain maps --network xception`` takes 200 pairs of photos of the
shared folder.  It prints how far the sum of each map is from the cosine of the averaged maps and
of the extractor's vectors.  It also prints how often hiding the strongest fifth of a map lowers the
cosine at least three times as much as hiding a random fifth: of the feature locations, by their
effects and by their contributions (mean of 20 random draws), and of the pixels, which are filled
with the mean colour of the picture (one draw).  ``cost --network xception`` compares the time of
both maps with that of two forward passes of the same precision.

``python -m tests.benchmarks.explain tone --space autoencoder --autoencoder ae.keras --set species10
--side "kept aside"`` makes 400 pairs, 80 of each kind, and asks whether the verdict on tone is
right.  A pair is *unusual* if it is above the 90th percentile of the pairs of the set.

=============  =================================================  ==================================
kind           made of                                            right verdict
=============  =================================================  ==================================
tone           two classes, one with the tone of the other        as measured
grey           half: a photo and itself in grey                   ``little`` or ``ordinary``
               half: two classes, both in grey                    as measured
crop           a photo and 60 to 90 % of its area                 as measured
format         a photo and a bad JPEG or half-sized WebP of it    ``little``
other tone     half: a photo and itself in another photo's tone   ``little`` or ``ordinary``
               half: two of a class, one in another tone          as measured
=============  =================================================  ==================================

*As measured*: if the pair is not unusual, ``ordinary`` is right.  Otherwise both pictures get the
tones of two other photos, drawn independently, six times; the share of the excess that vanishes
with tone undone in this way is the truth, and the verdict is right if the truth is within 0.1 of
its range (``most`` from 0.5 on, ``part`` from 0.25 to 0.75, ``little`` up to 0.25).  This uses the
same colour transfer as the verdict, but unlike tones instead of one, and no other photos in grey or
matched tone.  In spaces that photos of unlike tone hardly move in (networks trained on ImageNet)
the truth is near 0.

The rules were chosen on the classes of the side ``"chosen on"``; the digest of its name decides to
which side a class belongs.  The autoencoder was trained by ``clusterkit train autoencoder
../shared/data/species10 -o ae.keras --epochs 15``.
"""

import argparse
import hashlib
import io
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clusterkit.embedding.embed import embed
from clusterkit.extractors.base import Extractor
from clusterkit.extractors.by_name import create_extractor
from clusterkit.images.folder import ImageFolder, read_image
from clusterkit.images.resizing import resize_image
from clusterkit.images.tone import give_tone, in_grey, measure_tone
from clusterkit.similarity.explanation import rank_similarity
from clusterkit.similarity.picture_explanation import PictureEmbedder, take_sample, weigh_tone
from clusterkit.similarity.scaling import unit_rows
from clusterkit.similarity.similarity_maps import split_cosine
from tests.benchmarks.draws import SHARED

SIDES = ("chosen on", "kept aside", "all")
WEIGHTS = {"xception": "xception_imagenet_notop.h5", "resnet50": "resnet50_imagenet.h5"}
KINDS = ("tone", "grey", "crop", "format", "other tone")
# Range of the measured share for which each verdict is right, and its tolerance.
RANGES = {"most": (0.5, np.inf), "part": (0.25, 0.75), "little": (-np.inf, 0.25)}
TOLERANCE = 0.1
N_TONES = 6
# Side of the pictures of pairs, in pixels.
SIDE = 224

Picture = NDArray[np.uint8]


def open_extractor(space: str, autoencoder: Path | None) -> Extractor:
    """Return an extractor of the shared folder's weights, pixels, or a trained autoencoder."""
    if space == "autoencoder":
        return create_extractor(str(autoencoder), batch_size=32)
    if space in WEIGHTS:
        return create_extractor(space, weights=SHARED / "weights" / WEIGHTS[space], batch_size=32)
    return create_extractor(space, batch_size=32)


def files_of(name: str, side: str) -> list[Path]:
    """Return the photos of a set whose classes belong to a side."""
    files = ImageFolder(SHARED / "data" / name).files
    return [file for file in files if side == "all" or side == side_of(file.parent.name)]


def side_of(name: str) -> str:
    """Return the side of a class."""
    return SIDES[int(hashlib.sha256(name.encode()).hexdigest(), 16) % 2]


# Maps.


def measure_maps(network: str, n_pairs: int) -> dict[str, Any]:
    """Return how exact and how informative maps are, and their cost."""
    extractor = open_extractor(network, None)
    rng = np.random.default_rng(0)
    files = rng.permutation(np.array(files_of("species10", "all"), dtype=object))[:96]
    pictures = np.stack([read_image(file, extractor.image_size) for file in files])
    parts = range(0, len(pictures), 32)
    maps = np.concatenate([extractor.feature_maps(pictures[i : i + 32]) for i in parts])
    vectors = unit_rows(extractor.transform(pictures)).astype(np.float64)
    own = unit_rows(maps.astype(np.float64).mean(axis=(1, 2))).astype(np.float64)
    errors, gaps, rows = [], [], []
    masked: list[Picture] = []
    for _ in range(n_pairs):
        a, b = rng.choice(len(files), 2, replace=False)
        where = split_cosine(maps[a], maps[b])
        exact = _cosine(maps[a].astype(np.float64).mean((0, 1)), maps[b].astype(float).mean((0, 1)))
        errors += [abs(where.map_a.sum() - exact), abs(where.map_b.sum() - exact)]
        gaps.append(abs(where.cosine - vectors[a] @ vectors[b]))
        n_hidden = round(where.map_a.size / 5)
        top = np.argsort(-where.effect_a.ravel())[:n_hidden]
        largest = np.argsort(-where.map_a.ravel())[:n_hidden]
        draws = [rng.choice(where.map_a.size, n_hidden, replace=False) for _ in range(20)]
        hidden = [top, largest, *draws]
        falls = [where.cosine - _cosine(_without(maps[a], some), own[b]) for some in hidden]
        rows.append((a, b, falls[0], falls[1], float(np.mean(falls[2:]))))
        masked += [_hide(pictures[a], where.map_a.shape, some) for some in (top, draws[0])]
    seen = unit_rows(extractor.transform(np.stack(masked))).astype(np.float64)
    falls = np.array([row[2:] for row in rows])
    pixels = np.array(
        [
            [vectors[a] @ vectors[b] - seen[2 * i + j] @ vectors[b] for j in range(2)]
            for i, (a, b, *_) in enumerate(rows)
        ]
    )
    return {
        "network": network,
        "pairs": n_pairs,
        "largest error of a sum": max(errors),
        "largest gap to the cosine of the vectors": max(gaps),
        "features hidden, by effect": _compare_falls(falls[:, [0, 2]]),
        "features hidden, by contribution": _compare_falls(falls[:, [1, 2]]),
        "pixels hidden, by effect": _compare_falls(pixels),
    }


def _compare_falls(falls: NDArray[np.float64]) -> dict[str, float]:
    """Return how often the strongest fifth has three times the effect of a random one."""
    top, chance = falls.T
    return {
        "pairs with three times": float((top >= 3 * np.maximum(chance, 0)).mean()),
        "mean fall, strongest": float(top.mean()),
        "mean fall, random": float(chance.mean()),
    }


def measure_cost(network: str) -> dict[str, float]:
    """Return the times of a forward pass of two pictures, and of both maps, measured in turns."""
    extractor = open_extractor(network, None)
    # Pairs are embedded in float32; bfloat16 is for many images.
    extractor.prepare(2)
    files = files_of("species10", "all")[:2]
    pictures = np.stack([read_image(file, extractor.image_size) for file in files])
    extractor.extract(pictures)
    extractor.feature_maps(pictures)
    times: dict[str, list[float]] = {"forward": [], "maps": []}
    for _ in range(25):
        start = time.perf_counter()
        extractor.extract(pictures)
        middle = time.perf_counter()
        maps = extractor.feature_maps(pictures)
        split_cosine(maps[0], maps[1])
        times["maps"].append(time.perf_counter() - middle)
        times["forward"].append(middle - start)
    found = {name: float(np.median(values)) for name, values in times.items()}
    ratios = np.array(times["maps"]) / np.array(times["forward"])
    return found | {"ratio": float(np.median(ratios))}


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the cosine of two vectors."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _without(features: NDArray[np.float32], some: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the sum of the features without some locations."""
    return np.delete(features.reshape(-1, features.shape[2]).astype(np.float64), some, 0).sum(
        axis=0
    )


def _hide(picture: Picture, shape: tuple[int, ...], some: NDArray[np.intp]) -> Picture:
    """Fill the pixels of some locations with the mean colour of the picture."""
    mask = np.zeros(shape, dtype=bool)
    mask.flat[some] = True
    rows, columns = (
        np.arange(side) * n // side for side, n in zip(picture.shape, shape, strict=False)
    )
    inside = mask[np.ix_(rows, columns)]
    return np.where(inside[..., None], picture.reshape(-1, 3).mean(axis=0), picture).astype(
        np.uint8
    )


# Tone.


class Pairs:
    """Makes pairs of photos with the right verdicts on their tone.

    Parameters
    ----------
    files : list of path
        The photos; the folder of each is its class.
    """

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.classes = np.array([file.parent.name for file in files])
        self.rng = np.random.default_rng(0)

    def read(self, row: int) -> Picture:
        """Return a photo."""
        return read_image(self.files[row], (SIDE, SIDE))

    def draw(self, like: int | None = None, *, same: bool = False) -> int:
        """Return a random row of the same class as another, or of a different class."""
        if like is None:
            return int(self.rng.integers(len(self.files)))
        rows = np.flatnonzero((self.classes == self.classes[like]) == same)
        return int(self.rng.choice(rows[rows != like]))

    def make(self, kind: str, number: int) -> tuple[Picture, Picture, set[str] | None]:
        """Return two pictures and the right verdicts; None if these are measured."""
        row = self.draw()
        photo, is_even = self.read(row), number % 2 == 0
        not_tone = {"little", "ordinary"}
        if kind == "format":
            return photo, self._write(photo), {"little"}
        if kind == "crop":
            return photo, self._crop(photo), None
        if kind == "grey" and is_even:
            return photo, in_grey(photo), not_tone
        if kind == "other tone":
            tone = measure_tone(self.read(self.draw(row)))
            other = photo if is_even else self.read(self.draw(row, same=True))
            return photo, give_tone(other, tone), not_tone if is_even else None
        other = self.read(self.draw(row))
        if kind == "grey":
            return in_grey(photo), in_grey(other), None
        return give_tone(photo, measure_tone(other)), other, None

    def _crop(self, photo: Picture) -> Picture:
        """Return a random crop of a photo."""
        side = int(SIDE * np.sqrt(self.rng.uniform(0.6, 0.9)))
        top, left = self.rng.integers(0, SIDE - side + 1, 2)
        return resize_image(photo[top : top + side, left : left + side], (SIDE, SIDE))

    def _write(self, photo: Picture) -> Picture:
        """Write a photo in another format, and read it again."""
        content, image = io.BytesIO(), Image.fromarray(photo)
        if self.rng.random() < 0.5:
            image.save(content, "JPEG", quality=int(self.rng.integers(15, 50)))
        else:
            image.resize((SIDE // 2, SIDE // 2)).save(content, "WEBP", quality=60)
        return resize_image(np.asarray(Image.open(content).convert("RGB")), (SIDE, SIDE))


def measure_tones(
    space: str, autoencoder: Path | None, name: str, side: str, n_each: int
) -> dict[str, Any]:
    """Return how often the verdict on tone is right, for each kind of pair."""
    extractor = open_extractor(space, autoencoder)
    files = files_of(name, side)
    embeddings = embed([*files], extractor)
    embedder = PictureEmbedder(extractor)
    size = extractor.image_size
    embedder.maps(np.zeros((1, *size, 3), np.uint8))
    pairs, unusual, wrong = Pairs(files), Counter[str](), []
    right: Counter[str] = Counter()
    # One seed per pair, as if each were explained alone, but with the same sample.
    sample = take_sample(embeddings, embedder, random_state=0)
    tones = [measure_tone(pairs.read(pairs.draw())) for _ in range(32)]
    said: Counter[tuple[str, str]] = Counter()
    for kind in KINDS:
        for number in range(n_each):
            made = pairs.make(kind, number)
            pictures = np.stack([resize_image(picture, size) for picture in made[:2]])
            vectors = embedder.vectors(list(pictures))
            similarity = float(np.prod(unit_rows(vectors).astype(np.float64), axis=0).sum())
            percentile = rank_similarity(similarity, embeddings).percentile
            tone = weigh_tone(pictures, vectors, embedder, sample, percentile=percentile)
            verdict = str(tone.verdict)
            said[kind, verdict] += 1
            allowed, truth = made[2], None
            if allowed is None and verdict != "ordinary" and tone.as_is is not None:
                truth = measure_share(pictures, embedder, tones, tone.as_is, pairs.rng)
                low, high = RANGES[verdict]
                is_right = low - TOLERANCE <= truth <= high + TOLERANCE
            else:
                is_right = allowed is None or verdict in allowed
            right[kind] += is_right
            unusual[kind] += verdict != "ordinary"
            if not is_right:
                wrong.append((kind, number, verdict, tone.share, truth))
    return {
        "space": space,
        "set": name,
        "side": side,
        "photos": len(embeddings),
        "pairs": n_each * len(KINDS),
        "right": right.total() / (n_each * len(KINDS)),
        "right of unusual": 1 - len(wrong) / max(1, unusual.total()),
        "unusual": dict(unusual),
        "right by kind": {kind: right[kind] / n_each for kind in KINDS},
        "said": {f"{kind}: {verdict}": n for (kind, verdict), n in sorted(said.items())},
        "wrong": wrong,
    }


def measure_share(
    pictures: NDArray[np.uint8], embedder: PictureEmbedder, tones: list[Any], as_is: Any, rng: Any
) -> float:
    """Return the share of the excess that vanishes if both pictures get different tones."""
    versions = []
    for _ in range(N_TONES):
        chosen = rng.choice(len(tones), 2, replace=False)
        versions += [give_tone(pictures[i], tones[tone]) for i, tone in enumerate(chosen)]
    rows = unit_rows(embedder.vectors(versions)).astype(np.float64)
    similarity = np.einsum("ij,ij->i", rows[::2], rows[1::2]).mean()
    after = as_is._replace(similarity=float(similarity)).excess
    return 1 - after / as_is.excess


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("maps", "cost", "tone"))
    parser.add_argument("--network", choices=list(WEIGHTS), default="xception")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--space", default="pixels", help="autoencoder, pixels, xception, resnet50")
    parser.add_argument("--autoencoder", type=Path, help="a .keras file")
    parser.add_argument("--set", default="species10", help="folder of the shared data")
    parser.add_argument("--side", choices=SIDES, default="all")
    parser.add_argument("--each", type=int, default=80, help="number of pairs of each kind")
    given = parser.parse_args()
    if given.what == "maps":
        found: dict[str, Any] = measure_maps(given.network, given.pairs)
    elif given.what == "cost":
        found = measure_cost(given.network)
    else:
        found = measure_tones(given.space, given.autoencoder, given.set, given.side, given.each)
    json.dump(found, sys.stdout, indent=2, default=float)
    print()


if __name__ == "__main__":
    main()
