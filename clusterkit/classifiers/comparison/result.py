"""Figures of several networks side by side, and tables of them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clusterkit.datasets.tables import write_csv


@dataclass(frozen=True)
class NetworkResult:
    """What one network reached.

    Attributes
    ----------
    name : str
        What it is called here.
    network : str
        Its architecture, a name of :func:`~clusterkit.classifiers.network_names`.
    train_accuracy : float
        On training images without augmentation, at most 5,000 of them.  For transfer learning and
        multi-label data, the training accuracy of the best epoch.
    val_accuracy : float
        On the validation images, by the epoch that was kept.
    test : dict, or None
        Figures on the test images, as of
        :meth:`~clusterkit.classifiers.ClassificationReport.to_dict`.
    n_parameters : int
        Numbers that the network holds, a transferred network's included.
    seconds : float
        Wall time of ``Classifier.fit`` alone.
    best_epoch : int
        The epoch, counted from 1, whose weights were kept.
    history : dict of str to list of float
        Loss and accuracy of training and validation, one value per epoch.
    model : str, or None
        Its ``.keras`` file, where it was kept.
    is_reused : bool
        Whether an earlier run had trained it.
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


@dataclass(frozen=True)
class NetworkComparison:
    """Networks that were trained on the same images and measured on the same others.

    Attributes
    ----------
    results : list of NetworkResult
        Of the networks that could be trained, in the order that was asked for.
    failures : list of (str, str)
        Name of each other network, and the reason.
    counts : dict of str to int
        Number of images of ``"train"``, ``"val"`` and ``"test"``.
    unreadable : list of str
        Names of the images that cannot be read, and are in none of these.
    is_multilabel : bool
        Whether an image may have several labels; an accuracy is then the share of right labels in
        training, and of images of which all labels are right in the test.
    """

    results: list[NetworkResult]
    failures: list[tuple[str, str]]
    counts: dict[str, int]
    unreadable: list[str]
    is_multilabel: bool

    @property
    def best(self) -> NetworkResult | None:
        """The network of the highest accuracy on the validation images; then of the lowest loss.

        The test images have no say, so that its figures on them stay what to expect of others.
        """

        def merit(result: NetworkResult) -> tuple[float, float]:
            return result.val_accuracy, -result.history["val_loss"][result.best_epoch - 1]

        return max(self.results, key=merit, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "counts": self.counts,
            "unreadable": self.unreadable,
            "best": None if self.best is None else self.best.name,
            "networks": [asdict(result) for result in self.results],
            "failures": [{"name": name, "reason": reason} for name, reason in self.failures],
        }

    def to_text(self) -> str:
        """Return a table for people: one line per network."""
        return _text_table(self)

    def to_csv(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write one line per network, those that failed included.

        Parameters
        ----------
        path : path
            The CSV file.
        overwrite : bool, default False
            Whether an existing file may be replaced.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        OutputExistsError
            If the file exists and ``overwrite`` is false.
        """
        rows = [{"network": result.name} | _figures(result) for result in self.results]
        rows += [{"network": name, "reason": reason} for name, reason in self.failures]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        cells = [[row.get(key) for key in columns] for row in rows]
        return write_csv(path, columns, cells, overwrite=overwrite)


def _figures(result: NetworkResult) -> dict[str, Any]:
    """Return the figures of a network by the names of their columns; None where there is none."""
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
    """Return a table for people: one line per network, the best one marked."""
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
    return "\n".join(rows)


def _cells(figures: dict[str, Any]) -> list[str]:
    """Write figures as text."""
    formats = {"parameters": ",d", "seconds": ".1f", "best_epoch": "d", "epochs": "d"}
    return [
        "" if value is None else format(value, formats.get(name, ".4f"))
        for name, value in figures.items()
    ]
