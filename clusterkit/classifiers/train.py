"""Train a classifier on labelled images, evaluate it on test images, and write it to a file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.classifier import Classifier, check_classifier
from clusterkit.classifiers.evaluation import ClassificationReport
from clusterkit.classifiers.features import read_features
from clusterkit.classifiers.model_file import check_model_path
from clusterkit.classifiers.tasks import MULTILABEL
from clusterkit.clustering.provenance import (
    LabelOrigin,
    find_not_copies,
    find_origins,
    origins_document,
    origins_text,
)
from clusterkit.datasets.labelled_images import LabelledImages, read_labelled
from clusterkit.datasets.places import TEST, TRAIN, VALIDATION
from clusterkit.datasets.results import Result
from clusterkit.datasets.split import split
from clusterkit.embedding.embed import describe
from clusterkit.errors import InvalidInputError
from clusterkit.extractors.applications import NETWORKS
from clusterkit.extractors.by_name import recall_weights
from clusterkit.images.batches import pixel_batches
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.store import Store
from clusterkit.utils.files import locked_output
from clusterkit.utils.text import join_lines


@dataclass(frozen=True, eq=False, repr=False)
class ClassifierTraining(Result):
    """Result of :func:`train_classifier`.

    Attributes
    ----------
    output : pathlib.Path
        The ``.keras`` file.
    classifier : Classifier
        The trained classifier.
    counts : dict of str to dict of str to int
        Number of images of each class in each part.
    failures : list of (str, str)
        Name and reason of each unreadable image.
    test : ClassificationReport, or None
        Evaluation on the test images; None without test images.
    seconds : float
        Wall time, including embedding.
    training_seconds : float
        Wall time of ``Classifier.fit`` alone.
    origins : tuple of LabelOrigin
        The clusterings that labels came from, if known; see
        :func:`~clusterkit.clustering.provenance.find_origins`.
    """

    output: Path
    classifier: Classifier
    counts: dict[str, dict[str, int]]
    failures: list[tuple[str, str]]
    test: ClassificationReport | None
    seconds: float
    training_seconds: float
    origins: tuple[LabelOrigin, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-able document."""
        classifier = self.classifier
        return {
            "output": str(self.output),
            "network": classifier.network,
            "task": classifier.task_.kind,
            "classes": classifier.classes_.tolist(),
            "counts": self.counts,
            "failed": len(self.failures),
            "failures": [{"path": path, "reason": reason} for path, reason in self.failures],
            "epochs": len(classifier.history_["loss"]),
            "best_epoch": classifier.best_epoch_,
            "temperature": classifier.temperature_,
            "history": classifier.history_,
            "labels_from_clusters": origins_document(self.origins),
            "test": None if self.test is None else self.test.to_dict(),
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
        }

    def to_text(self) -> str:
        """Return the number of images of each class, and the figures on the test images."""
        classifier = self.classifier
        lines = []
        for name in map(str, classifier.classes_):
            numbers = (f"{part} {classes.get(name, 0):,}" for part, classes in self.counts.items())
            lines.append(f"{name}: {', '.join(numbers)}")
        what = "labels" if classifier.task_.kind == MULTILABEL else "images"
        totals = (f"{part} {sum(classes.values()):,}" for part, classes in self.counts.items())
        lines.append(
            f"{what} in all: {', '.join(totals)}; "
            f"epoch {classifier.best_epoch_} of {len(classifier.history_['loss'])} kept, "
            f"{self.training_seconds:.1f} s of training"
        )
        if self.test is not None:
            lines += self.test.to_text().split("\n")
        if self.origins and not (self.test and self.test.origins):
            lines.append(f"{origins_text(self.origins)}.")
        return join_lines(lines)

    def _headline(self) -> str:
        """Return the network, and the figures on the test images."""
        network = f"{self.classifier.network} in {self.output}"
        return network if self.test is None else f"{network}: {self.test._headline()}"


def train_classifier(
    source: str | Path | LabelledImages,
    output: str | Path,
    classifier: Classifier,
    *,
    test_split: float = 0.2,
    not_copies: str | Path | None = None,
    store: Store | str | Path | None = None,
    overwrite: bool = False,
) -> ClassifierTraining:
    """Train a classifier, evaluate it, and write it to a ``.keras`` file.

    Until the file is written, the state after each epoch is stored beside it as
    NAME-checkpoint.npz, so that the same call with an int ``random_state`` continues an
    interrupted training.

    Parameters
    ----------
    source : path or LabelledImages
        The images; see :func:`~clusterkit.datasets.labelled_images.read_labelled`.
    output : path
        The file to write, ending in ``.keras``.
    classifier : Classifier
        An untrained classifier; ``validation_split`` and ``random_state`` also apply to the split.
    test_split : float
        Fraction of the images for the test set, unless the source has test images; 0 for none.
    not_copies : path, optional
        A table of clusters that records images which look alike but are not copies, see
        :func:`clusterkit.clustering.label`: these need not be in one part.  By default the table
        that ``source`` is, if it is one.
    store : Store or path, optional
        Where to store the embeddings of a pretrained network, for the next training, and to look up
        its weights if the classifier has none; by default the ``store`` of the classifier.
    overwrite : bool
        Whether to overwrite an existing file.

    Returns
    -------
    ClassifierTraining
        The trained classifier and its evaluation.

    Raises
    ------
    InvalidInputError, NotFoundError
        If images or labels are not suitable for training, or another run is training the same
        output; raised before the training.
    OutputExistsError
        If the output exists and ``overwrite`` is false.
    """
    started = time.monotonic()
    check_classifier(classifier)
    take_known_weights(classifier, store)
    output = check_model_path(output, overwrite=overwrite)
    with locked_output(output):
        data = source if isinstance(source, LabelledImages) else read_labelled(source)
        parts = split(
            data,
            test_split=test_split,
            validation_split=classifier.validation_split,
            random_state=classifier.random_state,
            apart=find_not_copies(data, not_copies),
        )
        report = train_on_parts(data, parts, output, classifier, store=store, overwrite=overwrite)
    return replace(report, seconds=time.monotonic() - started)


