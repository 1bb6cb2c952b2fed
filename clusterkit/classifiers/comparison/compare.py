"""Train several networks on the same images, and compare them.

The folder of the comparison contains two files for each network: ``NAME.keras``, and ``NAME.json``
with a digest of the images, the parameters and the result.  An interrupted comparison is continued,
and networks can be added later.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.classifiers.classifier import Classifier, check_classifier
from clusterkit.classifiers.comparison.records import (
    OWN,
    NetworkRecord,
    digest_images,
    read_others,
)
from clusterkit.classifiers.comparison.result import NetworkComparison, NetworkResult
from clusterkit.classifiers.train import (
    ClassifierTraining,
    explain_unreadable,
    take_known_weights,
    train_on_parts,
)
from clusterkit.classifiers.training.networks import SCRATCH_NETWORKS
from clusterkit.clustering.provenance import find_not_copies
from clusterkit.datasets.labelled_images import LabelledImages, read_labelled
from clusterkit.datasets.places import TRAIN
from clusterkit.datasets.split import split
from clusterkit.errors import ClusterkitError, InvalidInputError, OutputExistsError
from clusterkit.store.store import Store
from clusterkit.utils.files import locked

# Enough for the training accuracy to within half a percent, in less time than an epoch.
_MAX_TRAINING_IMAGES = 5_000


def compare_networks(
    source: str | Path | LabelledImages,
    networks: Sequence[str] | Mapping[str, Classifier],
    output: str | Path | None = None,
    *,
    test_split: float = 0.2,
    validation_split: float = 0.1,
    random_state: int | None = None,
    not_copies: str | Path | None = None,
    store: Store | str | Path | None = None,
    overwrite: bool = False,
    **parameters: Any,
) -> NetworkComparison:
    """Train several networks with one split, and evaluate them on the same test images.

    Parameters
    ----------
    source : path or LabelledImages
        The images; see :func:`~clusterkit.read_labelled`.
    networks : sequence of str, or mapping of str to Classifier
        Names of networks, or classifiers by name.
    output : path, optional
        Folder for ``NAME.keras`` and ``NAME.json`` of each network.  A network that an earlier call
        trained there, on the same images and with the same parameters and seed, is not trained
        again; results there of further networks, on the same images, are part of the comparison.
        By default no network is stored.
    test_split, validation_split : float
        Fractions of the images for these parts, unless the source has them.
    random_state : int, optional
        Seed of the split, and of networks that are given by name; random by default.
    not_copies : path, optional
        A table of clusters that records images which look alike but are not copies, see
        :func:`clusterkit.clustering.label`: these need not be in one part.  By default the table
        that ``source`` is, if it is one.
    store : Store or path, optional
        Where to store the embeddings of pretrained networks.
    overwrite : bool
        Whether to overwrite networks in ``output`` of other images or parameters, and to leave
        further ones of other images out of the comparison.
    **parameters
        Parameters of the networks given by name, see :class:`Classifier`.  Networks ignore
        parameters that are only for training from scratch, or only for keras.applications.

    Returns
    -------
    NetworkComparison
        Results and learning curves.  A network that cannot be trained, for instance because the
        images are too small for it, is listed with the reason.

    Raises
    ------
    InvalidInputError, NotFoundError
        If images, labels or parameters are not suitable, or another run is comparing networks in
        the same folder; raised before any training.
    OutputExistsError
        If the folder contains another network of the same name, or networks of other images, and
        ``overwrite`` is false.

    Examples
    --------
    >>> found = compare_networks("digits.csv", ["nn", "cnn"], "comparison")  # doctest: +SKIP
    >>> print(found.to_text())  # doctest: +SKIP
    """
    classifiers = _named(networks, random_state, parameters)
    data = source if isinstance(source, LabelledImages) else read_labelled(source)
    parts = split(
        data,
        test_split=test_split,
        validation_split=validation_split,
        random_state=random_state,
        apart=find_not_copies(data, not_copies),
    )
    if output is None:
        with tempfile.TemporaryDirectory() as name:
            found = _compare(data, parts, classifiers, Path(name), store, overwrite=True)
        kept = [replace(result, model=None) for result in found.results]
        return replace(found, results=kept)
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"{folder} is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, doing="comparing networks"):
        return _compare(data, parts, classifiers, folder, store, overwrite=overwrite)


def _named(
    networks: Sequence[str] | Mapping[str, Classifier],
    random_state: int | None,
    parameters: Mapping[str, Any],
) -> dict[str, Classifier]:
    """Return the classifiers by name after checking their parameters."""
    if isinstance(networks, str):
        networks = [networks]
    if not isinstance(networks, Mapping):
        networks = {name: _create(name, random_state, parameters) for name in networks}
    elif parameters:
        raise InvalidInputError(
            "parameters are for networks that are given by name; set them on the classifiers. "
            f"Received: {', '.join(parameters)}"
        )
    if not networks:
        raise InvalidInputError("a comparison needs at least one network. Received: none")
    for name, classifier in networks.items():
        if not name or name == OWN or name != Path(name).name:
            raise InvalidInputError(f"a network's name must be a file's name. Received: {name!r}")
        check_classifier(classifier)
    return dict(networks)


def _create(name: str, random_state: int | None, parameters: Mapping[str, Any]) -> Classifier:
    """Return an untrained classifier with the parameters that apply to its network."""
    classifier = Classifier(name, random_state=random_state, **parameters)
    foreign = ("weights",) if name in SCRATCH_NETWORKS else ("image_size", "augmentation")
    return classifier.set_params(**dict.fromkeys(foreign))


def _compare(
    data: LabelledImages,
    parts: Mapping[str, NDArray[np.intp]],
    classifiers: Mapping[str, Classifier],
    folder: Path,
    store: Store | str | Path | None,
    *,
    overwrite: bool,
) -> NetworkComparison:
    """Train the networks without a result, and return all results."""
    for classifier in classifiers.values():
        take_known_weights(classifier, store)
    digest = digest_images(data, parts)
    records = {
        name: NetworkRecord(folder / name, digest, classifier)
        for name, classifier in classifiers.items()
    }
    known = {name: record.read(overwrite=overwrite) for name, record in records.items()}
    others = read_others(folder, digest, records, overwrite=overwrite)
    results: list[NetworkResult] = []
    failures: list[tuple[str, str]] = []
    for name, classifier in classifiers.items():
        result = known[name]
        if result is None:
            if classifier.progress:
                print(f"{name}:", file=sys.stderr)
            try:
                result = _train(name, classifier, data, parts, records[name], store)
            except ClusterkitError as error:
                failures.append((name, str(error)))
                continue
        results.append(result)
    counts = {part: len(rows) for part, rows in parts.items()}
    unreadable = explain_unreadable(data, parts)
    return NetworkComparison(results + others, failures, counts, unreadable, data.is_multilabel)


def _train(
    name: str,
    classifier: Classifier,
    data: LabelledImages,
    parts: Mapping[str, NDArray[np.intp]],
    record: NetworkRecord,
    store: Store | str | Path | None,
) -> NetworkResult:
    """Train and evaluate one network, and record the result."""
    record.begin()
    report = train_on_parts(data, parts, record.model, classifier, store=store, overwrite=True)
    trained = report.classifier
    result = NetworkResult(
        name,
        trained.network,
        _training_accuracy(report, data[parts[TRAIN]]),
        trained.history_["val_accuracy"][trained.best_epoch_ - 1],
        None if report.test is None else report.test.to_dict(),
        int(trained.model_.count_params()),
        report.training_seconds,
        trained.best_epoch_,
        trained.history_,
        str(record.model),
    )
    record.end(result)
    return result


def _training_accuracy(report: ClassifierTraining, training: LabelledImages) -> float:
    """Return the accuracy on training images without augmentation, if that takes little time."""
    classifier = report.classifier
    if classifier.network not in SCRATCH_NETWORKS or training.is_multilabel:
        return classifier.history_["accuracy"][classifier.best_epoch_ - 1]
    sample = training[range(0, len(training), -(-len(training) // _MAX_TRAINING_IMAGES))]
    truth = classifier.task_.indicators(sample.labels or [])
    predicted = classifier.task_.decide(classifier.predict_proba(sample.images), None)
    return float((predicted == truth).all(axis=1).mean())
