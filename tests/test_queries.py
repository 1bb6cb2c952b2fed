"""Finding an image among embeddings, and its neighbours."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clusterkit.embedding.embed import embed
from clusterkit.errors import InvalidInputError, NotFoundError, SpaceMismatchError, WeightsError
from clusterkit.extractors import Extraction, Extractor, create_extractor
from clusterkit.plots import GalleryDisplay
from clusterkit.similarity.nearest import nearest_of_any_length
from clusterkit.similarity.similar import explain, find_similar, locate
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.store import Store
from clusterkit.utils.text import escape_path


class Grid(Extractor):
    """The colours of a 4 x 4 grid."""

    name = "grid"
    image_size = (4, 4)
    dimension = 48

    def _forward(self, images: NDArray[np.uint8]) -> Extraction:
        return Extraction(images.reshape(len(images), -1).astype(np.float32))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    folder.joinpath("broken.png").touch()
    return folder


@pytest.fixture
def emb(photos: Path) -> Embeddings:
    return embed(photos, Grid())


def test_a_known_image_is_found_by_path_file_and_content(photos: Path, emb: Embeddings) -> None:
    copy = photos.parent / "copy.png"
    copy.write_bytes((photos / "3.png").read_bytes())
    for image in ("3.png", photos / "3.png", copy):
        assert locate(image, emb).paths == ["3.png"]


def test_neighbours_are_those_of_a_full_comparison(emb: Embeddings) -> None:
    unit = emb.vectors / np.linalg.norm(emb.vectors, axis=1, keepdims=True)
    cosines = unit @ unit[2]
    cosines[2] = -2
    found = find_similar("2.png", emb, n_neighbors=3)
    np.testing.assert_array_equal(found.rows, np.argsort(-cosines)[:3])
    np.testing.assert_allclose(found.similarities, np.sort(cosines)[::-1][:3], atol=1e-6)


def test_more_neighbours_than_images_gives_all_the_others(emb: Embeddings) -> None:
    assert sorted(find_similar("2.png", emb, n_neighbors=99).rows) == [0, 1, 3, 4, 5]


def test_a_query_names_what_is_wrong(photos: Path, emb: Embeddings) -> None:
    with pytest.raises(NotFoundError, match=r"no such file: gone\.png"):
        locate("gone.png", emb)
    with pytest.raises(NotFoundError, match="could not be embedded: the file is empty"):
        locate("broken.png", emb)
    with pytest.raises(InvalidInputError, match="a folder, not an image"):
        locate(photos, emb)
    with pytest.raises(InvalidInputError, match=r"at least 1. Received: n_neighbors=0"):
        find_similar("2.png", emb, n_neighbors=0)
    with pytest.raises(InvalidInputError, match="nothing to compare"):
        find_similar("2.png", emb[["2.png"]])


def test_unknown_content_needs_to_know_what_made_the_vectors(photos: Path, emb: Embeddings) -> None:
    other = photos.parent / "other.png"
    Image.new("RGB", (8, 8), "red").save(other)
    with pytest.raises(WeightsError, match="the network that made them is not known"):
        locate(other, emb)


def test_unknown_content_needs_no_weights_where_there_is_no_network(photos: Path) -> None:
    new = photos.parent / "new.png"
    Image.open(photos / "2.png").resize((17, 17)).save(new)
    found = find_similar(new, embed(photos, "pixels"), n_neighbors=1)
    assert found.rows.tolist() == [2]


@pytest.mark.usefixtures("tiny_network")
def test_unknown_content_goes_through_the_same_network(photos: Path, tiny_weights: Path) -> None:
    emb = embed(photos, create_extractor("tinynet", weights=tiny_weights, batch_size=4))
    known = emb["3.png"].vectors[0] / np.linalg.norm(emb["3.png"].vectors[0])
    altered = photos.parent / "altered.bmp"
    with Image.open(photos / "3.png") as photo:
        photo.save(altered)  # the same pixels, other bytes
    found = find_similar(altered, emb, n_neighbors=1)
    assert found.query.vectors[0] @ known / np.linalg.norm(found.query.vectors[0]) > 0.999
    assert emb.paths[found.rows[0]] == "3.png"
    emb.space["fingerprint"] = "0" * 64
    with pytest.raises(SpaceMismatchError, match="is not what made the embeddings"):
        find_similar(altered, emb)


@pytest.fixture
def cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Embeddings:
    """Enter the folder of one of two cameras whose photos have the same names."""
    rng = np.random.default_rng(1)
    (tmp_path / "camera2").mkdir()
    for name in ("1.png", "2.png", "camera2/1.png", "camera2/2.png"):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path / "camera2")
    return embed(tmp_path, Grid())


def names(image: str | Path, embeddings: Embeddings) -> set[str]:
    return {result["path"] for result in find_similar(image, embeddings).to_dict()["results"]}


@pytest.mark.parametrize("image", ["1.png", "./1.png", "../camera2/1.png"])
def test_the_file_as_given_comes_before_a_path_in_the_store(
    cameras: Embeddings, image: str
) -> None:
    assert locate(image, cameras).paths == ["camera2/1.png"]
    assert names(image, cameras) == {"1.png", "2.png", "camera2/2.png"}


def test_a_file_that_is_gone_is_meant_by_its_place_then_by_its_path(cameras: Embeddings) -> None:
    assert locate("camera2/2.png", cameras).paths == ["camera2/2.png"]
    Path("2.png").unlink()
    assert locate("2.png", cameras).paths == ["camera2/2.png"]
    assert names("2.png", cameras) == {"1.png", "2.png", "camera2/1.png"}


@pytest.mark.parametrize("image", ["3.png", "camera3/3.png", r"camera3\3.png"])
def test_an_image_is_also_meant_by_the_end_of_its_path(cameras: Embeddings, image: str) -> None:
    paths = [*cameras.paths, "2019/camera3/3.png", "2020/camera1/4.png", "2020/camera2/4.png"]
    emb = Embeddings(np.eye(len(paths)), paths=paths, root=cameras.root)
    assert locate(image, emb).paths == ["2019/camera3/3.png"]
    with pytest.raises(InvalidInputError, match=r"could be 2020/camera1/4\.png or 2020/camera2"):
        locate("4.png", emb)


def test_an_image_of_the_same_name_elsewhere_is_another_image(
    cameras: Embeddings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "downloads").mkdir()
    monkeypatch.chdir(tmp_path / "downloads")
    Path("1.png").write_bytes((tmp_path / "1.png").read_bytes())
    assert names("1.png", cameras) == set(cameras.paths)
    Image.open("1.png").resize((9, 9)).save("1.png")
    every = embed([tmp_path / path for path in cameras.paths], "pixels")
    assert names("1.png", every) == set(every.paths)


def test_the_very_file_is_known_through_links(cameras: Embeddings, tmp_path: Path) -> None:
    link, folder = tmp_path / "link.png", tmp_path / "linked"
    link.symlink_to(tmp_path / "1.png")
    folder.symlink_to(tmp_path / "camera2", target_is_directory=True)
    assert names(link, cameras) == set(cameras.paths) - {"1.png"}
    assert names(folder / "1.png", cameras) == set(cameras.paths) - {"camera2/1.png"}
    through = embed(folder, Grid())
    assert names(tmp_path / "camera2/1.png", through) == {"2.png"}


def test_a_file_that_changed_is_still_the_very_file(cameras: Embeddings, tmp_path: Path) -> None:
    Path("1.png").write_bytes((tmp_path / "2.png").read_bytes())
    assert locate("1.png", cameras).paths == ["2.png"]
    assert names("1.png", cameras) == set(cameras.paths) - {"camera2/1.png"}


def test_a_copy_is_shown_for_itself(photos: Path) -> None:
    (photos / "7.png").write_bytes((photos / "3.png").read_bytes())
    emb = embed(photos, Grid())
    for image, other in (("7.png", "3.png"), ("3.png", "7.png")):
        assert locate(photos / image, emb).paths == [image]
        assert find_similar(photos / image, emb, n_neighbors=1).to_dict()["results"] == [
            {"path": other, "similarity": 1.0}
        ]


def test_files_that_are_gone_are_counted_and_not_shown(photos: Path, emb: Embeddings) -> None:
    whole = find_similar("2.png", emb, n_neighbors=5)
    order = [emb.paths[row] for row in whole.rows]
    for path in (order[0], order[2]):
        (photos / path).unlink()
    found = find_similar("2.png", emb, n_neighbors=2)
    assert [emb.paths[row] for row in found.rows] == [order[1], order[3]]
    np.testing.assert_array_equal(found.similarities, whole.similarities[[1, 3]])
    assert found.n_gone == found.to_dict()["gone"] == 2
    assert find_similar("2.png", emb, n_neighbors=1).n_gone == 1
    every = find_similar("2.png", emb, n_neighbors=99)
    assert (len(every.rows), every.n_gone) == (3, 2)


def test_where_all_files_are_gone_all_are_shown(photos: Path, emb: Embeddings) -> None:
    photos.rename(photos.with_name("elsewhere"))
    found = find_similar("2.png", emb, n_neighbors=3)
    assert (len(found.rows), found.n_gone) == (3, 0)


def test_where_none_of_many_is_there_further_ones_are_not_looked_for(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterkit.similarity.similar._MAX_GONE", 8)
    vectors = np.random.default_rng(0).normal(size=(200, 4))
    many = Embeddings(vectors, paths=[f"none{i}.png" for i in range(200)], root=photos)
    asked: list[int] = []

    def search(embeddings: Any, queries: Any, n_neighbors: int) -> Any:
        asked.append(n_neighbors)
        return nearest_of_any_length(embeddings.vectors, queries, n_neighbors)

    monkeypatch.setattr("clusterkit.similarity.similar._search", search)
    found = find_similar(0, many, n_neighbors=3)
    assert (len(found.rows), found.n_gone) == (3, 0)
    assert asked == [4, 16]


def test_a_name_that_is_not_utf8_is_taken_as_it_is_printed(photos: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.png")
    (photos / odd).write_bytes((photos / "3.png").read_bytes())
    (photos / "3.png").unlink()
    emb = embed(photos, Grid())
    assert locate(escape_path(odd), emb).paths == [odd]


def test_files_outside_the_store_are_explained(photos: Path) -> None:
    emb = embed(photos, "pixels")
    new = photos.parent / "new.png"
    Image.open(photos / "2.png").resize((17, 17)).save(new)
    found = explain(new, "2.png", emb)
    assert found.similarity > explain(new, photos / "3.png", emb).similarity
    assert found.path_b == "2.png"


@pytest.mark.parametrize("source", ["embeddings", "store", "path", "text", "space"])
def test_images_and_embeddings_come_in_many_forms(
    photos: Path, tmp_path: Path, source: str
) -> None:
    emb = embed(photos, Grid(), store=tmp_path / "store")
    store = Store(tmp_path / "store")
    sources = {"embeddings": emb, "store": store, "path": store.folder, "space": store.space()}
    searched = sources.get(source, str(store.folder))
    expected = find_similar("2.png", emb).to_dict()
    for image in (photos / "2.png", str(photos / "2.png"), 2, -4, np.int64(2), emb[[2]]):
        assert find_similar(image, searched).to_dict() == expected
        assert explain(image, 3, searched).similarity == explain("2.png", "3.png", emb).similarity
    # A bare vector is not an image of the store.
    assert find_similar(emb.vectors[2], searched, n_neighbors=1).rows.tolist() == [2]


OTHER = Embeddings(np.ones((1, 48)), space={"fingerprint": "x"})


def test_a_bare_vector_is_named_as_one(emb: Embeddings) -> None:
    found = find_similar(emb.vectors[2] + 0.5 * emb.vectors[0], emb, n_neighbors=2)
    assert repr(found) == "<SimilarImages: 2 images similar to a vector>"
    assert "<td>a vector</td>" in found._repr_html_()
    shown = GalleryDisplay.from_similar(found)
    assert shown.captions == [emb.paths[row] for row in found.rows]
    assert shown.highlighted is None


def test_plain_vectors_are_searched_by_row() -> None:
    vectors = np.array([[1, 0], [1, 0.1], [0, 1]])
    found = find_similar(0, vectors, n_neighbors=1)
    assert found.rows.tolist() == [1]
    assert found.to_dict()["root"] is None
    assert explain([1, 0], 2, vectors).similarity == 0


@pytest.mark.parametrize(
    ("image", "source", "options", "error", "words"),
    [
        (9, None, {}, InvalidInputError, "row must be below the number of rows. Received: 9 of 6"),
        ([1, 2], None, {}, InvalidInputError, "one vector of dimension 48"),
        (None, None, {}, InvalidInputError, "an image must be one vector"),
        (True, None, {}, InvalidInputError, "an image must be one vector"),
        ("x.png", None, {}, NotFoundError, "no such file: x.png"),
        (0, "nowhere", {}, NotFoundError, "no embeddings in the store nowhere"),
        (0, "x", {"n_neighbors": 2.5}, InvalidInputError, "an integer of at least 1.*2.5"),
        (OTHER, None, {}, SpaceMismatchError, "two embedding spaces never mix"),
    ],
)
def test_what_is_no_image_or_no_store_is_said(
    emb: Embeddings, image: Any, source: Any, options: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        find_similar(image, source or emb, **options)
    if not options:
        with pytest.raises(error, match=words):
            explain(0, image, source or emb)
