"""Spaces that are too large for memory: read part by part, searched on disk, sampled."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from threadpoolctl import threadpool_limits

import clusterkit as ck
from clusterkit.cli import main
from clusterkit.clusterers import KMeans, RefinedKMeans
from clusterkit.clusterers.kmeans.lloyd import assign
from clusterkit.clusterers.kmeans.streaming import add_up, sum_part
from clusterkit.clusterers.row_stream import ArrayStream
from clusterkit.clustering.levels import find_levels
from clusterkit.elbow.curve import elbow_curve
from clusterkit.errors import InvalidInputError, NotFoundError, StoreError
from clusterkit.plots import AuditDisplay, ElbowDisplay, GalleryDisplay, SpaceComparisonDisplay
from clusterkit.similarity.catalogue import Catalogue, build_index
from clusterkit.similarity.similar import explain, find_similar
from clusterkit.similarity.space_audit import audit
from clusterkit.space_comparison.compare import compare_spaces
from clusterkit.store import Space, Store, VectorStream, is_large
from clusterkit.store.part_file import Row
from clusterkit.store.store import as_embeddings, as_sample, read_or_stream

N, D = 400, 24


def fill(
    space: Space, vectors: np.ndarray[Any, Any], *, size: int = 90, order_seed: int = 1
) -> Space:
    """Write vectors in parts, with unsorted paths and a failed image among them."""
    order = np.random.default_rng(order_seed).permutation(len(vectors))
    for start in range(0, len(order), size):
        rows = [
            Row(f"{i % 3}/{i:04d}.png", "photos", f"{i:064x}", vector=vectors[i])
            for i in order[start : start + size]
        ]
        space.append(rows)
    space.append([Row("0/broken.png", "photos", "f" * 64, error="the file is empty")])
    return space


def make_vectors() -> np.ndarray[Any, Any]:
    """Return rows around six centres, some of them equal."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(6, D)) * 3
    rows = (centers[rng.integers(6, size=N)] + rng.normal(size=(N, D))).astype(np.float32)
    rows[7] = rows[300]
    return rows


