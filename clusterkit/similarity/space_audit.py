"""Audit an embedding space without labels: confounders that it follows, and odd images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.copies import find_copies
from clusterkit.datasets.results import Rows, TableResult
from clusterkit.errors import InvalidInputError, NotFoundError, WeightsError
from clusterkit.extractors.autoencoder.extractor import Autoencoder
from clusterkit.similarity.confounders import MIN_ROWS, Association, associations
from clusterkit.similarity.correlation import correlation_rows
from clusterkit.similarity.image_confounders import (
    CONFOUNDERS,
    ImageConfounders,
    measure_confounders,
)
from clusterkit.similarity.nearest import nearest_others
from clusterkit.similarity.scaling import find_scaling
from clusterkit.store.embeddings import Embeddings, RandomSample, describe_space
from clusterkit.store.store import as_sample
from clusterkit.utils.arguments import check_at_least, generator_from
from clusterkit.utils.outliers import UNUSUAL, modified_z_scores
from clusterkit.utils.text import first_few, join_lines, percent, plural

# A space follows a property if its correlation is at least the first number, and tells it if at
# least the second share of it is predicted from few images.  Some properties go with content: of
# unchanged photos, ResNet50's features reach correlations of 0.37 with tone, brightness and
# colourfulness, and 0.22 with sharpness; they predict 0.34 of the light and of the most saturated
# colours, 0.65 of sharpness, and 0.37 of borders.  Of anime frames, whose sizes go with the show,
# Xception's predict 0.37 of the size.
_LIMITS = {
    "tone": (0.35, 0.45),
    "brightness": (0.35, 0.45),
    "colourfulness": (0.4, 0.45),
    "sharpness": (0.3, 0.7),
    "size": (0.1, 0.45),
    "aspect": (0.1, 0.45),
    "border": (0.1, 0.7),
}
_NOT_CONTENT = (0.1, 0.3)
# And at least this many times the correlation of shuffled values, which is high for few images.
_TIMES_CHANCE = 2.0
# Number of neighbours of each image, and of the images that are searched.
_N_NEIGHBORS, _MAX_NEAREST = 10, 10_000
# Skewness of the number of times an image is a neighbour, above which some are hubs.
_HUBS = 3.0
# Minimum number of effective dimensions to distinguish many things.
_FEW_DIMENSIONS = 3.0
# Below this PSNR in dB, reconstructions show blobs of colour.
_BLURRY = 18.0
# Maximum colourfulness of images without colour, allowing for JPEG artefacts.
_GREY = 1.0
# What is predicted of these properties.
_TOLD = {
    "tone": "the colour of the lightest parts",
    "brightness": "the lightness of the lightest parts",
    "colourfulness": "the saturation of the most colourful parts",
}
# Number of rows that are converted to float64 at a time.
_BLOCK_ROWS = 4096
# Number of images named in a sentence.
_N_NAMED = 3


class Finding(NamedTuple):
    """One result of an audit.

    Attributes
    ----------
    kind : str
        Its subject: a name of :data:`CONFOUNDERS`, ``"not followed"``, ``"dimensions"``,
        ``"hubs"``, ``"copies"``, ``"outliers"``, ``"reconstruction"`` or ``"unread"``.
    is_problem : bool
        Whether something should be done about it.
    sentence : str
        The result in plain words.
    figure : float or None
        Its number; None if unknown.
    advice : str
        What to do about it; empty if nothing.
    images : tuple of str
        Paths of example images, the strongest first.
    """

    kind: str
    is_problem: bool
    sentence: str
    figure: float | None
    advice: str = ""
    images: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Audit(TableResult):
    """What an embedding space follows, and which images are odd in it.

    Attributes
    ----------
    embeddings : Embeddings
        The audited images.
    findings : list of Finding
        Problems first.
    associations : list of Association
        Association of the distances with each property of the images.
    effective_dimension : float
        Participation ratio: the equivalent number of dimensions of equal variance.
    n_constant : int
        Number of dimensions that are the same for all images.
    hubness : float or None
        Skewness of the number of images of which each image is a near neighbour; None for too few
        images.
    outliers : list of (int, float)
        Rows that are unusually far from their nearest neighbours, with modified z-scores, worst
        first.
    copies : list of (int, int)
        Pairs of rows that show the same picture.
    reconstruction : ndarray of shape (n,), float64, or None
        Mean squared reconstruction error of each image by an autoencoder, in grey levels squared;
        NaN for images that cannot be read.  None for other networks.
    """

    embeddings: Embeddings
    findings: list[Finding]
    associations: list[Association] = field(default_factory=list)
    effective_dimension: float = math.nan
    n_constant: int = 0
    hubness: float | None = None
    outliers: list[tuple[int, float]] = field(default_factory=list)
    copies: list[tuple[int, int]] = field(default_factory=list)
    reconstruction: NDArray[np.float64] | None = None

    @property
    def sampled(self) -> RandomSample | None:
        """The random sample that was audited, if not all images were."""
        return self.embeddings.sampled

    @property
    def problems(self) -> list[Finding]:
        """The findings that are problems."""
        return [finding for finding in self.findings if finding.is_problem]

    def follows(self, name: str) -> bool:
        """Return whether the space follows a property.

        Parameters
        ----------
        name : str
            A key of :data:`CONFOUNDERS`.

        Returns
        -------
        bool
            False for a property that was not measured.

        Raises
        ------
        InvalidInputError
            If the property is not known.
        """
        if name not in CONFOUNDERS:
            raise InvalidInputError(
                f"a property must be one of {', '.join(CONFOUNDERS)}. Received: {name!r}"
            )
        return any(one.name == name and does_follow(one) for one in self.associations)

    def bars(self) -> list[tuple[str, float, float, bool]]:
        """Return name, correlation and limit of each property, and whether the space follows it."""
        return [
            (
                CONFOUNDERS[one.name],
                one.correlation,
                _limit(one),
                does_follow(one) and any(one.name == finding.kind for finding in self.problems),
            )
            for one in self.associations
        ]

    def worst_rebuilt(self, n: int = _N_NAMED) -> list[int]:
        """Return the rows that the autoencoder reconstructs worst; empty for other networks."""
        return [] if self.reconstruction is None else _worst(self.reconstruction, n)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        paths = self.embeddings.paths
        errors = self.reconstruction
        return {
            "space": describe_space(self.embeddings.space),
            "images": len(paths),
            "sample": self.sampled and self.sampled._asdict(),
            "findings": [finding._asdict() for finding in self.findings],
            "properties": [
                one._asdict()
                | {"follows": does_follow(one), "tells": does_tell(one), "strength": strength(one)}
                for one in self.associations
            ],
            "effective_dimension": self.effective_dimension,
            "constant_dimensions": self.n_constant,
            "hubness": self.hubness,
            "outliers": [{"path": paths[row], "score": score} for row, score in self.outliers],
            "copies": [[paths[one], paths[other]] for one, other in self.copies],
            "reconstruction": None
            if errors is None
            else [
                {"path": path, "error": None if math.isnan(error) else error}
                for path, error in zip(paths, errors.tolist(), strict=True)
            ],
        }

    def to_text(self) -> str:
        """Return the findings, each with advice."""
        n, d = self.embeddings.shape
        images = plural(n, "image") if self.sampled is None else str(self.sampled)
        lines = [f"{self._headline()} ({images}, {d:,} dimensions)"]
        for finding in self.findings:
            lines.append(f"{'!' if finding.is_problem else '-'} {finding.sentence}")
            if finding.advice:
                lines.append(f"    {finding.advice}")
        return join_lines(lines)

    def _headline(self) -> str:
        """Return the number of problems."""
        space = describe_space(self.embeddings.space)
        return f"Audit of {space}: {plural(len(self.problems), 'problem')}"

    def _table(self) -> Rows:
        """Return one row per finding."""
        header = ["kind", "problem", "figure", "finding", "advice", "images"]
        return Rows(
            header,
            [
                [*one[:2], one.figure, one.sentence, one.advice, "|".join(one.images)]
                for one in self.findings
            ],
            decimals=4,
        )


def audit(
    embeddings: Any,
    *,
    max_images: int = 1_000,
    sample: int | None = None,
    random_state: int | None = None,
    progress: bool = False,
) -> Audit:
    """Audit an embedding space: confounders that it follows, and odd images.

    Parameters
    ----------
    embeddings : Embeddings, VectorStream, Store, Space, or path of a store
        The images; see :func:`clusterkit.store.as_embeddings`.
    max_images : int
        Maximum number of images whose files are read for properties, drawn at random.
    sample : int, optional
        Maximum number of audited images, drawn at random; by default 20,000 of a stream or a large
        space, otherwise all.
    random_state : int, optional
        Seed of the samples, and of the shuffled values.
    progress : bool
        Whether to show progress bars.

    Returns
    -------
    Audit
        The findings as sentences, and their values.

    Raises
    ------
    InvalidInputError
        If there are fewer than three images.

    Notes
    -----
    A space *follows* a property if images of similar values are near each other: the rank
    correlation between both distances over all pairs of images is at least 0.35 for tone and
    brightness, 0.4 for colourfulness and 0.3 for sharpness, which are related to content, and 0.1
    for size, aspect, quality, format, borders, marks and folders, which are not; and at least twice
    the 99th percentile for shuffled values.

    A space that does not follow a property may *tell* it: learning from 50 images, the vectors of
    the others predict a share of its variance of at least 0.45 for tone (the colour of the lightest
    parts), brightness (their lightness), colourfulness (the largest saturation), size and aspect,
    0.7 for sharpness and borders, and 0.3 for the rest.  Most pairs of images differ in content, so
    that distances hide what a property adds to images of the same content; a prediction does not.

    Outliers are far from their nearest neighbours by cosine, or, of class probabilities, by
    :func:`~clusterkit.similarity.correlation.correlation_rows`.

    References
    ----------
    Radovanovic, Nanopoulos, Ivanovic: Hubs in space. JMLR 11, 2010.  Iglewicz, Hoaglin: How to
    detect and handle outliers. ASQC Quality Press, 1993, for the modified z-score of 3.5 above
    which an image is an outlier.
    """
    check_at_least(max_images, 3, "max_images")
    embeddings = as_sample(embeddings, sample, random_state=random_state, progress=progress)
    n = len(embeddings)
    if n < 3:
        raise InvalidInputError(f"an audit needs at least 3 images. Received: {n}")
    rng = generator_from(random_state)
    vectors = np.asarray(embeddings, np.float32)
    findings: list[Finding] = []
    looked_at = np.arange(n)
    if n > max_images:
        looked_at = np.sort(rng.choice(n, max_images, replace=False))
    followed: list[Association] = []
    copies: list[tuple[int, int]] = []
    measured = _measure(embeddings, looked_at, findings, progress=progress)
    if measured is not None:
        followed = associations(
            vectors[measured.rows], measured.confounders, random_state=random_state
        )
        if len(measured.rows) < MIN_ROWS:
            text = "There are too few images to tell whether the space follows tone and the like."
            findings.append(Finding("not followed", False, text, float(len(measured.rows))))
        findings += _report_followed(followed, measured, embeddings.space)
        findings += _report_told(followed)
        findings += _report_not_followed(followed)
        findings += _report_mark(measured)
        copies = find_copies(embeddings.files, progress=progress)
        findings += _report_copies(copies, embeddings)
    spread = np.sqrt(
        np.sum([(block**2).sum(axis=0) for block in _centered_blocks(vectors)], axis=0)
    )
    n_constant = int((spread <= 1e-7 * spread.max()).sum())
    effective = _effective_dimension(vectors)
    findings += _report_dimensions(effective, n_constant, vectors.shape)
    outliers, hubness = [], None
    if n > 2 * _N_NEIGHBORS:
        near = np.sort(rng.choice(n, min(n, _MAX_NEAREST), replace=False))
        scaling = find_scaling(vectors[near])
        distances, neighbors = nearest_others(vectors[near], _N_NEIGHBORS, normalize=scaling)
        hubness = _skewness(np.bincount(neighbors.ravel(), minlength=len(near)))
        findings += _report_hubs(hubness, neighbors, [embeddings.paths[row] for row in near])
        if scaling == "sqrt":
            # Even so, each image of which the network is unsure would be an outlier.
            distances, _ = nearest_others(correlation_rows(vectors[near]), _N_NEIGHBORS)
        outliers = [(int(near[row]), score) for row, score in _find_outliers(distances)]
        findings += _report_outliers(outliers, embeddings)
    errors = _reconstruct(embeddings, findings, progress=progress)
    findings.sort(key=lambda finding: not finding.is_problem)
    return Audit(
        embeddings,
        findings,
        followed,
        effective_dimension=effective,
        n_constant=n_constant,
        hubness=hubness,
        outliers=outliers,
        copies=copies,
        reconstruction=errors,
    )


def does_follow(one: Association) -> bool:
    """Return whether a space follows a property."""
    return one.correlation >= _limit(one)


def does_tell(one: Association) -> bool:
    """Return whether a property can be predicted from few vectors."""
    return (one.predicted or 0.0) >= _LIMITS.get(one.name, _NOT_CONTENT)[1]


def strength(one: Association) -> float:
    """Return how strong a property is in a space; from 1 on the space follows or tells it."""
    predicted = (one.predicted or 0.0) / _LIMITS.get(one.name, _NOT_CONTENT)[1]
    return max(one.correlation / _limit(one), predicted, 0.0)


def _limit(one: Association) -> float:
    """Return the minimum correlation of a property that a space follows."""
    return max(_LIMITS.get(one.name, _NOT_CONTENT)[0], _TIMES_CHANCE * one.chance)


def _measure(
    embeddings: Embeddings,
    sample: NDArray[np.int64],
    findings: list[Finding],
    *,
    progress: bool,
) -> ImageConfounders | None:
    """Measure the properties of the images; add findings on unreadable files."""
    if embeddings.root is None:
        text = "The vectors have no files: tone, size and the like were not measured."
        findings.append(Finding("unread", False, text, float(len(embeddings))))
        return None
    try:
        measured = measure_confounders(embeddings, sample, progress=progress)
    except NotFoundError:
        text = "No image file can be read: tone, size and the like were not measured."
        advice = "Check that the disk with the photos is mounted."
        findings.append(Finding("unread", True, text, float(len(embeddings)), advice))
        return None
    if measured.failures:
        paths = [path for path, _ in measured.failures]
        text = f"{plural(len(paths), 'image file')} cannot be read now: {first_few(paths)}."
        advice = "`clusterkit embed FOLDER --prune` forgets files that are gone."
        findings.append(Finding("unread", False, text, float(len(paths)), advice, tuple(paths)))
    return measured


def _report_followed(
    followed: list[Association], measured: ImageConfounders, space: dict[str, Any]
) -> list[Finding]:
    """Return findings on the properties that the space follows."""
    found = []
    such_as = "" if space.get("extractor") == "xception" else ", such as xception"
    for one in filter(does_follow, followed):
        is_problem = False
        name, chance = CONFOUNDERS[one.name], max(one.chance, 0.005)
        figures = f"(rank correlation {one.correlation:z.2f}, by chance below {chance:.2f})"
        without = f"`clusterkit cluster --without {one.name}`"
        if one.name == "folder":
            text = f"Images of one folder are near each other {figures}."
            advice = (
                "Good if the folders are what you look for; if they are only sources or days, the "
                f"groups will be these: {without}."
            )
        elif one.name == "tone" and _are_grey(measured):
            text = f"The space follows the layout of light and dark {figures}."
            advice = (
                "Good if shapes are what you look for, as in digits; if it is the light in photos, "
                f"{without} removes it."
            )
        else:
            text = f"The space follows {name}: images alike in it are near, whatever they show "
            text += f"{figures}."
            advice = (
                f"Groups will also follow it: remove it with {without}, or take another "
                f"network{such_as}."
            )
            is_problem = True
        found.append(Finding(one.name, is_problem, text, one.correlation, advice))
    return found


def _report_told(followed: list[Association]) -> list[Finding]:
    """Return findings on the properties that the vectors tell, though distances hardly do."""
    found = []
    for one in followed:
        if does_follow(one) or not does_tell(one):
            continue
        name, share = _TOLD.get(one.name, CONFOUNDERS[one.name]), one.predicted or 0.0
        text = (
            f"The space tells {name}: learning from few images, the vectors predict {share:.2f} of "
            f"its variance; distances hardly follow it (rank correlation {one.correlation:z.2f})."
        )
        advice = "Images of similar content may be grouped by it: "
        if one.name == "folder":
            advice += "good if the folders are what you look for, not if they are only sources."
        else:
            advice += "make them alike in it before you embed them, or take another network."
        found.append(Finding(one.name, one.name != "folder", text, share, advice))
    return found


def _are_grey(measured: ImageConfounders) -> bool:
    """Return whether most images have no colour."""
    values = next(one for one in measured.confounders if one.name == "colourfulness").values
    return bool(np.median(values) < _GREY)


def _report_not_followed(followed: list[Association]) -> list[Finding]:
    """Return a finding on the properties that the space does not follow."""
    others = [
        one for one in followed if not (does_follow(one) or does_tell(one) or one.name == "folder")
    ]
    if not others:
        return []
    names = ", ".join(f"{CONFOUNDERS[one.name]} ({one.correlation:z.2f})" for one in others)
    highest = max(one.correlation for one in others)
    return [Finding("not followed", False, f"It does not follow {names}.", highest)]


def _report_mark(measured: ImageConfounders) -> list[Finding]:
    """Return a finding on images that carry the same mark."""
    marks = next(one for one in measured.confounders if one.name == "mark").values[:, 0]
    share = float(marks.mean())
    if not share:
        return []
    text = (
        f"About {percent(share)} of the images have the same edges in the same place: a "
        "watermark, a date or a frame."
    )
    advice = "Crop it, or see with `clusterkit cluster --without mark` whether it makes groups."
    return [Finding("mark", True, text, share, advice)]


def _report_copies(copies: list[tuple[int, int]], embeddings: Embeddings) -> list[Finding]:
    """Return a finding on images that show the same picture."""
    if not copies:
        return []
    paths = embeddings.paths
    pairs = [f"{paths[one]} and {paths[other]}" for one, other in copies]
    text = f"{plural(len(copies), 'pair')} of images show the same picture: {first_few(pairs)}."
    advice = "Copies count twice, and add nothing to lists of similar images."
    images = tuple(paths[row] for pair in copies for row in pair)
    return [Finding("copies", False, text, float(len(copies)), advice, images)]


def _effective_dimension(vectors: NDArray[np.float32]) -> float:
    """Return the participation ratio of the variances of the principal components."""
    # The traces of the covariance and of its square need no eigenvalues.
    if vectors.shape[1] > vectors.shape[0]:
        centered = np.concatenate([*_centered_blocks(vectors)])
        squares = centered @ centered.T
    else:
        squares = np.zeros((vectors.shape[1],) * 2)
        for block in _centered_blocks(vectors):
            squares += block.T @ block
    return float(np.trace(squares) ** 2 / (squares**2).sum()) if squares.any() else 0.0


def _centered_blocks(vectors: NDArray[np.float32]) -> Iterator[NDArray[np.float64]]:
    """Yield the rows minus their mean, a block at a time, which saves a copy in float64.

    Products of four such numbers fit in float64, whatever the magnitude of the vectors.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        yield vectors[start : start + _BLOCK_ROWS] - mean


