"""Embedding: every image becomes a row, whatever happens on the way."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clusterkit.embedding.embed import _Waiting, describe, embed, embed_to_store
from clusterkit.errors import InvalidInputError, StoreError
from clusterkit.extractors import create_extractor
from clusterkit.images.folder import FileStatus, ImageFolder, read_bytes
from clusterkit.store import part_file as parts
from clusterkit.store.part_file import Row
from clusterkit.store.space import Space
from clusterkit.store.store import Store
from tests.grid_colours import REPOSITORY, GridColours, embed_command
from tests.odd_files import PNG
from tests.stores import BROKEN, make_photos, rows_of


def run(folder: Path, store: Path, **options: Any) -> Any:
    return embed_to_store(folder, GridColours(), store, **options)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / ".clusterkit"


def test_in_memory_and_through_a_store_is_the_same(photos: Path, store: Path) -> None:
    in_memory = embed(photos, GridColours())
    stored = embed(ImageFolder(photos), GridColours(), store=store)
    assert np.array_equal(in_memory.vectors, stored.vectors)
    for name in ("paths", "root", "digests", "failures", "top5", "fingerprint", "files"):
        assert getattr(in_memory, name) == getattr(stored, name), name
    assert len(stored) == 18
    assert [failure.path for failure in stored.failures] == ["006.png", "013.png"]
    assert stored.space["versions"].keys() >= {"clusterkit", "keras", "python"}


def test_vectors_are_those_of_the_extractor(photos: Path) -> None:
    emb = embed([photos / "003.png", photos / "001.png"], GridColours())
    assert emb.paths == ["003.png", "001.png"]
    assert np.array_equal(emb.vectors, GridColours().transform(emb.files))


@pytest.mark.parametrize("wrong", [None, 3, GridColours])
def test_what_is_no_extractor_is_refused(photos: Path, store: Path, wrong: Any) -> None:
    for settings in ({}, {"store": store}):
        with pytest.raises(InvalidInputError, match="extractor must be the name of one, or an"):
            embed(photos, wrong, **settings)
    assert not store.exists()


def test_the_report_counts_every_image_once(photos: Path, store: Path) -> None:
    report = run(photos, store)
    assert (report.images, report.embedded, report.reused, report.failed) == (20, 18, 0, 2)
    document = report.to_dict()
    keys = "images embedded reused pruned failed failures extractor dimension seconds"
    assert {*keys.split(), "images_per_second"} <= document.keys()
    assert document["failures"][0].keys() == {"path", "reason"}
    assert (document["extractor"], document["dimension"]) == ("grid-colours", 12)
    json.dumps(document)


@pytest.mark.parametrize("batch_size", [1, 3, 18, 64])
def test_the_batch_size_changes_nothing(photos: Path, batch_size: int) -> None:
    reference = embed(photos, GridColours())
    other = embed(photos, GridColours(batch_size=batch_size))
    assert other.paths == reference.paths
    assert other.fingerprint == reference.fingerprint
    np.testing.assert_allclose(other.vectors, reference.vectors, atol=1e-5)


@pytest.mark.parametrize("processors", [1, 7])
def test_the_number_of_threads_changes_nothing(
    photos: Path, processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = embed(photos, GridColours())
    monkeypatch.setattr("clusterkit.utils.parallel.count_cpus", lambda: processors)
    assert np.array_equal(embed(photos, GridColours()).vectors, reference.vectors)


def test_the_order_on_disk_changes_nothing(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in sorted(photos.iterdir(), reverse=True):
        shutil.copy(file, other)
    assert np.array_equal(embed(photos, GridColours()).vectors, embed(other, GridColours()).vectors)


def test_a_second_run_embeds_nothing_and_writes_nothing(photos: Path, store: Path) -> None:
    run(photos, store)
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*.parquet")}
    report = run(photos, store)
    assert (report.embedded, report.reused, report.failed) == (0, 18, 2)
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*.parquet")} == before


def test_only_what_is_new_or_changed_is_embedded(photos: Path, store: Path) -> None:
    run(photos, store)
    (photos / "000.png").write_bytes(PNG)
    (photos / "new.png").write_bytes(PNG + b"!")
    os.utime(photos / "001.png", ns=(1, 1))
    (photos / "006.png").write_bytes((photos / "005.png").read_bytes())
    (photos / "002.png").write_bytes(BROKEN)
    report = run(photos, store)
    assert (report.images, report.embedded, report.reused, report.failed) == (21, 2, 17, 2)
    assert len(rows_of(store)) == 21
    after = Store(store).space().read()
    assert np.array_equal(after.vectors, embed(photos, GridColours()).vectors)
    assert [failure.path for failure in after.failures] == ["002.png", "013.png"]


def test_a_moved_or_copied_file_keeps_its_vector(photos: Path, store: Path) -> None:
    run(photos, store)
    (photos / "000.png").rename(photos / "moved.png")
    shutil.copy(photos / "001.png", photos / "copied.png")
    report = run(photos, store)
    assert (report.images, report.embedded, report.reused) == (21, 0, 19)
    assert report.pruned == 1
    emb = Store(store).space().read()
    assert emb.paths == embed(photos, GridColours()).paths
    assert np.array_equal(emb["copied.png"].vectors, emb["001.png"].vectors)
    sizes = {file: row[5:7] for file, row in rows_of(store).items()}
    assert sizes[str(photos / "moved.png")] == (24, 20)


def test_renumbered_files_of_one_size_and_time_keep_their_own_vectors(
    tmp_path: Path, store: Path
) -> None:
    photos = tmp_path / "frames"
    photos.mkdir()
    for i, colour in enumerate(("red", "lime", "blue", "yellow")):
        Image.new("RGB", (16, 12), colour).save(photos / f"{i}.bmp")
        os.utime(photos / f"{i}.bmp", (1, 1))
    run(photos, store)
    (photos / "0.bmp").unlink()
    for i in (1, 2, 3):
        (photos / f"{i}.bmp").rename(photos / f"{i - 1}.bmp")
    report = run(photos, store)
    assert (report.embedded, report.reused) == (0, 3)
    emb = Store(store).space().read(ImageFolder(photos))
    assert np.array_equal(emb.vectors, embed(photos, GridColours()).vectors)


@pytest.mark.parametrize("how", ["written over", "replaced", "swapped"])
def test_other_content_of_one_size_and_time_is_embedded(
    photos: Path, store: Path, how: str
) -> None:
    names = ("a.bmp", "b.bmp")
    for name, colour in zip(names, ("red", "blue"), strict=True):
        Image.new("RGB", (16, 12), colour).save(photos / name)
        os.utime(photos / name, (1, 1))
    run(photos, store)
    if how == "swapped":
        (photos / "a.bmp").rename(photos / "c")
        (photos / "b.bmp").rename(photos / "a.bmp")
        (photos / "c").rename(photos / "b.bmp")
    else:
        Image.new("RGB", (16, 12), "lime").save(photos / "new", "bmp")
        if how == "replaced":
            (photos / "new").replace(photos / "a.bmp")
        else:
            (photos / "a.bmp").write_bytes((photos / "new").read_bytes())
            (photos / "new").unlink()
        os.utime(photos / "a.bmp", (1, 1))
    assert run(photos, store).embedded == (how != "swapped")
    emb = Store(store).space().read(ImageFolder(photos))
    assert np.array_equal(emb.vectors, embed(photos, GridColours()).vectors)


def test_what_only_looks_changed_is_read_and_not_embedded(photos: Path, store: Path) -> None:
    run(photos, store)
    (photos / "000.png").chmod(0o600)
    copy = (photos / "001.png").read_bytes()
    status = (photos / "001.png").stat()
    (photos / "001.png").unlink()
    (photos / "001.png").write_bytes(copy)
    os.utime(photos / "001.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    report = run(photos, store)
    assert (report.embedded, report.reused) == (0, 18)
    before = Store(store).space().ledgers.list_file().read_bytes()
    assert run(photos, store).reused == 18
    assert Store(store).space().ledgers.list_file().read_bytes() == before


def test_embedding_again_embeds_what_is_known(photos: Path, store: Path) -> None:
    run(photos, store)
    before = rows_of(store)
    assert run(photos, store).embedded == 0
    report = run(photos, store, again=True)
    assert (report.embedded, report.reused, report.failed) == (18, 0, 2)
    assert rows_of(store) == before


# 1601 is the first time of NTFS; the last that fits 64 bits of nanoseconds is in 2262.
@pytest.mark.parametrize("seconds", [-11_644_473_600, 10_413_792_000, 2**33])
def test_a_time_that_fits_no_column_stops_nothing(
    photos: Path, store: Path, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not every file system keeps such times, so the call that tells them does.
    stat = os.stat

    def told(file: Any, *arguments: Any, **options: Any) -> Any:
        status = stat(file, *arguments, **options)
        if Path(file).name not in ("000.png", "006.png"):
            return status
        told = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        told["st_mtime_ns"] = told["st_ctime_ns"] = seconds * 10**9
        told["st_ino"] = 2**64 - 1
        return SimpleNamespace(**told)

    monkeypatch.setattr("clusterkit.images.folder.os.stat", told)
    report = run(photos, store)
    assert (report.embedded, report.failed) == (18, 2)
    assert run(photos, store).reused == 18
    assert Store(store).verify() == []


def test_any_name_is_kept(tmp_path: Path, store: Path) -> None:
    photos = make_photos(tmp_path / "photos", 1)
    names = ["x" * 251 + ".png", "\n.png", " .png", "\udce9\udcff.png", "\\udce9.png", "\u202e.png"]
    for name in names:
        shutil.copy(photos / "000.png", photos / name)
        (photos / f"b{name[-200:]}").write_bytes(BROKEN)
    assert run(photos, store).embedded == len(names) + 1
    emb = Store(store).space().read()
    assert sorted(emb.paths) == sorted(["000.png", *names])
    assert sorted(path for path, _ in emb.failures) == sorted(f"b{name[-200:]}" for name in names)
    assert run(photos, store).reused == len(names) + 1


@pytest.mark.skipif(os.name != "posix", reason="needs names of bytes")
def test_another_locale_knows_the_same_files(tmp_path: Path, store: Path) -> None:
    photos = make_photos(tmp_path / "caf\u00e9", 4)
    for name in ("\u732b.png", "\udce9.png"):
        (photos / "000.png").with_name(name).write_bytes((photos / "000.png").read_bytes())
    run(photos, store)
    before = rows_of(store)
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    process = subprocess.run(
        embed_command(photos, store),
        cwd=REPOSITORY,
        env=os.environ | plain,
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(process.stdout)
    assert (report["embedded"], report["reused"]) == (0, 6)
    assert rows_of(store) == before


def test_after_one_slow_writing_parts_are_as_small_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, durations, written = [0.0], [60.0, 0.1, 0.1], []
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("clusterkit.embedding.embed.time", clock)

    def write(rows: list[Row]) -> None:
        written.append(len(rows))
        now[0] += durations.pop(0)

    waiting = _Waiting(write, max_rows=100_000, max_seconds=5.0)
    for number in range(700):
        waiting.add(Row(f"{number}.png", "photos"))
        now[0] += 1.0
        if len(written) == 3:
            break
    # Ten times the time of the slow writing, once.
    assert written == [7, 602, 7]


def test_renamed_files_are_read_from_each_part_once(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = make_photos(tmp_path / "photos", 60)
    monkeypatch.setattr("clusterkit.embedding.embed.PART_ROWS", 20)
    run(photos, store)
    before = embed(photos, GridColours())
    names = random.Random(0).sample(range(60), 60)
    for number, file in zip(names, sorted(photos.iterdir()), strict=True):
        file.rename(photos / f"renamed-{number:02}.png")
    n_parts = len(Store(store).space().parts)
    calls = []
    read_part = parts.read_part

    def counted(file: Path, columns: list[str], part: Any = None) -> Any:
        calls.extend([file.name] if "vector" in columns else [])
        return read_part(file, columns, part)

    monkeypatch.setattr(parts, "read_part", counted)
    report = run(photos, store)
    assert (report.embedded, report.reused) == (0, 52)
    assert len(calls) == len(set(calls)) == 3
    monkeypatch.undo()
    assert len(Store(store).space().parts) <= n_parts
    emb = Store(store).space().read()
    assert len(emb) == 52
    of_digest = dict(zip(before.digests or [], before.vectors, strict=True))
    for digest, vector in zip(emb.digests or [], emb.vectors, strict=True):
        assert np.array_equal(vector, of_digest[digest])


def test_a_moved_folder_is_known_without_reading_it(
    photos: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(photos, store)
    before = embed(photos, GridColours())
    photos.rename(photos.parent / "elsewhere")
    read = []

    def noted(file: str) -> bytes:
        read.append(Path(file).name)
        return read_bytes(file)

    monkeypatch.setattr("clusterkit.embedding.workers.read_bytes", noted)
    report = run(photos.parent / "elsewhere", store)
    assert (report.embedded, report.reused, report.failed) == (0, 18, 2)
    assert sorted(read) == ["006.png", "013.png"]
    found = Store(store).space().read()
    assert (found.paths, len(found.failures)) == (before.paths, 2)
    assert np.array_equal(found.vectors, before.vectors)


@pytest.mark.parametrize("why", ["it is still there", "its times are coarse"])
def test_a_known_status_is_no_proof(
    photos: Path, store: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """The files of two folders have the same status, but different content."""
    time_ns = 1_700_000_000_000_000_000 + (why == "it is still there")

    def status_of(file: str | os.PathLike[str]) -> FileStatus:
        return FileStatus(Path(file).stat().st_size, time_ns, time_ns, 7)

    for i, colour in enumerate(("red", "blue")):
        (photos.parent / colour).mkdir()
        Image.new("RGB", (16, 12), colour).save(photos.parent / colour / "0.bmp")
        monkeypatch.setattr(FileStatus, "of", status_of)
        assert run(photos.parent / colour, store).embedded == 1
        if why == "its times are coarse" and i == 0:
            shutil.rmtree(photos.parent / colour)
    emb = Store(store).space().read(ImageFolder(photos.parent / "blue"))
    assert np.array_equal(emb.vectors, embed(photos.parent / "blue", GridColours()).vectors)


def test_a_deleted_file_keeps_its_row_until_it_is_pruned(photos: Path, store: Path) -> None:
    run(photos, store)
    (photos / "000.png").unlink()
    (photos / "006.png").unlink()
    report = run(photos, store)
    assert (report.pruned, report.gone) == (0, 1)  # 006.png was broken: it is in no result.
    assert ", 1 gone (" in report.to_text()
    assert len(rows_of(store)) == 20
    report = run(photos, store, prune=True)
    assert (report.pruned, report.gone) == (2, 0)
    assert ", 2 forgotten (" in report.to_text()
    assert len(rows_of(store)) == 18
    emb = Store(store).space().read()
    assert "000.png" not in emb.paths
    assert [failure.path for failure in emb.failures] == ["013.png"]


def test_pruning_can_empty_a_folder_and_a_part(photos: Path, store: Path) -> None:
    other = make_photos(photos.parent / "other", 3, seed=1)
    run(other, store)
    run(photos, store)
    shutil.rmtree(other)
    assert run(photos, store, prune=True).pruned == 3
    names = ["part-000002.parquet", "failures-000002.parquet"]
    assert [part.name for part in Store(store).space().parts] == names
    assert Store(store).space().read().root == photos


def test_two_roots_share_a_space(photos: Path, store: Path) -> None:
    other = make_photos(photos.parent / "other/deep", 3, seed=1)
    run(photos, store)
    report = run(other, store)
    assert (report.images, report.embedded) == (3, 3)
    everything = Store(store).space().read()
    assert everything.root == photos.parent
    assert everything.paths[:3] == [
        "other/deep/000.png",
        "other/deep/001.png",
        "other/deep/002.png",
    ]
    assert len(everything) == 21
    assert Store(store).space().read(ImageFolder(other)).paths == ["000.png", "001.png", "002.png"]
    # The same files, reached through the folder above, are the same rows.
    assert run(photos.parent, store).embedded == 0
    assert len(rows_of(store)) == 23


def test_a_store_moves_together_with_its_images(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "before/photos")
    run(photos, tmp_path / "before/.clusterkit")
    (tmp_path / "before").rename(tmp_path / "after")
    emb = Store(tmp_path / "after/.clusterkit").space().read()
    assert emb.root == tmp_path / "after/photos"
    assert all(file.is_file() for file in emb.files)
    report = run(tmp_path / "after/photos", tmp_path / "after/.clusterkit")
    assert (report.embedded, report.reused) == (0, 18)
    assert len(rows_of(tmp_path / "after/.clusterkit")) == 20


def test_images_elsewhere_keep_their_absolute_place(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "disk/photos", 3)
    run(photos, tmp_path / "work/.clusterkit")
    (tmp_path / "work").rename(tmp_path / "moved")
    assert Store(tmp_path / "moved/.clusterkit").space().read().root == photos


def test_no_image_at_all_can_be_embedded(tmp_path: Path, store: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(BROKEN)
    report = run(tmp_path / "photos", store)
    assert (report.embedded, report.failed) == (0, 1)
    emb = Store(store).space().read()
    assert emb.shape == embed(tmp_path / "photos", GridColours()).shape == (0, 12)


def start(folder: Path, store: Path, log: Path, seconds: float) -> subprocess.Popen[str]:
    """Start embedding in another process, in parts of 8 rows, with a pause in each batch."""
    command = embed_command(folder, store, log=log, part_rows=8, seconds=seconds)
    return subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_lines(process: subprocess.Popen[str], log: Path, n: int) -> None:
    """Wait until a process has embedded some more batches."""
    end = time.monotonic() + 60
    while len(log.read_text().splitlines()) < n and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_run_is_resumed_and_nothing_is_lost(tmp_path: Path, store: Path) -> None:
    photos = make_photos(tmp_path / "photos", 100)
    log = tmp_path / "log"
    log.touch()
    rng = random.Random(0)
    kills = 0
    for _ in range(2):
        process = start(photos, store, log, 0.1)
        wait_for_lines(process, log, len(log.read_text().splitlines()) + rng.randint(1, 4))
        time.sleep(rng.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 1
    process = start(photos, store, log, 0)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    report = json.loads(output)
    assert report["embedded"] + report["reused"] == 86
    assert report["reused"] > 0
    # A kill may cost the current part, and the batch in the network.
    assert sum(map(int, log.read_text().split())) <= 86 + kills * (8 + 8)
    run(photos, tmp_path / "uninterrupted")
    assert rows_of(store) == rows_of(tmp_path / "uninterrupted")
    assert not list(store.rglob("*.tmp*"))


def test_a_kill_between_writing_and_dropping_leaves_no_ghosts(
    photos: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(photos, store)
    (photos / "000.png").rename(photos / "moved.png")
    with monkeypatch.context() as patched:
        patched.setattr(Space, "clean", lambda *_, **__: 0)
        run(photos, store)
    run(photos, store)
    run(photos, store.parent / "uninterrupted")
    assert rows_of(store) == rows_of(store.parent / "uninterrupted")


class Interrupted(GridColours):
    """Stops in the second batch, like Ctrl-C."""

    def _forward(self, images: Any) -> Any:
        self.batches = getattr(self, "batches", 0) + 1
        if self.batches == 2:
            raise KeyboardInterrupt
        return super()._forward(images)


class Prepared(GridColours):
    """Records when it is prepared, for how many images, and when it runs."""

    def _prepare(self, n_images: int) -> None:
        self.notes = [*getattr(self, "notes", []), f"for {n_images}"]

    def _forward(self, images: Any) -> Any:
        self.notes.append(f"{len(images)}")
        return super()._forward(images)


def test_the_network_is_prepared_once_for_the_images_that_are_new(
    photos: Path, store: Path
) -> None:
    def notes() -> list[str]:
        extractor = Prepared()
        embed_to_store(ImageFolder(photos), extractor, store)
        return getattr(extractor, "notes", [])

    assert notes() == ["for 20", "8", "8", "2"]
    assert notes() == []
    (photos / "000.png").rename(photos / "renamed.png")
    assert notes() == []
    (photos / "001.png").unlink()
    Image.new("RGB", (9, 9), "teal").save(photos / "new.png")
    assert notes() == ["for 1", "1"]


def test_ctrl_c_keeps_what_was_embedded(photos: Path, store: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        embed_to_store(ImageFolder(photos), Interrupted(), store)
    report = run(photos, store)
    assert (report.embedded, report.reused) == (10, 8)


def test_two_runs_at_once_the_second_refuses(photos: Path, store: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    process = start(photos, store, log, 1)
    wait_for_lines(process, log, 1)
    with pytest.raises(StoreError, match=r"another run is writing to .*grid-colours-"):
        run(photos, store)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert run(photos, store).embedded == 0


def test_another_extractor_is_another_space(photos: Path, store: Path) -> None:
    run(photos, store)
    finer = embed(photos, GridColours(cells=4), store=store)
    assert finer.shape == (18, 48)
    assert len(Store(store).spaces()) == 2
    assert Store(store).space("grid-colours").info["dimension"] == 48
    assert run(photos, store).embedded == 0


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has its own unit elsewhere")
def test_memory_does_not_grow_with_the_folder(tmp_path: Path) -> None:
    Image.new("RGB", (250, 200), "red").save(tmp_path / "one.bmp")
    code = (
        "import resource, sys; from tests.grid_colours import main; main();"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for n in (100, 1100):
        folder = tmp_path / f"{n}"
        folder.mkdir()
        for i in range(n):
            (folder / f"{i}.bmp").symlink_to(tmp_path / "one.bmp")
        command = [sys.executable, "-c", code, str(folder), str(tmp_path / f"store{n}")]
        output = subprocess.run(
            command, cwd=REPOSITORY, check=True, capture_output=True, text=True
        ).stdout
        peaks.append(int(output.splitlines()[-1]) / 1024)
    # The larger folder has 150 MB more of files.
    assert peaks[1] - peaks[0] < 30


def test_a_run_over_known_images_needs_no_network_and_no_weights(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 6)
    weights = tmp_path / "weights.h5"
    weights.write_bytes(b"of which only the digest counts")
    extractor = create_extractor("xception", weights=weights)
    space = Store(tmp_path / "store").open_space(describe(extractor))
    reference = embed(photos, GridColours())
    rows = []
    for path, digest in zip(reference.paths, reference.digests or [], strict=True):
        status = (photos / path).stat()
        row = Row(path, space.root_of(photos), digest, status.st_size, status.st_mtime_ns, 24, 20)
        row.vector = np.ones(2048, np.float32)
        rows.append(row)
    space.append(rows)
    weights.unlink()
    code = (
        "import sys; from clusterkit.cli import main;"
        f"main(['embed', {str(photos)!r}, '-s', {str(tmp_path / 'store')!r}, '--json'],"
        " standalone_mode=False);"
        "print(*sorted({'keras', 'tensorflow', 'faiss', 'matplotlib'} & {*sys.modules}))"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    document, _, loaded = output.stdout.rpartition("}")
    assert json.loads(document + "}")["reused"] == 6
    assert loaded.strip() == ""


@pytest.mark.network
def test_the_real_network(shared: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for species in ("fox", "tiger"):
        for file in sorted((shared / "data/species10" / species).iterdir())[:3]:
            shutil.copy(file, photos / f"{species}_{file.name}")
    (photos / "broken.jpg").write_bytes(BROKEN)
    weights = shared / "weights/xception_imagenet_notop.h5"
    extractor = create_extractor("xception", weights=weights, batch_size=4)
    first = embed(photos, extractor)
    assert first.shape == (6, 2048)
    assert [failure.path for failure in first.failures] == ["broken.jpg"]
    # In another order, and thus in other batches.
    for number, path in enumerate(reversed(first.paths)):
        (photos / path).rename(photos / f"{number}.jpg")
    other = embed(photos, extractor, store=tmp_path / "s")
    assert other.paths == [f"{number}.jpg" for number in range(6)]
    np.testing.assert_allclose(first.vectors, other.vectors[::-1], atol=1e-5)
    unit = first.vectors / np.linalg.norm(first.vectors, axis=1, keepdims=True)
    similarity = unit @ unit.T
    same = similarity[:3, :3][np.triu_indices(3, 1)].mean()
    assert same > similarity[:3, 3:].mean() + 0.1
