"""Embedding on Ray gives the same rows as in one process, also if workers or machines die."""

import os
import pickle
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from clusterkit.cli import main
from clusterkit.clusterers.kmeans import on_ray as kmeans_on_ray
from clusterkit.clusterers.kmeans.estimator import KMeans
from clusterkit.clusterers.row_stream import ArrayStream
from clusterkit.clustering.cluster import cluster as cluster_images
from clusterkit.embedding import on_ray
from clusterkit.embedding.embed import describe, embed_to_store
from clusterkit.embedding.on_ray import Job, Piece, RayWorker, cut_into_pieces, library_versions
from clusterkit.embedding.workers import Known
from clusterkit.errors import ClusterError, InvalidInputError, MissingDependencyError, StoreError
from clusterkit.extractors import create_extractor
from clusterkit.extractors.base import Extractor
from clusterkit.images.folder import ImageFolder
from clusterkit.store.part_file import Row
from clusterkit.store.store import Store
from clusterkit.utils import parallel
from clusterkit.utils.ray_engine import RayEngine, Room
from tests.grid_colours import GridColours
from tests.odd_files import PNG
from tests.stores import make_photos, rows_of

ENGINE = RayEngine(workers=2)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / ".clusterkit"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "PIECE_ROWS", {"CPU": 3})


@pytest.fixture
def two_workers(monkeypatch: pytest.MonkeyPatch) -> list[RayWorker]:
    """Replace Ray by two workers in this process that take turns with pieces, the last first."""
    found: list[RayWorker] = []

    @contextmanager
    def started(_: RayEngine, *, memory: float, **__: Any) -> Iterator[Room]:
        yield Room(workers=2, cpus=1, gpus=0, memory=memory)

    def embed_pieces(job: Job, pieces: list[Piece], room: Room) -> Iterator[Any]:
        found[:] = [RayWorker(pickle.loads(pickle.dumps(job))) for _ in range(room.workers)]
        for i, piece in enumerate(reversed(pieces)):
            (outcome,) = found[i % 2]({"piece": [pickle.dumps(piece)]})["outcome"]
            yield pickle.loads(outcome)

    monkeypatch.setattr(RayEngine, "check", lambda _: None)
    monkeypatch.setattr(RayEngine, "started", started)
    monkeypatch.setattr(on_ray, "_embed_pieces", embed_pieces)
    monkeypatch.setattr(parallel, "_allowance", None)
    return found


def run(photos: Path, store: Path, **options: Any) -> Any:
    return embed_to_store(ImageFolder(photos), GridColours(), store, engine=ENGINE, **options)


def count(report: Any) -> tuple[int, ...]:
    return report.images, report.embedded, report.reused, report.failed, report.pruned


def is_same(store: Path, photos: Path) -> bool:
    """Compare a store with that of a run in one process."""
    other = store.parent / "one-process"
    embed_to_store(ImageFolder(photos), GridColours(), other, prune=True)
    assert len(rows_of(store)) == len(ImageFolder(photos))
    first, second = Store(store).space().read(), Store(other).space().read()
    shutil.rmtree(other)
    same = [first.paths == second.paths, first.digests == second.digests]
    same += [first.failures == second.failures, np.array_equal(first.vectors, second.vectors)]
    return all(same)


def test_the_rows_are_those_of_one_process(
    photos: Path, store: Path, two_workers: list[RayWorker]
) -> None:
    report = run(photos, store)
    assert count(report) == (20, 18, 0, 2, 0)
    assert [failure.path for failure in report.failures] == ["006.png", "013.png"]
    assert is_same(store, photos)
    assert all(worker.space for worker in two_workers)
    # All ledgers of the workers were merged, and no lock is left.
    about = store / "about" / Store(store).space().folder.name
    assert not [*about.glob("parts.*.json"), *about.glob(".lock.*")]
    before = sorted(store.rglob("part-*"))
    assert count(run(photos, store)) == (20, 0, 18, 2, 0)
    assert sorted(store.rglob("part-*")) == before


