"""Vectors of images for training a last layer, from a store if they are in it."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clusterkit.embedding.embed import describe, embed
from clusterkit.errors import ImageError, Notice
from clusterkit.extractors.base import Extractor
from clusterkit.images.folder import ImageFolder, digest_file
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.store import Store, as_store
from clusterkit.utils.locations import absolute, is_within, join
from clusterkit.utils.parallel import map_ahead
from clusterkit.utils.text import plural


def read_features(
    files: Sequence[str | Path],
    extractor: Extractor,
    store: Store | str | Path | None,
    *,
    progress: bool = False,
) -> tuple[NDArray[np.float32], list[int], list[tuple[int, str]]]:
    """Embed the files whose content is not in the store under any name.

    Training on copies or links of embedded images therefore does not add them to the store.

    Parameters
    ----------
    files : sequence of path, length n
        The images.
    extractor : Extractor
        The network.
    store : Store or path, optional
        Where embeddings are looked up, and new ones kept.
    progress : bool
        Whether to show a progress bar on stderr.

    Returns
    -------
    vectors : ndarray of shape (n_readable, dimension), float32
        The embeddings of the readable files, in order.
    rows : list of int
        Their positions in ``files``.
    failures : list of (int, str)
        Position and reason of each other file.

    Raises
    ------
    NotFoundError
        If a file does not exist.

    Warns
    -----
    Notice
        If images of another folder are added to those of the store.
    """
    digests = list(map_ahead(_digest, files, ahead=64))
    vectors: dict[str | None, NDArray[np.float32]] = {}
    if store is not None:
        space = as_store(store).open_space(describe(extractor))
        known = space.read()
        vectors.update(zip(known.digests or [], known.vectors, strict=True))
    new = [file for file, digest in zip(files, digests, strict=True) if digest not in vectors]
    reasons: dict[str, str] = {}
    if new:
        images = ImageFolder([str(file) for file in new])
        if store is not None:
            _note_other_folder(images, known, space.folder)
        made = embed(images, extractor, store=store, progress=progress)
        vectors.update(zip(made.digests or [], made.vectors, strict=True))
        reasons = {join(images.root, path): reason for path, reason in made.failures}
    rows = [row for row, digest in enumerate(digests) if digest in vectors]
    failures = [
        (row, reasons.get(absolute(file), "it changed while it was read"))
        for row, (file, digest) in enumerate(zip(files, digests, strict=True))
        if digest not in vectors
    ]
    found = [vectors[digests[row]] for row in rows]
    shape = (len(rows), extractor.dimension)
    return np.array(found, np.float32).reshape(shape), rows, failures


def _note_other_folder(images: ImageFolder, known: Embeddings, space: Path) -> None:
    """Issue a notice if new images are not in the folder of those in the store."""
    if known.root is None or is_within(images.root, known.root):
        return
    warnings.warn(
        f"adding {plural(len(images), 'image')} of {images.root} to those of {known.root} in "
        f"{space}, where commands such as cluster use all of them; another store (--store, or "
        "store= in Python) keeps them apart",
        Notice,
        stacklevel=2,
    )


def _digest(file: str | Path) -> str | None:
    """Return the digest of a file, or None if it cannot be read."""
    try:
        return digest_file(file)
    except (OSError, ImageError):
        return None
