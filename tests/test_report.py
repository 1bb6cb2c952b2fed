"""The report as it is written: from any clusters, with any files and names."""

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from clusterkit.cli import main
from clusterkit.clustering.cluster import Clustering, cluster
from clusterkit.clustering.decisions import read_edits
from clusterkit.clustering.labelling import label
from clusterkit.elbow.curve import elbow_curve
from clusterkit.embedding.embed import embed
from clusterkit.errors import (
    InvalidInputError,
    MissingDependencyError,
    NotFoundError,
    Notice,
    OutputExistsError,
)
from clusterkit.extractors.pixels import Pixels
from clusterkit.images.folder import ImageFolder
from clusterkit.report import layouts, write_report
from clusterkit.report.sheets import SIDE, make_sheets
from clusterkit.similarity.similar import find_similar
from clusterkit.similarity.space_audit import Audit, Finding
from clusterkit.store.embeddings import Embeddings
from tests.kills import Killed, killed_at

ROWS = np.repeat(np.eye(4, dtype=np.float32), 6, axis=0)


def bundles(folder: Path, *, name: str = "own") -> Embeddings:
    """Return 24 images of four bundles in two folders, the first twelve of which are files."""
    noise = np.random.default_rng(0).normal(0, 0.05, ROWS.shape)
    paths = [f"{'ab'[i % 2]}/{i:02d}.png" for i in range(24)]
    for path in paths[:12]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (200, 30, 30)).save(folder / path)
    return Embeddings(
        ROWS + noise.astype(np.float32),
        paths=paths,
        root=folder,
        space={"extractor": name, "fingerprint": name.ljust(16, "0")},
        digests=[f"{i:064x}" for i in range(24)],
    )


@pytest.fixture
def found(tmp_path: Path) -> Clustering:
    """Return four clusters."""
    return cluster(bundles(tmp_path / "photos"), n_clusters=4, random_state=0)


