"""What the removal of confounders changed in a clustering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.clusterers.refinement import share_moved
from clusterkit.similarity.confounders import Confounder, Removal, explained_share
from clusterkit.similarity.image_confounders import CONFOUNDERS
from clusterkit.utils.text import join_lines, percent, plural


class RemovedConfounder(NamedTuple):
    """One confounder of a clustering, and its removal.

    Attributes
    ----------
    name : str
        Its name.
    n_components : int
        Number of principal components of the vectors that were changed; 0 if none is the confounder
        for the most part.
    share : float
        Share of the variance of the vectors that was removed.
    before, after : float
        Share of the confounder's variance between the clusters, less that of chance, without and
        with the removal.
    """

    name: str
    n_components: int
    share: float
    before: float
    after: float


class Confounding(NamedTuple):
    """What the removal of confounders changed in a clustering.

    Attributes
    ----------
    removed : tuple of RemovedConfounder
        The confounders.
    moved : float
        Share of the images that are in another cluster than without the removal.
    """

    removed: tuple[RemovedConfounder, ...]
    moved: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {"removed": [one._asdict() for one in self.removed], "moved": self.moved}

    @classmethod
    def from_dict(cls, document: Any) -> Confounding | None:
        """Read what :meth:`to_dict` returned; None for anything else."""
        try:
            removed = tuple(RemovedConfounder(**one) for one in document["removed"])
            found = cls(removed, float(document["moved"]))
        except (TypeError, KeyError, ValueError):
            return None
        return found if {one.name for one in removed} <= set(CONFOUNDERS) else None

    def to_text(self) -> str:
        """Return a sentence for each confounder."""
        lines = []
        for one in self.removed:
            name = CONFOUNDERS[one.name]
            if not one.n_components:
                lines.append(f"Nothing to remove: the vectors do not follow {name}")
                continue
            lines.append(
                f"Without {name}: {percent(one.share)} of the variance, in "
                f"{plural(one.n_components, 'component')}, was removed; clusters explain "
                f"{percent(max(one.after, 0))} of it, {percent(max(one.before, 0))} before; "
                f"{percent(self.moved)} of the images moved"
            )
        return join_lines(lines)


def describe_removal(
    removals: Sequence[Removal],
    confounders: Sequence[Confounder],
    before: NDArray[np.int64],
    after: NDArray[np.int64],
) -> Confounding:
    """Compare clusters with those before confounders were removed.

    Parameters
    ----------
    removals : sequence of Removal
        What was removed.
    confounders : sequence of Confounder
        The confounders, in the same order.
    before, after : ndarray of shape (n,), int
        The clusters of each image without and with the removal.
    """
    removed = tuple(
        RemovedConfounder(
            *removal, explained_share(before, confounder), explained_share(after, confounder)
        )
        for removal, confounder in zip(removals, confounders, strict=True)
    )
    return Confounding(removed, share_moved(before, after))
