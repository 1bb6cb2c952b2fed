"""Fixtures that several test files share."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clusterkit.store.space import Space

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
# Otherwise hypothesis creates a folder in the checkout.
os.environ.setdefault(
    "HYPOTHESIS_STORAGE_DIRECTORY", str(Path(tempfile.gettempdir(), "clusterkit-hypothesis"))
)
if "PYTEST_XDIST_WORKER" in os.environ:
    # Each test worker has one core; more threads would only wait for each other.
    for library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(library, "1")

# Tests send Ctrl-C, which background jobs of a shell ignore.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real weights and photos; skip the test if there is none."""
    folder = Path(os.environ.get("CLUSTERKIT_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "weights").is_dir():
        pytest.skip(f"needs the real weights and photos in {folder} (CLUSTERKIT_SHARED)")
    return folder.resolve()


@pytest.fixture(scope="session", autouse=True)
def user_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep settings and converted networks of tests apart from those of the real user."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    folder = tmp_path_factory.getbasetemp()
    # Test workers share converted networks.
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    os.environ["CLUSTERKIT_CACHE"] = str(folder / "cache")


@pytest.fixture(scope="session")
def unsure_predictions() -> "NDArray[np.float64]":
    """Return probabilities of 200 classes of 100 images of one class; image 7 is of another.

    The network is sure of some images, and hardly knows others.
    """
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(100, 200)) + 9 * np.eye(200)[3] * rng.uniform(0.4, 1.5, (100, 1))
    logits[7] += 12 * np.eye(200)[9] - 9 * np.eye(200)[3]
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.fixture
def space(tmp_path: Path) -> "Space":
    """Return a space of three parts: images 0 to 8, of which 4 could not be embedded."""
    from clusterkit.store.store import Store
    from tests.stores import SPACE, make_row

    space = Store(tmp_path / ".clusterkit").open_space(SPACE)
    for start in (0, 3, 6):
        space.append([make_row(i) for i in range(start, start + 3)])
    return space


@pytest.fixture(scope="module")
def tiny_network() -> Iterator[None]:
    """Register the small network ``tinynet`` in addition to those of keras.applications."""
    from tests.tiny_network import registered

    with registered():
        yield


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of weights of ``tinynet`` without its head."""
    from tests.tiny_network import save_weights

    return save_weights(tmp_path_factory.mktemp("weights") / "tiny.weights.h5")


@pytest.fixture(scope="session")
def tiny_weights_with_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of weights of ``tinynet`` with a head for the classes of ImageNet."""
    from tests.tiny_network import save_weights

    file = tmp_path_factory.mktemp("weights") / "tiny-with-head.weights.h5"
    return save_weights(file, include_top=True)


@pytest.fixture
def untrained() -> Iterator[None]:
    """Make trainings run all epochs without learning anything."""
    from tests.no_training import learning_nothing

    with learning_nothing():
        yield


@pytest.fixture
def undrawn() -> Iterator[None]:
    """Make figures compose and save, but not draw."""
    from tests.no_drawing import drawing_nothing

    with drawing_nothing():
        yield


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the number of clusters with fewer subsamples than outside of tests."""
    from clusterkit.elbow.curve import elbow_curve

    monkeypatch.setitem(elbow_curve.__kwdefaults__, "n_resamples", 4)


@pytest.fixture
def two_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the elbow find two levels in any images: 3 clusters, the best, and 2."""
    from dataclasses import replace

    import numpy as np

    from clusterkit.clusterers import KMeans
    from clusterkit.elbow.curve import ElbowCurve, Level, elbow_curve

    def find(X: object, **_: object) -> ElbowCurve:
        rows = np.asarray(X, np.float32)
        curve = elbow_curve(rows, k=[2, 3, 4], n_resamples=4, random_state=0)
        levels = tuple(
            Level(k, confidence, KMeans(k, random_state=0).fit_predict(rows).astype(np.int32))
            for k, confidence in ((2, 0.6), (3, 0.85))
        )
        probability = np.array([0.25, 0.5, 0.125])
        return replace(
            curve, k=3, verdict="3 clusters: so it is.", levels=levels, probability=probability
        )

    for module in ("levels", "cluster"):
        monkeypatch.setattr(f"clusterkit.clustering.{module}.elbow_curve", find)
