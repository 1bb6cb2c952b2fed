"""Clusterers: scikit-learn estimators that group vectors, by cosine unless told otherwise.

:data:`CLUSTERERS` maps the names of the command line to classes.  Any other clusterer with
scikit-learn's interface joins by one line there.
"""

import importlib
from typing import Any

from clusterkit.registry import Registry

CLUSTERERS = Registry(
    "clusterer",
    {
        "kmeans": "clusterkit.clusterers.kmeans:KMeans",
        "minibatch-kmeans": "clusterkit.clusterers.minibatch:MiniBatchKMeans",
        "affinity-propagation": "clusterkit.clusterers.affinity:AffinityPropagation",
        "agglomerative": "clusterkit.clusterers.wrapped:AgglomerativeClustering",
        "hdbscan": "clusterkit.clusterers.wrapped:HDBSCAN",
        "spectral": "clusterkit.clusterers.wrapped:SpectralClustering",
        "gaussian-mixture": "clusterkit.clusterers.mixture:GaussianMixture",
        "refined-kmeans": "clusterkit.clusterers.refinement:RefinedKMeans",
    },
)

# Names load on first use, so that the table costs nothing.
_EXPORTS = {
    "AffinityPropagation": "clusterkit.clusterers.affinity",
    "AgglomerativeClustering": "clusterkit.clusterers.wrapped",
    "ClusteringWarning": "clusterkit.clusterers.base",
    "GaussianMixture": "clusterkit.clusterers.mixture",
    "HDBSCAN": "clusterkit.clusterers.wrapped",
    "KMeans": "clusterkit.clusterers.kmeans",
    "MiniBatchKMeans": "clusterkit.clusterers.minibatch",
    "RefinedKMeans": "clusterkit.clusterers.refinement",
    "RowStream": "clusterkit.clusterers.streams",
    "SpectralClustering": "clusterkit.clusterers.wrapped",
    "SweepPoint": "clusterkit.clusterers.sweep",
    "centers_of": "clusterkit.clusterers.base",
    "kmeans_sweep": "clusterkit.clusterers.sweep",
}

__all__ = ["CLUSTERERS", *sorted(_EXPORTS)]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'clusterkit.clusterers' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__