def take_known_weights(classifier: Classifier, store: Store | str | Path | None) -> None:
    """Give a classifier without weights those that the store records for its network, if any."""
    store = classifier.store if store is None else store
    if store is not None and classifier.weights is None and classifier.network in NETWORKS:
        classifier.set_params(weights=recall_weights(classifier.network, store))


def train_on_parts(
    data: LabelledImages,
    parts: Mapping[str, NDArray[np.intp]],
    output: Path,
    classifier: Classifier,
    *,
    store: Store | str | Path | None = None,
    overwrite: bool = False,
) -> ClassifierTraining:
    """Train, evaluate and write a classifier with a given split; see :func:`train_classifier`.

    Parameters
    ----------
    data : LabelledImages
        The images.
    parts : mapping of str to ndarray of int
        From :func:`clusterkit.datasets.split.split`.
    output, classifier, store, overwrite
        As for :func:`train_classifier`.

    Returns
    -------
    ClassifierTraining
        The trained classifier and its evaluation.

    Raises
    ------
    InvalidInputError
        If no image of a part is readable.
    """
    started = time.monotonic()
    inputs, rows, failures = read_inputs(data, parts, classifier, store)
    found = {part: data[members] for part, members in rows.items()}
    y = {part: images.labels or [] for part, images in found.items()}
    for part in (TRAIN, VALIDATION):
        if not len(rows[part]):
            raise InvalidInputError(f"there is no readable image for the part {part!r}")
    learning = time.monotonic()
    checkpoint = output.with_name(f"{output.stem}-checkpoint.npz")
    classifier.fit(
        inputs[TRAIN],
        y[TRAIN],
        validation_data=(inputs[VALIDATION], y[VALIDATION]),
        checkpoint=checkpoint,
    )
    learned = time.monotonic()
    test = None
    if len(rows[TEST]):
        test = ClassificationReport.from_classifier(classifier, found[TEST], inputs=inputs[TEST])
    counts = {part: images.class_counts for part, images in found.items()}
    figures = None if test is None else test.to_dict()
    origins = find_origins(data)
    classifier.save(
        output,
        overwrite=overwrite,
        images=counts,
        labels_from_clusters=origins_document(origins),
        test=figures,
    )
    checkpoint.unlink(missing_ok=True)
    return ClassifierTraining(
        output,
        classifier,
        counts,
        failures,
        test,
        time.monotonic() - started,
        learned - learning,
        origins,
    )


def read_inputs(
    data: LabelledImages,
    parts: Mapping[str, NDArray[np.intp]],
    classifier: Classifier,
    store: Store | str | Path | None,
) -> tuple[dict[str, Any], dict[str, NDArray[np.intp]], list[tuple[str, str]]]:
    """Return the inputs and the rows of each part, and the unreadable images.

    Parameters
    ----------
    data : LabelledImages
        The images.
    parts : mapping of str to ndarray of int
        Rows of each part; those in none are unreadable.
    classifier : Classifier
        The classifier.
    store : Store or path, optional
        Where embeddings are looked up and kept; by default the ``store`` of the classifier.

    Returns
    -------
    inputs : dict of str to object
        For ``Classifier.fit``: embeddings if only a last layer is trained, else the images.
    rows : dict of str to ndarray of int
        Rows of the images of each part that can be read.
    failures : list of (str, str)
        Name and reason of each unreadable image.
    """
    if not classifier.takes_embeddings or isinstance(data.images, np.ndarray):
        # The classifier reads files itself; pixels in memory cannot be looked up in the store.
        return (
            {part: data[rows].images for part, rows in parts.items()},
            dict(parts),
            explain_unreadable(data, parts),
        )
    divided = np.sort(np.concatenate([*parts.values()]))
    embeddings, readable, failures = _embed(data[divided], classifier, store)
    readable = divided[readable]
    failures = explain_unreadable(data, parts) + failures
    places = {part: np.flatnonzero(np.isin(readable, rows)) for part, rows in parts.items()}
    inputs = {part: embeddings[found] for part, found in places.items()}
    return inputs, {part: readable[found] for part, found in places.items()}, failures


def explain_unreadable(
    data: LabelledImages, parts: Mapping[str, NDArray[np.intp]]
) -> list[tuple[str, str]]:
    """Return name and reason of each unreadable file, which is in no part."""
    left_out = data[np.setdiff1d(np.arange(len(data)), np.concatenate([*parts.values()]))]
    batches = pixel_batches(left_out.images, (1, 1, 3), 64) if len(left_out) else ()
    return [(left_out.names[row], reason) for _, _, failed in batches for row, reason in failed]


def _embed(
    data: LabelledImages, classifier: Classifier, store: Store | str | Path | None
) -> tuple[Embeddings, NDArray[np.intp], list[tuple[str, str]]]:
    """Embed the images; return also the rows of the readable ones, and the others."""
    extractor = classifier.extractor
    vectors, rows, failures = read_features(
        [Path(file) for file in data.images],
        extractor,
        classifier.store if store is None else store,
        progress=classifier.progress,
    )
    if not rows:
        raise InvalidInputError("none of the images can be read")
    names = [data.names[row] for row in rows]
    embeddings = Embeddings(vectors, paths=names, space=describe(extractor))
    return embeddings, np.array(rows, np.intp), [(data.names[row], why) for row, why in failures]
