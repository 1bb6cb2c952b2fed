"""Names of clusters: frequent in one and rare in others; real weights recognise a fox."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from clusterkit.clustering.cluster import cluster
from clusterkit.clustering.naming import find_top5, name_clusters
from clusterkit.embedding.embed import embed
from clusterkit.errors import InvalidInputError
from clusterkit.extractors import create_extractor
from clusterkit.extractors.imagenet import TopClasses, class_names, top_classes
from clusterkit.images.folder import ImageFolder, read_image
from clusterkit.store.part_file import Row
from clusterkit.store.space import Space
from clusterkit.store.store import Store

ANIMALS = ("cheetah", "fox", "lion", "tiger", "wolf")


def row(**probabilities: float) -> TopClasses:
    """Return the classes of an image, the most probable first."""
    return sorted(probabilities.items(), key=lambda item: -item[1])


CHEETAH = row(cheetah=0.9, leopard=0.05)
LION = row(lion=0.8, chow=0.1)
FOX = row(red_fox=0.7, kit_fox=0.2)
WOLF = row(timber_wolf=0.6, white_wolf=0.2)


def test_a_cluster_is_called_by_its_class() -> None:
    top5 = [CHEETAH] * 5 + [LION] * 5
    assert name_clusters(np.repeat([3, 7], 5), top5) == {3: "cheetah", 7: "lion"}


def test_classes_that_share_a_cluster_share_its_name() -> None:
    top5 = [FOX] * 6 + [WOLF] * 4 + [LION] * 10
    assert name_clusters(np.repeat([0, 1], 10), top5) == {0: "red fox / timber wolf", 1: "lion"}


def test_what_is_frequent_everywhere_names_nothing() -> None:
    fence = ("chainlink fence", 0.5)
    top5 = [[fence, ("lion", 0.4)]] * 10 + [[fence, ("tiger", 0.4)]] * 10
    names = name_clusters(np.repeat([0, 1], 10), top5)
    assert {cluster: name.split(" / ")[0] for cluster, name in names.items()} == {
        0: "lion",
        1: "tiger",
    }


def test_breeds_are_called_by_their_kind() -> None:
    breeds = class_names()[151:171]
    top5 = [[(breed, 0.8)] for breed in breeds] + [CHEETAH] * 20
    assert name_clusters(np.repeat([0, 1], 20), top5) == {0: "dog", 1: "cheetah"}


def test_breeds_that_tell_dogs_apart_are_named() -> None:
    hounds = [[("beagle", 0.5), ("basset", 0.3)]] * 10
    poodles = [[("toy poodle", 0.5), ("miniature poodle", 0.4)]] * 10
    assert name_clusters(np.repeat([0, 1], 10), hounds + poodles) == {
        0: "beagle / basset",
        1: "toy poodle / miniature poodle",
    }


def test_underscores_become_spaces() -> None:
    breeds = [name.replace(" ", "_") for name in class_names()[204:214]]
    top5 = [[(breed, 0.8)] for breed in breeds] + [[("timber_wolf", 0.9)]] * 5
    assert name_clusters([0] * 10 + [1] * 5, top5) == {0: "dog", 1: "timber wolf"}


def test_no_more_than_three_classes() -> None:
    top5 = [[("tench", 0.2), ("hook", 0.2), ("reel", 0.2), ("lakeside", 0.2)], LION]
    assert name_clusters([0, 1], top5)[0].count(" / ") == 2


def test_two_clusters_of_one_class_are_told_apart_by_the_next() -> None:
    top5 = [row(red_fox=0.8, kit_fox=0.1)] * 10 + [row(red_fox=0.7, kit_fox=0.2)] * 5 + [LION] * 5
    names = name_clusters(np.repeat([0, 1, 2], [10, 5, 5]), top5)
    assert names == {0: "red fox", 1: "red fox / kit fox", 2: "lion"}


def test_clusters_that_are_the_same_have_the_same_name() -> None:
    assert name_clusters([0, 0, 1, 1, 2, 2], [CHEETAH] * 4 + [LION] * 2) == {
        0: "cheetah",
        1: "cheetah",
        2: "lion",
    }


def test_noise_and_images_without_classes_are_left_out() -> None:
    top5 = [CHEETAH, CHEETAH, None, LION, None, []]
    assert name_clusters([0, 0, 0, -1, 1, 1], top5) == {0: "cheetah"}


def test_one_cluster_is_called_by_what_is_frequent() -> None:
    assert name_clusters(np.zeros(10, int), [CHEETAH] * 8 + [LION] * 2) == {0: "cheetah"}


def test_as_many_clusters_as_images() -> None:
    assert name_clusters([0, 1, 2], [CHEETAH, LION, FOX]) == {0: "cheetah", 1: "lion", 2: "red fox"}


def test_nothing_instead_of_nonsense() -> None:
    rng = np.random.default_rng(0)
    unsure = [
        [(str(name), 0.03) for name in rng.choice(class_names(), 5, replace=False)]
        for _ in range(40)
    ]
    assert name_clusters(np.repeat([0, 1], 20), unsure) == {}
    assert name_clusters([0, 1], None) == {}
    assert name_clusters([0, 1], [None, None]) == {}
    assert name_clusters([], []) == {}


def test_a_name_that_two_classes_share_belongs_to_no_kind() -> None:
    # Each bird alone is too rare; "crane" may be the machine.
    birds = ["pelican", "goose", "albatross", "toucan", "jay", "crane", "crane", "crane"]
    names = name_clusters([0] * 8 + [1] * 8, [[(bird, 0.9)] for bird in birds] + [LION] * 8)
    assert names == {0: "bird / crane", 1: "lion"}


def add_space(store: Store, name: str, top5: dict[str, TopClasses | None]) -> Space:
    """Embed the photos of a folder, as if by a network with these predictions."""
    description = {"extractor": name, "fingerprint": name[0] * 64, "dimension": 2}
    space = store.open_space(description)
    vector = np.ones(2, np.float32)
    space.append([Row(path, "/photos", vector=vector, top5=row) for path, row in top5.items()])
    return space


def test_classes_are_taken_from_the_space_that_knows_most_images(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plain = add_space(store, "plain", {"a.png": None, "b.png": None, "c.png": None})
    add_space(store, "few", {"a.png": LION, "other.png": FOX})
    most = add_space(store, "most", {"a.png": CHEETAH, "c.png": FOX})
    found = find_top5(plain.read(), store.spaces())
    assert found is not None
    top5, space = found
    assert space.folder == most.folder
    assert [row and row[0][0] for row in top5] == ["cheetah", None, "red_fox"]


def test_no_space_knows_classes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plain = add_space(store, "plain", {"a.png": None})
    assert find_top5(plain.read(), store.spaces()) is None
    add_space(store, "elsewhere", {"z.png": LION})
    damaged = add_space(store, "damaged", {"a.png": LION})
    damaged.parts[0].write_bytes(b"PAR1")
    assert find_top5(plain.read(), store.spaces()) is None


@pytest.mark.network
def test_resnet50_knows_a_red_fox_and_clusters_are_called_by_their_animal(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTERKIT_CACHE", str(tmp_path / "cache"))
    photos = tmp_path / "photos"
    photos.mkdir()
    for animal in ANIMALS:
        for photo in sorted((shared / "data/species10" / animal).iterdir())[:4]:
            shutil.copy(photo, photos / f"{animal}_{photo.name}")
    weights = shared / "weights/resnet50_imagenet.h5"
    extractor = create_extractor("resnet50", weights=weights, precision="float32")
    animals = embed(ImageFolder(photos), extractor)
    clustering = cluster(animals, n_clusters=len(ANIMALS), random_state=0)
    kinds = np.array([path.partition("_")[0] for path in animals.paths])
    found = 0
    for number, name in clustering.names.items():
        values, counts = np.unique(kinds[clustering.labels == number], return_counts=True)
        found += values[counts.argmax()] in name
    assert found >= len(ANIMALS) - 1

    fox = read_image(min(photos.glob("fox_*")), extractor.image_size)[None]
    vectors, probabilities = extractor.extract(fox)
    assert vectors.shape == (1, 2048)
    assert probabilities.sum() == pytest.approx(1, abs=0.01)
    (classes,) = top_classes(probabilities)
    assert [p for _, p in classes] == sorted((p for _, p in classes), reverse=True)
    assert classes[0][0] in ("red fox", "kit fox")
    assert "red fox" in [name for name, _ in classes]


def test_there_must_be_classes_for_each_label() -> None:
    with pytest.raises(InvalidInputError, match="1 lists, 2 labels"):
        name_clusters([0, 1], [None])