def test_what_the_store_knows_is_not_embedded_again(
    photos: Path, store: Path, two_workers: list[RayWorker]
) -> None:
    run(photos, store)
    (photos / "000.png").rename(photos / "moved.png")
    shutil.copy(photos / "001.png", photos / "copied.png")
    os.utime(photos / "002.png", ns=(1, 1))
    (photos / "003.png").write_bytes(PNG)
    (photos / "004.png").write_bytes(b"broken")
    assert count(run(photos, store)) == (21, 1, 17, 3, 1)
    assert is_same(store, photos)
    assert count(run(photos, store, again=True)) == (21, 18, 0, 3, 0)
    assert is_same(store, photos)
    (photos / "001.png").unlink()
    (photos / "005.png").unlink()
    assert count(run(photos, store, prune=True)) == (19, 0, 16, 3, 2)
    assert is_same(store, photos)


def test_a_run_goes_on_where_one_of_another_engine_ended(
    photos: Path, store: Path, two_workers: list[RayWorker]
) -> None:
    embed_to_store(ImageFolder(photos)[:9], GridColours(), store)
    assert count(run(photos, store)) == (20, 10, 8, 2, 0)
    (photos / "new.png").write_bytes(PNG)
    report = embed_to_store(ImageFolder(photos), GridColours(), store)
    assert (report.embedded, report.reused) == (1, 18)


def test_a_piece_knows_only_contents_of_the_size_of_its_files(photos: Path, store: Path) -> None:
    embed_to_store(ImageFolder(photos), GridColours(), store)
    space = Store(store).space()
    (photos / "000.png").rename(photos / "moved.png")
    known = Known.of(space, ImageFolder(photos))
    unsized, pieces = cut_into_pieces(
        ImageFolder([photos / "001.png", photos / "moved.png"]), known, [1, 1]
    )
    assert unsized == {}
    sizes = {row.digest: row.size for row in known.rows.values()}
    for piece, name in zip(pieces, ("001.png", "moved.png"), strict=True):
        assert piece.images.paths == [name]
        here = (photos / name).stat().st_size
        assert {sizes[digest] for digest in piece.known.kept_of_digest} == {here}
    assert list(pieces[0].known.rows) == [str(photos / "001.png")]
    assert pieces[1].known.rows == {}


@pytest.mark.parametrize(
    ("n_images", "workers", "gpus", "largest", "least"),
    [(699, 2, 0, 44, 8), (100_000, 2, 0, 256, 8), (5, 2, 0, 5, 5), (100_000, 4, 1, 2048, 128)],
)
def test_pieces_get_smaller_so_that_all_workers_end_together(
    monkeypatch: pytest.MonkeyPatch,
    n_images: int,
    workers: int,
    gpus: int,
    largest: int,
    least: int,
) -> None:
    monkeypatch.setattr(on_ray, "PIECE_ROWS", {"CPU": 256, "GPU": 2048})
    sizes = list(on_ray._piece_sizes(n_images, Room(workers, cpus=1, gpus=gpus, memory=1.0)))
    assert sum(sizes) == n_images
    assert sizes == sorted(sizes, reverse=True)
    # Except the last piece, which is the remainder.
    assert (sizes[0], min(sizes[:-1], default=sizes[0])) == (largest, least)


