"""Confounders: properties that distances may follow instead of content, and their removal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.similarity.scaling import unit_rows
from clusterkit.utils.arguments import generator_from
from clusterkit.utils.text import plural

Values = NDArray[np.float64]

# Number of rows whose distances are compared; a sample of larger sets.
_MAX_ROWS = 1_000
# Number of times that properties are shuffled among the images, for what is due to chance.
_N_SHUFFLED = 99
# Minimum share and number of images with a property that is compared.
_MIN_SHARE, MIN_ROWS = 0.5, 10
# Properties are predicted by learning from this many images, however many there are, so that the
# result does not grow with their number; fewer than the minimum are too few for a stable result.
_N_LEARNED, _MIN_PREDICTED = 50, 50
# Number of draws, and ridge penalty for centred vectors of mean square length 1.
_N_DRAWS, _FEW_PENALTY = 20, 0.1
# Minimum share of pairs that differ in it, since a few images can be near each other by chance.
_MIN_APART = 0.1
# A principal component is changed if a confounder predicts more than this share of its variance,
# and thus more than everything else.
_MAX_PREDICTED = 0.5
# Components beyond these have little variance left.
_N_COMPONENTS = 200
# Number of rows that are changed at a time, so that another array of their size is not needed.
_N_BLOCK = 1024
# Maximum number of categories, which limits the time.
_MAX_KINDS = 1_000
# A smaller share of the variance is rounding.
_NO_VARIANCE = 1e-9
# Ridge penalty for each predictor of variance 1, and folds.
_PENALTY, _N_FOLDS = 1.0, 5


class Confounder(NamedTuple):
    """A property of n images that distances may follow.

    Attributes
    ----------
    name : str
        Its name, such as ``"tone"``.
    values : ndarray of shape (n, m), float64
        Numbers, NaN for images without it.  For categories, one column of codes.
    is_category : bool
        Whether it is categorical.
    compared : tuple of ndarray of shape (n, k), float64
        Values whose distances are compared instead of ``values``: ways in which a network may see
        the property.
    predicted : ndarray of shape (n, k), float64, or None
        Values that the vectors are tested to predict instead of ``values``: a measure that depends
        less on what the images show.
    """

    name: str
    values: Values
    is_category: bool = False
    compared: tuple[Values, ...] = ()
    predicted: Values | None = None

    def __repr__(self) -> str:
        """Return its name and the number of images, as a notebook shows it."""
        return f"Confounder({self.name!r}, {plural(len(self.values), 'image')})"


class Association(NamedTuple):
    """How far the distances of a space follow a property.

    Attributes
    ----------
    name : str
        Name of the property.
    correlation : float
        For numbers, Spearman's rank correlation between the distances of the vectors and those of
        the property, over all pairs of images.  For categories, Somers' D between the distances and
        whether the categories of a pair differ.  Both are 0 without association and at most 1.  If
        the property is compared in several ways, the largest.
    chance : float
        The 99th percentile of the same if the property were shuffled among the images.
    n_images : int
        Number of compared images.
    predicted : float or None
        Share of the variance of the property's ranks that the vectors predict, learning from 50
        images: 1 if they determine it, 0 or less if they tell nothing.  None for fewer than 50
        images.
    """

    name: str
    correlation: float
    chance: float
    n_images: int
    predicted: float | None = None


class Removal(NamedTuple):
    """Result of the removal of a confounder from vectors.

    Attributes
    ----------
    name : str
        Name of the confounder.
    n_components : int
        Number of principal components with more than half of their variance predicted; 0 if nothing
        was removed.
    share : float
        Share of the variance of the vectors that was removed.
    """

    name: str
    n_components: int
    share: float


def associations(
    vectors: NDArray[np.float32],
    confounders: Sequence[Confounder],
    *,
    random_state: int | None = None,
) -> list[Association]:
    """Measure how far the distances of vectors follow properties of the images.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)
        The vectors; their cosine distances count.
    confounders : sequence of Confounder
        The properties.  One that fewer than half of the images or fewer than ten have, or that is
        the same in nine of ten pairs of images, is left out.
    random_state : int, optional
        Seed of the shuffling, and of a sample of 1,000 rows if there are more.

    Returns
    -------
    list of Association
        In the order of the confounders.

    References
    ----------
    Mantel: The detection of disease clustering and a generalized regression approach. Cancer
    Research 27, 1967, for the permutations.  Somers: A new asymmetric measure of association for
    ordinal variables. American Sociological Review 27, 1962.  Voita, Titov: Information-theoretic
    probing with minimum description length. EMNLP 2020, for how much few examples tell.
    """
    rng = generator_from(random_state)
    n = len(vectors)
    rows = np.arange(n)
    if n > _MAX_ROWS:
        rows = np.sort(rng.choice(n, _MAX_ROWS, replace=False))
    # Properties of the same images are shuffled together, which takes no longer than one.
    groups: dict[bytes, list[int]] = {}
    for place, confounder in enumerate(confounders):
        has = np.isfinite(confounder.values[rows]).all(axis=1)
        enough = has.sum() >= max(MIN_ROWS, _MIN_SHARE * len(rows))
        share = _share_apart(confounder.values[rows][has]) if enough else 0.0
        # Categories that no two images share cannot be compared.
        if share >= _MIN_APART and not (confounder.is_category and share == 1):
            groups.setdefault(has.tobytes(), []).append(place)
    found: dict[int, Association] = {}
    for key, places in groups.items():
        kept = rows[np.frombuffer(key, np.bool_)]
        chosen = [confounders[place] for place in places]
        measured = _associate(vectors[kept], chosen, kept, rng)
        found.update(zip(places, measured, strict=True))
    return [found[place] for place in sorted(found)]


def _share_apart(values: Values) -> float:
    """Return the share of the pairs of rows that differ."""
    counts = np.unique(values, axis=0, return_counts=True)[1]
    n = len(values)
    return 1 - float((counts * (counts - 1)).sum()) / (n * (n - 1))


def _associate(
    vectors: NDArray[np.float32],
    confounders: Sequence[Confounder],
    rows: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[Association]:
    """Compare the distances of vectors with those of properties of the same images."""
    from scipy.spatial.distance import pdist
    from scipy.stats import rankdata

    n = len(vectors)
    pairs = np.triu_indices(n, 1)
    unit = unit_rows(vectors)
    far = _square(_standard(rankdata(1 - (unit @ unit.T)[pairs])))
    tables, scales, owners = [], [], []
    for owner, confounder in enumerate(confounders):
        values = confounder.values[rows]
        if confounder.is_category:
            apart = (values[pairs[0], 0] != values[pairs[1], 0]).astype(np.float64)
            share = apart.mean()
            # For uniform ranks and two kinds of pairs, Somers' D is the correlation times this.
            scale, ways = 1 / np.sqrt(3 * share * (1 - share)), [apart]
        else:
            compared = [way[rows] for way in confounder.compared] or [values]
            scale, ways = 1.0, [rankdata(pdist(way)) for way in compared]
        tables += [_square(_standard(way)).ravel() for way in ways]
        scales += [scale] * len(ways)
        owners += [owner] * len(ways)
    stacked, n_cells = np.stack(tables), 2 * len(pairs[0])
    orders = [np.arange(n), *(rng.permutation(n) for _ in range(_N_SHUFFLED))]
    measured = np.stack([stacked @ far[order][:, order].ravel() / n_cells for order in orders])
    measured = measured.astype(np.float64) * scales
    firsts = np.flatnonzero(np.diff(owners, prepend=-1))
    measured = np.maximum.reduceat(measured, firsts, axis=1)
    chance = np.quantile(measured[1:], 0.99, axis=0)
    predicted = _predict_from_few(unit, [_targets(one, rows) for one in confounders], rng)
    return [
        Association(one.name, float(correlation), float(limit), n, share)
        for one, correlation, limit, share in zip(
            confounders, measured[0], chance, predicted, strict=True
        )
    ]


def _targets(confounder: Confounder, rows: NDArray[np.int64]) -> Values:
    """Return what vectors should predict: ranks of mean 0 and variance 1, or shares of kinds."""
    from scipy.stats import rankdata

    values = confounder.values if confounder.predicted is None else confounder.predicted
    if confounder.is_category:
        is_kind = (values[rows] == np.unique(values[rows])).astype(np.float64)
        return is_kind - is_kind.mean(axis=0)
    return np.stack([_standard(rankdata(column)) for column in values[rows].T], axis=1)


def _predict_from_few(
    unit: NDArray[np.float32], targets: Sequence[Values], rng: np.random.Generator
) -> list[float | None]:
    """Return the share of the variance of each property that is predicted from few images.

    Kernel ridge regression on 50 images, or five sixths of them, predicts the others.
    """
    from scipy.linalg import solve

    n = len(unit)
    if n < _MIN_PREDICTED:
        return [None] * len(targets)
    centered = unit - unit.mean(axis=0)
    products = (centered @ centered.T).astype(np.float64)
    products /= max(np.trace(products) / n, 1e-12)
    owners = np.repeat(np.arange(len(targets)), [values.shape[1] for values in targets])
    columns, n_learned = np.concatenate(targets, axis=1), min(_N_LEARNED, n * 5 // 6)
    wrong = total = np.zeros(len(owners))
    for _ in range(_N_DRAWS):
        order = rng.permutation(n)
        few, others = order[:n_learned], order[n_learned:]
        mean = columns[few].mean(axis=0)
        squares = products[np.ix_(few, few)] + _FEW_PENALTY * np.eye(n_learned)
        weights = solve(squares, columns[few] - mean, assume_a="pos")
        rest = columns[others] - mean
        wrong = wrong + ((rest - products[np.ix_(others, few)] @ weights) ** 2).sum(axis=0)
        total = total + (rest**2).sum(axis=0)
    sums = [np.bincount(owners, of, minlength=len(targets)) for of in (wrong, total)]
    return [float(1 - one / all_) if all_ else 0.0 for one, all_ in zip(*sums, strict=True)]


def remove_confounder(
    vectors: NDArray[np.float32], confounder: Confounder
) -> tuple[NDArray[np.float32], Removal]:
    """Remove from vectors what a confounder predicts, in components that it mostly determines.

    The vectors, scaled to length 1, are split into principal components.  Where ridge regression on
    the confounder predicts more than half of the variance of a component, in cross-validation, the
    prediction is subtracted.  All other components are unchanged, so that what content and
    confounder share, such as tigers and orange, is kept.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)
        The vectors.
    confounder : Confounder
        The property; for images without it, the mean is used.

    Returns
    -------
    vectors : ndarray of shape (n, d), float32
        The changed vectors, centred, if anything was removed; otherwise the given ones.
    removal : Removal
        What was removed.

    Raises
    ------
    InvalidInputError
        If there are more than 1,000 categories.

    References
    ----------
    Hoerl, Kennard: Ridge regression: biased estimation for nonorthogonal problems. Technometrics
    12, 1970.  Price et al.: Principal components analysis corrects for stratification in
    genome-wide association studies. Nature Genetics 38, 2006, for the removal of components.
    """
    nothing = vectors, Removal(confounder.name, 0, 0.0)
    predictors = _predictors(confounder)
    if len(vectors) < 2 * _N_FOLDS or not predictors.any():
        return nothing
    components, axes, total = _decompose(vectors)
    variances = (components**2).sum(axis=0)
    errors = components - _predict_across(predictors, components)
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted = 1 - (errors**2).sum(axis=0) / variances
    chosen = (predicted > _MAX_PREDICTED) & (variances > _NO_VARIANCE * total)
    if not chosen.any():
        return nothing
    fitted = predictors @ _regress(predictors, components[:, chosen])
    changed = _center(vectors)
    for start in range(0, len(changed), _N_BLOCK):
        block = slice(start, start + _N_BLOCK)
        changed[block] -= fitted[block] @ axes[chosen]
    removal = Removal(confounder.name, int(chosen.sum()), float((fitted**2).sum() / total))
    return changed.astype(np.float32), removal


def _center(vectors: NDArray[np.float32]) -> Values:
    """Return the vectors scaled to length 1, less their mean."""
    centered = unit_rows(vectors).astype(np.float64)
    centered -= centered.mean(axis=0)
    return centered


def _decompose(vectors: NDArray[np.float32]) -> tuple[Values, Values, float]:
    """Return principal components of the rows, their axes, and the sum of all squares."""
    from sklearn.decomposition import PCA

    centered = _center(vectors)
    total = float(np.vdot(centered, centered))
    if not total:
        return np.zeros((len(centered), 1)), np.zeros((1, centered.shape[1])), total
    # It may overwrite the rows, which are larger than all else here.
    pca = PCA(min(_N_COMPONENTS, *centered.shape), copy=False, random_state=0)
    components = pca.fit_transform(centered)
    return components, pca.components_, total


def explained_share(labels: NDArray[np.int64], confounder: Confounder) -> float:
    """Return the share of a property's variance between clusters, corrected for chance.

    Parameters
    ----------
    labels : ndarray of shape (n,), int
        Cluster of each image.
    confounder : Confounder
        The property.

    Returns
    -------
    float
        Omega squared: 1 if the clusters determine the property, about 0 for random clusters.

    References
    ----------
    Hays: Statistics for psychologists. 1963.
    """
    values = _predictors(confounder)
    clusters, numbers, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    n, k = len(labels), len(clusters)
    total = (values**2).sum()
    if n <= k or not total:
        return 0.0
    sums = np.zeros((k, values.shape[1]))
    np.add.at(sums, numbers, values)
    between = (sums**2 / sizes[:, None]).sum()
    spread = (total - between) / (n - k)
    return float((between - (k - 1) * spread) / (total + spread))


def _predictors(confounder: Confounder) -> Values:
    """Return numbers of mean 0 and variance 1, one column per category."""
    values = confounder.values
    if confounder.is_category:
        has = np.isfinite(values)
        kinds = np.unique(values[has])
        if len(kinds) > _MAX_KINDS:
            raise InvalidInputError(
                f"{confounder.name} has {len(kinds):,} different values, more than the "
                f"{_MAX_KINDS:,} that can be removed"
            )
        values = np.where(has, values == kinds, np.nan)
    known = np.isfinite(values)
    mean = np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    centered = np.where(known, values - mean, 0)
    spread = centered.std(axis=0)
    return centered[:, spread > 0] / spread[spread > 0]


def _predict_across(predictors: Values, targets: Values) -> Values:
    """Predict each row from the rows of other folds."""
    predicted = np.zeros_like(targets)
    fold = np.random.default_rng(0).permutation(len(targets)) % _N_FOLDS
    for held in range(_N_FOLDS):
        train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        predicted[test] = predictors[test] @ _regress(predictors[train], targets[train])
    return predicted


def _regress(predictors: Values, targets: Values) -> Values:
    """Return the weights of ridge regression."""
    from scipy.linalg import solve

    m = predictors.shape[1]
    squares = predictors.T @ predictors + _PENALTY * m * np.eye(m)
    weights: Values = solve(squares, predictors.T @ targets, assume_a="pos")
    return weights


def _square(values: Values) -> NDArray[np.float32]:
    """Return the values of all pairs as a symmetric table with a zero diagonal."""
    from scipy.spatial.distance import squareform

    table: NDArray[np.float32] = squareform(values.astype(np.float32))
    return table


def _standard(values: Values) -> Values:
    """Return numbers with mean 0 and variance 1."""
    centered = values - values.mean()
    spread = centered.std()
    return centered / spread if spread else centered
