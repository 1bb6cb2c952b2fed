"""Vectors of two embedding spaces never mix, in estimators or in extractors that change."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from clusterkit.clusterers import CLUSTERERS, MiniBatchKMeans
from clusterkit.clusterers.row_stream import ArrayStream
from clusterkit.errors import SpaceMismatchError
from clusterkit.extractors import Extraction, Extractor, create_extractor, extractor_names
from clusterkit.extractors.applications import NETWORKS
from clusterkit.images.folder import digest_weights
from clusterkit.networks.runtimes.base import NetworkSource, Started
from clusterkit.similarity.neighbors import CosineNeighbors
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.stream import VectorStream

ESTIMATORS = {**{name: CLUSTERERS[name] for name in CLUSTERERS}, "neighbors": CosineNeighbors}
# Methods that accept vectors of the space on which an estimator was fitted.
METHODS = ("predict", "predict_proba", "transform", "score", "kneighbors", "partial_fit")
USES = [
    (name, method)
    for name, estimator in ESTIMATORS.items()
    for method in METHODS
    if hasattr(estimator, method)
]


def vectors(fingerprint: str | None, n: int = 30, width: int = 6) -> Embeddings:
    """Return vectors of a space: three bundles of directions."""
    rng = np.random.default_rng(0)
    rows = np.eye(width, dtype=np.float32)[np.arange(n) % 3] + rng.normal(0, 0.05, (n, width))
    return Embeddings(rows, space={"extractor": "made", "fingerprint": fingerprint})


def make(name: str) -> Any:
    estimator = ESTIMATORS[name]()
    wanted = {"n_clusters": 3, "random_state": 0, "min_cluster_size": 3, "n_neighbors": 3}
    known = estimator.get_params()
    return estimator.set_params(**{key: wanted[key] for key in wanted if key in known})


def stream(fingerprint: str) -> Any:
    """Return a stream of a space, whose batches need no store."""
    rows = vectors(fingerprint)
    made = VectorStream(rows.paths, Path("/photos"), rows.space)
    made.split = lambda: [ArrayStream(rows.vectors)]  # type: ignore
    return made


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_knows_the_space_it_was_fitted_on(name: str) -> None:
    a = vectors("a" * 64)
    assert make(name).fit(a).fingerprint_ == "a" * 64
    assert make(name).fit(a.vectors).fingerprint_ is None
    assert make(name).fit(a).fit(vectors("b" * 64)).fingerprint_ == "b" * 64
    assert not hasattr(clone(make(name).fit(a)), "fingerprint_")


@pytest.mark.parametrize(("name", "method"), USES)
def test_every_method_refuses_vectors_of_another_space(name: str, method: str) -> None:
    a, b = vectors("a" * 64), vectors("b" * 64)
    fitted = pickle.loads(pickle.dumps(make(name).fit(a)))
    for other in (b, vectors("b" * 64, width=9), b[:4]):
        with pytest.raises(SpaceMismatchError, match=r"aaaaaaaa.* Received: made-bbbbbbbb"):
            getattr(fitted, method)(other)
    # Its own space, plain arrays, and an unknown space are accepted.
    for same in (a, a[3:9], a.vectors, vectors(None)):
        getattr(fitted, method)(same)
    getattr(make(name).fit(a.vectors), method)(b)


def test_streams_and_batches_are_of_one_space() -> None:
    fitted = MiniBatchKMeans(3, random_state=0).fit(stream("a" * 64))
    assert fitted.fingerprint_ == "a" * 64
    assert len(fitted.predict(stream("a" * 64))) == 30
    for other in (stream("b" * 64), vectors("b" * 64)):
        with pytest.raises(SpaceMismatchError, match="bbbbbbbb"):
            fitted.predict(other)
    # A plain batch is accepted; the next one decides.
    model = MiniBatchKMeans(3, random_state=0).partial_fit(vectors(None))
    model.partial_fit(vectors("a" * 64))
    with pytest.raises(SpaceMismatchError):
        model.partial_fit(vectors("b" * 64))


class Shade(Extractor):
    """Creates a state at its first batch, from a parameter and a file, and keeps it."""

    name, image_size, dimension = "shade", (2, 2), 1

    def __init__(self, weights: str | Path, *, factor: int = 1) -> None:
        self.weights = weights
        self.factor = factor

    def _identity(self) -> dict[str, Any]:
        return {"weights": digest_weights(self.weights), "factor": self.factor}

    def _forward(self, images: Any) -> Extraction:
        if not hasattr(self, "network_"):
            self.network_ = float(Path(self.weights).read_text()) * self.factor
        return Extraction(np.full((len(images), 1), self.network_, np.float32))


def test_what_an_extractor_keeps_is_of_its_fingerprint(tmp_path: Path) -> None:
    file, other = tmp_path / "weights", tmp_path / "other"
    file.write_text("2")
    other.write_text("5")
    images = np.zeros((1, 2, 2, 3), np.uint8)
    extractor = Shade(file)
    assert extractor.transform(images) == 2
    kept = extractor.network_
    assert extractor.transform(images) == 2
    assert extractor.network_ is kept
    assert extractor.set_params(factor=3).transform(images) == 6
    extractor.factor = 4
    assert extractor.transform(images) == 8
    assert extractor.set_params(weights=other).transform(images) == 20
    other.write_text("7.0")
    assert extractor.transform(images) == 28
    assert pickle.loads(pickle.dumps(extractor)).set_params(factor=1).transform(images) == 7


class Numbered(Extractor):
    """An extractor with a number as its parameter."""

    name, image_size, dimension = "numbered", (2, 2), 3

    def __init__(self, *, n: int = 1) -> None:
        self.n = n

    def _forward(self, images: Any) -> Any:
        raise NotImplementedError


def test_a_parameter_may_be_a_number_of_numpy() -> None:
    assert Numbered(n=np.int64(5)).fingerprint == Numbered(n=5).fingerprint


@pytest.mark.parametrize("name", extractor_names())
def test_every_extractor_runs_anew_after_a_change(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started = []

    class Network:
        """A network whose outputs tell which it is, and of the length that is wanted."""

        def __init__(self, source: NetworkSource, **options: Any) -> None:
            self.identity, self.options = source.identity, options

        def start(self, images: Any, batch_size: int) -> Started:
            started.append((self.identity, self.options))
            is_class = self.identity["output"] == "predictions"
            lengths = [1000] if is_class else [extractor.dimension]
            number = len(started)
            run = lambda images: [np.full((len(images), n), number, np.float32) for n in lengths]  # noqa: E731
            return Started(run, "keras", "float32")

    monkeypatch.setattr("clusterkit.extractors.applications.OpenNetwork", Network)
    extractor = create_extractor(name)
    if name == "pixels":
        pytest.skip("keeps nothing")
    for number, change in enumerate(
        (
            {},
            {"output": "features" if name.endswith("predictions") else "predictions"},
            {"precision": "float32"},
            {"batch_size": 2},
            {"weights": tmp_path / "w.h5"},
        ),
        start=1,
    ):
        (tmp_path / "w.h5").write_text(name)
        extractor.set_params(**change)
        images = np.zeros((2, *extractor.image_size, 3), np.uint8)
        assert extractor.extract(images).vectors.shape == (2, extractor.dimension)
        assert extractor.extract(images).vectors[0, 0] == number == len(started)
    if type(extractor).__name__ == "KerasApplication":
        other = next(network for network in NETWORKS if network != extractor.network)
        extractor.set_params(network=other)
        images = np.zeros((1, *extractor.image_size, 3), np.uint8)
        assert extractor.extract(images).vectors[0, 0] == 6
        assert started[-1][0]["network"] == other


def test_few_images_are_embedded_by_what_starts_fastest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened = []

    class Network:
        """A network that records for how many images it was opened."""

        def __init__(self, source: NetworkSource, *, few: bool, **options: Any) -> None:
            opened.append(few)

        def start(self, images: Any, batch_size: int) -> Started:
            return Started(lambda x: [np.zeros((len(x), 2048), np.float32)], "keras", "float32")

    monkeypatch.setattr("clusterkit.extractors.applications.OpenNetwork", Network)
    (tmp_path / "w.h5").write_text("weights")
    extractor = create_extractor("xception", weights=tmp_path / "w.h5", batch_size=64)
    images = np.zeros((200, 299, 299, 3), np.uint8)
    for n_images, expected in ((1, [True]), (127, [True]), (128, [True, False])):
        extractor.transform(images[:n_images])
        assert opened == expected
    extractor.transform(images[:1])
    pickle.loads(pickle.dumps(extractor)).extract(images[:1])
    assert opened == [True, False, False]  # an unknown number counts as many


def test_weights_are_read_once_for_each_state_of_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = []
    digest_file = digest_weights.__globals__["digest_file"]

    def count(path: str) -> str:
        read.append(path)
        return digest_file(path)

    monkeypatch.setattr("clusterkit.images.folder.digest_file", count)
    file = tmp_path / "w.h5"
    file.write_bytes(b"one")
    extractor = create_extractor("resnet50", weights=file)
    first = extractor.fingerprint
    assert extractor.describe()
    assert clone(extractor).fingerprint == first
    assert len(read) == 1
    file.write_bytes(b"three")
    assert extractor.fingerprint != first
    assert len(read) == 2