def test_a_worker_that_is_lost_after_its_part_leaves_no_row_twice(
    photos: Path, store: Path, two_workers: list[RayWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    embed, lost = RayWorker.embed, []

    def embed_twice(worker: RayWorker, piece: Piece) -> Any:
        # Ray does not know of the first attempt, and gives the piece to the next worker.
        if not lost:
            lost.append(embed(worker, piece))
        return embed(worker, piece)

    monkeypatch.setattr(RayWorker, "embed", embed_twice)
    assert count(run(photos, store)) == (20, 18, 0, 2, 0)
    assert is_same(store, photos)


def make_job(extractor: Extractor, store: Path) -> Job:
    versions, space = library_versions(), describe(extractor)
    return Job(extractor, extractor.fingerprint, versions, Store(store), space, 1, 20, False, {})


def refusal(photos: Path, store: Path, change: Callable[[], Any]) -> str:
    """Return why a worker cannot work after a change, and check that it wrote nothing."""
    extractor = GridColours()
    space = Store(store).open_space(describe(extractor))
    images = ImageFolder(photos)
    with Store(store).writing(space):
        job = make_job(extractor, store)
        worker, piece = RayWorker(job), Piece(images, Known.of(space, images))
        change()
        outcome = worker.embed(piece)
        assert not list(space.folder.glob("*"))
    assert outcome.embedded == 0
    assert outcome.refused is not None
    return outcome.refused


def test_workers_refuse_what_would_spoil_the_store(
    photos: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "_allowance", None)
    with monkeypatch.context() as patched:
        versions = {**library_versions(), "keras": "2.0"}
        change = lambda: patched.setattr(on_ray, "library_versions", lambda: versions)  # noqa: E731
        assert "other versions (keras 2.0 here, " in refusal(photos, store, change)
    with monkeypatch.context() as patched:
        change = lambda: patched.setattr(GridColours, "preprocessing_version", 9)  # noqa: E731
        assert "is another than that of the run" in refusal(photos, store, change)
    said = refusal(photos, store, lambda: photos.rename(photos.with_name("away")))
    assert f"it does not see the images in {photos}" in said


def test_a_worker_without_the_weights_refuses(
    photos: Path, store: Path, two_workers: list[RayWorker], tiny_network: None, tiny_weights: Path
) -> None:
    weights = shutil.copy(tiny_weights, store.parent / "w.weights.h5")
    space = Store(store).open_space(describe(create_extractor("tinynet", weights=weights)))
    extractor = create_extractor("tinynet", weights=weights)
    job = make_job(extractor, store)
    with Store(store).writing(space):
        Path(weights).unlink()
        outcome = RayWorker(job).embed(Piece(ImageFolder(photos), Known(".")))
    assert f"cannot work: no weights file {weights}" in str(outcome.refused)


def test_a_share_that_is_lost_while_it_is_read_makes_no_failures(
    photos: Path, store: Path, two_workers: list[RayWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_to_store(ImageFolder(photos), GridColours(), store)
    before = rows_of(store)
    images = ImageFolder(photos)

    def vanish(*_: Any) -> None:
        photos.rename(photos.with_name("away"))

    monkeypatch.setattr(GridColours, "_prepare", vanish)
    with pytest.raises(ClusterError, match="it does not see the images in"):
        embed_to_store(images, GridColours(), store, engine=ENGINE, again=True)
    assert rows_of(store) == before


def test_two_commands_on_one_store_the_second_is_refused(
    photos: Path, store: Path, two_workers: list[RayWorker]
) -> None:
    space = Store(store).open_space(describe(GridColours()))
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with Store(store).writing(space):
            entered.set()
            leave.wait(30)

    first = threading.Thread(target=hold)
    first.start()
    entered.wait(30)
    try:
        with pytest.raises(StoreError, match="another run is writing"):
            run(photos, store)
    finally:
        leave.set()
        first.join()


def test_engines_are_checked_before_any_work(
    photos: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def greet() -> None:
            with other.accept()[0] as caller:
                caller.sendall(b"220 hello\r\n")

        answering = threading.Thread(target=greet)
        answering.start()
        for engine, error, message in [
            ("spark", InvalidInputError, "engine must be one of local, ray. Received: 'spark'"),
            (RayEngine(workers=0), InvalidInputError, "workers must be an integer of at least 1"),
            (RayEngine(cpus=1.5), InvalidInputError, "cpus must be an integer of at least 1"),  # type: ignore[arg-type]
            (RayEngine("head"), InvalidInputError, "must be HOST:PORT"),
            (RayEngine("ray://head:10001"), InvalidInputError, "must be HOST:PORT"),
            (RayEngine(f"127.0.0.1:{port}"), ClusterError, "is not a Ray cluster: check the port"),
            (RayEngine("127.0.0.1:1"), ClusterError, "no Ray cluster answers at 127.0.0.1:1"),
        ]:
            start = time.perf_counter()
            with pytest.raises(error, match=message):
                embed_to_store(ImageFolder(photos), GridColours(), store, engine=engine)
            assert time.perf_counter() - start < 5
        answering.join()
    assert not store.exists()


def test_without_ray_the_error_says_what_to_install(
    photos: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'clusterkit\[ray\]'"):
        embed_to_store(ImageFolder(photos), GridColours(), store, engine="ray")


def test_a_process_that_loaded_tensorflow_starts_no_ray(
    photos: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace())
    with pytest.raises(ClusterError, match="with `ray start --head`, and give the address auto"):
        embed_to_store(ImageFolder(photos), GridColours(), store, engine="ray")
    assert not store.exists()


def test_room_is_made_for_no_more_than_fits() -> None:
    gb = 1e9
    head, small = {"CPU": 0.0, "memory": 9 * gb}, {"CPU": 2.0, "memory": 5 * gb}
    big = {"CPU": 16.0, "memory": 7 * gb}
    gpu = {"CPU": 16.0, "memory": 64 * gb, "GPU": 2.0}

    def room(machines: list[dict[str, float]], **options: Any) -> tuple[int, int, float]:
        found = RayEngine(**options)._find_room(machines, 2.0, 4, uses_gpus=True)
        return found.workers, found.cpus, found.gpus

    assert room([head, small]) == (1, 2, 0)
    # CPUs would allow 9 workers; memory allows 2 and 3.
    assert room([head, small, big], cpus=1) == (5, 1, 0)
    assert room([big], memory=6) == (1, 4, 0)
    assert room([small, big], workers=2) == (2, 2, 0)
    # One worker per GPU; the other CPUs stay idle.
    assert room([small, gpu]) == (2, 4, 1)
    assert room([gpu], gpus=0) == (4, 4, 0)
    with pytest.raises(InvalidInputError, match="no machine of the cluster has room for a worker"):
        room([head, small], cpus=4)


def test_options_of_workers_without_the_engine_are_named(photos: Path, store: Path) -> None:
    command = ["embed", str(photos), "-e", "pixels", "-s", str(store)]
    result = CliRunner().invoke(main, [*command, "--workers", "2", "--worker-cpus", "1"])
    assert result.exit_code == 0
    assert "Not used: --workers, --worker-cpus, since --engine is not ray." in result.stderr


def test_a_cluster_that_is_not_there_is_one_line(photos: Path, store: Path) -> None:
    pytest.importorskip("ray")
    command = ["embed", str(photos), "-e", "pixels", "-s", str(store), "--engine", "ray"]
    result = CliRunner().invoke(main, [*command, "--ray-address", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no Ray cluster answers at 127.0.0.1:1 (")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-a", "minibatch-kmeans"], "--engine ray is for -a kmeans"),
        (["--no-stream"], "--engine ray is for -a kmeans"),
        (["--refine"], "--engine ray is for -a kmeans"),
    ],
)
def test_the_engine_is_for_kmeans_over_parts(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RayEngine, "check", lambda _: None)
    result = CliRunner().invoke(main, ["cluster", "-k", "2", "--engine", "ray", *options])
    assert result.exit_code == 2
    assert message in result.stderr


def test_rows_in_memory_are_not_for_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RayEngine, "check", lambda _: None)
    rows = np.eye(4, dtype=np.float32)
    with pytest.raises(InvalidInputError, match="Received: ndarray"):
        KMeans(2).fit(rows, engine="ray")
    with pytest.raises(InvalidInputError, match="Received: 'kmeans' on Embeddings"):
        cluster_images(rows, n_clusters=2, engine="ray")
    with pytest.raises(InvalidInputError, match="Received: ArrayStream"):
        KMeans(2).fit(ArrayStream(rows), engine="ray")


def test_tasks_are_neighbouring_parts_and_all_of_them() -> None:
    parts = [(ArrayStream(np.zeros((n, 2))), None) for n in (5, 1, 1, 9, 2, 2, 2, 1)]
    for n_workers in (1, 2, 3):
        groups = list(kmeans_on_ray._grouped(parts, n_workers))
        assert [part for group in groups for part in group] == parts
        assert n_workers < len(groups) <= 4 * n_workers


class EndsItsProcess(GridColours):
    """Ends its process, as if it ran out of memory."""

    def _forward(self, images: Any) -> Any:
        os._exit(1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Start two machines with one core each; skip the test if Ray is not installed."""
    pytest.importorskip("ray")
    from tests.ray_cluster import machines

    with machines(2) as found:
        yield found


def test_two_machines_of_which_one_loses_its_worker(
    cluster: Any, photos: Path, store: Path
) -> None:
    log = store.parent / "log"
    log.touch()
    killed: list[bool] = []

    def kill_one() -> None:
        while not killed and sum(map(int, log.read_text().split())) < 4:
            time.sleep(0.01)
        killed.append(cluster.kill_worker())

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        extractor = GridColours(seconds=0.3, log=str(log))
        report = embed_to_store(
            ImageFolder(photos), extractor, store, engine=RayEngine(cluster.address)
        )
    finally:
        killed.append(False)
        killer.join()
    assert killed[0]
    assert count(report) == (20, 18, 0, 2, 0)
    assert is_same(store, photos)
    # At most the current part.
    assert sum(map(int, log.read_text().split())) <= 18 + 3


def test_a_piece_that_ends_its_workers_is_not_tried_for_ever(
    cluster: Any, photos: Path, store: Path
) -> None:
    said = r"3 workers died at the images 0\d\d.png to 0\d\d.png in "
    engine = RayEngine(cluster.address)
    with pytest.raises(ClusterError, match=said):
        embed_to_store(ImageFolder(photos), EndsItsProcess(), store, engine=engine)


def test_machines_of_other_versions_are_refused(
    cluster: Any, photos: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {**library_versions(), "keras": "99.0"}
    monkeypatch.setattr(on_ray, "library_versions", lambda: versions)
    engine = RayEngine(cluster.address)
    said = (
        r"the worker on .* cannot work: it has other versions \(keras .* here, 99.0 where the run"
    )
    with pytest.raises(ClusterError, match=said):
        embed_to_store(ImageFolder(photos), GridColours(), store, engine=engine)
    assert not store.exists()


def test_a_worker_that_no_machine_has_room_for_is_refused(
    cluster: Any, photos: Path, store: Path
) -> None:
    command = ["embed", str(photos), "-e", "pixels", "-s", str(store), "--engine", "ray"]
    command += ["--ray-address", cluster.address, "--worker-cpus", "2"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "no machine of the cluster has room for a worker of 2 CPUs" in result.stderr
    assert not store.exists()


def test_kmeans_has_the_same_centres_on_any_number_of_workers(cluster: Any, store: Path) -> None:
    space = Store(store).open_space(describe(GridColours(cells=4)))
    rng = np.random.default_rng(0)
    colours = rng.uniform(0, 255, (5, 48))
    rows = (colours[rng.integers(0, 5, 700)] + rng.normal(0, 30, (700, 48))).astype(np.float32)
    with Store(store).writing(space):
        for part in np.array_split(rows, 9):
            space.append([Row(f"{rng.random()}.png", "photos", vector=row) for row in part])
    stream = space.stream()
    local = KMeans(5, random_state=0).fit(stream)
    for workers in (1, 2):
        engine = RayEngine(cluster.address, workers=workers)
        found = KMeans(5, random_state=0).fit(stream, engine=engine)
        assert np.array_equal(found.cluster_centers_, local.cluster_centers_)
        assert np.array_equal(found.labels_, local.labels_)
        assert (found.inertia_, found.n_iter_) == (local.inertia_, local.n_iter_)


def test_a_part_that_is_gone_is_said_by_the_worker(cluster: Any, photos: Path, store: Path) -> None:
    embed_to_store(ImageFolder(photos), GridColours(), store)
    stream = Store(store).space().stream()
    draw = kmeans_on_ray.groups_of_parts

    def draw_then_lose(*arguments: Any, **options: Any) -> Any:
        yield from draw(*arguments, **options)
        next(store.rglob("part-*.parquet")).unlink()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kmeans_on_ray, "groups_of_parts", draw_then_lose)
        with pytest.raises(StoreError, match="was replaced while it was read"):
            KMeans(2, random_state=0).fit(stream, engine=RayEngine(cluster.address))
