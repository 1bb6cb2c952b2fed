"""Confounders of image files: tone, sharpness, size, marks and others that are not content."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError, NotFoundError, Notice
from clusterkit.images.properties import ImageProperties, measure_properties
from clusterkit.similarity.confounders import Confounder, Removal, remove_confounder
from clusterkit.store.embeddings import Embeddings, describe_space
from clusterkit.store.store import as_embeddings
from clusterkit.utils.text import did_you_mean, first_few, plural

# Name of each confounder in a sentence.
CONFOUNDERS = {
    "tone": "colour tone",
    "brightness": "brightness",
    "colourfulness": "colourfulness",
    "sharpness": "sharpness",
    "size": "image size",
    "aspect": "the aspect ratio",
    "quality": "JPEG quality",
    "format": "the file format",
    "border": "borders of one colour",
    "mark": "a mark in the same place",
    "folder": "the folder",
}
_NUMBERS = ("brightness", "colourfulness", "sharpness", "size", "aspect", "quality")
# A location is part of a mark if its mean edge is this many standard errors from 0, and there are
# at least this many: of 4,096 locations of photos without a mark, at most 7 were.
_N_ERRORS, _N_PLACES = 5.0, 8
# With more locations than this, all images are alike, such as centred faces or digits.
_MAX_PLACES = 0.1
# Images with a mark are separated from the others if the means of their similarities to it differ
# by this many times the spread within both, and are above and below these limits.  MNIST digits
# reach 0.53.
_APART, _LIKE, _UNLIKE = 3.0, 0.7, 0.3
# An image with a larger share of its area in borders has a border, whose edges are not a mark.
_IS_BORDER = 0.01


class ImageConfounders(NamedTuple):
    """Confounders of the images that could be read.

    Attributes
    ----------
    rows : ndarray of shape (m,), int64
        Rows of these images in the embeddings.
    confounders : list of Confounder
        Each with m values, including those that all images share.
    failures : list of (str, str)
        Path and reason of each image that could not be read.
    """

    rows: NDArray[np.int64]
    confounders: list[Confounder]
    failures: list[tuple[str, str]]


class WithoutConfounders(NamedTuple):
    """Embeddings without confounders.

    Attributes
    ----------
    embeddings : Embeddings
        The changed embeddings; the given ones if nothing was removed.
    removals : list of Removal
        What was removed for each confounder.
    confounders : list of Confounder
        The confounders, with a value for each image; NaN where its file cannot be read.
    """

    embeddings: Embeddings
    removals: list[Removal]
    confounders: list[Confounder]


def check_confounders(names: Collection[str]) -> list[str]:
    """Return the unique names; raise an error for an unknown one.

    Raises
    ------
    InvalidInputError
        If a name is not in :data:`CONFOUNDERS`.
    """
    for name in names:
        if name not in CONFOUNDERS:
            several = "," in str(name)
            raise InvalidInputError(
                f"a confounder must be one of {', '.join(CONFOUNDERS)}. Received: {name!r}"
                f"{'. Give each by itself' if several else did_you_mean(str(name), CONFOUNDERS)}"
            )
    return list(dict.fromkeys(names))


def measure_confounders(
    embeddings: Embeddings,
    rows: NDArray[np.int64] | None = None,
    *,
    progress: bool = False,
) -> ImageConfounders:
    """Measure all confounders of the images of an embedding space.

    Parameters
    ----------
    embeddings : Embeddings
        The images; their files are read.
    rows : ndarray of int64, optional
        Which of them; by default all.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    ImageConfounders

    Raises
    ------
    NotFoundError
        If no file can be read.
    """
    rows = np.arange(len(embeddings)) if rows is None else rows
    files, paths = embeddings.files, embeddings.paths
    table = measure_properties([files[row] for row in rows], progress=progress)
    failures = [(paths[rows[place]], reason) for place, reason in table.failures]
    if not table.properties:
        first = f": {failures[0][0]}: {failures[0][1]}" if failures else ""
        raise NotFoundError(f"none of {plural(len(rows), 'image file')} can be read{first}")
    kept = rows[table.rows]
    return ImageConfounders(
        kept, as_confounders(table.properties, [paths[row] for row in kept]), failures
    )


def remove_confounders(
    embeddings: Any, names: str | Collection[str], *, progress: bool = False
) -> WithoutConfounders:
    """Remove from embeddings what confounders predict, one after the other.

    See :func:`clusterkit.similarity.confounders.remove_confounder`: only principal components that
    it mostly determines are changed, so that a space that does not follow it is unchanged.

    Parameters
    ----------
    embeddings : Embeddings, Store, Space, or path of a store
        The images, whose files are read; see :func:`clusterkit.store.as_embeddings`.
    names : str or collection of str
        Names of :data:`CONFOUNDERS`, such as ``"tone"``.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    WithoutConfounders
        The embeddings, in a new space if anything was removed, and what was removed.

    Raises
    ------
    InvalidInputError
        If a name is unknown, or the vectors have no files.
    NotFoundError
        If no file can be read.

    Warns
    -----
    Notice
        If some files cannot be read; their images count as average ones.

    Examples
    --------
    >>> emb = ck.embed("photos/", Pixels())  # doctest: +SKIP
    >>> remove_confounders(emb, "tone").removals  # doctest: +SKIP
    [Removal(name='tone', n_components=9, share=0.37)]
    """
    names = check_confounders([names] if isinstance(names, str) else names)
    embeddings = as_embeddings(embeddings)
    if embeddings.root is None:
        raise InvalidInputError(
            f"{', '.join(names)} cannot be measured, since the vectors have no files"
        )
    measured = measure_confounders(embeddings, progress=progress)
    if measured.failures:
        warnings.warn(
            f"{plural(len(measured.failures), 'image file')} cannot be read and count as average: "
            f"{first_few(path for path, _ in measured.failures)}",
            Notice,
            stacklevel=2,
        )
    of_name = {one.name: one for one in measured.confounders}
    vectors, removals, used = embeddings.vectors, [], []
    for name in names:
        known = of_name[name]
        used.append(_of_all(known, measured.rows, len(embeddings)))
        vectors, removal = remove_confounder(vectors, used[-1])
        removals.append(removal)
    changed = [removal.name for removal in removals if removal.n_components]
    if changed:
        space, text = embeddings.space, f"{embeddings.fingerprint} without {' '.join(changed)}"
        source = {
            "made_from": describe_space(space),
            "made_from_fingerprint": embeddings.fingerprint,
        }
        made = {
            "fingerprint": hashlib.sha256(text.encode()).hexdigest(),
            "without": [*space.get("without", []), *changed],
        }
        embeddings = replace(embeddings, vectors=vectors, space=source | space | made)
    return WithoutConfounders(embeddings, removals, used)


def _of_all(known: Confounder, rows: NDArray[np.int64], n: int) -> Confounder:
    """Return a confounder of some rows as one of all n rows, NaN for the others."""

    def fill(values: NDArray[np.float64]) -> NDArray[np.float64]:
        filled = np.full((n, values.shape[1]), np.nan)
        filled[rows] = values
        return filled

    return known._replace(
        values=fill(known.values),
        compared=tuple(map(fill, known.compared)),
        predicted=None if known.predicted is None else fill(known.predicted),
    )


def as_confounders(properties: Sequence[ImageProperties], paths: Sequence[str]) -> list[Confounder]:
    """Return the properties and folders of images as confounders, in the usual order."""
    tone = np.array([one.tone for one in properties], np.float64)
    colours = np.array([one.colours for one in properties], np.float64)
    # Plain pixels are compared by their angle; networks see the difference from the mean picture.
    ways = _directions(colours), _directions(tone - tone.mean(axis=0))
    light = np.array([one.light for one in properties], np.float64)
    found = {"tone": Confounder("tone", tone, compared=ways, predicted=light[:, 1:])}
    for name in _NUMBERS:
        values = np.array([[getattr(one, name)] for one in properties], np.float64)
        found[name] = Confounder(name, values)
    found["brightness"] = found["brightness"]._replace(predicted=light[:, :1])
    saturation = np.array([[one.saturation] for one in properties], np.float64)
    found["colourfulness"] = found["colourfulness"]._replace(predicted=saturation)
    has_border = np.array([one.border > _IS_BORDER for one in properties])
    found["border"] = Confounder("border", has_border[:, None].astype(np.float64), True)
    details = np.stack([one.detail for one in properties])
    found["mark"] = Confounder("mark", find_mark(details, ~has_border)[:, None])
    found["format"] = _category("format", [one.format for one in properties])
    found["folder"] = _category("folder", [str(PurePosixPath(path).parent) for path in paths])
    return [found[name] for name in CONFOUNDERS]


def find_mark(
    details: NDArray[np.int8], considered: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Tell which images carry the same mark in the same place, such as a watermark.

    Edges in the same place with the same brightness in more images than by chance may be a mark;
    they are one if the images divide into those that are similar to it and those that are not.

    Parameters
    ----------
    details : ndarray of shape (n, m), int8
        Edges of each image, from :func:`clusterkit.images.properties.measure_image`.
    considered : ndarray of shape (n,), bool, optional
        The images that may have a mark; by default all.

    Returns
    -------
    ndarray of shape (n,)
        1 for images with the mark, 0 for others; all 0 if there is none.
    """
    found = np.zeros(len(details))
    rows = np.arange(len(details)) if considered is None else np.flatnonzero(considered)
    if len(rows) < 2 * _N_PLACES:
        return found
    edges, n = details[rows], len(rows)
    mean = edges.mean(axis=0, dtype=np.float64)
    # By the sum of the squares, which needs no copy of all edges in floating point.
    variance = np.einsum("ij,ij->j", edges, edges, dtype=np.float64) / n - mean**2
    # Locations without any edge have no spread.
    errors = (np.sqrt(np.maximum(variance, 0)) + 1) / math.sqrt(n)
    places = np.abs(mean) > _N_ERRORS * errors
    if not _N_PLACES <= places.sum() <= _MAX_PLACES * len(places):
        return found
    there, mean = edges[:, places] / np.float32(127), mean[places] / 127
    squares = (there**2).sum(axis=1)
    # Without the contribution of the image itself to the mean.
    likeness = there @ mean - squares / n
    likeness /= np.sqrt(squares) * np.linalg.norm(mean) + 1e-6
    found[rows] = _split(likeness)
    return found


def _split(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which similarities are high, if they divide into high and low ones (Otsu, 1979)."""
    ordered = np.sort(values)
    n, sums = len(ordered), np.cumsum(ordered)
    counts = np.arange(1, n)
    low, high = sums[:-1] / counts, (sums[-1] - sums[:-1]) / (n - counts)
    best = int(np.argmax(counts * (n - counts) * (high - low) ** 2))
    limit = (ordered[best] + ordered[best + 1]) / 2
    is_high = values > limit
    within = np.where(is_high, values - high[best], values - low[best])
    apart = high[best] - low[best] > _APART * max(within.std(), 1e-6)
    return is_high & (apart and high[best] > _LIKE and low[best] < _UNLIKE)


def _directions(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows of length 1; zero rows stay zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths, lengths, 1)


def _category(name: str, values: Sequence[str]) -> Confounder:
    """Return texts as a confounder."""
    _, codes = np.unique(values, return_inverse=True)
    return Confounder(name, codes[:, None].astype(np.float64), is_category=True)