def data_of(page: Path) -> dict[str, Any]:
    """Return the data of a page."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_same_input_gives_the_same_bytes(found: Clustering, tmp_path: Path) -> None:
    one = write_report(found, tmp_path / "one.html")
    two = write_report(found, tmp_path / "two.html")
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.n_bytes == one.path.stat().st_size
    assert (one.n_images, one.n_clusters, one.n_without_picture) == (24, 4, 12)
    assert "24 images in 4 clusters: open" in one.to_text()


def test_a_page_names_nothing_but_its_own_code(found: Clustering, tmp_path: Path) -> None:
    text = write_report(found, tmp_path / "report.html").path.read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert "unsafe" not in policy[1]
    assert policy[1].startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert not re.search(r"<[^>]* on[a-z]+=", text)
    assert not re.search(r"\beval\(|new Function|<[a-z]+ [^>]*style=", text)
    assert str(tmp_path) not in text


def test_an_existing_page_is_replaced_only_on_request(found: Clustering, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(found, page, max_inside=5)
    assert len(list((tmp_path / "report-sheets").iterdir())) == 1
    with pytest.raises(OutputExistsError, match=r"report\.html exists"):
        write_report(found, page)
    write_report(found, page, overwrite=True)
    assert not (tmp_path / "report-sheets").exists()
    # A folder with files of the user must not be removed.
    (tmp_path / "report-sheets").mkdir()
    (tmp_path / "report-sheets/notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"such as notes\.txt: name another page"):
        write_report(found, page, overwrite=True)
    assert (tmp_path / "report-sheets/notes.txt").exists()
    with pytest.raises(InvalidInputError, match=r"a report is a page, \.html"):
        write_report(found, tmp_path / "report.pdf")
    with pytest.raises(NotFoundError, match="no such folder"):
        write_report(found, tmp_path / "nowhere/report.html")


def test_a_killed_report_leaves_one_whole_page(found: Clustering, tmp_path: Path) -> None:
    page, folder = tmp_path / "report.html", tmp_path / "report-sheets"

    def state() -> tuple[bytes, dict[str, bytes]]:
        names = data_of(page)["sheets"]["files"] or []
        return page.read_bytes(), {name: (tmp_path / name).read_bytes() for name in names}

    write_report(found, page, max_inside=5, title="new", overwrite=True)
    new = state()
    # The old page has other thumbnails: those of fewer images.
    rows = np.arange(0, len(found.labels), 2)
    fewer = replace(
        found,
        embeddings=found.embeddings[rows],
        labels=found.labels[rows],
        distances=found.distances[rows],
        exemplars=found.exemplars[rows],
    )
    ends = set()
    for count in range(1, 100):
        write_report(fewer, page, max_inside=5, overwrite=True)
        old = state()
        assert old[1].keys() != new[1].keys()
        try:
            with killed_at(count):
                write_report(found, page, max_inside=5, title="new", overwrite=True)
            break
        except Killed:
            assert state() in (old, new)
            ends.add(state() == new)
    assert ends == {True, False}
    # What the killed runs left is gone.
    assert {file.name for file in folder.iterdir()} == {Path(name).name for name in new[1]}
    (folder / ".00000-0123abcd.12-34.tmp.avif").write_bytes(b"of a killed run")
    write_report(found, page, overwrite=True)
    assert not folder.exists()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_images_make_a_page(n: int, tmp_path: Path) -> None:
    emb = bundles(tmp_path / "photos")[:n]
    report = write_report(cluster(emb, n_clusters=1, random_state=0), tmp_path / "report.html")
    assert (report.n_images, report.n_clusters) == (n, 1)
    assert data_of(report.path)["neighbors"]["count"] == n - 1


def test_images_without_clusters_are_one(tmp_path: Path) -> None:
    emb = bundles(tmp_path / "photos")
    report = write_report(emb, tmp_path / "report.html")
    assert report.n_clusters == 0
    data = data_of(report.path)
    assert (data["clustered"], data["next"]) == (False, 1)
    assert "without clusters yet" in report.path.read_text()
    assert "24 images without clusters: open" in report.to_text()
    embed(ImageFolder(tmp_path / "photos"), Pixels(), store=tmp_path / "store")
    assert write_report(tmp_path / "store", tmp_path / "stored.html").n_images == 12
    with pytest.raises(NotFoundError, match="nowhere"):
        write_report(tmp_path / "nowhere", tmp_path / "none.html")
    with pytest.raises(InvalidInputError, match="there are no embedded images"):
        write_report(emb[:0], tmp_path / "none.html")
    with pytest.raises(InvalidInputError, match="holds no vectors: pass embeddings="):
        write_report(tmp_path / "clusters.csv", tmp_path / "none.html")


def test_noise_is_the_last_cluster(found: Clustering, tmp_path: Path) -> None:
    labels = np.where(np.arange(24) < 3, -1, found.labels)
    noisy = replace(found, labels=labels, distances=np.where(labels < 0, np.nan, 0.5))
    text = write_report(noisy, tmp_path / "report.html").path.read_text()
    listed = re.findall(r"<strong>(.*?)</strong>, (\d+)", text)
    assert listed[-1] == ("noise", "3")


def test_a_table_knows_what_was_decided(found: Clustering, tmp_path: Path) -> None:
    table = found.to_csv(tmp_path / "my clusters.csv")
    label(table, names={1: "my tigers"}, moves={found.embeddings.paths[0]: 9}, pin=[2])
    page = write_report(table, tmp_path / "report.html", embeddings=found.embeddings).path
    data = data_of(page)
    assert data["names"] == {"1": "my tigers"}
    assert data["kept"] == [1, 2, 9]
    assert data["next"] == 10
    assert data["paths"] == found.embeddings.paths
    assert len(data["exemplars"]) == 4 - (found.exemplars[0] > 0)
    commands = html.unescape(page.read_text(encoding="utf-8").partition("<pre>")[2])
    assert "clusterkit promote 'my clusters.csv' --into" in commands


def test_a_table_of_another_space_and_images_that_are_elsewhere(
    found: Clustering, tmp_path: Path
) -> None:
    table = found.to_csv(tmp_path / "clusters.csv")
    other = bundles(tmp_path / "photos", name="other")[2:]
    with (
        pytest.warns(UserWarning, match="^the clusters are of the space own-.* the vectors of "),
        pytest.warns(Notice, match=r"2 images of .*clusters\.csv without a vector in the store"),
    ):
        report = write_report(table, tmp_path / "report.html", embeddings=other)
    # Their files exist, so their pictures are shown.
    assert (report.n_images, report.n_without_picture) == (24, 12)
    assert "2 are not in the store" in report.path.read_text()
    more = bundles(tmp_path / "photos")
    with pytest.warns(Notice, match="left out 14 images of the store"):
        write_report(
            cluster(more[:10], n_clusters=2, random_state=0).to_csv(tmp_path / "few.csv"),
            tmp_path / "few.html",
            embeddings=more,
        )
    strange = Embeddings(np.eye(3), paths=["x.png", "y.png", "z.png"])
    with pytest.raises(InvalidInputError, match="must have an image in common"):
        write_report(table, tmp_path / "none.html", embeddings=strange)


def test_images_are_linked_where_they_are(found: Clustering, tmp_path: Path) -> None:
    table = found.to_csv(tmp_path / "clusters.csv")
    (tmp_path / "pages").mkdir()
    emb = found.embeddings
    moved = replace(emb, paths=["new/é 1.png", *emb.paths[1:]])
    page = write_report(table, tmp_path / "pages/report.html", embeddings=moved).path
    links = data_of(page)["links"]
    assert links == {"base": "../photos/", "moved": {"0": "new/é 1.png"}}
    assert data_of(page)["paths"][0] == emb.paths[0]


def test_labels_are_those_of_folders_or_given(
    found: Clustering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names(labels: Any, name: str) -> Any:
        page = write_report(found, tmp_path / f"{name}.html", labels=labels).path
        assert ("purity" in page.read_text()) == (labels is not None)
        known = data_of(page)["labels"]
        return known and known["names"]

    assert names("auto", "auto") == ["a", "b"]
    assert names(None, "none") is None
    assert names([f"{i % 3}" if i else None for i in range(24)], "list") == ["0", "1", "2"]
    assert names({found.embeddings.paths[3]: "only"}, "mapping") == ["only"]
    csv_file = tmp_path / "labels.csv"
    lines = [f"{path},{'xy'[i % 2]}" for i, path in enumerate(found.embeddings.paths)]
    csv_file.write_text("\n".join(["filename,label", *lines]))
    assert names(csv_file, "table") == ["x", "y"]
    with pytest.raises(InvalidInputError, match="one label per image"):
        write_report(found, tmp_path / "short.html", labels=["a"])
    with pytest.raises(InvalidInputError, match="name none of the 24 images"):
        write_report(found, tmp_path / "strange.html", labels={"x.png": "a"})
    monkeypatch.setattr("clusterkit.report.page._MAX_LABELS", 20)
    many = write_report(found, tmp_path / "many.html", labels=[f"kind {i}" for i in range(24)])
    assert "most frequent labels" in many.path.read_text()


def test_reasons_and_findings_are_told_and_escaped(found: Clustering, tmp_path: Path) -> None:
    curve = elbow_curve(found.embeddings, k=range(2, 7), n_resamples=4, random_state=0)
    told = Finding("tone", False, "It follows <b>tone</b>.", 0.71828, "Try another.")
    plain = Finding("hubs", True, "Plain.", None, "Run `<x>`.", images=("a/00.png",))
    audit = Audit(found.embeddings, [told, plain])
    report = write_report(found, tmp_path / "report.html", curve=curve, audit=audit)
    text = report.path.read_text()
    assert "It follows &lt;b&gt;tone&lt;/b&gt;." in text
    assert "0.718" in text
    assert "Run <code>&lt;x&gt;</code>." in text
    assert '<bdi class="image">a/00.png</bdi>' in text
    assert curve.verdict in text.replace("&#39;", "'")
    assert text.count("<rect class=") == 5
    none = write_report(found, tmp_path / "two.html", audit=Audit(found.embeddings, []))
    assert "found no problems" in none.path.read_text()
    for wrong in ("some", audit, 5):
        with pytest.raises(InvalidInputError, match="must be of type ElbowCurve, a bool or 'auto'"):
            write_report(found, tmp_path / "three.html", curve=wrong)


def test_a_map_by_umap_needs_its_extra(
    found: Clustering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class UMAP:
        def __init__(self, **options: Any) -> None:
            assert options["random_state"] == 0

        def fit_transform(self, X: Any) -> Any:
            return X[:, :2]

    monkeypatch.setitem(__import__("sys").modules, "umap", SimpleNamespace(UMAP=UMAP))
    page = write_report(found, tmp_path / "report.html", layout="umap").path
    assert [one["name"] for one in data_of(page)["layouts"]] == ["UMAP", "principal components"]
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'clusterkit\[map\]'"):
        write_report(found, tmp_path / "none.html", layout="umap")
    with pytest.raises(InvalidInputError, match="one of pca, umap"):
        write_report(found, tmp_path / "none.html", layout="tsne")


def test_neighbors_of_many_images_are_nearly_all_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    centers = rng.normal(0, 1, (30, 200))
    X = (centers[rng.integers(0, 30, 3000)] + rng.normal(0, 0.6, (3000, 200))).astype(np.float32)
    exact, rows, is_exact = layouts.find_neighbors(X, 8)
    assert is_exact
    monkeypatch.setattr(layouts, "_MAX_EXACT", 1000)
    near, found, is_exact = layouts.find_neighbors(X, 8)
    assert not is_exact
    assert not (found == np.arange(3000)[:, None]).any()
    same = [len(set(a) & set(b)) for a, b in zip(rows.tolist(), found.tolist(), strict=True)]
    assert np.mean(same) > 7.6
    np.testing.assert_allclose(near[:, 0], exact[:, 0], atol=0.05)


def test_neighbors_of_probabilities_are_those_of_their_square_roots(
    unsure_predictions: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch
) -> None:
    X = unsure_predictions.astype(np.float32)
    similarities, rows, _ = layouts.find_neighbors(X, 8)
    for row in (0, 7, 50):
        near = find_similar(row, X, n_neighbors=8)
        assert near.rows.tolist() == rows[row].tolist()
        np.testing.assert_allclose(near.similarities, similarities[row], atol=1e-6)
    monkeypatch.setattr(layouts, "_MAX_EXACT", 50)
    roughly, found, _ = layouts.find_neighbors(X, 8)
    is_same = found == rows
    assert is_same.mean() > 0.8
    np.testing.assert_allclose(roughly[is_same], similarities[is_same], atol=1e-5)


def test_fifty_thousand_images_make_a_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 50_000
    emb = Embeddings(
        rng.normal(0, 1, (n, 2)).astype(np.float32),
        paths=[f"gone/{i:05d}.jpg" for i in range(n)],
        root=tmp_path,
    )
    labels = rng.integers(0, 100, n)
    found = Clustering(emb, labels, rng.random(n), np.zeros(n, bool), "kmeans", {})
    report = write_report(found, tmp_path / "report.html")
    assert report.n_without_picture == n
    assert report.folder == tmp_path / "report-sheets"
    assert report.n_bytes < 250 * n


def test_thumbnails_keep_their_proportions(tmp_path: Path) -> None:
    sizes = [(400, 100), (10, 30), (96, 96)]
    files = []
    for i, size in enumerate(sizes):
        files.append(tmp_path / f"{i}.png")
        Image.new("RGB", size, (250, 0, 0)).save(files[-1])
    files.append(tmp_path / "gone.png")
    sheets = make_sheets(files, np.array([3, 2, 1, 0]))
    assert sheets.sizes.tolist() == [[96, 24], [32, 96], [96, 96], [0, 0]]
    assert sheets.cells.tolist() == [3, 2, 1, 0]
    file = tmp_path / f"sheet{sheets.suffix}"
    file.write_bytes(sheets.content[0])
    with Image.open(file) as sheet:
        assert sheet.size == (4 * SIDE, SIDE)
        pixel = sheet.convert("RGB").getpixel((3 * SIDE + 90, 20))
    assert isinstance(pixel, tuple)
    assert pixel[0] > 230
    assert pixel[1] < 30


def test_a_pillow_without_avif_writes_webp(
    found: Clustering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.features.check", lambda name: name != "avif")
    write_report(found, tmp_path / "report.html", max_inside=1)
    (sheet,) = (tmp_path / "report-sheets").iterdir()
    with Image.open(sheet) as image:
        assert image.format == "WEBP"


def test_a_new_group_has_the_name_that_some_of_it_had(found: Clustering) -> None:
    """As written by a page on which parts of two clusters were merged under the name of one."""
    edited = read_edits(
        ["a", "b", "c", "d"],
        [0, 5, 5, 1],
        ["fox", "fox", "fox", "wolf"],
        written={"a": 0, "b": 0, "c": 1, "d": 1},
        digests={},
        names={0: "fox", 1: "wolf"},
    )
    assert edited.labels == [0, 5, 5, 1]
    assert edited.decisions.names == {5: "fox"}


def test_the_command_writes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    digits = Path(__file__).parent.parent / "data/digits"
    for digit in ("0", "1"):
        shutil.copytree(digits / digit, tmp_path / "photos" / digit)
    run = CliRunner().invoke
    assert run(main, ["embed", "photos", "-e", "pixels"]).exit_code == 0
    said = run(main, ["report", "-o", "first.html"])
    assert said.exit_code == 0, said.output
    assert "There is no clusters.csv: all images are shown as one cluster." in said.stderr
    assert run(main, ["cluster", "-k", "2"]).exit_code == 0
    said = run(main, ["report", "--json"])
    document = json.loads(said.stdout)
    assert document["images"] == len(ImageFolder("photos"))
    assert (document["k"], document["output"]) == (2, "report.html")
    assert "Wrote report.html" in said.stderr
    assert data_of(Path("report.html"))["labels"]["names"] == ["0", "1"]
    again = run(main, ["report"])
    assert again.exit_code == 1
    assert "report.html exists" in again.stderr
    missing = run(main, ["report", "nothing.csv", "--overwrite"])
    assert missing.exit_code == 1
    assert "nothing.csv" in missing.stderr
    bare = run(main, ["report", "--labels", "none", "--overwrite"])
    assert bare.exit_code == 0
    assert data_of(Path("report.html"))["labels"] is None
    assert run(main, ["report", "-s", "nowhere", "-o", "other.html"]).exit_code == 1