def _report_dimensions(effective: float, n_constant: int, shape: tuple[int, ...]) -> list[Finding]:
    """Return findings on the dimensions of the space."""
    n, d = shape
    if n_constant == d:
        text = "All images have the same vector."
        advice = "The network sees no difference: train it longer, or take another."
        return [Finding("dimensions", True, text, 0.0, advice)]
    text = f"Its {d:,} dimensions vary like {effective:.1f} independent ones."
    few = effective < _FEW_DIMENSIONS <= d and n >= MIN_ROWS
    advice = "These hardly distinguish more than a gradient: train longer, or take another network."
    found = [Finding("dimensions", few, text, effective, advice if few else "")]
    if n_constant:
        share = n_constant / d
        text = f"{n_constant:,} of its {d:,} dimensions are the same for all images."
        many = share > 0.5
        advice = "Most of the network is unused: train longer, or with a smaller --latent-size."
        found.append(Finding("dimensions", many, text, share, advice if many else ""))
    return found


def _skewness(counts: NDArray[np.int64]) -> float:
    """Return the standardised third moment."""
    centered = counts - counts.mean()
    spread = centered.std()
    return float((centered**3).mean() / spread**3) if spread else 0.0


def _report_hubs(hubness: float, neighbors: NDArray[np.int64], paths: list[str]) -> list[Finding]:
    """Return a finding on images that are near to very many others."""
    counts = np.bincount(neighbors.ravel(), minlength=len(paths))
    never = float((counts == 0).mean())
    hubs = np.argsort(-counts, kind="stable")[:_N_NAMED]
    text = (
        f"Neighbours are spread unevenly (skewness {hubness:.1f}): {paths[hubs[0]]} is among the "
        f"{_N_NEIGHBORS} nearest of {plural(int(counts[hubs[0]]), 'image')}, {percent(never)} "
        "are near to none."
    )
    advice = "Lists of similar images will repeat such hubs: look at them first."
    is_hub = hubness > _HUBS
    images = tuple(paths[row] for row in hubs)
    return [Finding("hubs", True, text, hubness, advice, images)] if is_hub else []


