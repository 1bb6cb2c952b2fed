"""Arguments of the wrong type: public calls name them, and what belongs there."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import clusterkit as ck
from clusterkit.clusterers import (
    HDBSCAN,
    AffinityPropagation,
    GaussianMixture,
    KMeans,
    MiniBatchKMeans,
    RefinedKMeans,
    SpectralClustering,
    centers_of,
    kmeans_sweep,
)
from clusterkit.errors import InvalidInputError
from clusterkit.plots import ContactSheets, save_figure
from clusterkit.similarity import CosineNeighbors, unit_rows
from clusterkit.store.embeddings import Embeddings
from clusterkit.utils.documents import check_document, real
from clusterkit.utils.ray_engine import RayEngine

EMB = Embeddings(
    np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32),
    paths=[f"{row}.png" for row in range(16)],
)
LABELLED = Path("labelled")


def _train(**parameters: Any) -> Any:
    return ck.train_classifier(LABELLED, "out.keras", ck.Classifier("nn", **parameters))


def _compare_spaces(**parameters: Any) -> Any:
    return ck.compare_spaces({"a": EMB, "b": EMB}, **parameters)


def _train_autoencoder(**parameters: Any) -> Any:
    return ck.train_autoencoder(
        LABELLED, "ae.keras", **({"image_size": 8, "depth": 1} | parameters)
    )


CALLS: dict[str, tuple[Callable[..., Any], str]] = {
    "cluster": (
        lambda **a: ck.cluster(EMB, **{"n_clusters": 2, **a}),
        "level n_clusters random_state",
    ),
    "elbow_curve": (
        lambda **a: ck.elbow_curve(EMB, **a),
        "k_min k_max n_resamples max_samples random_state",
    ),
    "find_levels": (lambda **a: ck.find_levels(EMB, **a), "k_min k_max sample random_state"),
    "explain": (lambda **a: ck.explain(0, 1, EMB, **a), "bins random_state"),
    "cluster agglomerative": (
        lambda **a: ck.cluster(EMB, "agglomerative", n_clusters=2, **a),
        "random_state",
    ),
    "find_similar": (lambda **a: ck.find_similar(0, EMB, **a), "n_neighbors"),
    "audit": (lambda **a: ck.audit(EMB, **a), "max_images sample random_state"),
    "compare_spaces": (_compare_spaces, "n_clusters max_samples sample random_state"),
    "sample_images": (
        lambda **a: ck.sample_images(EMB, **{"n_images": 3, **a}),
        "n_images random_state",
    ),
    "write_report": (
        lambda **a: ck.write_report(EMB, "report.html", **a),
        "max_inside random_state",
    ),
    "route": (lambda **a: ck.route(".", "model.keras", "into", **a), "threshold"),
    "split_folder": (
        lambda **a: ck.split_folder(LABELLED, "parts", **a),
        "train val test random_state",
    ),
    "gather": (
        lambda **a: ck.gather("list.csv", "into", **a),
        "max_images max_bytes max_seconds rate per_host parallel attempts",
    ),
    "train_classifier": (
        lambda **a: ck.train_classifier(LABELLED, "out.keras", ck.Classifier("nn"), **a),
        "test_split",
    ),
    "compare_networks": (
        lambda **a: ck.compare_networks(LABELLED, ["nn"], **a),
        "test_split validation_split",
    ),
    "find_label_errors": (
        lambda **a: ck.find_label_errors(LABELLED, ck.Classifier("nn"), **a),
        "n_folds",
    ),
    "Classifier": (
        _train,
        "fine_tune image_size epochs batch_size learning_rate validation_split patience "
        "random_state",
    ),
    "train_autoencoder": (
        _train_autoencoder,
        "image_size latent_size depth epochs validation_split patience batch_size random_state",
    ),
    "create_extractor": (lambda **a: ck.create_extractor("pixels", **a).full_batch, "batch_size"),
    "KMeans": (lambda **a: KMeans(2, **a).fit(EMB.vectors), "n_init max_iter tol random_state"),
    "MiniBatchKMeans": (
        lambda **a: MiniBatchKMeans(**{"n_clusters": 2, **a}).fit(EMB.vectors),
        "n_clusters batch_size n_sample n_init max_iter tol random_state",
    ),
    "MiniBatchKMeans in batches": (
        lambda **a: MiniBatchKMeans(**{"n_clusters": 2, **a}).partial_fit(EMB.vectors),
        "n_clusters batch_size n_sample n_init max_iter tol random_state",
    ),
    "kmeans_sweep": (lambda **a: kmeans_sweep(EMB, [2, 3], **a), "n_init random_state"),
    "AffinityPropagation": (
        lambda **a: AffinityPropagation(**a).fit(EMB.vectors),
        "damping preference random_state",
    ),
    "HDBSCAN": (lambda **a: HDBSCAN(**a).fit(EMB.vectors), "random_state"),
    "GaussianMixture": (lambda **a: GaussianMixture(2, **a).fit(EMB.vectors), "random_state"),
    "RefinedKMeans": (lambda **a: RefinedKMeans(2, **a).fit(EMB.vectors), "random_state"),
    "SpectralClustering": (
        lambda **a: SpectralClustering(2, **a).fit(EMB.vectors),
        "random_state",
    ),
    "ContactSheets": (
        lambda **a: ContactSheets.from_clustering(
            ck.cluster(EMB, n_clusters=2, random_state=0), **a
        ),
        "random_state",
    ),
    "RayEngine": (lambda **a: RayEngine(**a).check(), "workers cpus gpus memory"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arguments")
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / LABELLED / label).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / LABELLED / label / f"{number}.png")
    return folder


@pytest.mark.parametrize("wrong", ["5", float("nan"), 1j])
@pytest.mark.parametrize(
    ("call", "name"),
    [(call, name) for call, (_, names) in CALLS.items() for name in names.split()],
)
def test_wrong_types_for_numbers_are_told(
    call: str, name: str, wrong: Any, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images)
    with pytest.raises(InvalidInputError) as told:
        CALLS[call][0](**{name: wrong})
    message = str(told.value)
    assert name in message
    assert " must be " in message
    assert repr(wrong) in message.partition("Received: ")[2]
    assert [path.name for path in images.iterdir()] == [LABELLED.name]


@pytest.mark.parametrize("call", [call for call, (_, names) in CALLS.items() if "random" in names])
def test_a_negative_seed_is_told_even_where_nothing_is_random(
    call: str, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images)
    with pytest.raises(InvalidInputError, match=r"random_state must be .* Received: .*-1$"):
        CALLS[call][0](random_state=-1)
    assert [path.name for path in images.iterdir()] == [LABELLED.name]


TAKE_VECTORS: list[Callable[[Any], Any]] = [
    ck.elbow_curve,
    ck.Embeddings,
    KMeans(2).fit,
    KMeans(2).fit(EMB.vectors).predict,
    MiniBatchKMeans(2).fit,
    AffinityPropagation().fit,
    CosineNeighbors(2).fit,
    CosineNeighbors(2).fit(EMB.vectors).kneighbors,
    unit_rows,
    lambda X: kmeans_sweep(X, [2, 3]),
    lambda X: centers_of(X, [0] * 16),
    lambda X: ck.compare_spaces({"a": X, "b": EMB}),
]


@pytest.mark.parametrize("given", [".clusterkit", Path(".clusterkit"), ck.Store(), 3], ids=repr)
@pytest.mark.parametrize("call", TAKE_VECTORS)
def test_a_store_where_vectors_belong_is_told_how_to_read_it(
    call: Callable[[Any], Any], given: Any
) -> None:
    with pytest.raises(InvalidInputError, match=r"must have shape \(n, dim.*read\(\)") as told:
        call(given)
    assert f"Received: {given!r}" in str(told.value)


@pytest.mark.parametrize("call", [*TAKE_VECTORS, lambda X: ck.cluster(X, n_clusters=2)])
def test_images_where_vectors_belong_are_told_how_to_embed_them(
    call: Callable[[Any], Any], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ck.ImageFolder(images / LABELLED)
    monkeypatch.setattr("clusterkit.images.folder.read_image", None)
    for given in (folder, folder.files, folder.paths):
        with pytest.raises(InvalidInputError, match=r"which clusterkit\.embed\(images\) makes"):
            call(given)


@pytest.mark.parametrize("call", [ck.label, lambda clusters: ck.promote(clusters, "out")])
def test_a_clustering_that_is_not_in_a_file_is_told(call: Callable[[Any], Any]) -> None:
    with pytest.raises(InvalidInputError, match=r"as to_csv\(\) .* Received: <Clustering: 16 im"):
        call(ck.cluster(EMB, n_clusters=2, random_state=0))


def test_what_the_message_says_gives_vectors(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images)
    ck.embed_to_store(LABELLED, "pixels", ".clusterkit")
    assert KMeans(2).fit(ck.Store(".clusterkit").read()).labels_.shape == (8,)
    shutil.rmtree(".clusterkit")


@pytest.mark.parametrize("given", [3, None, b"a.csv", ["a.csv"], io.StringIO()])
@pytest.mark.parametrize(
    "save",
    [
        lambda path: ck.cluster(EMB, n_clusters=2, random_state=0).to_csv(path),
        lambda path: ck.find_similar(0, EMB).to_csv(path),
        lambda path: save_figure(Figure(), path),
        lambda path: ck.write_report(EMB, path),
        lambda path: ck.train_classifier(LABELLED, path, ck.Classifier("nn")),
    ],
)
def test_an_output_that_is_no_path_is_told(save: Callable[[Any], Any], given: Any) -> None:
    with pytest.raises(
        InvalidInputError, match=r"^the output must be text or .* Received: "
    ) as told:
        save(given)
    assert repr(given)[:100] in str(told.value)


@pytest.mark.parametrize("given", [3, [("a.png", "b.png")], ("a.png", "b.png"), {"a": "b"}])
def test_pairs_that_are_not_in_a_file_are_told(
    given: Any, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images)
    with pytest.raises(InvalidInputError, match=r"^not_copies, a file of pairs, must be text or "):
        ck.check(LABELLED, not_copies=given)
    with pytest.raises(InvalidInputError, match="must be what cluster returns, or the path"):
        ck.split_folder(LABELLED, "parts", not_copies=given)


@pytest.mark.parametrize("share", [None, 10**400])
@pytest.mark.parametrize("part", ["val", "test"])
def test_a_share_that_is_no_number_is_told(part: str, share: Any) -> None:
    with pytest.raises(InvalidInputError, match=rf"^{part} must be .* to 1\. Received: {share}$"):
        ck.split_folder(LABELLED, "parts", **{part: share})


def test_a_number_of_a_document_must_fit_a_float() -> None:
    assert check_document({"x": 2}, {"x": real()}) == {"x": 2}
    for value in (10**400, float("nan"), True, "2"):
        with pytest.raises(InvalidInputError, match="'x' must be a number of at least 0"):
            check_document({"x": value}, {"x": real(0)})
