"""Loaded networks: pictures of the input size in, one value per picture out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import ImageError
from clusterkit.images.batches import pixel_batches
from clusterkit.images.decoding import decode_image
from clusterkit.images.folder import digest_weights, read_bytes
from clusterkit.networks.runtimes.base import NetworkSource
from clusterkit.networks.runtimes.choose import FEW_IMAGES
from clusterkit.networks.runtimes.keras import KerasRuntime
from clusterkit.serve.batching import MAX_BATCH, Run
from clusterkit.serve.phases import Phases

# These import scikit-learn, which a server of imported vectors does not need.
if TYPE_CHECKING:
    from clusterkit.classifiers.classifier import Classifier
    from clusterkit.classifiers.predict import Prediction
    from clusterkit.extractors.by_name import RememberedExtractor

_N_WARMING = 4


class LoadedNetwork(NamedTuple):
    """A network that is loaded.

    Attributes
    ----------
    size : tuple of int
        (height, width) of its input, in pixels.
    resize : str
        How pictures are resized.
    run : callable
        uint8 images of shape (n, height, width, 3) in, ``n`` values out.
    """

    size: tuple[int, int]
    resize: str
    run: Run


def load_extractor(
    space: dict[str, Any], *, weights: str | Path | None, files: Sequence[Path], phases: Phases
) -> LoadedNetwork:
    """Load the network that made a space, and run it once.

    Parameters
    ----------
    space : dict
        Description of the space.
    weights : path, optional
        The weights, if their file has moved.
    files : sequence of path
        Images of the space, on which bfloat16 is compared with float32 if the processor supports
        it; without readable ones, the network runs in float32.
    phases : Phases
        Measures the time.

    Returns
    -------
    LoadedNetwork
        Its values are vectors of shape (dimension,), float32.
    """
    from clusterkit.extractors.by_name import RememberedExtractor

    extractor = RememberedExtractor(space, weights=weights, batch_size=MAX_BATCH)
    pictures = _read_some(files, extractor)
    with phases.phase("network"):
        extractor.prepare(FEW_IMAGES if len(pictures) else 1)
    blank = np.zeros((1, *extractor.image_size, 3), np.uint8)
    with phases.phase("first batch"):
        extractor.extract(pictures if len(pictures) else blank)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return extractor.extract(images).vectors

    return LoadedNetwork(extractor.image_size, extractor.resize, run)


def _read_some(files: Sequence[Path], extractor: RememberedExtractor) -> NDArray[np.uint8]:
    """Return the first images that can be read, shape (up to 4, height, width, 3)."""
    pictures = []
    for file in files[: 4 * _N_WARMING]:
        try:
            pixels, _ = decode_image(
                read_bytes(file), extractor.image_size, resize=extractor.resize
            )
        except ImageError:
            continue
        pictures.append(pixels)
        if len(pictures) == _N_WARMING:
            break
    return np.array(pictures, np.uint8)


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier that is loaded.

    Attributes
    ----------
    network : LoadedNetwork
        Its values are the probabilities of the classes.
    classes : list of str
        The classes.
    kind : str
        The task: binary, multiclass or multilabel.
    """

    network: LoadedNetwork
    classes: list[str]
    kind: str
    _classifier: Classifier

    def to_prediction(self, name: str, probabilities: NDArray[np.float32]) -> Prediction:
        """Return the prediction of one picture from its probabilities."""
        from clusterkit.classifiers.predict import Prediction

        classifier = self._classifier
        chosen = classifier.task_.decide(probabilities[None], classifier.thresholds_)[0]
        values = dict(zip(self.classes, map(float, probabilities), strict=True))
        found = tuple(one for one, is_in in zip(self.classes, chosen, strict=True) if is_in)
        return Prediction(name, found, values)


def load_classifier(path: str | Path) -> LoadedClassifier:
    """Load a classifier, and run it once.

    Its network runs on batches of any size: ``predict`` would fill each up to 32 pictures.
    """
    from clusterkit.classifiers.classifier import Classifier

    classifier = Classifier.load(path)
    shape = classifier.input_shape_
    identity = {"classifier": digest_weights(path)}
    source = NetworkSource("classifier", identity, lambda _: _from_pixels(classifier.model_))
    compute = KerasRuntime(source).compile("float32", MAX_BATCH)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        # A network may take pictures in grey.
        _, pixels, _ = next(pixel_batches(images, shape, len(images)))
        return classifier.task_.probabilities(compute(pixels)[0])

    run(np.zeros((1, *shape[:2], 3), np.uint8))
    return LoadedClassifier(
        LoadedNetwork((shape[0], shape[1]), classifier.resize, run),
        [str(name) for name in classifier.classes_],
        classifier.task_.kind,
        classifier,
    )


def _from_pixels(network: Any) -> Any:
    """Return a network with one input; a loaded network may have a list of one."""
    import keras

    return keras.Model(network.inputs[0], network.outputs[0])