def _find_outliers(distances: NDArray[np.float64]) -> list[tuple[int, float]]:
    """Return rows that are unusually far from their neighbours, worst first."""
    far = np.sqrt(2 * np.maximum(distances, 0)).mean(axis=1)
    scores = modified_z_scores(far)
    order = np.argsort(-scores, kind="stable")
    return [(int(row), float(scores[row])) for row in order if scores[row] > UNUSUAL]


def _report_outliers(outliers: list[tuple[int, float]], embeddings: Embeddings) -> list[Finding]:
    """Return a finding on images that are unlike all others."""
    if not outliers:
        return []
    paths = tuple(embeddings.paths[row] for row, _ in outliers)
    text = f"{plural(len(paths), 'image')} unlike all others: {first_few(paths)}."
    advice = "Look at them: other subjects, broken pictures, or the only ones of their kind."
    return [Finding("outliers", False, text, float(len(paths)), advice, paths)]


def _reconstruct(
    embeddings: Embeddings, findings: list[Finding], *, progress: bool
) -> NDArray[np.float64] | None:
    """Return the reconstruction error of each image; add findings on the worst."""
    source = embeddings.space.get("weights_source")
    if embeddings.space.get("extractor") != "autoencoder" or embeddings.root is None:
        return None
    if source is None or not Path(source).is_file():
        text = f"Its autoencoder {source} is gone: its reconstruction error is unknown."
        findings.append(Finding("reconstruction", False, text, None))
        return None
    try:
        network = Autoencoder(source)
        if network.fingerprint != embeddings.fingerprint:
            raise WeightsError(f"{source} has changed since")
        errors = network.reconstruction_errors(embeddings.files, progress=progress)
    except WeightsError as error:
        text = f"The reconstruction error of its autoencoder is unknown: {error}."
        findings.append(Finding("reconstruction", False, text, None))
        return None
    if np.isnan(errors).all():
        return errors
    paths = tuple(embeddings.paths[row] for row in _worst(errors, _N_NAMED))
    psnr = 10 * math.log10(255**2 / max(float(np.nanmedian(errors)), 1e-9))
    text = f"Its autoencoder reconstructs images at {psnr:.1f} dB PSNR, worst {', '.join(paths)}."
    blurry = psnr < _BLURRY
    advice = "It keeps little of them: train longer, or with a larger --latent-size."
    findings.append(Finding("reconstruction", blurry, text, psnr, advice if blurry else "", paths))
    return errors


def _worst(errors: NDArray[np.float64], n: int) -> list[int]:
    """Return the rows of the largest errors that are known."""
    known = np.flatnonzero(~np.isnan(errors))
    return [int(row) for row in known[np.argsort(-errors[known], kind="stable")][:n]]
