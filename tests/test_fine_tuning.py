"""Fine-tuning: which blocks a network has, and the effect of training the last of them."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clusterkit.classifiers import Classifier, train_classifier
from clusterkit.classifiers.evaluation import predict_with_features
from clusterkit.classifiers.training import fine_tuning
from clusterkit.classifiers.training.fine_tuning import check_memory, find_blocks
from clusterkit.errors import InvalidInputError
from clusterkit.extractors.applications import NETWORKS
from clusterkit.plots import ClassSimilarityDisplay
from clusterkit.store.embeddings import Embeddings
from tests import tiny_network

pytestmark = [
    pytest.mark.usefixtures("tiny_network"),
    # Random weights are not robust to rounding.
    pytest.mark.filterwarnings("ignore:bfloat16 moves the vectors"),
]


@pytest.mark.network
@pytest.mark.parametrize(("name", "n_blocks"), [("vgg16", 13), ("mobilenet", 27), ("xception", 16)])
def test_blocks_are_those_of_the_papers(name: str, n_blocks: int) -> None:
    builder = getattr(keras.applications, NETWORKS[name].builder)
    network = builder(weights=None, include_top=False, pooling="avg", input_shape=(75, 75, 3))
    blocks = find_blocks(network)
    assert len(blocks) == n_blocks
    # Split at any block, the two parts together equal the network.
    images = np.random.default_rng(0).random((2, 75, 75, 3)).astype(np.float32)
    below = keras.Model(network.inputs[0], blocks[-3])(images, training=False)
    top = keras.Model(blocks[-3], network.outputs[0])
    np.testing.assert_array_equal(
        np.asarray(top(below, training=False)), np.asarray(network(images, training=False))
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a small network with random weights."""
    path = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    # Without statistics of some images, all vectors would be the same.
    return tiny_network.save_weights(path, images=draw_stripes(2)[0] / np.float32(127.5) - 1)


@pytest.fixture(scope="module")
def pictures() -> tuple[NDArray[np.uint8], list[str]]:
    """Draw the training images."""
    return draw_stripes(0)


