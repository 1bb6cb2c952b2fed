"""clusterkit: turn folders of unlabelled images into groups that you can look at and use."""

import importlib
from typing import Any

__version__ = "0.1.0"

# Public names load on first use, so that `import clusterkit` and `clusterkit --help` are instant.
_EXPORTS = {
    "Clustering": "clusterkit.clustering",
    "Embeddings": "clusterkit.embeddings",
    "ImageFolder": "clusterkit.images",
    "Store": "clusterkit.store",
    "cluster": "clusterkit.clustering",
    "compare_spaces": "clusterkit.comparison",
    "elbow_curve": "clusterkit.elbow",
    "embed": "clusterkit.pipeline",
    "embed_to_store": "clusterkit.pipeline",
    "evaluate": "clusterkit.evaluation",
    "explain": "clusterkit.diagnostics",
    "export_embeddings": "clusterkit.interchange",
    "find_similar": "clusterkit.queries",
    "import_vectors": "clusterkit.interchange",
    "match_clusters": "clusterkit.identity",
    "name_clusters": "clusterkit.naming",
}

__all__ = ["__version__", *sorted(_EXPORTS)]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'clusterkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__
