"""Vectors are imported from other programs, and exported to them."""

import csv
import dataclasses
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from clusterkit.cli import main
from clusterkit.clustering.cluster import cluster
from clusterkit.clustering.exporting import export_embeddings
from clusterkit.embedding.embed import embed_to_store
from clusterkit.errors import ClusterkitError, InvalidInputError, OutputExistsError, WeightsError
from clusterkit.extractors import create_extractor
from clusterkit.images import ImageFolder
from clusterkit.similarity.projection import project
from clusterkit.similarity.similar import find_similar
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.interchange import import_vectors
from clusterkit.store.store import Store
from tests.odd_files import JPEG, PNG
from tests.stores import make_photos

VECTORS = np.array([[1, 0, 0], [0, 1, 0], [0.9, 0.1, 0]], np.float32)
NAMES = ["b.png", "a.png", "sub/c.png"]


def write_npy(folder: Path) -> dict[str, Path]:
    np.save(folder / "clip.npy", VECTORS.astype(np.float64))
    (folder / "paths.txt").write_text("\n".join(NAMES))
    return {"source": folder / "clip.npy", "paths": folder / "paths.txt"}


def write_npz(folder: Path) -> dict[str, Path]:
    np.savez(folder / "clip.npz", vectors=VECTORS, paths=NAMES)
    return {"source": folder / "clip.npz"}


def write_parquet(folder: Path) -> dict[str, Path]:
    table = pa.table({"path": NAMES, "vector": VECTORS.tolist(), "other": [1, 2, 3]})
    pq.write_table(table, folder / "clip.parquet")
    return {"source": folder / "clip.parquet"}


@pytest.mark.parametrize("write", [write_npy, write_npz, write_parquet])
def test_vectors_come_in(tmp_path: Path, write: Callable[[Path], dict[str, Path]]) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/c.png").write_bytes(PNG)
    (tmp_path / "copy.png").write_bytes(PNG)
    store = Store(tmp_path / "store")
    space = import_vectors(**write(tmp_path), store=store)
    assert space.folder.name.startswith("clip-")
    emb = store.space("clip").read()
    assert emb.paths == ["a.png", "b.png", "sub/c.png"]
    assert np.array_equal(emb.vectors, VECTORS[[1, 0, 2]])
    assert emb.root == tmp_path
    # An existing file is identified by its content, otherwise by its name.
    for query, nearest in ((tmp_path / "copy.png", "sub/c.png"), ("b.png", "sub/c.png")):
        assert find_similar(query, emb).to_dict()["results"][0]["path"] == nearest
    (tmp_path / "other.jpg").write_bytes(JPEG)
    with pytest.raises(WeightsError, match="the network that made them is not known"):
        find_similar(tmp_path / "other.jpg", emb)


def test_the_same_again_changes_nothing_and_other_content_is_another_space(tmp_path: Path) -> None:
    files = write_npy(tmp_path)
    store = Store(tmp_path / "store")
    first = import_vectors(**files, store=store)
    state = first.state
    again = import_vectors(**files, store=store)
    assert again.folder == first.folder
    assert again.state == state
    assert again.summary()["images"] == 3
    assert len(again.read()) == 3
    np.save(files["source"], VECTORS + 1)
    assert import_vectors(**files, store=store, name="clip").folder != first.folder
    assert store.space("clip").read().vectors.max() == 2


def write_parquet_of_others(folder: Path) -> Path:
    """Write a table like other programs, with two columns of vectors."""
    columns = {"id": [1, 2, 3], "caption": ["x", "y", "z"], "file": NAMES}
    columns |= {"clip": VECTORS.tolist(), "text": VECTORS.tolist()}
    pq.write_table(pa.table(columns), folder / "others.parquet")
    return folder / "others.parquet"


def write_npz_of_others(folder: Path, **more: object) -> Path:
    np.savez(folder / "others.npz", X=VECTORS, ids=np.arange(3), names=NAMES, **more)
    return folder / "others.npz"


def test_columns_have_any_names(tmp_path: Path) -> None:
    """The only ones that fit are taken; others are named, in Python and as options."""
    expected = import_vectors(**write_npy(tmp_path), store=tmp_path / "a").read()
    found = import_vectors(write_npz_of_others(tmp_path), tmp_path / "b").read()
    table = write_parquet_of_others(tmp_path)
    with pytest.raises(InvalidInputError, match=r"2 columns of vectors: .*--vector-column"):
        import_vectors(table, tmp_path / "c")
    # Of several text columns, "file" is that of the files.
    words = ["import", str(table), "--vector-column", "text", "-s", str(tmp_path / "c")]
    assert CliRunner().invoke(main, words).exit_code == 0
    for emb in (found, Store(tmp_path / "c").space().read()):
        assert emb.files == expected.files
        assert np.array_equal(emb.vectors, expected.vectors)
    words[-1] = str(tmp_path / "d")
    assert CliRunner().invoke(main, [*words, "--path-column", "caption"]).exit_code == 0
    assert Store(tmp_path / "d").space().read().paths == ["x", "y", "z"]