def draw_stripes(seed: int) -> tuple[NDArray[np.uint8], list[str]]:
    """Draw vertical and horizontal stripes in noise."""
    rng, n, side = np.random.default_rng(seed), 24, tiny_network.SIDE
    stripes = np.repeat(rng.integers(0, 140, (2 * n, 1, side // 4, 3)), 4, axis=2)
    images = stripes + rng.integers(0, 116, (2 * n, side, side, 3))
    images[n:] = images[n:].transpose(0, 2, 1, 3)
    return images.astype(np.uint8), ["down"] * n + ["across"] * n


@pytest.fixture(scope="module")
def tuned(
    tiny_network: None, weights: Path, pictures: tuple[NDArray[np.uint8], list[str]]
) -> Classifier:
    """Tune two blocks."""
    return tune(weights, pictures)


def tune(weights: Path, pictures: tuple[NDArray[np.uint8], list[str]]) -> Classifier:
    """Tune two blocks, and keep them even if they are no improvement.

    Blocks with random weights learn little more than the last layer alone.
    """
    fit_network = fine_tuning.fit_network
    clf = Classifier(
        tiny_network.NAME, weights=weights, fine_tune=2, epochs=2, batch_size=8, random_state=0
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            fine_tuning, "fit_network", lambda *args, loss, **kwargs: fit_network(*args, **kwargs)
        )
        return clf.fit(*pictures, validation_data=draw_stripes(1))


def test_tuning_changes_the_top_alone(
    tuned: Classifier, pictures: tuple[NDArray[np.uint8], list[str]], tmp_path: Path
) -> None:
    clf, images = tuned, pictures[0]
    assert len(clf.history_["val_loss"]) == 3  # the last layer alone, then two epochs
    assert clf.best_epoch_ == 2 + int(np.argmin(clf.history_["val_loss"][1:]))
    before, after = (
        next(layer for layer in network.layers if isinstance(layer, keras.Model))
        for network in (clf.extractor.build_network(), clf.model_)
    )
    changed = {
        old.path.split("/")[-2]
        for old, new in zip(before.weights, after.weights, strict=True)
        if not np.array_equal(np.asarray(old), np.asarray(new))
    }
    assert changed == {"residual", "last"}
    # The file contains the tuned network, so embeddings cannot be used.
    copy = Classifier.load(clf.save(tmp_path / "clf.keras"))
    np.testing.assert_allclose(
        copy.predict_proba(images), clf.predict_proba(images), rtol=1e-3, atol=1e-5
    )
    # The last layer on its input gives the same result as the whole network.
    for one in (clf, copy):
        _, seen = predict_with_features(one, images)
        head = one.model_.get_layer("head")
        np.testing.assert_allclose(
            np.asarray(head(seen, training=False))[:, 0],
            one.predict_proba(images)[:, 1],
            rtol=1e-3,
            atol=1e-5,
        )
    with pytest.raises(InvalidInputError, match="that are not fine-tuned"):
        copy.predict(Embeddings(np.zeros((1, tiny_network.DIMENSION), np.float32)))


def test_a_tuned_network_is_reported_and_written_and_the_last_layer_alone_where_that_is_better(
    weights: Path, pictures: tuple[NDArray[np.uint8], list[str]], tmp_path: Path
) -> None:
    for number, (image, name) in enumerate(zip(*pictures, strict=True)):
        (tmp_path / "images" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / name / f"{number:02}.png")
    clf = Classifier(
        tiny_network.NAME, weights=weights, fine_tune=2, epochs=1, learning_rate=1.0, random_state=0
    )
    report = train_classifier(tmp_path / "images", tmp_path / "tuned.keras", clf)
    assert [path.name for path in tmp_path.glob("tuned*")] == ["tuned.keras"]
    assert report.test is not None
    assert report.test.class_similarity.shape == (2, 2)
    ClassSimilarityDisplay.from_report(report.test)
    # At this learning rate, tuning is harmful.
    assert clf.history_["val_loss"][1] > clf.history_["val_loss"][0]
    assert clf.best_epoch_ == 1
    assert np.isfinite(report.test.probabilities).all()


def test_the_seed_decides_however_much_was_built_before(
    tuned: Classifier,
    weights: Path,
    pictures: tuple[NDArray[np.uint8], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_bottom = fine_tuning._run_bottom

    def run_after_building(*args: Any, **kwargs: Any) -> Any:
        """Draw a seed from Keras first, as the conversion for a runtime does."""
        keras.layers.Dropout(0.5)
        return run_bottom(*args, **kwargs)

    monkeypatch.setattr(fine_tuning, "_run_bottom", run_after_building)
    assert tune(weights, pictures).history_ == tuned.history_


def test_what_cannot_be_tuned(
    weights: Path, pictures: tuple[NDArray[np.uint8], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInputError, match="is for networks of keras"):
        Classifier("cnn", fine_tune=1).fit(*pictures)
    with pytest.raises(InvalidInputError, match=r"weights are for .*Received: weights='a\.h5'"):
        Classifier("cnn", weights="a.h5").fit(*pictures)
    with pytest.raises(InvalidInputError, match="fine_tune must be an integer of at least 0"):
        Classifier(tiny_network.NAME, fine_tune=-1).fit(*pictures)
    with pytest.raises(InvalidInputError, match=r"Received: fine_tune=99, 3 blocks"):
        Classifier(tiny_network.NAME, weights=weights, fine_tune=99).fit(*pictures)
    check_memory(1000, 100, (10, 10, 1024))
    for name, limit in (("available_memory", lambda: 10**8), ("MAX_BYTES", 2**20)):
        with monkeypatch.context() as patched:
            patched.setattr(fine_tuning, name, limit)
            with pytest.raises(InvalidInputError, match=r"tune fewer blocks.* images, 0\.5 GB"):
                check_memory(1000, 100, (10, 10, 1024))
