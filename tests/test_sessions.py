"""Sessions of TensorFlow without importing it: the same outputs, and no import."""

import gc
import importlib.util
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import clusterkit.cli.similar
from clusterkit.cli import main
from clusterkit.errors import NotFoundError
from clusterkit.networks.runtimes import sessions
from clusterkit.networks.runtimes.graph import session_config
from clusterkit.networks.runtimes.sessions import InvalidGraphError, OpenGraph, encode_config
from clusterkit.utils.imports import keras_backend

BATCH = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)

pytestmark = pytest.mark.skipif(
    sessions._library() is None, reason="TensorFlow's library is elsewhere on this system"
)


@pytest.fixture(scope="module")
def content() -> bytes:
    """Return a graph with two outputs."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        images = tf.compat.v1.placeholder(tf.uint8, [None, 8, 8, 3], name="images")
        means = tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2])
        tf.identity(means, "output_0")
        tf.identity(tf.nn.softmax(means @ tf.eye(3, 5)), "output_1")
    return bytes(graph.as_graph_def().SerializeToString())


@pytest.mark.parametrize("kind", [sessions._NativeGraph, sessions._ImportedGraph])
def test_outputs_are_those_of_the_graph(kind: Any, content: bytes) -> None:
    run = kind(content, "images", "output_").open_session(session_config("float32", 1))
    for images in (BATCH, BATCH[:1], BATCH[::-1]):
        means, shares = run(images)
        assert means.dtype == shares.dtype == np.float32
        np.testing.assert_allclose(means, images.mean((1, 2)), rtol=1e-5)
        assert shares.shape == (len(images), 5)
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", [sessions._NativeGraph, sessions._ImportedGraph])
@pytest.mark.parametrize("names", [("pixels", "output_"), ("images", "vector_")])
def test_a_graph_without_what_is_wanted_is_an_error(
    kind: Any, names: tuple[str, str], content: bytes
) -> None:
    with pytest.raises(InvalidGraphError):
        kind(content, *names)


@pytest.mark.parametrize("kind", [sessions._NativeGraph, sessions._ImportedGraph])
@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b"", lambda b: b"no graph"])
def test_a_damaged_graph_is_an_error(kind: Any, damage: Any, content: bytes) -> None:
    with pytest.raises(InvalidGraphError):
        kind(damage(content), "images", "output_")


def test_a_session_that_nobody_needs_is_freed(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    checked = sessions._Calls.checked

    def watched(self: Any, function: Any, *arguments: Any) -> Any:
        closed.append(function.__name__)
        return checked(self, function, *arguments)

    graph = sessions._NativeGraph(content, "images", "output_")
    run = graph.open_session(session_config("float32", 1))
    del graph  # A session no longer needs it.
    run(BATCH)
    gc.collect()  # Sessions of other tests.
    monkeypatch.setattr(sessions._Calls, "checked", watched)
    del run
    gc.collect()
    assert closed == ["TF_CloseSession", "TF_DeleteSession"]


def test_images_of_another_shape_are_an_error(content: bytes) -> None:
    run = OpenGraph(content, "images", "output_").open_session(session_config("float32", 1))
    with pytest.raises(sessions.ClusterkitError, match="TensorFlow cannot run the network: "):
        run(BATCH[:, :4, :4, 0])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("n_threads", [1, 300])
def test_options_are_encoded_as_tensorflow_does(precision: str, n_threads: int) -> None:
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto.FromString(session_config(precision, n_threads))
    assert config.intra_op_parallelism_threads == n_threads
    assert config.inter_op_parallelism_threads == 1
    assert config.use_per_session_threads
    found = config.graph_options.rewrite_options
    assert found.memory_optimization == found.NO_MEM_OPT
    assert found.layout_optimizer == found.common_subgraph_elimination == found.OFF
    is_half = precision == "bfloat16"
    assert (found.auto_mixed_precision_onednn_bfloat16 == found.ON) == is_half
    assert (found.dependency_optimization == found.OFF) != is_half
    assert (found.meta_optimizer_iterations == found.ONE) != is_half
    for name, number in sessions._FIELDS.items():
        places = (config, config.graph_options, found)
        numbers = [p.DESCRIPTOR.fields_by_name[name].number for p in places if hasattr(p, name)]
        assert numbers == [number]


def test_an_unknown_option() -> None:
    with pytest.raises(KeyError):
        encode_config({"speed": 1})


def test_a_fresh_process_imports_neither_tensorflow_nor_keras(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "graph.pb").write_bytes(content)
    code = (
        "import sys, numpy as np\n"
        "from clusterkit.extractors.applications import KerasApplication\n"
        "from clusterkit.embedding.embed import embed_to_store\n"
        "from clusterkit.networks.runtimes.graph import session_config\n"
        "from clusterkit.networks.runtimes.sessions import OpenGraph\n"
        "images = np.full((2, 8, 8, 3), 7, np.uint8)\n"
        "graph = OpenGraph(open(sys.argv[1], 'rb').read(), 'images', 'output_')\n"
        "run = graph.open_session(session_config('float32', 1))\n"
        "before = run(images)\n"
        "print([name for name in ('tensorflow', 'keras', 'sklearn', 'pandas', 'matplotlib')\n"
        "       if name in sys.modules])\n"
        "import tensorflow as tf\n"
        "assert (tf.ones(3).numpy() == 1).all()\n"
        "assert all((a == b).all() for a, b in zip(before, run(images)))\n"
        "print(before[0].tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "graph.pb")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"[]\n{[[7.0] * 3] * 2}\n"


@pytest.mark.parametrize("module", ["sklearn", "matplotlib.pyplot"])
def test_only_keras_goes_without(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def import_in_command(*_: object, **__: object) -> None:
        finder = sys.meta_path[0]
        finder._thread = threading.get_ident()  # type: ignore[attr-defined]
        with pytest.raises(ModuleNotFoundError, match=f"without {module}"):
            finder.find_spec(module)
        others: list[Any] = []
        thread = threading.Thread(target=lambda: others.append(finder.find_spec(module)))
        thread.start()
        thread.join()
        assert others == [None]
        finder._thread = None  # type: ignore[attr-defined]
        assert importlib.util.find_spec(module) is not None
        raise NotFoundError("all as expected")

    monkeypatch.setattr(clusterkit.cli.similar, "open_search", import_in_command)
    assert CliRunner().invoke(main, ["similar", "a.png"]).stderr == "Error: all as expected\n"


@pytest.mark.parametrize(
    ("variable", "file", "expected"),
    [
        (None, None, "tensorflow"),
        (None, '{"backend": "jax"}', "jax"),
        ("torch", '{"backend": "jax"}', "torch"),
        (None, "{", "tensorflow"),
        (None, "[]", "tensorflow"),
        (None, '{"floatx": "float32"}', "tensorflow"),
    ],
)
def test_the_backend_is_known_without_keras(
    variable: str | None,
    file: str | None,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if variable:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    if file:
        (tmp_path / "keras.json").write_text(file)
    assert keras_backend() == expected
