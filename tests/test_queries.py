"""Finding an image among embeddings, and its neighbours."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clusterkit.embeddings import Embeddings
from clusterkit.errors import InvalidInputError, NotFoundError, SpaceMismatchError, WeightsError
from clusterkit.extractors import Extraction, Extractor
from clusterkit.images import ImageFolder
from clusterkit.pipeline import embed
from clusterkit.queries import find_similar, locate


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
    with pytest.raises(InvalidInputError, match="not a regular file"):
        locate(photos, emb)
    with pytest.raises(InvalidInputError, match=r"at least 1\. Received: 0"):
        find_similar("2.png", emb, n_neighbors=0)
    with pytest.raises(InvalidInputError, match="nothing to compare"):
        find_similar("2.png", emb[["2.png"]])


def test_unknown_content_needs_to_know_what_made_the_vectors(photos: Path, emb: Embeddings) -> None:
    other = photos.parent / "other.png"
    Image.new("RGB", (8, 8), "red").save(other)
    with pytest.raises(WeightsError, match="what made them is not known"):
        locate(other, emb)


def test_unknown_content_needs_no_weights_where_there_is_no_network(photos: Path) -> None:
    new = photos.parent / "new.png"
    Image.open(photos / "2.png").resize((17, 17)).save(new)
    found = find_similar(new, embed(photos, "pixels"), n_neighbors=1)
    assert found.rows.tolist() == [2]


def test_unknown_content_goes_through_the_same_network(shared: Path, tmp_path: Path) -> None:
    weights = shared / "weights/xception_imagenet_notop.h5"
    foxes = sorted((shared / "data/species10/fox").iterdir())
    from clusterkit.extractors import Xception

    emb = embed(ImageFolder(foxes[:3]), Xception(weights=weights, batch_size=4))
    known = emb.vectors[0] / np.linalg.norm(emb.vectors[0])
    altered = tmp_path / "altered.png"
    with Image.open(foxes[0]) as fox:
        fox.save(altered)  # the same pixels, other bytes
    found = find_similar(altered, emb, n_neighbors=1)
    assert found.query.vectors[0] @ known / np.linalg.norm(found.query.vectors[0]) > 0.999
    assert emb.paths[found.rows[0]] == foxes[0].name
    emb.space["fingerprint"] = "0" * 64
    with pytest.raises(SpaceMismatchError, match="is not what made the embeddings"):
        find_similar(altered, emb)