def test_paths_may_be_categories_of_pandas(tmp_path: Path) -> None:
    expected = import_vectors(**write_npy(tmp_path), store=tmp_path / "a").read()
    files = pa.array([str(file) for file in expected.files])
    table = pa.table({"v": expected.vectors.tolist(), "picture": files.dictionary_encode()})
    pq.write_table(table, tmp_path / "v.parquet")
    assert import_vectors(tmp_path / "v.parquet", tmp_path / "b").read().files == expected.files


def test_paths_are_given_for_a_file_without_any(tmp_path: Path) -> None:
    paths = write_npy(tmp_path)["paths"]
    pq.write_table(pa.table({"v": VECTORS.tolist()}), tmp_path / "v.parquet")
    np.savez(tmp_path / "v.npz", VECTORS)
    for source in ("v.parquet", "v.npz"):
        emb = import_vectors(tmp_path / source, tmp_path / source[2:], paths=paths).read()
        assert emb.paths == ["a.png", "b.png", "sub/c.png"]
        assert np.array_equal(emb.vectors, VECTORS[[1, 0, 2]])


def emb_of(folder: Path) -> Embeddings:
    vectors = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    return Embeddings(
        vectors, paths=["a.png", "caf\udce9.png", "x/b,c.png"], root=folder / "photos"
    )


