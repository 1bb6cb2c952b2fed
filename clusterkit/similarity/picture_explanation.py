"""Examine two pictures with the network that made their vectors.

This answers what vectors alone cannot: where in the pictures the similarity is, and how much of it
is colour tone.  What cannot be answered is listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import (
    ImageError,
    MissingDependencyError,
    SpaceMismatchError,
    WeightsError,
)
from clusterkit.extractors.base import Extractor
from clusterkit.images.batches import read_batches
from clusterkit.images.folder import read_image
from clusterkit.images.thumbnails import thumbnails
from clusterkit.images.tone import (
    Tone,
    color_histogram,
    compare_tones,
    give_tone,
    in_grey,
    measure_tone,
)
from clusterkit.similarity.catalogue import Catalogue
from clusterkit.similarity.scaling import Scaling, find_scaling, take_roots
from clusterkit.similarity.similarity_maps import Where, split_by_hiding, split_cosine
from clusterkit.similarity.tone_share import ToneInfluence, rank_pair
from clusterkit.store.embeddings import Embeddings
from clusterkit.utils.arguments import generator_from
from clusterkit.utils.locations import as_path, join

# Number of hidden patches along each side, as many as most networks have locations.
_N_PATCHES = 7
# Other images of the store that go through the network in grey and with one tone.
N_SAMPLE = 24
# Multiple of that number that is tried, since files may be gone.
_TRIES = 20
# Questions that need the files and the network.
_QUESTIONS = "where they are alike, and how much of it is colour tone"
# Side of pictures without a network.
_SIDE = 128


class PictureExplanation(NamedTuple):
    """Result of examining two pictures.

    Attributes
    ----------
    where : Where or None
        Where the similarity is.
    tone : ToneInfluence or None
        How much of it is colour tone.
    missing : tuple of str
        What could not be answered, and what to do about it.
    thumbnails : tuple of str
        Both pictures as HTML.
    """

    where: Where | None = None
    tone: ToneInfluence | None = None
    missing: tuple[str, ...] = ()
    thumbnails: tuple[str, ...] = ()


class Sample(NamedTuple):
    """Other images of the store, unchanged and in the versions of :class:`ToneInfluence`.

    Attributes
    ----------
    tone : Tone
        The mean tone of the images, to which all are matched in the version ``matched``.
    colours : ndarray of shape (n_pairs,), float64
        Similarity of the colours of each pair.
    as_is, grey, matched : ndarray of shape (n, dimension), float32
        Their vectors, as they are compared.
    """

    tone: Tone
    colours: NDArray[np.float64]
    as_is: NDArray[np.float32]
    grey: NDArray[np.float32]
    matched: NDArray[np.float32]


class PictureEmbedder:
    """A network that embeds pictures, by its feature maps if it has any.

    Parameters
    ----------
    extractor : Extractor
        The network.
    scaling : True or "sqrt"
        Whether its vectors are compared by their square roots, see
        :func:`~clusterkit.similarity.scaling.scale_rows`.
    """

    def __init__(self, extractor: Extractor, scaling: Scaling = True) -> None:
        self.extractor = extractor
        self.scaling = scaling
        self._has_maps: bool | None = None

    def maps(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Return the feature maps of pictures; None if the vectors are not their average."""
        found = []
        for batch in self._batches(pictures):
            maps = self._maps_of(batch)
            if maps is None:
                return None
            found.append(maps)
        return np.concatenate(found)

    def vectors(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the vectors of pictures of the network's size, as they are compared."""
        found = [np.empty((0, self.extractor.dimension), np.float32)]
        for batch in self._batches(pictures):
            maps = self._maps_of(batch)
            vectors = self.extractor.extract(batch).vectors if maps is None else maps.mean((1, 2))
            found.append(take_roots(vectors, self.scaling))
        return np.concatenate(found)

    def _batches(self, pictures: Any) -> Iterator[NDArray[np.uint8]]:
        """Yield at most as many pictures as the network takes at a time."""
        full = self.extractor.full_batch
        for start in range(0, len(pictures), full):
            yield np.stack(pictures[start : start + full])

    def _maps_of(self, batch: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Return the feature maps of a batch."""
        # The square root of an average is not a sum over locations.
        has_none = self._has_maps is False or self.scaling == "sqrt"
        maps = None if has_none else self.extractor.feature_maps(batch)
        if self._has_maps is None and maps is None:
            # The network of the vectors itself, for some hundred pictures.
            self.extractor.prepare(1)
        self._has_maps = maps is not None
        return maps


def explain_pictures(
    images: tuple[Embeddings, Embeddings],
    extractor: Extractor,
    embeddings: Embeddings | Catalogue,
    *,
    percentile: float | None = None,
    random_state: int | None = None,
) -> PictureExplanation:
    """Examine two pictures with a network.

    Parameters
    ----------
    images : pair of Embeddings
        One row each; a vector without a file has an empty path.
    extractor : Extractor
        The network that made the vectors.
    embeddings : Embeddings
        Embeddings of the store, some of which define an ordinary pair.
    percentile : float, optional
        Percentile of the similarity of the pictures among all pairs of the store.
    random_state : int, optional
        Seed of the choice of images.

    Returns
    -------
    PictureExplanation
        Where the similarity is, how much of it is tone, and what could not be answered.
    """
    files = [image.files[0] if image.paths[0] else None for image in images]
    try:
        size, resize = extractor.image_size, extractor.resize
    except (WeightsError, SpaceMismatchError) as error:
        return _explain_without_network(files, error)
    pictures, missing = _read_both(files, size, resize)
    if pictures is None:
        return PictureExplanation(missing=missing)
    try:
        embedder = PictureEmbedder(extractor, find_scaling(embeddings))
        where = find_where(pictures, embedder)
        sample = take_sample(embeddings, embedder, exclude=files, random_state=random_state)
        vectors = take_roots(np.concatenate([image.vectors for image in images]), embedder.scaling)
        tone = weigh_tone(pictures, vectors, embedder, sample, percentile=percentile)
    except (WeightsError, SpaceMismatchError, MissingDependencyError) as error:
        return _explain_without_network(files, error)
    if sample is None:
        missing = (
            "how much of it is colour tone: the store has too few other images whose files are "
            "there",
        )
    return PictureExplanation(where, tone, missing, tuple(thumbnails(filter(None, files))))


def find_where(pictures: NDArray[np.uint8], embedder: PictureEmbedder) -> Where:
    """Find where in two pictures their similarity is.

    Parameters
    ----------
    pictures : ndarray of shape (2, height, width, 3), uint8
        Of the network's size.
    embedder : PictureEmbedder
        The network.

    Returns
    -------
    Where
        Exact if the vectors are averages of feature maps, otherwise by hiding patches.
    """
    resize = embedder.extractor.resize
    maps = embedder.maps(pictures)
    if maps is not None:
        return split_cosine(maps[0], maps[1], resize=resize)
    hidden = [patch for picture in pictures for patch in _hide_patches(picture)]
    rows, columns = (min(_N_PATCHES, side) for side in pictures.shape[1:3])
    vectors = embedder.vectors([*pictures, *hidden])
    vectors, parts = vectors[:2], vectors[2:].reshape(2, rows, columns, -1)
    return split_by_hiding(vectors, parts[0], parts[1], resize=resize)


def take_sample(
    embeddings: Embeddings | Catalogue,
    embedder: PictureEmbedder,
    *,
    exclude: Sequence[Path | None] = (),
    random_state: int | None = None,
) -> Sample | None:
    """Embed some images of the store in grey and with one tone.

    Parameters
    ----------
    embeddings : Embeddings
        The images.
    embedder : PictureEmbedder
        The network.
    exclude : sequence of path
        Files to leave out.
    random_state : int, optional
        Seed of the choice.

    Returns
    -------
    Sample or None
        None if fewer than two of the images can be read.
    """
    rows, pictures = _read_some(embeddings, embedder.extractor, exclude, random_state)
    if len(rows) < 2:
        return None
    tones = [measure_tone(picture) for picture in pictures]
    tone = Tone(*(np.mean(values, axis=0) for values in zip(*tones, strict=True)))
    matched = [give_tone(picture, tone) for picture in pictures]
    vectors = embedder.vectors([*map(in_grey, pictures), *matched])
    histograms = np.stack([color_histogram(picture) for picture in pictures])
    first, second = np.triu_indices(len(rows), 1)
    return Sample(
        tone,
        np.minimum(histograms[first], histograms[second]).sum(axis=1),
        take_roots(embeddings.vectors[rows], embedder.scaling),
        vectors[: len(rows)],
        vectors[len(rows) :],
    )


def weigh_tone(
    pictures: NDArray[np.uint8],
    vectors: NDArray[np.float32],
    embedder: PictureEmbedder,
    sample: Sample | None,
    *,
    percentile: float | None = None,
) -> ToneInfluence:
    """Measure how much of the similarity of two pictures is their colour tone.

    Parameters
    ----------
    pictures : ndarray of shape (2, height, width, 3), uint8
        Of the network's size.
    vectors : ndarray of shape (2, dimension), float32
        The vectors of the unchanged pictures, as they are compared.
    embedder : PictureEmbedder
        The network.
    sample : Sample or None
        Other images.
    percentile : float, optional
        Percentile of the similarity of the unchanged pictures, if known for more images.

    Returns
    -------
    ToneInfluence
        Without percentiles if there is no sample.
    """
    colours = compare_tones(*pictures)
    tone = measure_tone(pictures.reshape(1, -1, 3)) if sample is None else sample.tone
    versions = [*map(in_grey, pictures), *(give_tone(one, tone) for one in pictures)]
    grey, matched = np.split(embedder.vectors(versions), 2)
    if sample is None:
        none = np.empty((0, vectors.shape[1]))
        first = rank_pair(vectors, none, percentile=percentile)
        return ToneInfluence(colours, None, first, rank_pair(grey, none), rank_pair(matched, none))
    return ToneInfluence(
        colours,
        100 * float((sample.colours < colours).mean()),
        rank_pair(vectors, sample.as_is, percentile=percentile),
        rank_pair(grey, sample.grey),
        rank_pair(matched, sample.matched),
        len(sample.as_is),
    )


def _explain_without_network(
    files: Sequence[Path | None], problem: Exception
) -> PictureExplanation:
    """Compare the colours of two pictures, without the network."""
    pictures, missing = _read_both(files, (_SIDE, _SIDE), "stretch")
    if pictures is None:
        return PictureExplanation(missing=missing)
    return PictureExplanation(
        tone=ToneInfluence(compare_tones(*pictures)), missing=(f"{_QUESTIONS}: {problem}",)
    )


def _read_both(
    files: Sequence[Path | None], size: tuple[int, int], resize: str
) -> tuple[NDArray[np.uint8] | None, tuple[str, ...]]:
    """Return two pictures, or the reason why there are none."""
    pictures, missing = [], []
    for file in files:
        if file is None:
            return None, (f"{_QUESTIONS}: that needs the files of both images",)
        try:
            pictures.append(read_image(file, size, resize=resize))
        except ImageError as error:
            missing.append(f"{_QUESTIONS}: {file}: {error}")
    return (None if missing else np.stack(pictures)), tuple(missing)


def _read_some(
    embeddings: Embeddings | Catalogue,
    extractor: Extractor,
    exclude: Sequence[Path | None],
    random_state: int | None,
) -> tuple[NDArray[np.intp], list[NDArray[np.uint8]]]:
    """Return the rows of some images of the store, chosen at random, and their pixels."""
    order = generator_from(random_state).permutation(len(embeddings))
    taken = set(exclude)
    files: dict[int, Path] = {}
    # Others replace files that are gone; on a disk that is not mounted, all are gone.
    for row in order[: _TRIES * N_SAMPLE].tolist():
        file = as_path(join(embeddings.root or "", embeddings.paths[row]))
        if file not in taken and file.is_file():
            files[row] = file
        if len(files) == N_SAMPLE:
            break
    chosen, size = list(files), extractor.image_size
    kept, pictures = [], []
    for batch in read_batches(list(files.values()), size, N_SAMPLE, resize=extractor.resize):
        kept += [chosen[i] for i in batch.rows]
        pictures += list(batch.images)
    return np.array(kept, dtype=np.intp), pictures


def _hide_patches(picture: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """Return copies of a picture, each with one patch of its mean colour."""
    colour = np.rint(picture.reshape(-1, 3).mean(axis=0)).astype(np.uint8)
    edges = [
        np.linspace(0, side, min(_N_PATCHES, side) + 1).astype(int) for side in picture.shape[:2]
    ]
    copies = []
    for top, bottom in zip(edges[0], edges[0][1:], strict=False):
        for left, right in zip(edges[1], edges[1][1:], strict=False):
            copy = picture.copy()
            copy[top:bottom, left:right] = colour
            copies.append(copy)
    return copies
