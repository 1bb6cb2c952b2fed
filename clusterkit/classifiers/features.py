"""The vectors of the images that a last layer is trained on, from a store where it knows them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clusterkit.embedding.embed import describe, embed
from clusterkit.errors import ImageError
from clusterkit.extractors.applications import KerasApplication
from clusterkit.extractors.base import Extractor
from clusterkit.extractors.remembered import RememberedExtractor
from clusterkit.images.folder import ImageFolder, digest_file
from clusterkit.store.store import Store
from clusterkit.utils.parallel import map_ahead


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
    """
    digests = list(map_ahead(_digest, files, ahead=64))
    vectors: dict[str | None, NDArray[np.float32]] = {}
    if store is not None:
        folder = store if isinstance(store, Store) else Store(store)
        known = folder.open_space(describe(extractor)).read()
        vectors.update(zip(known.digests or [], known.vectors, strict=True))
    new = [file for file, digest in zip(files, digests, strict=True) if digest not in vectors]
    reasons: dict[Path, str] = {}
    if new:
        images = ImageFolder([str(file) for file in new])
        made = embed(images, extractor, store=store, progress=progress)
        vectors.update(zip(made.digests or [], made.vectors, strict=True))
        reasons = {images.root / path: reason for path, reason in made.failures}
    rows = [row for row, digest in enumerate(digests) if digest in vectors]
    failures = [
        (row, reasons.get(Path(file).absolute(), "it changed while it was read"))
        for row, (file, digest) in enumerate(zip(files, digests, strict=True))
        if digest not in vectors
    ]
    found = [vectors[digests[row]] for row in rows]
    shape = (len(rows), extractor.dimension)
    return np.array(found, np.float32).reshape(shape), rows, failures


def recall_if_gone(
    extractor: KerasApplication, store: Store | str | Path | None, *, fingerprint: str | None = None
) -> Extractor:
    """Return an extractor, or that of its space in the store if the file of its weights is gone.

    Images that the store knows then need no weights.

    Parameters
    ----------
    extractor : KerasApplication
        The network.
    store : Store or path, optional
        Where its embeddings may be.
    fingerprint : str, optional
        Of its space, if known.  By default that is the one that was made with this file, or the
        last that was embedded if the extractor names no file.

    Returns
    -------
    Extractor
        The extractor itself if its weights are there, or the store has no such space.
    """
    source = extractor.origin()["weights_source"]
    is_named = extractor.weights is not None or source != "imagenet"
    if store is None or (is_named and (source == "imagenet" or Path(source).is_file())):
        return extractor
    for space in (store if isinstance(store, Store) else Store(store)).spaces_of(extractor.name):
        info = space.read_info() or {}
        if fingerprint is not None:
            fits = info.get("fingerprint") == fingerprint
        else:
            is_sized_alike = info.get("parameters", {}).get("resize") == extractor.resize
            fits = is_sized_alike and (not is_named or info.get("weights_source") == source)
        if fits:
            return RememberedExtractor(info)
    return extractor


def _digest(file: str | Path) -> str | None:
    """Return the digest of a file, or None if it cannot be read."""
    try:
        return digest_file(file)
    except (OSError, ImageError):
        return None
