"""Pictures with the predictions of a classifier."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from clusterkit.errors import InvalidInputError
from clusterkit.plots.pictures import SIDE, PictureGrid, Sheet
from clusterkit.plots.style import BLUE, GREEN, QUIET, TILE, VERMILION
from clusterkit.utils.arguments import check_at_least

if TYPE_CHECKING:
    from clusterkit.classifiers.classifier import Classifier
    from clusterkit.classifiers.evaluation import ClassificationReport
    from clusterkit.classifiers.label_errors import LabelError, LabelErrors
    from clusterkit.classifiers.predict import Prediction

_LINE, _NUMBER, _NAME = 13.0, 26.0, 14.0
_MAX_LINES = 6


class PredictionLine(NamedTuple):
    """One line under a picture.

    Attributes
    ----------
    text : str
        Text of the line.
    probability : float
        Probability in [0, 1], written behind the text and drawn as a bar.
    color : str
        Colour of the bar.
    is_bold : bool
        Whether the classifier predicted this class.
    """

    text: str
    probability: float
    color: str
    is_bold: bool = False


class PredictionsDisplay(PictureGrid):
    """Grid of pictures with classes and their probabilities as bars.

    Parameters
    ----------
    pictures : sequence of path or ndarray of shape (height, width[, 1 or 3]), uint8
        Files, read when drawing, or images.
    lines : sequence of sequence of PredictionLine
        The lines under each picture.
    names : sequence of str
        Names of the pictures.
    mistakes : collection of int
        Rows of pictures to frame in red.
    title : str
        Title of the figure.
    columns : int
        Maximum number of pictures per row.
    max_pictures : int
        Maximum number of pictures; the number of others is stated.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Set by :meth:`plot`.
    """

    _texts = ("lines", "names")

    def __init__(
        self,
        pictures: Sequence[Any],
        lines: Sequence[Sequence[PredictionLine]],
        names: Sequence[str],
        *,
        mistakes: Collection[int] = (),
        title: str = "",
        columns: int = 6,
        max_pictures: int = 60,
    ) -> None:
        self.pictures = pictures
        self.lines = lines
        self.names = names
        self.mistakes = mistakes
        self.title = title
        self.columns = columns
        self.max_pictures = max_pictures

    @classmethod
    def from_classifier(cls, classifier: Classifier, images: Any, **kwargs: Any) -> Self:
        """Classify pictures and plot them with their most probable classes.

        Parameters
        ----------
        classifier : Classifier
            A fitted classifier.
        images : ImageFolder, LabelledImages, or sequence of paths
            The pictures; unreadable ones are left out.
        **kwargs
            As for :meth:`from_predictions`.

        Returns
        -------
        PredictionsDisplay
            The plotted display.

        Examples
        --------
        >>> clf = Classifier.load("clf.keras")  # doctest: +SKIP
        >>> PredictionsDisplay.from_classifier(clf, ["new.jpg"])  # doctest: +SKIP
        """
        from clusterkit.classifiers.predict import classify

        predictions = classify(images, classifier).predictions
        return cls.from_predictions(predictions, images, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        predictions: Sequence[Prediction],
        images: Any = None,
        *,
        n_classes: int = 3,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot pictures with their most probable classes.

        Parameters
        ----------
        predictions : sequence of Prediction
            From :func:`clusterkit.classifiers.classify`.
        images : LabelledImages, optional
            The predicted images, needed for a table of pixels; ignored for files.
        n_classes : int
            Number of classes under each picture; up to six if more were predicted.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.
        **kwargs
            Other parameters of the display.

        Returns
        -------
        PredictionsDisplay
            The plotted display.
        """
        from clusterkit.datasets.labelled_images import LabelledImages

        check_at_least(n_classes, 1, "n_classes")
        known: dict[str, Any] = {}
        if isinstance(images, LabelledImages):
            known = dict(zip(images.names, images.images, strict=True))
        return cls(
            [known.get(prediction.name, prediction.name) for prediction in predictions],
            [_most_probable(prediction, n_classes) for prediction in predictions],
            [Path(prediction.name).name for prediction in predictions],
            **kwargs,
        ).plot(ax=ax)

    @classmethod
    def from_report(
        cls,
        report: ClassificationReport,
        *,
        n_images: int = 24,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot test images, the worst mistakes first, then the least confident correct ones.

        Predicted classes are bold, true classes green, wrong predictions red with a red frame
        around the picture.

        Parameters
        ----------
        report : ClassificationReport
            A report with images; see
            :attr:`~clusterkit.classifiers.ClassificationReport.worst_first` for the order.
        n_images : int
            Maximum number of images.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.
        **kwargs
            Other parameters of the display.

        Returns
        -------
        PredictionsDisplay
            The plotted display.

        Raises
        ------
        InvalidInputError
            If the report was made without images.
        """
        if report.images is None:
            raise InvalidInputError("the report was made without its images")
        check_at_least(n_images, 1, "n_images")
        rows = report.worst_first[:n_images].tolist()
        kwargs.setdefault("title", f"{_count_mistakes(report)}; bold: predicted, green: real")
        return cls(
            [report.images[row] for row in rows],
            [_judge(report, row) for row in rows],
            [report.names[row] for row in rows],
            mistakes=np.flatnonzero(~report.is_right[rows]).tolist(),
            **kwargs,
        ).plot(ax=ax)

    @classmethod
    def from_label_errors(
        cls,
        found: LabelErrors,
        *,
        n_images: int = 24,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot images whose label is probably wrong, worst first.

        The given label is orange, the class that is probably right blue.

        Parameters
        ----------
        found : LabelErrors
            From :func:`clusterkit.find_label_errors`.
        n_images : int
            Maximum number of images.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in.
        **kwargs
            Other parameters of the display.

        Returns
        -------
        PredictionsDisplay
            The plotted display.

        Raises
        ------
        InvalidInputError
            If no label is probably wrong, or the labels were given without images.
        """
        if found.images is None:
            raise InvalidInputError("the labels were compared without their images")
        check_at_least(n_images, 1, "n_images")
        errors = found.errors[:n_images]
        colours = "orange: given, blue: probably right"
        kwargs.setdefault("title", f"{found._headline()}, the worst first; {colours}")
        return cls(
            [found.images[error.row] for error in errors],
            [_suggest(error) for error in errors],
            [Path(error.name).name for error in errors],
            **kwargs,
        ).plot(ax=ax)

    def _foot(self) -> float:
        """Return the height of the lines and the name."""
        shown = self.lines[: self.max_pictures]
        return _LINE * max(map(len, shown), default=0) + _NAME

    def _frame(self, index: int) -> str | None:
        """Frame mistakes."""
        return VERMILION if index in self.mistakes else None

    def _draw_foot(self, sheet: Sheet, index: int, x: float, y: float) -> None:
        """Draw the lines on their bars, and the name."""
        for line in self.lines[index]:
            weight = "bold" if line.is_bold else "normal"
            sheet.box(x, y + 2, SIDE, _LINE - 2, color=TILE)
            sheet.box(x, y + 2, line.probability * SIDE, _LINE - 2, color=_tint(line.color))
            width = SIDE - _NUMBER - 3
            sheet.line(line.text, x + 3, y + 2 + _LINE / 2, width, weight=weight)
            number = f"{line.probability:.2f}"
            sheet.line(number, x + SIDE - 2, y + 2 + _LINE / 2, _NUMBER, ha="right", weight=weight)
            y += _LINE
        sheet.line(self.names[index], x, y + 8, SIDE, size=6.5, color=QUIET)


def _most_probable(prediction: Prediction, n_classes: int) -> list[PredictionLine]:
    """Return the predicted classes in bold, then the most probable others."""
    pairs = prediction.probabilities.items()
    ranked = sorted(pairs, key=lambda pair: (pair[0] not in prediction.classes, -pair[1]))
    n_shown = min(max(n_classes, len(prediction.classes)), _MAX_LINES)
    return [
        PredictionLine(name, value, BLUE if is_chosen else QUIET, is_chosen)
        for name, value in ranked[:n_shown]
        for is_chosen in (name in prediction.classes,)
    ]


def _suggest(error: LabelError) -> list[PredictionLine]:
    """Return the lines of a label that is probably wrong."""
    # Without words before them: shortened, "probably: not Documentary" lost its "not".
    return [
        PredictionLine(error.given, error.given_probability, VERMILION),
        PredictionLine(error.suggested, error.suggested_probability, BLUE),
    ]


def _count_mistakes(report: ClassificationReport) -> str:
    """Return the number of mistakes and the order of images as text."""
    n, n_wrong = len(report.names), np.count_nonzero(~report.is_right)
    if report.is_multilabel:
        return f"{n_wrong:,} of {n:,} images not wholly right, the highest loss first"
    if not n_wrong:
        return f"all {n:,} images right, the least sure first"
    return f"{n_wrong:,} of {n:,} images wrong, the surest mistakes first"


def _judge(report: ClassificationReport, row: int) -> list[PredictionLine]:
    """Return the lines of a test image: predicted and true classes by probability."""
    probabilities = report.probabilities[row]
    real, predicted = report.truth[row], report.predicted[row]
    # True classes come first if not all can be shown.
    order = np.lexsort((-probabilities, ~real))
    shown = [column for column in order if real[column] or predicted[column]][:_MAX_LINES]
    return [
        PredictionLine(
            report.classes[column] if predicted[column] else f"is {report.classes[column]}",
            float(probabilities[column]),
            GREEN if real[column] else VERMILION,
            bool(predicted[column]),
        )
        for column in sorted(shown, key=lambda column: -probabilities[column])
    ]


def _tint(color: str) -> tuple[float, float, float]:
    """Return a light tint of a colour as background for text."""
    red, green, blue = (0.6 + 0.4 * part for part in to_rgb(color))
    return red, green, blue