@pytest.fixture
def space(tmp_path: Path) -> Space:
    description = {"extractor": "own", "fingerprint": "0123456789abcdef", "dimension": D}
    return fill(Store(tmp_path / "store").open_space(description), make_vectors())


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every space as a large one."""
    monkeypatch.setattr("clusterkit.store.store._LARGE_BYTES", 100)


def run(*words: Any) -> Any:
    """Run a command, and return its JSON."""
    result = CliRunner().invoke(main, [*map(str, words), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_space_is_large_by_its_vectors_and_by_the_memory(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert space.vector_bytes == N * D * 4
    assert not is_large(space)
    monkeypatch.setattr("clusterkit.store.store.available_memory", lambda: 4 * N * D * 4 - 1)
    assert is_large(space)
    assert isinstance(read_or_stream(space), VectorStream)
    assert not isinstance(read_or_stream(space, stream=False), VectorStream)
    monkeypatch.setattr("clusterkit.store.store.available_memory", lambda: None)
    monkeypatch.setattr("clusterkit.store.store._LARGE_BYTES", N * D * 4)
    assert not is_large(space)


def test_kmeans_of_the_parts_is_that_of_the_vectors(space: Space) -> None:
    stream, embeddings = space.stream(), space.read()
    model = KMeans(6, random_state=0).fit(stream)
    loaded = KMeans(6, random_state=0).fit(embeddings)
    assert model.inertia_ == pytest.approx(loaded.inertia_, rel=1e-3)
    assert model.inertia_ == pytest.approx(-model.score(embeddings), rel=1e-4)
    np.testing.assert_array_equal(model.labels_, model.predict(stream))
    row_of = {path: row for row, path in enumerate(embeddings.paths)}
    order = [row_of[path] for path in stream.paths]
    np.testing.assert_array_equal(model.predict(embeddings)[order], model.labels_)
    units = embeddings.vectors[order]
    units = units / np.linalg.norm(units, axis=1)[:, None]
    means = [units[model.labels_ == label].mean(axis=0) for label in range(6)]
    np.testing.assert_allclose(model.cluster_centers_, means, atol=1e-6)
    assert model.fingerprint_ == embeddings.fingerprint


def test_any_number_of_threads_and_order_of_work_gives_the_same_bits(space: Space) -> None:
    stream = space.stream()
    models = []
    for n_threads in (1, 2, 4):
        with threadpool_limits(n_threads):
            models.append(KMeans(6, random_state=3).fit(stream))
    centers = models[0].cluster_centers_
    for other in models[1:]:
        assert other.cluster_centers_.tobytes() == centers.tobytes()
        np.testing.assert_array_equal(other.labels_, models[0].labels_)
    with threadpool_limits(1):
        parts = stream.split()
        there = [sum_part(part, centers, normalize=True) for part in parts]
        back = [sum_part(part, centers, normalize=True) for part in reversed(parts)][::-1]
    assert [len(part) for part in parts] == [90, 90, 90, 90, 40]
    assert add_up(there, centers).means.tobytes() == add_up(back, centers).means.tobytes()


def test_the_sums_of_a_part_are_exact() -> None:
    rng = np.random.default_rng(0)
    rows = (1000 + rng.normal(size=(5000, 3))).astype(np.float32)
    centers = rows[:4].copy()
    weights = rng.random(5000).astype(np.float32)
    found = sum_part(ArrayStream(rows), centers, normalize=False, weights=weights)
    labels, _ = assign(rows - centers.mean(axis=0), centers - centers.mean(axis=0))
    moved = (rows - centers.mean(axis=0)).astype(np.float64)
    for k in range(4):
        mine = found.labels == k
        expected = weights[mine].astype(np.float64) @ moved[mine]
        np.testing.assert_allclose(found.totals[k], expected, rtol=1e-12)
        assert found.sizes[k] == pytest.approx(weights[mine].sum(dtype=np.float64), rel=1e-12)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.totals.dtype == found.sizes.dtype == np.float64


def test_an_empty_cluster_is_given_the_row_that_costs_most() -> None:
    rows = np.array([[0, 0], [0, 1], [9, 9], [9, 8]], np.float32)
    centers = np.array([[0, 0], [100, 100]], np.float32)
    found = add_up([sum_part(ArrayStream(rows), centers, normalize=False)], centers)
    assert found.sizes.tolist() == [4, 0]
    assert found.means[1].tolist() == [9, 9]


def test_a_stream_that_changes_its_width_is_refused(space: Space) -> None:
    model = KMeans(3, random_state=0).fit(space.stream())
    with pytest.raises(InvalidInputError, match="24 columns"):
        model.predict(ArrayStream(np.ones((4, 3), np.float32)))


def test_refined_kmeans_of_a_stream_compares_on_a_sample(space: Space) -> None:
    model = RefinedKMeans(6, max_rows=200, random_state=0).fit(space.stream())
    assert len(model.labels_) == N
    assert "on a random sample of 200 of 400 rows" in model.reason_
    loaded = KMeans(6, random_state=0).fit(space.stream())
    assert ck.evaluate(loaded.labels_.tolist(), model.labels_.tolist()).accuracy > 0.95


@pytest.mark.parametrize("query", ["1/0007.png", 5, np.ones(D), np.zeros(D)])
def test_the_search_on_disk_finds_what_the_one_in_memory_does(space: Space, query: Any) -> None:
    for n in (1, 10, N - 1):
        here = find_similar(query, space.read(), n_neighbors=n)
        disk = find_similar(query, space, n_neighbors=n, stream=True)
        assert isinstance(disk.embeddings, Catalogue)
        assert here.to_dict() == disk.to_dict()
        np.testing.assert_array_equal(here.similarities, disk.similarities)


def test_probabilities_are_searched_by_their_square_roots(tmp_path: Path) -> None:
    rows = np.exp(make_vectors())
    rows /= rows.sum(axis=1, keepdims=True)
    description = {"extractor": "own", "fingerprint": "0123456789abcdef", "dimension": D}
    space = fill(Store(tmp_path / "store").open_space(description), rows)
    loaded, catalogue = space.read(), Catalogue(space)
    here = find_similar(5, loaded, n_neighbors=10)
    expected = np.sqrt(loaded.vectors.astype(float)) @ np.sqrt(loaded.vectors[5].astype(float))
    np.testing.assert_allclose(here.similarities, expected[here.rows], atol=1e-6)
    np.testing.assert_allclose(here.similarities, np.sort(expected)[-2:-12:-1], atol=1e-6)
    assert find_similar(5, catalogue, n_neighbors=10).to_dict() == here.to_dict()
    build_index(catalogue.folder)
    catalogue.open_index()
    distances, found = catalogue.nearest(loaded.vectors[[5]] / 3, 11, exact=False)
    np.testing.assert_array_equal(found[0, 1:], here.rows)
    np.testing.assert_allclose(distances[0, 1:], 1 - here.similarities, atol=1e-6)
    own, disk = (explain(5, 9, searched, random_state=0) for searched in (loaded, catalogue))
    assert own.similarity == pytest.approx(expected[9], abs=1e-6)
    assert (own.percentile, own.neighbors) == (disk.percentile, disk.neighbors)


def test_the_search_on_disk_is_exact_among_near_ties(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = (1 + 1e-4 * rng.normal(size=(300, D))).astype(np.float32)
    rows[40:60] = rows[40]
    rows[70] = 0
    description = {"extractor": "own", "fingerprint": "0123456789abcdef", "dimension": D}
    space = fill(Store(tmp_path / "store").open_space(description), rows)
    for query in ("1/0040.png", "1/0070.png", "0/0003.png"):
        here = find_similar(query, space.read(), n_neighbors=25)
        disk = find_similar(query, space, n_neighbors=25, stream=True)
        assert here.to_dict() == disk.to_dict()


def test_an_index_answers_as_embeddings_do(space: Space) -> None:
    index, loaded = Catalogue(space), space.read()
    assert len(index) == N
    assert index.shape == loaded.shape
    assert list(index.paths) == loaded.paths
    np.testing.assert_array_equal(index.vectors, loaded.vectors)
    for path in ("2/0005.png", loaded.files[3], "2/none.png"):
        assert index.find(path) == loaded.find(path)
    assert index.rows_of_content(f"{5:064x}") == [loaded.row("2/0005.png")]
    assert index.rows_of_content("e" * 64) == []
    with pytest.raises(NotFoundError, match=r"could not be embedded: the file is empty"):
        index.row("0/broken.png")
    with pytest.raises(NotFoundError, match="not among the 400"):
        index.row("2/none.png")
    np.testing.assert_array_equal(np.concatenate(list(index.iter_batches(150))), loaded.vectors)


def test_an_index_is_made_once_and_again_when_the_space_changes(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTERKIT_CACHE", str(tmp_path / "cache"))
    Catalogue(space)
    (made,) = (tmp_path / "cache" / "catalogues").iterdir()
    time = (made / "codes.npy").stat().st_mtime_ns
    Catalogue(space)
    assert (made / "codes.npy").stat().st_mtime_ns == time
    space.append([Row("new.png", "photos", vector=np.ones(D, np.float32))])
    assert Catalogue(space).find("new.png") is not None
    (again,) = (tmp_path / "cache" / "catalogues").iterdir()
    assert again != made


def test_an_index_in_use_outlives_its_files(space: Space) -> None:
    index, loaded = Catalogue(space), space.read()
    space.append([Row("new.png", "photos", vector=np.ones(D, np.float32))])
    assert len(Catalogue(space)) == N + 1
    assert not index.folder.exists()
    np.testing.assert_array_equal(index[[3, 1]].vectors, loaded.vectors[[3, 1]])
    np.testing.assert_array_equal(np.concatenate(list(index.iter_batches(150))), loaded.vectors)
    assert index.nearest(loaded.vectors[5:6], 1)[1].tolist() == [[5]]


def test_an_index_whose_files_vanish_while_they_are_opened_is_made_again(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clusterkit.similarity import catalogue

    found = []

    def find_and_lose(*args: Any, **options: Any) -> Path:
        found.append(find_or_write(*args, **options))
        if len(found) == 1:
            shutil.rmtree(found[0])
        return found[-1]

    find_or_write = catalogue.find_or_write
    monkeypatch.setattr(catalogue, "find_or_write", find_and_lose)
    assert len(Catalogue(space)) == N
    assert len(found) == 2
    (found[0] / "about.json").write_text("{")
    with pytest.raises(StoreError, match="is damaged: delete it"):
        Catalogue(space)


def test_images_of_an_index_are_selected_as_of_embeddings(space: Space) -> None:
    index, loaded = Catalogue(space), space.read()
    mask = np.zeros(N, np.bool_)
    mask[[2, 9]] = True
    keys = (slice(3, 6), mask, mask.tolist(), [5, 1], [], loaded.paths[4:6], np.array([-1]))
    for key in keys:
        np.testing.assert_array_equal(index[key].vectors, loaded[key].vectors)
        assert index[key].paths == loaded[key].paths
    assert index[4].paths == index[loaded.paths[4]].paths == [loaded.paths[4]]


def test_bad_searches_of_an_index_are_refused(space: Space) -> None:
    index = Catalogue(space)
    with pytest.raises(InvalidInputError, match="at least 1"):
        index.nearest(index.vectors[:1], 0)
    with pytest.raises(InvalidInputError, match="dimension"):
        index.nearest(np.ones((1, D + 1), np.float32), 3)
    for image_id in ("", "zz" * 8, f"{-1:16}", f"{'ab ' * 5}f", "0" * 16):
        assert index.row_of_id(image_id) is None
    assert index.row_of_id(index.id_of(8)) == 8


def test_a_small_cluster_of_a_stream_is_not_outvoted() -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat(np.eye(3, 8), (21, 17, 4), axis=0) * 5 + rng.normal(size=(42, 8)) / 10
    rows = rows.astype(np.float32)
    loaded = RefinedKMeans(3, random_state=0).fit(rows)
    streamed = RefinedKMeans(3, random_state=0).fit(ArrayStream(rows))
    assert np.bincount(loaded.labels_).tolist() == [21, 17, 4]
    np.testing.assert_array_equal(streamed.labels_, loaded.labels_)


def test_what_a_killed_run_left_of_an_index_is_deleted(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTERKIT_CACHE", str(tmp_path / "cache"))
    old, new = (tmp_path / "cache/catalogues" / name for name in (".part-old", ".part-new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    Catalogue(space)
    assert not old.exists()
    assert new.exists()


def test_a_cache_that_cannot_be_written_is_said(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("CLUSTERKIT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InvalidInputError, match="CLUSTERKIT_CACHE"):
        Catalogue(space)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system has no such function")
def test_a_full_cache_is_an_error_and_does_not_end_the_process(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: int, start: int, size: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setenv("CLUSTERKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    code = errno.ENOSPC
    with pytest.raises(InvalidInputError, match=r"No space left on device\. Choose another folder"):
        Catalogue(space)
    assert not [*(tmp_path / "cache" / "catalogues").iterdir()]
    code = errno.EOPNOTSUPP  # of some file systems
    assert len(Catalogue(space)) == N


def test_no_process_sees_an_earlier_index_that_is_being_deleted(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, seen = Catalogue(space).folder, []

    def look(folder: Path, **options: Any) -> None:
        if folder.exists():
            seen.append(earlier.exists())
        rmtree(folder, **options)

    rmtree = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", look)
    space.append([Row("new.png", "photos", vector=np.ones(D, np.float32))])
    Catalogue(space)
    assert seen == [False]


def test_a_query_from_a_file_is_found_by_its_content(space: Space, tmp_path: Path) -> None:
    from clusterkit.images.folder import digest_bytes

    photo = tmp_path / "anywhere.png"
    photo.write_bytes(b"the same bytes")
    space.append([Row("copy.png", "photos", digest_bytes(photo.read_bytes()), vector=np.eye(D)[0])])
    found = find_similar(photo, space, n_neighbors=1, stream=True)
    assert found.query.paths == ["copy.png"]
    GalleryDisplay.from_similar(found)


def test_explain_reads_a_large_space_part_by_part(space: Space) -> None:
    here = explain("1/0007.png", "0/0300.png", space.read(), random_state=0)
    disk = explain("1/0007.png", "0/0300.png", space, random_state=0, stream=True)
    one, other = here.to_dict(), disk.to_dict()
    tops = one.pop("top_dimensions"), other.pop("top_dimensions")
    assert one == other
    for mine, theirs in zip(*tops, strict=True):
        assert mine == pytest.approx(theirs)


def test_explain_ranks_a_large_space_among_random_pairs(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterkit.similarity.explanation._MAX_RANKED", 100)
    found = explain("1/0007.png", "0/0300.png", space, random_state=0, stream=True)
    assert found.n_pairs == 100 * 99 // 2


def test_a_sample_tells_what_it_is_of(space: Space) -> None:
    some = space.stream().sample(50, random_state=0)
    assert str(some.sampled) == "a random sample of 50 of 400 images"
    assert some.paths == sorted(some.paths)
    loaded = space.read()
    np.testing.assert_array_equal(some.vectors, loaded[some.paths].vectors)
    assert some.digests == loaded[some.paths].digests
    again = space.stream().sample(50, random_state=0)
    assert again.paths == some.paths
    assert space.stream().sample(50, random_state=1).paths != some.paths
    assert space.stream().sample(1000).sampled is None
    assert as_sample(loaded, 50, random_state=0).sampled == some.sampled
    assert as_sample(loaded, np.int64(50), random_state=np.int64(0)).sampled == some.sampled
    for source in (loaded, space.stream()):
        taken = as_sample(source, np.int64(50), random_state=np.int64(0)).sampled
        json.dumps(taken)
    assert as_sample(loaded) is loaded
    with pytest.raises(InvalidInputError, match=r"needed in memory: .*stream.sample\(\)"):
        as_embeddings(space.stream())
    with pytest.raises(InvalidInputError, match="at least 1"):
        space.stream().sample(0)


def test_rows_are_taken_in_the_order_that_is_asked_for(space: Space) -> None:
    stream = space.stream()
    rows = np.array([300, 2, -1, 5, 2])
    taken = stream.take(rows)
    mask = np.isin(np.arange(len(stream)), rows)
    assert stream.take(mask).paths == [stream.paths[row] for row in np.flatnonzero(mask)]
    assert taken.paths == [stream.paths[row] for row in rows]
    np.testing.assert_array_equal(taken.vectors, space.read()[taken.paths].vectors)


def test_findings_of_a_sample_say_so(space: Space, tmp_path: Path) -> None:
    said = "a random sample of 100 of 400 images"
    curve = elbow_curve(space.stream().sample(100, random_state=0), k=range(2, 5), n_resamples=2)
    assert said in curve.to_text()
    title = ElbowDisplay.from_curve(curve).ax_.get_title("left")
    assert said in title.replace("\n", " ")
    levels = find_levels(space.stream(), k=range(2, 4), sample=100, random_state=0)
    assert said in levels.to_text()
    sample = {"n_images": 100, "n_before": 400, "random_state": 0}
    assert levels.to_dict()["sample"] == sample
    found = audit(space.stream(), sample=100, random_state=0)
    assert said in found.to_text()
    assert found.to_dict()["sample"] == sample
    assert said in AuditDisplay.from_audit(found).title
    other = Store(tmp_path / "store").open_space(
        {"extractor": "other", "fingerprint": "fedcba9876543210", "dimension": D}
    )
    fill(other, make_vectors(), size=130, order_seed=2)
    spaces = {"own": space.stream(), "other": other.stream()}
    compared = compare_spaces(spaces, n_clusters=4, sample=100, random_state=0)
    assert said in compared.to_text()
    assert compared.to_dict()["sample"] == sample
    assert {one.n_images for one in compared.spaces} == {400}
    assert SpaceComparisonDisplay.from_comparison(compared).title == f"2 spaces, {said}"
    # The same images of both spaces, although their order differs.
    assert [one.agreement for one in compared.spaces] == pytest.approx([1, 1])


@pytest.mark.parametrize("suffix", [".parquet", ".npz", ".csv"])
def test_an_export_of_parts_holds_what_that_of_all_does(
    space: Space, tmp_path: Path, suffix: str
) -> None:
    here = ck.export_embeddings(space.read(), tmp_path / f"a{suffix}")
    disk = ck.export_embeddings(space.stream(), tmp_path / f"b{suffix}")
    read: dict[str, Callable[[Path], Any]] = {
        ".parquet": lambda file: pq.read_table(file).sort_by("path").to_pylist(),
        ".csv": lambda file: sorted(file.read_text().splitlines()),
        ".npz": lambda file: sorted(
            zip(np.load(file)["paths"].tolist(), np.load(file)["vectors"].tolist(), strict=True)
        ),
    }
    assert read[suffix](here) == read[suffix](disk)


def test_a_viewer_needs_all_vectors(space: Space, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="need all vectors"):
        ck.export_embeddings(space.stream(), tmp_path / "a.parquet", viewer=True)


def test_a_report_of_parts_shows_every_image(space: Space, tmp_path: Path) -> None:
    clustering = ck.cluster(space.stream(), n_clusters=6, random_state=0)
    table = clustering.to_csv(tmp_path / "clusters.csv")
    page = ck.write_report(table, tmp_path / "page.html", embeddings=space.stream())
    assert page.n_images == N
    text = page.path.read_text()
    assert '"exact":false' in text
    without = ck.write_report(space.stream(), tmp_path / "plain.html", labels=None)
    assert without.n_images == N
    with pytest.raises(InvalidInputError, match="inspection needs all vectors"):
        ck.write_report(table, tmp_path / "more.html", embeddings=space.stream(), inspection=True)
    with pytest.raises(InvalidInputError, match="UMAP needs all vectors"):
        ck.write_report(space.stream(), tmp_path / "umap.html", layout="umap")


@pytest.mark.usefixtures("large")
def test_commands_choose_the_parts_themselves_and_say_so(space: Space, tmp_path: Path) -> None:
    store = ("-s", tmp_path / "store")
    table = tmp_path / "clusters.csv"
    result = CliRunner().invoke(
        main, [*map(str, ("cluster", "-k", 6, "-o", table, *store))], catch_exceptions=False
    )
    assert result.exit_code == 0, result.stderr
    assert "part by part: --no-stream loads them all" in result.stderr
    here = run("cluster", "-k", 6, "-o", tmp_path / "here.csv", "--no-stream", *store)
    assert sum(here["sizes"].values()) == N
    assert len(table.read_text().splitlines()) == N + 1
    similar = run("similar", "1/0007.png", *store)
    assert similar == run("similar", "1/0007.png", "--no-stream", *store)
    assert run("elbow", "--k-max", 3, "--sample", 60, *store)["sample"]["n_images"] == 60
    assert run("audit", "--sample", 60, *store)["sample"]["n_before"] == N
    assert run("export", "-o", tmp_path / "all.npz", *store)["images"] == N
    assert run("report", table, "-o", tmp_path / "page.html", *store)["images"] == N
    refined = run("cluster", "-k", 6, "--refine", "-o", tmp_path / "refined.csv", *store)
    assert sum(refined["sizes"].values()) == N


def test_what_cannot_be_streamed_is_refused(space: Space, tmp_path: Path) -> None:
    store = ["-s", str(tmp_path / "store"), "--stream"]
    for words in (
        ["cluster", "-a", "hdbscan", "-o", str(tmp_path / "a.csv")],
        ["cluster", "-k", "3", "--without", "tone", "-o", str(tmp_path / "a.csv")],
        ["export", "--viewer", "-o", str(tmp_path / "a.parquet")],
    ):
        result = CliRunner().invoke(main, [*words, *store])
        assert result.exit_code == 2
        assert "leave out --stream" in result.stderr.replace("\n", " ")
