"""Predictions as a table, and metrics as a text table."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from clusterkit.datasets.label_tables import LABEL_SEPARATOR
from clusterkit.datasets.results import Rows

_HEADINGS = {
    "precision": "precision",
    "recall": "recall",
    "f1": "   F1",
    "roc_auc": "ROC AUC",
    "average_precision": "avg. prec.",
    "threshold": "threshold",
    "support": "images",
}


def prediction_table(
    names: Sequence[str],
    labels: Mapping[str, Sequence[Sequence[str]]],
    classes: Sequence[str],
    probabilities: NDArray[np.floating],
) -> Rows:
    """Return file name, labels and each class's probability of each image.

    Parameters
    ----------
    names : sequence of str, length n
        The images.
    labels : mapping of str to sequence of length n
        Columns of labels, such as ``truth`` and ``prediction``: the classes of each image, joined
        with ``|``.
    classes : sequence of str
        The columns of ``probabilities``.  A class that is called as another column gets the heading
        ``probability of NAME``.
    probabilities : ndarray of shape (n, n_classes)
        Predicted probabilities.
    """
    rows = [
        [name, *(LABEL_SEPARATOR.join(column[row]) for column in labels.values()), *values]
        for row, (name, values) in enumerate(zip(names, probabilities.tolist(), strict=True))
    ]
    columns = ["filename", *labels]
    headings = [f"probability of {name}" if name in columns else name for name in classes]
    return Rows([*columns, *headings], rows, decimals=6)


def score_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Format metrics as a text table.

    Parameters
    ----------
    scores : mapping of str to mapping of str to float
        Metrics of each class or average; metrics that none of them has are left out.  Undefined
        metrics of a class are written as ``-``.
    """
    has = set().union(*scores.values())
    columns = {key: title for key, title in _HEADINGS.items() if key in has}
    width = max(map(len, scores))
    lines = ["  ".join([" " * width, *columns.values()])]
    for name, row in scores.items():
        # An average has no number of images.
        undefined = "-" if "support" in row else ""
        cells = [
            _cell(key, row.get(key), undefined).rjust(len(title)) for key, title in columns.items()
        ]
        lines.append("  ".join([f"{name:{width}}", *cells]).rstrip())
    return "\n".join(lines)


def _cell(key: str, value: float | None, undefined: str) -> str:
    """Format one value."""
    if value is None or np.isnan(value):
        return undefined
    return f"{value:.0f}" if key == "support" else f"{value:.3f}"
