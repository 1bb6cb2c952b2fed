"""Runtimes of networks: all give the same vectors, and bfloat16 is used only where it agrees."""

import itertools
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError, MissingDependencyError
from clusterkit.extractors import create_extractor
from clusterkit.networks.runtimes import cache
from clusterkit.networks.runtimes import choose as runtimes
from clusterkit.networks.runtimes.base import (
    MIN_COSINE,
    NetworkSource,
    Run,
    Started,
    lowest_cosine,
)
from clusterkit.networks.runtimes.cache import ComparisonFile, cache_folder
from clusterkit.utils.imports import keras_backend

BATCH = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)


def start(
    source: NetworkSource,
    images: NDArray[np.uint8] = BATCH,
    batch_size: int = len(BATCH),
    **options: Any,
) -> Started:
    return runtimes.OpenNetwork(source, **options).start(images, batch_size=batch_size)


@pytest.fixture(scope="module", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Use a separate cache of converted networks, and convert the network once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLUSTERKIT_CACHE", str(folder))
        yield folder


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache that does not exist yet."""
    monkeypatch.setenv("CLUSTERKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def model() -> Any:
    """Return a small network with two outputs."""
    import keras

    keras.utils.set_random_seed(0)
    pixels = keras.Input((16, 16, 3), dtype="uint8")
    x = keras.layers.Conv2D(16, 3, activation="swish")(
        keras.ops.cast(pixels, "float32") / 127.5 - 1
    )
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(x))
    return keras.Model(pixels, [x, keras.layers.Dense(5, activation="softmax")(x)])


def source_of(build: Callable[[str], Any], name: str = "small") -> NetworkSource:
    return NetworkSource(name, {"weights": "of this test"}, build)


def never(policy: str) -> Any:
    raise AssertionError("the network was built")


@pytest.mark.parametrize("runtime", ["keras", "openvino"])
@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_every_runtime_gives_the_outputs_of_keras(runtime: str, precision: str, model: Any) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    started = start(source_of(lambda _: model), runtime=runtime, precision=precision)
    expected = [np.asarray(output) for output in model(BATCH, training=False)]
    assert started.runtime == runtime
    for _ in range(2):
        outputs = started.run(BATCH)
        assert [output.dtype for output in outputs] == [np.float32] * 2
        if precision == "float32":
            assert started.precision == "float32"
            for output, wanted in zip(outputs, expected, strict=True):
                np.testing.assert_allclose(output, wanted, atol=1e-5)
        else:
            assert lowest_cosine(outputs, expected) >= MIN_COSINE


@pytest.mark.parametrize("runtime", ["keras", "openvino"])
@pytest.mark.parametrize("precision", ["float32", "auto"])
@pytest.mark.parametrize("batch_size", [1, 3, len(BATCH)])
def test_a_batch_may_be_smaller_than_full(
    runtime: str, precision: str, batch_size: int, model: Any
) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    source = source_of(lambda _: model)
    run = start(source, BATCH[:1], batch_size, runtime=runtime, precision=precision).run
    expected = np.asarray(model(BATCH, training=False)[0])
    for n in range(1, batch_size + 1):
        vectors, _ = outputs = run(BATCH[:n])
        assert [len(output) for output in outputs] == [n, n]
        assert lowest_cosine([vectors], [expected[:n]]) >= MIN_COSINE


def test_a_converted_network_is_kept_and_starts_without_keras(
    shared_cache: Path, model: Any
) -> None:
    pytest.importorskip("openvino")
    first = start(source_of(lambda _: model), runtime="openvino", precision="float32")
    (kept,) = (shared_cache / "openvino").iterdir()
    assert {file.name for file in kept.iterdir()} == {"network.xml", "network.bin"}
    again = start(source_of(never), runtime="openvino", precision="float32")
    assert np.array_equal(first.run(BATCH)[0], again.run(BATCH)[0])
    other = NetworkSource("small", {"weights": "of another test"}, never)
    with pytest.raises(AssertionError, match="the network was built"):
        start(other, runtime="openvino")
    assert [folder.name for folder in (shared_cache / "openvino").iterdir()] == [kept.name]


@pytest.mark.parametrize(
    ("runtime", "damage"),
    [
        ("auto", "no weights"),
        ("openvino", "cut weights"),
        ("auto", "cut network"),
        ("openvino", "no network"),
    ],
)
def test_a_damaged_converted_network_is_converted_again(
    runtime: str, damage: str, empty_cache: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(runtimes, "has_gpu", lambda: False)
    source = source_of(lambda _: model)
    expected = start(source, runtime="openvino", precision="float32").run(BATCH)
    (kept,) = (empty_cache / "openvino").iterdir()
    extent, part = damage.split()
    file = kept / {"weights": "network.bin", "network": "network.xml"}[part]
    whole = file.read_bytes()
    if extent == "no":
        file.unlink()
    else:
        file.write_bytes(whole[: len(whole) // 2])
    # A warning that Keras is used instead would be an error.
    started = start(source, runtime=runtime, precision="float32")
    assert started.runtime == "openvino"
    for output, wanted in zip(started.run(BATCH), expected, strict=True):
        np.testing.assert_allclose(output, wanted, atol=1e-6)
    assert len(file.read_bytes()) == len(whole)
    start(source_of(never), runtime=runtime, precision="float32")


def test_a_damaged_converted_network_that_stays_is_an_error_of_one_line(
    empty_cache: Path, model: Any
) -> None:
    pytest.importorskip("openvino")
    source = source_of(lambda _: model)
    start(source, runtime="openvino")
    (kept,) = (empty_cache / "openvino").iterdir()
    shutil.rmtree(kept)
    kept.write_text("a file")
    with pytest.raises(InvalidInputError, match=r"cannot write the cache .*CLUSTERKIT_CACHE"):
        start(source, runtime="openvino")


def test_a_run_that_was_faster_is_no_error(
    shared_cache: Path, tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    start(source_of(lambda _: model), runtime="openvino")
    monkeypatch.setenv("CLUSTERKIT_CACHE", str(tmp_path))
    folder = tmp_path / "openvino"
    copied: list[list[Path]] = []

    def build(policy: str) -> Any:
        # Other tests convert other networks at the same time.
        shutil.copytree(
            shared_cache, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*")
        )
        copied.append(sorted(path for path in folder.iterdir() if path.name[0] != "."))
        return model

    start(source_of(build), runtime="openvino")
    assert copied == [sorted(folder.iterdir())]


@pytest.mark.parametrize(
    ("platform", "variable", "folder"),
    [
        ("linux", "XDG_CACHE_HOME", "clusterkit"),
        ("linux", None, ".cache/clusterkit"),
        ("darwin", None, "Library/Caches/clusterkit"),
        ("win32", "LOCALAPPDATA", "clusterkit"),
    ],
)
def test_the_cache_is_where_the_system_keeps_its_own(
    platform: str,
    variable: str | None,
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("CLUSTERKIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == tmp_path / folder


def test_a_user_without_a_home_names_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("Could not determine home directory.")

    for name in ("CLUSTERKIT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", fail)
    monkeypatch.setattr(Path, "expanduser", fail)
    with pytest.raises(InvalidInputError, match=r"no home folder .*CLUSTERKIT_CACHE"):
        cache_folder()
    monkeypatch.setenv("CLUSTERKIT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert keras_backend() == "tensorflow"


def test_what_openvino_cannot_run_keras_runs(
    empty_cache: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(runtimes, "has_gpu", lambda: False)
    empty_cache.write_text("a file where the cache should be")
    with pytest.warns(UserWarning, match="OpenVINO cannot run small .*CLUSTERKIT_CACHE.* Keras"):
        assert start(source_of(lambda _: model)).runtime == "keras"
    with pytest.raises(InvalidInputError, match="cannot write the cache"):
        start(source_of(lambda _: model), runtime="openvino")


def test_openvino_is_chosen_where_it_is_installed_and_there_is_no_gpu(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    source = source_of(lambda _: model)
    monkeypatch.setattr(runtimes, "has_gpu", lambda: False)
    assert start(source, precision="float32").runtime == "openvino"
    monkeypatch.setattr(runtimes, "has_gpu", lambda: True)
    assert start(source, precision="float32").runtime == "keras"


def test_without_openvino(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(runtimes, "_openvino_is_installed", lambda: False)
    assert start(source_of(lambda _: model), precision="float32").runtime == "keras"
    with pytest.raises(MissingDependencyError, match=r"pip install 'clusterkit\[openvino\]'"):
        start(source_of(never), runtime="openvino")


class Rounding:
    """A runtime that is slow in one precision, and whose last vector in bfloat16 is off."""

    name = "keras"

    def __init__(self, angle: float, has_bfloat16: bool = True, slow: str = "float32") -> None:
        self.angle = angle
        self.has_bfloat16 = has_bfloat16
        self.slow = slow
        self.compiled: list[str] = []

    def compile(self, precision: str, batch_size: int) -> Run:
        self.compiled.append(precision)

        def run(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
            vectors = np.tile(np.float32([1, 0]), (batch_size, 1))
            if precision == self.slow:
                time.sleep(0.05)
            if precision == "bfloat16":
                vectors[-1] = np.cos(self.angle), np.sin(self.angle)
            return [vectors]

        return run


@pytest.fixture
def rounding(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rounding]:
    """Return a function that makes every network round its results."""

    def use(*properties: Any) -> Rounding:
        runtime = Rounding(*properties)
        monkeypatch.setattr(runtimes, "_open", lambda *_: runtime)
        return runtime

    return use


@pytest.mark.parametrize(
    ("has_bfloat16", "precision", "expected"),
    [
        (True, "auto", "bfloat16"),
        (True, "bfloat16", "bfloat16"),
        (True, "float32", "float32"),
        (False, "auto", "float32"),
        (False, "bfloat16", "bfloat16"),
    ],
)
def test_precision_that_agrees(
    has_bfloat16: bool, precision: str, expected: str, rounding: Callable[..., Rounding]
) -> None:
    rounding(0.04, has_bfloat16)
    assert start(source_of(never), precision=precision).precision == expected


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("angle", [0.01, 0.05])
def test_bfloat16_that_is_slower_is_used_only_on_request(
    angle: float, rounding: Callable[..., Rounding]
) -> None:
    runtime = rounding(angle, True, "bfloat16")
    for _ in range(2):  # the second time from memory
        assert start(source_of(never)).precision == "float32"
    assert runtime.compiled == ["bfloat16", "float32", "float32"]
    if angle < 0.04:
        assert start(source_of(never), precision="bfloat16").precision == "bfloat16"


def test_precision_that_disagrees_on_one_image(rounding: Callable[..., Rounding]) -> None:
    runtime = rounding(0.05)
    for _ in range(2):  # the second time from memory
        with pytest.warns(UserWarning, match="too far from float32 .* computing in float32"):
            assert start(source_of(never)).precision == "float32"
        with pytest.raises(InvalidInputError, match=r"cosine 0\.998\d, at least 0\.999"):
            start(source_of(never), precision="bfloat16")
    assert runtime.compiled.count("float32") == 2


def test_a_comparison_is_remembered_by_weights_versions_and_processor(
    rounding: Callable[..., Rounding], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = rounding(0.01)

    def compiled(source: NetworkSource) -> list[str]:
        runtime.compiled.clear()
        assert start(source).precision == "bfloat16"
        return runtime.compiled

    source = source_of(never)
    assert compiled(source) == ["bfloat16", "float32"]
    assert compiled(source) == ["bfloat16"]
    assert compiled(NetworkSource("small", {"weights": "others"}, never))[1:] == ["float32"]
    monkeypatch.setattr(cache, "describe_processor", lambda: "another")
    assert compiled(source)[1:] == ["float32"]
    assert compiled(source)[1:] == []
    monkeypatch.setattr(cache, "_version_of", lambda _: "99.0")
    assert compiled(source)[1:] == ["float32"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"cosine": 1}',
        '{"cosine": "x", "speedup": 2}',
        '{"cosine": 7, "speedup": 2}',
        "{",
    ],
)
def test_a_damaged_memory_is_none(
    content: str, empty_cache: Path, rounding: Callable[..., Rounding]
) -> None:
    runtime = rounding(0.01)
    start(source_of(never))
    (file,) = (empty_cache / "bfloat16").iterdir()
    file.write_text(content)
    start(source_of(never))
    assert runtime.compiled == ["bfloat16", "float32"] * 2
    found = ComparisonFile(source_of(never), "keras").read()
    assert found is not None
    assert found.cosine == pytest.approx(np.cos(0.01))
    assert found.speedup > 1


def test_without_a_cache_each_run_compares(
    empty_cache: Path, rounding: Callable[..., Rounding]
) -> None:
    empty_cache.write_text("a file where the cache should be")
    runtime = rounding(0.01)
    for _ in range(2):
        assert start(source_of(never)).precision == "bfloat16"
    assert runtime.compiled == ["bfloat16", "float32"] * 2


def test_few_images_take_what_starts_fastest(
    model: Any, rounding: Callable[..., Rounding], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start(source_of(lambda _: model), few=True, runtime="keras")
    expected = [np.asarray(output) for output in model(BATCH, training=False)]
    assert started.precision == "float32"
    for n in (1, len(BATCH)):
        for output, wanted in zip(started.run(BATCH[:n]), expected, strict=True):
            np.testing.assert_allclose(output, wanted[:n], atol=1e-5)
    runtime = rounding(0.01)
    assert start(source_of(never), few=True).precision == "float32"
    assert runtime.compiled == ["float32"]
    assert start(source_of(never), few=True, precision="bfloat16").precision == "bfloat16"


def test_precisions_are_compared_on_the_first_images(
    rounding: Callable[..., Rounding], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = rounding(0.01)
    compile_, seen = runtime.compile, []

    def watched(precision: str, batch_size: int) -> Run:
        run = compile_(precision, batch_size)
        return lambda images: (seen.append((precision, len(images))), run(images))[1]

    monkeypatch.setattr(runtime, "compile", watched)
    many = np.zeros((32, 16, 16, 3), np.uint8)
    started = start(source_of(never), many, 32)
    n = runtimes.COMPARED_IMAGES
    assert seen == [("bfloat16", n), ("float32", n)] * 3
    started.run(many)
    assert seen[6:] == [("bfloat16", 32)]


@pytest.mark.parametrize("disturbed", range(2, 6))
def test_other_work_during_one_pass_does_not_change_the_precision(
    disturbed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, passes = [0.0], itertools.count()

    def passing(seconds: float) -> Run:
        def run(images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
            clock[0] += 100 if next(passes) == disturbed else seconds
            return [np.ones((len(images), 2), np.float32)]

        return run

    monkeypatch.setattr(runtimes.time, "perf_counter", lambda: clock[0])
    assert runtimes._compare(passing(1), passing(2), BATCH).speedup == 2


def graph_file(cache: Path) -> Path:
    """Return the file of the only graph in a cache, once it is written."""
    for thread in threading.enumerate():
        if thread.name == "keep graph":
            thread.join()
    (file,) = (cache / "tensorflow").iterdir()
    return file


@pytest.mark.parametrize("few", [True, False])
def test_a_graph_is_kept_and_starts_without_building(
    few: bool, empty_cache: Path, model: Any
) -> None:
    options = {"few": few, "runtime": "keras", "precision": "float32"}
    first = start(source_of(lambda _: model), **options).run(BATCH)
    file = graph_file(empty_cache)
    again = start(source_of(never), **options).run(BATCH[:3])
    for outputs in zip(first, again, strict=True):
        np.testing.assert_allclose(outputs[0][:3], outputs[1], atol=1e-6)
    with pytest.raises(AssertionError, match="the network was built"):
        start(NetworkSource("small", {"weights": "of another test"}, never), **options)
    for damage in (file.read_bytes()[:-100], b"", b"\0" * 1000, b"no graph"):
        file.write_bytes(damage)
        assert len(start(source_of(lambda _: model), **options).run(BATCH)) == 2
        assert len(graph_file(empty_cache).read_bytes()) > 1000


def test_threads_share_a_graph(empty_cache: Path, model: Any) -> None:
    run = start(source_of(lambda _: model), few=True, runtime="keras", precision="float32").run
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        # Threads that repeatedly enter the graph at the same time.
        with ThreadPoolExecutor(4) as threads:
            counts = list(threads.map(lambda _: len(run(BATCH)[0]), range(1500)))
    finally:
        sys.setswitchinterval(interval)
    assert counts == [len(BATCH)] * 1500


def test_threads_keep_their_residuals(tiny_weights: Path, tiny_network: None) -> None:
    """In one session, oneDNN's convolutions with a residual overwrote each other's operands."""
    network = create_extractor("tinynet", weights=tiny_weights, batch_size=8, precision="float32")
    images = np.random.default_rng(0).integers(0, 256, (2, *network.image_size, 3), np.uint8)
    expected = network.extract(images).vectors
    for _ in range(600):
        assert (network.extract(images).vectors == expected).all()


def test_few_images_convert_nothing(
    shared_cache: Path, empty_cache: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(runtimes, "has_gpu", lambda: False)
    source = source_of(lambda _: model)
    assert start(source, few=True).runtime == "keras"
    assert not (empty_cache / "openvino").exists()
    assert start(source, precision="float32").runtime == "openvino"
    assert start(source, few=True).runtime == "openvino"


@pytest.mark.parametrize("option", ["runtime", "precision"])
def test_an_unknown_choice(option: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{option} must be one of .* 'float8'"):
        start(source_of(never), **{option: "float8"})


def test_lowest_cosine() -> None:
    a = np.float32([[1, 0], [0, 2], [0, 0]])
    assert lowest_cosine([a], [a]) == 1
    assert lowest_cosine([a, a], [a, np.float32([[1, 0], [2, 2], [0, 0]])]) == pytest.approx(
        0.5**0.5
    )
    assert lowest_cosine([a], [np.float32([[1, 0], [0, 2], [np.nan, 0]])]) == -1
