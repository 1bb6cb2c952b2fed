"""Which clusterings the labels of images came from, and the decisions kept with them.

The score of a classifier trained on clusters tells how well it repeats the clustering.  The origin
of labels is in the manifest of a sorted folder, or in the ``.json`` file beside a table of
clusters, which also keeps a person's decisions.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clusterkit.clustering.earlier import read_earlier
from clusterkit.clustering.saved import CLUSTER_COLUMNS, Origin
from clusterkit.datasets.labelled_images import LabelledImages
from clusterkit.errors import InvalidInputError, NotFoundError, Notice
from clusterkit.routing.manifest import read_manifest
from clusterkit.utils.text import printable

# Key in the manifest of a split folder, whose origin is a split and not a clustering.
SPLIT_OF = "split_of"


@dataclass(frozen=True)
class LabelOrigin:
    """A clustering that labels came from; what is not known of it is None.

    Attributes
    ----------
    table : str or None
        Name of its table.
    algorithm : str or None
        Name of the clusterer.
    k : int or None
        Number of clusters.
    space : str or None
        Short name of the embedding space.
    """

    table: str | None = None
    algorithm: str | None = None
    k: int | None = None
    space: str | None = None

    @classmethod
    def from_description(
        cls, made_by: Mapping[str, Any], table: str | Path | None = None
    ) -> LabelOrigin:
        """Read what is known from the description of a clustering, which is not trusted.

        Parameters
        ----------
        made_by : mapping of str to object
            As from ``Clustering.to_dict()``, or :meth:`to_dict`.
        table : path, optional
            Its table; by default the one that the description names.
        """
        name = made_by.get("table") if table is None else Path(table).name
        known = {"table": name} | {key: made_by.get(key) for key in ("algorithm", "space")}
        texts = {key: value for key, value in known.items() if isinstance(value, str)}
        k = made_by.get("k")
        return cls(**texts, k=k if type(k) is int else None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return asdict(self)

    def to_text(self) -> str:
        """Return what is known in a few words."""
        k = None if self.k is None else f"k = {self.k}"
        made = ", ".join(part for part in (self.algorithm, k, self.space) if part)
        return printable(": ".join(part for part in (self.table, made) if part))


def find_origins(data: LabelledImages) -> tuple[LabelOrigin, ...]:
    """Find the clusterings that labels came from.

    Parameters
    ----------
    data : LabelledImages
        Labelled images from a folder or table.

    Returns
    -------
    tuple of LabelOrigin
        The clusterings whose groups ``promote`` or ``cluster --into`` sorted into the folder, or
        the one of the table, if the labels are its column of clusters or their names.  Empty if
        nothing is known of any.
    """
    if data.source is None:
        return ()
    if data.label_column is not None:
        return tuple(_of_table(data.source, data.label_column))
    tops = {""}
    if data.parts is not None:
        tops |= {name.partition("/")[0] for name in data.names}
    found = (origin for top in sorted(tops) for origin in _of_folder(data.source / top))
    return tuple(dict.fromkeys(found))


def find_not_copies(
    data: LabelledImages, clusters_csv: str | Path | None = None
) -> frozenset[tuple[str, str]]:
    """Find the pairs of images that a person marked as not copies of each other.

    Parameters
    ----------
    data : LabelledImages
        Labelled images.
    clusters_csv : path, optional
        The table of clusters with these decisions; by default the one that the labels were read
        from, if it is such a table.

    Returns
    -------
    frozenset of (str, str)
        Pairs of images, by their sorted digests; see :func:`clusterkit.clustering.label`.

    Raises
    ------
    NotFoundError
        If the table does not exist.
    InvalidInputError
        If it is not a table of clusters.

    Warns
    -----
    Notice
        If the given table holds no such decision.
    """
    if clusters_csv is not None:
        pairs = read_earlier(clusters_csv).decisions.not_copies
        if not pairs:
            warnings.warn(
                f"{clusters_csv} holds no decision that images are not copies: `clusterkit label "
                f"{clusters_csv} --not-copies IMAGE IMAGE` makes one",
                Notice,
                stacklevel=3,
            )
        return pairs
    if data.source is None or data.label_column is None:
        return frozenset()
    known = _description(data.source)
    return frozenset() if known is None else known.decisions.not_copies


def origins_text(origins: Sequence[LabelOrigin]) -> str:
    """Return where labels came from, without a full stop.

    Examples
    --------
    >>> origins_text([LabelOrigin("clusters.csv", "kmeans", 5, "xception-5d41402a")])
    'Labels came from clusters (clusters.csv: kmeans, k = 5, xception-5d41402a)'
    """
    which = "; ".join(filter(None, (origin.to_text() for origin in origins)))
    return f"Labels came from clusters{f' ({which})' if which else ''}"


def scores_text(origins: Sequence[LabelOrigin]) -> str:
    """Return a caveat on the scores of a classifier whose true classes came from clusters."""
    return (
        f"{origins_text(origins)}: the scores measure how well the classifier repeats the "
        "clustering, not how right the groups are."
    )


def origins_document(origins: Sequence[LabelOrigin]) -> list[dict[str, Any]] | None:
    """Return where labels came from as JSON-able values; None if nothing is known."""
    return [origin.to_dict() for origin in origins] or None


def _of_folder(folder: Path) -> Iterator[LabelOrigin]:
    """Yield what the manifest of a sorted folder names."""
    try:
        manifest = read_manifest(folder)
    except (NotFoundError, InvalidInputError):
        return
    clusterings = (origin for origin in manifest.origins if SPLIT_OF not in origin)
    yield from map(LabelOrigin.from_description, clusterings)


def _of_table(table: Path, column: str) -> Iterator[LabelOrigin]:
    """Yield the clustering of a table whose labels are clusters or their names."""
    known = _description(table)
    is_name = column.casefold() == "name" and known is not None and known.clusters
    if is_name or column.casefold() in CLUSTER_COLUMNS:
        yield LabelOrigin.from_description({} if known is None else known.made_by, table)


def _description(table: Path) -> Origin | None:
    """Read what made a table; None if nothing is known of it."""
    with warnings.catch_warnings():
        # A damaged description: any table may be given here, with a .json file of any kind beside
        # it.
        warnings.simplefilter("ignore")
        return Origin.read(table.with_suffix(".json"))
