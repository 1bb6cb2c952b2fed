"""Pictures of results: numbers in, matplotlib Axes out.

Every display follows scikit-learn's convention: ``__init__`` stores, :meth:`~Display.plot` draws
and returns the display with ``figure_`` and ``ax_`` (or ``axes_``), and a classmethod ``from_…``
takes a result, builds the display and plots it.
"""

import importlib
from typing import Any

_EXPORTS = {
    "ClassCountsDisplay": "clusterkit.plots.class_counts",
    "ClassScoresDisplay": "clusterkit.plots.class_scores",
    "ClassSimilarityDisplay": "clusterkit.plots.class_similarity",
    "ComparisonDisplay": "clusterkit.plots.comparison",
    "ConfusionDisplay": "clusterkit.plots.confusion",
    "ContactSheetDisplay": "clusterkit.plots.contact_sheet",
    "CrosstabDisplay": "clusterkit.plots.crosstab",
    "Display": "clusterkit.plots.display",
    "ElbowDisplay": "clusterkit.plots.elbow",
    "ExplanationDisplay": "clusterkit.plots.histograms",
    "GalleryDisplay": "clusterkit.plots.gallery",
    "LearningCurvesDisplay": "clusterkit.plots.training",
    "LossCurveDisplay": "clusterkit.plots.training",
    "MapDisplay": "clusterkit.plots.map",
    "NetworkCurvesDisplay": "clusterkit.plots.network_curves",
    "PredictionsDisplay": "clusterkit.plots.predictions",
    "RankingCurvesDisplay": "clusterkit.plots.ranking",
    "ReconstructionDisplay": "clusterkit.plots.reconstructions",
    "ReliabilityDisplay": "clusterkit.plots.reliability",
    "check_figure_path": "clusterkit.plots.save",
    "check_report_folder": "clusterkit.plots.classifier_report",
    "render_figure": "clusterkit.plots.save",
    "save_classifier_report": "clusterkit.plots.classifier_report",
    "save_figure": "clusterkit.plots.save",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'clusterkit.plots' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return __all__