@pytest.mark.parametrize("suffix", [".npz", ".parquet", ".NPZ"])
def test_what_goes_out_comes_back(tmp_path: Path, suffix: str) -> None:
    emb = emb_of(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    file = export_embeddings(emb, tmp_path / f"elsewhere/own{suffix}")
    back = import_vectors(file, tmp_path / "store").read()
    assert np.array_equal(back.vectors, emb.vectors)
    assert back.paths == emb.paths
    assert back.files == emb.files


def test_csv_keeps_every_bit(tmp_path: Path) -> None:
    emb = emb_of(tmp_path)
    export_embeddings(emb, tmp_path / "own.csv")
    with (tmp_path / "own.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "0", "1", "2", "3", "4"]
    assert [row[0] for row in rows] == ["a.png", r"caf\udce9.png", "x/b,c.png"]
    assert np.array_equal(np.array([row[1:] for row in rows], np.float32), emb.vectors)


def test_parquet_is_read_by_pandas(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    emb = emb_of(tmp_path)
    table = pandas.read_parquet(export_embeddings(emb, tmp_path / "own.parquet"))
    assert np.array_equal(np.stack(table["vector"]), emb.vectors)


def test_parquet_has_what_is_known_of_the_images(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 12)
    embed_to_store(ImageFolder(photos), create_extractor("pixels"), tmp_path / "store")
    emb = Store(tmp_path / "store").space().read()
    emb = dataclasses.replace(emb, top5=[[("fox", 0.5), ("cat", 0.25)], *[None] * (len(emb) - 1)])
    groups = cluster(emb, n_clusters=2, random_state=0)
    groups.names = {0: "reds"}
    file = groups.to_csv(tmp_path / "clusters.csv")
    shorter = [line for line in file.read_text().splitlines() if not line.startswith("003.png")]
    file.write_text("\n".join(shorter))
    (photos / "005.png").unlink()
    table = pq.read_table(
        export_embeddings(emb, tmp_path / "view.parquet", clusters=file, viewer=True)
    )
    assert table.column_names == (
        [
            "path",
            "filepath",
            "digest",
            "cluster",
            "name",
            "top_class",
            "top5",
            "x",
            "y",
            "neighbors",
            "image",
            "vector",
        ]
    )
    rows = {row["path"]: row for row in table.to_pylist()}
    assert [row["filepath"] for row in rows.values()] == [str(file) for file in emb.files]
    assert [row["digest"] for row in rows.values()] == emb.digests
    labels = dict(zip(emb.paths, groups.labels.tolist(), strict=True))
    assert {path: row["cluster"] for path, row in rows.items()} == labels | {"003.png": None}
    assert rows["003.png"]["name"] is None
    assert {row["name"] for row in rows.values() if row["cluster"] == 0} == {"reds"}
    assert rows["000.png"]["top_class"] == "fox"
    assert rows["000.png"]["top5"][1] == {"class": "cat", "probability": 0.25}
    assert rows["001.png"]["top_class"] is None
    x, y = project(emb)[0].T
    np.testing.assert_allclose([(row["x"], row["y"]) for row in rows.values()], np.c_[x, y], 1e-5)
    for number, (path, row) in enumerate(rows.items()):
        near = find_similar(path, dataclasses.replace(emb, root=None), n_neighbors=10)
        assert row["neighbors"]["ids"] == near.rows.tolist()
        assert number not in near.rows
        np.testing.assert_allclose(row["neighbors"]["distances"], 1 - near.similarities, atol=1e-6)
    assert rows["005.png"]["image"] is None
    picture = Image.open(io.BytesIO(rows["000.png"]["image"]["bytes"]))
    assert (picture.format, picture.size) == ("JPEG", (128, 107))
    # It is a table of vectors as before.
    assert import_vectors(tmp_path / "view.parquet", tmp_path / "other").read().files == emb.files


def test_neighbours_in_an_export_of_probabilities_are_similar_images(
    unsure_predictions: np.ndarray, tmp_path: Path
) -> None:
    emb = Embeddings(unsure_predictions, paths=[f"{i}.png" for i in range(100)])
    file = export_embeddings(emb, tmp_path / "e.parquet", viewer=True)
    rows = pq.read_table(file)["neighbors"].to_pylist()
    assert rows[3]["ids"] == find_similar(3, emb, n_neighbors=10).rows.tolist()


def test_equal_images_are_neighbours_but_none_of_itself(tmp_path: Path) -> None:
    vectors = np.repeat(np.eye(2, dtype=np.float32), [14, 2], axis=0)
    emb = Embeddings(vectors, paths=[f"{i}.png" for i in range(16)])
    file = export_embeddings(emb, tmp_path / "e.parquet", viewer=True)
    neighbors = [row["ids"] for row in pq.read_table(file)["neighbors"].to_pylist()]
    assert all(len(ids) == len({*ids} - {row}) == 10 for row, ids in enumerate(neighbors))


def test_what_only_parquet_can_hold(tmp_path: Path) -> None:
    for options in ({"viewer": True}, {"clusters": tmp_path / "clusters.csv"}):
        with pytest.raises(InvalidInputError, match=r"are for \.parquet files. Received: .*e\.npz"):
            export_embeddings(emb_of(tmp_path), tmp_path / "e.npz", **options)


def test_outputs_that_are_refused(tmp_path: Path) -> None:
    emb = emb_of(tmp_path)
    with pytest.raises(InvalidInputError, match=r"must end in \.npz, \.parquet, \.csv.*own\.xlsx"):
        export_embeddings(emb, tmp_path / "own.xlsx")
    export_embeddings(emb, tmp_path / "own.csv")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        export_embeddings(emb, tmp_path / "own.csv")
    export_embeddings(emb, tmp_path / "own.csv", overwrite=True)


def bad_npy(folder: Path, values: object, names: str = "a\nb\n") -> dict[str, Path]:
    np.save(folder / "bad.npy", values)
    (folder / "paths.txt").write_text(names)
    return {"source": folder / "bad.npy", "paths": folder / "paths.txt"}


def bad_file(folder: Path, name: str, content: bytes = b"") -> dict[str, Path]:
    (folder / name).write_bytes(content)
    return {"source": folder / name}


def bad_npz(folder: Path, **arrays: object) -> dict[str, Path]:
    np.savez(folder / "bad.npz", **arrays)
    return {"source": folder / "bad.npz"}


def npz_with_text(folder: Path) -> dict[str, Path]:
    """Return an .npz file with another file beside the arrays, and one of Python objects."""
    objects = np.array([{}], object)
    files = bad_npz(folder, X=VECTORS, more=VECTORS, names=NAMES, objects=objects)
    with zipfile.ZipFile(files["source"], "a") as archive:
        archive.writestr("README.txt", "Made by another program.")
    return files


def test_arrays_are_read_once_and_only_those_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_npz_of_others(tmp_path, more=np.zeros((2, 2, 2)))
    read = []
    whole = np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(
        np.lib.npyio.NpzFile, "__getitem__", lambda self, key: read.append(key) or whole(self, key)
    )
    import_vectors(source, tmp_path / "store")
    assert read == ["names", "X"]


def ragged(folder: Path) -> dict[str, Path]:
    pq.write_table(
        pa.table({"path": ["a", "b"], "vector": [[1.0], [1.0, 2.0, 3.0]]}), folder / "r.parquet"
    )
    return {"source": folder / "r.parquet"}


def test_a_name_of_an_extractor_means_what_it_made(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 4)
    store = Store(tmp_path / "store")
    imported = import_vectors(**write_npz(tmp_path), store=store, name="pixels")
    assert store.space("pixels").folder == imported.folder
    # They have nothing to do with pixels.
    assert "colour and tone" not in cluster(imported.read(), n_clusters=2).to_text()
    report = embed_to_store(ImageFolder(tmp_path / "photos"), "pixels", store)
    import_vectors(**write_npz(tmp_path), store=store, name="pixels")  # later
    assert [space.folder.name for space in store.spaces_of("pixels")] == [
        report.space,
        imported.folder.name,
    ]


def bad_parquet(folder: Path, root: bytes = b"", **columns: object) -> dict[str, Path]:
    table = pa.table(columns).replace_schema_metadata({"root": root})
    pq.write_table(table, folder / "bad.parquet")
    return {"source": folder / "bad.parquet"}


def npz_named_npy(folder: Path) -> dict[str, Path]:
    files = write_npy(folder)
    write_npz(folder)["source"].replace(files["source"])
    return files


BAD = [
    (lambda f: bad_npy(f, np.eye(3)), "2 paths, 3 vectors"),
    (lambda f: bad_npy(f, np.eye(2)[0]), r"shape \(n, dimension\)"),
    (lambda f: bad_npy(f, np.array([["a"], ["b"]])), "must be numbers"),
    (lambda f: bad_npy(f, np.zeros((0, 4)), ""), r"Received: float64 \(0, 4\)"),
    (lambda f: bad_npy(f, [[1.0], [np.nan]]), "Received: nan in row 1"),
    (lambda f: bad_npy(f, np.eye(2), "a\n./a\n"), "once. Received: .*a twice"),
    (lambda f: {"source": bad_npy(f, np.eye(2))["source"]}, "--paths FILE"),
    (lambda f: write_npz(f) | {"paths": write_npy(f)["paths"]}, "leave out --paths"),
    (lambda f: {"source": f / "gone.npz"}, "no such file: .*gone"),
    (lambda f: write_npy(f) | {"paths": f / "gone"}, "no such file: .*gone"),
    (lambda f: bad_file(f, "vectors.csv"), r"read from \.npy, \.npz, \.parquet"),
    (lambda f: bad_file(f, "text.npz", b"text"), r"text\.npz cannot be read"),
    (lambda f: bad_file(f, "text.parquet", b"text"), "cannot be read"),
    (lambda f: bad_npz(f, features=VECTORS), r"no column of paths: .*--paths.* features \(vectors"),
    (lambda f: bad_npz(f, vectors=VECTORS, paths=np.array(NAMES, object)), "pickle"),
    (ragged, "one length"),
    (lambda f: write_npz(f) | {"name": "../up"}, r"Received: '\.\./up'"),
    (lambda f: write_npz(f) | {"name": ".hidden"}, "--name"),
    (lambda f: write_npz(f) | {"name": "my.keras"}, "not end in .keras.* Received: 'my.keras'"),
    (lambda f: bad_npy(f, [[1.0], [1e39]]), "range of float32, 3.4e38. Received: 1e[+]39 in row 1"),
    (lambda f: bad_npy(f, np.array([[1], [-np.inf]], np.float16)), "Received: -inf in row 1"),
    (lambda f: bad_npy(f, np.eye(2, dtype=complex)), "must be numbers"),
    (lambda f: bad_npy(f, np.array(1.0)), r"Received: float64 \(\)"),
    (
        npz_with_text,
        r"2 columns of vectors.*more \(vectors\).*objects \(Python.*README.txt \(no arr",
    ),
    (lambda f: bad_npz(f, vectors=VECTORS, paths=np.arange(3)), "text.*Received: 0 as row 0"),
    (lambda f: bad_npz(f, vectors=VECTORS, paths=np.array("abc")), r"shape \(n,\). Received: \(\)"),
    (lambda f: bad_npz(f, vectors=VECTORS, paths=[NAMES]), r"paths must have shape \(n,\)"),
    (lambda f: bad_npz(f, vectors=VECTORS, paths=["a", "", "c"]), "Received: '' as row 1"),
    (lambda f: bad_npz(f, vectors=VECTORS, paths=["a", "x\0y", "c"]), "as row 1"),
    (lambda f: bad_npz(f, vectors=VECTORS, paths=["a", "\ud800", "c"]), "valid Unicode.*as row 1"),
    (lambda f: bad_npz(f, vectors=VECTORS, paths=NAMES, root=["/a", "/b"]), "one folder"),
    (lambda f: bad_npz(f, vectors=VECTORS, paths=NAMES, root=3), "Received: 3 as root"),
    (lambda f: bad_parquet(f, path=["a", None], vector=[[1.0], [2.0]]), "Received: None as row 1"),
    (lambda f: bad_parquet(f, path=[1, 2], vector=[[1.0], [2.0]]), "Received: 1 as row 0"),
    (lambda f: bad_parquet(f, path=[["a"], ["b"]], vector=[[1.0], [2.0]]), "as row 0"),
    (lambda f: bad_parquet(f, path=["a", "b"], vector=[[1.0], None]), "one length"),
    (lambda f: bad_parquet(f, path=["a", "b"], vector=[[1.0], [None]]), "nan in row 1"),
    (lambda f: bad_parquet(f, path=["a", "b"], vector=[["x"], ["y"]]), "must be numbers"),
    (lambda f: bad_parquet(f, path=["a", "b"], vector=[1.0, 2.0]), "cannot be read"),
    (lambda f: bad_parquet(f, path=["a", "b"], vector=[{"a": 1}, {"a": 2}]), "cannot be read"),
    (lambda f: bad_parquet(f, path=["a", "b"]), r"no column of vectors.* holds: path \(paths\)"),
    (lambda f: bad_parquet(f, root=b"\xff", path=["a"], vector=[[1.0]]), "cannot be read"),
    (lambda f: npz_named_npy(f), "it is an .npz file"),
]


@pytest.mark.parametrize(("make", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_vectors_are_refused_and_nothing_is_made(
    tmp_path: Path, make: Callable[[Path], dict[str, Path]], words: str
) -> None:
    with pytest.raises(ClusterkitError, match=words):
        import_vectors(**make(tmp_path), store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_paths_of_bytes_are_text(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "clip.npz", vectors=VECTORS, paths=np.array([b"a", b"caf\xc3\xa9", b"\xff"])
    )
    emb = import_vectors(tmp_path / "clip.npz", tmp_path / "store").read()
    assert emb.paths == ["a", "caf\u00e9", "\udcff"]


def test_the_largest_float_stays_and_no_pipe_is_read(tmp_path: Path) -> None:
    largest = float(np.finfo(np.float32).max)
    os.mkfifo(tmp_path / "a.png")
    np.savez(tmp_path / "clip.npz", vectors=[[largest, -largest]], paths=["a.png"])
    emb = import_vectors(tmp_path / "clip.npz", tmp_path / "store").read()
    assert emb.vectors.tolist() == [[largest, -largest]]
    assert emb.digests == [None]


def test_one_long_path_does_not_blow_up_the_export(tmp_path: Path) -> None:
    n = 3000
    paths = [*(f"{i}.png" for i in range(n - 1)), "/".join(["x" * 219] * 10)]
    emb = Embeddings(np.ones((n, 4), np.float32), paths=paths, root=tmp_path)
    for suffix in (".npz", ".parquet", ".csv"):
        file = export_embeddings(emb, tmp_path / f"long{suffix}")
        assert file.stat().st_size < 400_000
    with np.load(tmp_path / "long.npz") as arrays:
        assert arrays["paths"].tolist() == paths
        assert arrays["vectors"].shape == (n, 4)
        assert str(arrays["root"]) == str(tmp_path)
    assert len(import_vectors(tmp_path / "long.npz", tmp_path / "store").read()) == n


def test_an_empty_path_is_exported(tmp_path: Path) -> None:
    for suffix in (".npz", ".parquet", ".csv"):
        export_embeddings(Embeddings(np.eye(1), paths=[""]), tmp_path / f"e{suffix}")
    with np.load(tmp_path / "e.npz") as arrays:
        assert arrays["paths"].tolist() == [""]


def test_no_path_is_a_formula_in_csv(tmp_path: Path) -> None:
    emb = Embeddings(np.array([[-1.5, 2], [3, -1e-5]], np.float32), paths=["=1.png", "-2/a.png"])
    text = export_embeddings(emb, tmp_path / "e.csv").read_text()
    assert text == "path,0,1\n'=1.png,-1.5,2\n'-2/a.png,3,-9.99999975e-06\n"
