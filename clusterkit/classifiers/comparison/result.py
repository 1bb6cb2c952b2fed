"""Result of a comparison of networks, as text and as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from clusterkit.clustering.provenance import LabelOrigin, scores_text
from clusterkit.datasets.results import Rows, TableResult
from clusterkit.utils.text import plural


@dataclass(frozen=True)
class NetworkResult:
    """Result of one network.

    Attributes
    ----------
    name : str
        Its name in the comparison.
    network : str
        Its architecture, a name of :func:`~clusterkit.classifiers.network_names`.
    train_accuracy : float
        Accuracy on at most 5,000 training images without augmentation.  For transfer learning and
        multilabel data, the training accuracy of the best epoch.
    val_accuracy : float
        Accuracy on the validation images in the best epoch.
    test : dict, or None
        Evaluation on the test images, as from
        :meth:`~clusterkit.classifiers.ClassificationReport.to_dict`.
    n_parameters : int
        Number of parameters, including those of a pretrained network.
    seconds : float
        Wall time of ``Classifier.fit`` alone.
    best_epoch : int
        The epoch, counted from 1, with the restored weights.
    history : dict of str to list of float
        Loss and accuracy of training and validation, one value per epoch.
    model : str, or None
        Its ``.keras`` file; None if it was not stored.
    is_reused : bool
        Whether it was trained by an earlier run.
    """

    name: str
    network: str
    train_accuracy: float
    val_accuracy: float
    test: dict[str, Any] | None
    n_parameters: int
    seconds: float
    best_epoch: int
    history: dict[str, list[float]]
    model: str | None = None
    is_reused: bool = False


@dataclass(frozen=True, repr=False)
class NetworkComparison(TableResult):
    """Results of networks that were trained and tested on the same images.

    Attributes
    ----------
    results : list of NetworkResult
        Results of the trained networks, in the given order; then of those from earlier runs.
    failures : list of (str, str)
        Name and reason of each network that could not be trained.
    counts : dict of str to int
        Number of images of ``"train"``, ``"val"`` and ``"test"``.
    unreadable : list of (str, str)
        Name and reason of each unreadable image, which is in none of these.
    is_multilabel : bool
        Whether images may have several labels.  Training and validation accuracy then count labels;
        test accuracy counts images with exactly the right labels.
    """

    results: list[NetworkResult]
    failures: list[tuple[str, str]]
    counts: dict[str, int]
    unreadable: list[tuple[str, str]]
    is_multilabel: bool

    @property
    def best(self) -> NetworkResult | None:
        """The network of highest validation accuracy; on ties, of lowest validation loss.

        The test images are not used, so that the test accuracy of the best network is unbiased.
        """

        def merit(result: NetworkResult) -> tuple[float, float]:
            return result.val_accuracy, -result.history["val_loss"][result.best_epoch - 1]

        return max(self.results, key=merit, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "counts": self.counts,
            "unreadable": [{"path": path, "reason": reason} for path, reason in self.unreadable],
            "best": None if self.best is None else self.best.name,
            "networks": [asdict(result) for result in self.results],
            "failures": [{"name": name, "reason": reason} for name, reason in self.failures],
        }

    def to_text(self) -> str:
        """Return a text table with one line per network."""
        return _text_table(self)

    def _headline(self) -> str:
        """Return the best network."""
        networks = plural(len(self.results), "network")
        return networks if self.best is None else f"{self.best.name} is the best of {networks}"

    def _table(self) -> Rows:
        """Return one row per network, including those that failed."""
        rows = [{"network": result.name} | _figures(result) for result in self.results]
        rows += [{"network": name, "reason": reason} for name, reason in self.failures]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        return Rows(columns, [[row.get(key) for key in columns] for row in rows])


def _figures(result: NetworkResult) -> dict[str, Any]:
    """Return the values of a network by column; None if not available."""
    test = result.test or {}
    macro, weighted = test.get("macro", {}), test.get("weighted", {})
    return {
        "train": result.train_accuracy,
        "val": result.val_accuracy,
        "test": test.get("accuracy"),
        "precision": macro.get("precision"),
        "recall": macro.get("recall"),
        "f1": macro.get("f1"),
        "weighted_f1": weighted.get("f1"),
        "parameters": result.n_parameters,
        "seconds": round(result.seconds, 1),
        "best_epoch": result.best_epoch,
        "epochs": len(result.history["loss"]),
    }


def _text_table(comparison: NetworkComparison) -> str:
    """Return a text table with one line per network, and the name of the best."""
    lines = [[result.name, *_cells(_figures(result))] for result in comparison.results]
    if lines:
        lines.insert(0, ["", *(key.replace("_", " ") for key in _figures(comparison.results[0]))])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    ]
    rows += [f"{name}: failed: {reason}" for name, reason in comparison.failures]
    if comparison.best is not None and len(comparison.results) > 1:
        rows.append(f"best on the validation images: {comparison.best.name}")
    # One split for all: the test images, and where their labels came from, are the same.
    tests = [result.test for result in comparison.results if result.test is not None]
    if tests and (origins := tests[0].get("labels_from_clusters")):
        rows.append(scores_text([LabelOrigin.from_description(origin) for origin in origins]))
    return "\n".join(rows)


def _cells(figures: dict[str, Any]) -> list[str]:
    """Format values as text."""
    formats = {"parameters": ",d", "seconds": ".1f", "best_epoch": "d", "epochs": "d"}
    return [
        "" if value is None else format(value, formats.get(name, ".4f"))
        for name, value in figures.items()
    ]
