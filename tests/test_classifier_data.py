"""Labelled images in all common forms, and fair splits."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clusterkit.classifiers import Classifier, open_images
from clusterkit.datasets.labelled_images import LabelledImages, read_labelled
from clusterkit.datasets.split import class_weights, split
from clusterkit.errors import InvalidInputError, NotFoundError, Notice


def save(file: Path, seed: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)


def write(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


def idx(array: np.ndarray) -> bytes:
    shape = b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(10):
        save(tmp_path / "photos/cat" / f"{number}.png", number)
        save(tmp_path / "photos/dog/deeper" / f"{number}.png", 50 + number)
    return tmp_path / "photos"


def test_a_folder_a_class(folder: Path) -> None:
    data = read_labelled(folder)
    assert data.class_counts == {"cat": 10, "dog": 10}
    # A mask is no list of the rows 0 and 1.
    dogs = data[np.array(data.labels) == "dog"]
    assert (len(dogs), dogs.class_counts) == (10, {"dog": 10})
    assert data[:3].names == data[(0, 1, 2)].names == data.names[:3]
    assert data[-1].labels == ["dog"]
    assert len(data[[]]) == 0
    assert data.names[-1] == "dog/deeper/9.png"
    assert data.labels == ["cat"] * 10 + ["dog"] * 10
    assert data.parts is None


def test_folders_of_systems_and_what_is_excluded_are_no_classes(folder: Path) -> None:
    save(folder / "cat/@eaDir/0.png/THUMB.png", 0)
    save(folder / "@eaDir/0.png", 0)
    save(folder / "fox/0.png", 7)
    data = read_labelled(folder, exclude=["fox/", "cat/[1-9].png"])
    assert "fox" not in read_labelled(folder, exclude="fox/").class_counts
    assert data.class_counts == {"cat": 1, "dog": 10}


def test_train_and_test_folders_are_kept(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "both/train")
    save(tmp_path / "both/test/cat/new.png", 99)
    data = read_labelled(tmp_path / "both")
    rows = split(data, validation_split=0.2, random_state=0)
    assert [data.names[row] for row in rows["test"]] == ["test/cat/new.png"]
    assert len(rows["val"]) == 4
    save(tmp_path / "both/test/fox/new.png", 98)
    with pytest.raises(InvalidInputError, match="Not there: fox"):
        split(read_labelled(tmp_path / "both"))


def test_equal_files_in_train_and_test_are_told(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "both/train")
    shutil.copytree(folder / "cat", tmp_path / "both/test/cat")
    with pytest.warns(UserWarning, match="10 of the test and validation images are also among"):
        split(read_labelled(tmp_path / "both"), random_state=0)


def test_a_table_of_labels(folder: Path) -> None:
    table = write(folder / "labels.csv", "filename,label\ncat/0.png,a\ncat/1.png,\n")
    with pytest.warns(UserWarning, match="left out") as caught:
        data = read_labelled(table)
    assert (data.names, data.labels, data.is_multilabel) == (["cat/0.png"], ["a"], False)
    told = " ".join(str(one.message) for one in caught)
    assert "left out 1 file without a label" in told
    assert "left out 8 images" in told


def test_words_for_a_missing_label_are_told(folder: Path) -> None:
    rows = [f"cat/{number}.png,{'None' if number else 'scratch'}" for number in range(10)]
    table = write(folder / "labels.csv", "\n".join(["filename,label", *rows]))
    with (
        pytest.warns(UserWarning, match="left out 9 files"),
        pytest.warns(Notice, match=r"with None as no label \(rename what is a class\)"),
    ):
        data = read_labelled(table)
    assert data.labels == ["scratch"]


def test_bars_in_a_table_make_it_multilabel(folder: Path) -> None:
    lines = [f"cat/{number}.png,{'a|b' if number % 2 else 'b'}" for number in range(10)]
    table = write(folder / "labels.csv", "\n".join(["filename,genres", *lines]))
    data = read_labelled(table)
    assert data.is_multilabel
    assert data.labels is not None
    assert data.labels[:2] == [("b",), ("a", "b")]
    assert data.class_counts == {"a": 5, "b": 10}


def test_labels_of_files_that_do_not_exist(folder: Path) -> None:
    table = write(folder / "labels.csv", "filename,label\ncat/0.png,a\ngone.png,b\n")
    with pytest.raises(NotFoundError, match=r"1 of the 2 files .* such as gone.png"):
        read_labelled(table)


def test_a_pixel_table(tmp_path: Path) -> None:
    header = ",".join(f"pixel{number}" for number in range(4))
    data = read_labelled(write(tmp_path / "a.csv", f"label,{header}\n7,0,1,2,255\n3,9,9,9,9\n"))
    assert data.labels == ["7", "3"]
    np.testing.assert_array_equal(data.images[0], [[[0], [1]], [[2], [255]]])
    floats = read_labelled(write(tmp_path / "c.csv", f"label,{header}\n7,0.0,1.0,2.0,255.0\n"))
    np.testing.assert_array_equal(floats.images[0], data.images[0])
    unlabelled = read_labelled(write(tmp_path / "b.csv", f"{header}\n0,1,2,255\n"))
    assert unlabelled.labels is None
    with pytest.raises(InvalidInputError, match="can be predicted, not learned"):
        split(unlabelled)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,pixel0,pixel1,pixel2,pixel3\n1,2,3,4\n", "Expected 5 columns, got 4"),
        ("label,pixel0,pixel1,pixel2,pixel3\n1,2,3,x,4\n", "column pixel2.*Received: 'x'"),
        ("label,pixel0,pixel1,pixel2,pixel3\n1,2,3,256,4\n", "column pixel2, image 0: .*: 256"),
        ("label,pixel0,pixel1,pixel2,pixel3\n1,2,3,,4\n", "column pixel2.*Received: None"),
        # The message names the wrong value, not the valid one before it.
        ("label,pixel0,pixel1,pixel2,pixel3\n1,2,3,5,4\n1,2,3,x,4\n", "Received: 'x'"),
        ("label,pixel0,pixel1,pixel2,pixel3\n1,2,3,5,4\n1,2,3,0.5,4\n", "image 1: .*Received: 0.5"),
        ("label,pixel0,pixel1,pixel2,pixel3\n1,2,3,5,4\n1,2,3,-1,4\n", "Received: -1"),
        ("label,pixel0,pixel1,pixel2,pixel3\n1,2,3,nan,4\n1,2,3,1,4\n", "pixel2.*Received"),
        ("label,pixel0,pixel1,pixel2,pixel3\n1,2,3,5,4\n1,2,3,,4\n", "Received: None"),
        ("label,pixel0,pixel1,pixel2,pixel3\n,2,3,4,4\n", "image 0 has no label"),
        ("label,pixel0,pixel1,pixel2,pixel3,pixel4\n1,2,3,4,4,4\n", "Received: 5 pixel columns"),
        ("5,0,0,7,0\n5,0,0,7,0\n", "begin with a header line"),
        (2 * f"cat{25 * ',7'}\n", "begin with a header line.*Received: cat,7,7"),
        ("label,pixel0,pixel1,pixel2,pixel3\n", "at least one image"),
    ],
)
def test_bad_pixel_tables(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_labelled(write(tmp_path / "bad.csv", text))


@pytest.mark.filterwarnings("ignore::clusterkit.errors.Notice")
def test_a_table_of_files_without_labels_is_predicted_not_learned(folder: Path) -> None:
    alone = write(folder / "files.csv", "filename\ncat/0.png\ncat/1.png\n")
    with pytest.raises(InvalidInputError, match=r"two columns.*can be predicted"):
        read_labelled(alone)
    # Nor need labels be known or unambiguous, or the part be one for learning.
    odd = "filename,label,split\ncat/0.png,,train\ncat/1.png,NA,unlabelled\n"
    for table in (alone, write(folder / "odd.csv", odd)):
        data = open_images([table])
        assert isinstance(data, LabelledImages)
        assert data.images == [folder / "cat/0.png", folder / "cat/1.png"]


def test_idx_files_are_predicted_without_labels(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
    file = tmp_path / "t10k-images-idx3-ubyte"
    file.write_bytes(idx(pixels))
    with pytest.raises(NotFoundError, match="no labels"):
        read_labelled(tmp_path)
    for source in (tmp_path, file):
        data = open_images([source])
        assert isinstance(data, LabelledImages)
        np.testing.assert_array_equal(data.images, pixels[..., None])


def test_idx_files(tmp_path: Path) -> None:
    images = np.arange(40, dtype=np.uint8).reshape(10, 2, 2)
    labels = np.arange(10, dtype=np.uint8) % 2
    for name, take in (("train", slice(0, 6)), ("t10k", slice(6, 10))):
        packed = gzip.compress(idx(images[take]))
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(packed)
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels[take]))
    data = read_labelled(tmp_path)
    assert data.images.shape == (10, 2, 2, 1)  # type: ignore[union-attr]
    assert data.parts is not None
    assert (data.parts.count("train"), data.parts.count("test")) == (6, 4)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels[:3]))
    with pytest.raises(InvalidInputError, match="4 images, 3 labels"):
        read_labelled(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01 cut")
    with pytest.raises(InvalidInputError, match="is damaged"):
        read_labelled(tmp_path)
    other = tmp_path / "test-images-idx3-ubyte"
    other.write_bytes(idx(np.zeros((2, 3, 4), np.uint8)))
    with pytest.raises(InvalidInputError, match=r"one image size. Received: 2 x 2, 4 x 3"):
        read_labelled(tmp_path, ignore_labels=True)
    other.write_bytes(idx(np.zeros((2, 0, 4), np.uint8)))
    with pytest.raises(InvalidInputError, match="is empty"):
        read_labelled(tmp_path, ignore_labels=True)


@pytest.mark.parametrize(
    ("sign", "names"), [(".", ("train", "t10k")), ("-", ("x-train", "x-test"))]
)
def test_idx_files_of_other_names(sign: str, names: tuple[str, str], tmp_path: Path) -> None:
    for name, n in zip(names, (6, 4), strict=True):
        content = idx(np.zeros((n, 2, 2), np.uint8)), idx(np.arange(n, dtype=np.uint8) % 2)
        for kind, data in zip(("images{}idx3", "labels{}idx1"), content, strict=True):
            (tmp_path / f"{name}-{kind.format(sign)}-ubyte").write_bytes(data)
    # As Kaggle packs them.
    (tmp_path / "train-images-idx3-ubyte").mkdir(exist_ok=sign == "-")
    data = read_labelled(tmp_path)
    assert data.parts == ["test"] * 4 + ["train"] * 6
    assert read_labelled(tmp_path / f"{names[0]}-images{sign}idx3-ubyte").labels == list("010101")


def test_folders_that_hold_no_classes(folder: Path, tmp_path: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=r"empty holds no image: .*--exclude empty/\)"):
        read_labelled(folder)
    (folder / "empty").rmdir()
    save(folder / "stray.png", 5)
    with pytest.raises(InvalidInputError, match=r"stray.png has no label"):
        read_labelled(folder)
    (tmp_path / "tables").mkdir()
    write(tmp_path / "tables/train.csv", "label,pixel0\n")
    with pytest.raises(InvalidInputError, match=r"to read a table, name it: .*train\.csv"):
        read_labelled(tmp_path / "tables")
    with pytest.raises(NotFoundError, match="no such file or folder"):
        read_labelled(tmp_path / "nowhere")
    with pytest.raises(InvalidInputError, match=r"must be a folder, a \.csv file"):
        read_labelled(folder / "cat/0.png")


def pixels_of(values: list[int]) -> np.ndarray:
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)


def make(values: list[int], labels: list[str]) -> LabelledImages:
    return LabelledImages(pixels_of(values), [str(v) for v in values], labels)


def test_a_split_is_stratified_seeded_and_complete() -> None:
    data = make(list(range(100)), ["a"] * 80 + ["b"] * 20)
    rows = split(data, test_split=0.2, validation_split=0.1, random_state=3)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(100))
    assert [int((rows["test"] < 80).sum()), len(rows["test"])] == [16, 20]
    assert [int((rows["val"] < 80).sum()), len(rows["val"])] == [8, 10]
    again = split(data, random_state=3)
    assert all((rows[part] == again[part]).all() for part in rows)
    assert (split(data, random_state=4)["test"] != rows["test"]).any()


def test_equal_images_stay_on_one_side() -> None:
    values = [number // 3 for number in range(90)]
    data = make(values, ["a" if value % 2 else "b" for value in values])
    rows = split(data, random_state=1)
    sides = [{values[row] for row in part} for part in rows.values()]
    assert all(sides)
    assert sum(map(len, sides)) == 30


def pictures(seeds: list[int], side: int = 64) -> np.ndarray:
    """Return a smooth picture for each seed; the same seed again is a paler copy."""
    made = []
    for place, seed in enumerate(seeds):
        coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
        picture = np.asarray(Image.fromarray(coarse).resize((side, side)))
        made.append(picture if seed not in seeds[:place] else picture // 2)
    return np.stack(made)


def test_nearly_equal_images_of_a_class_stay_on_one_side() -> None:
    seeds = [number // 2 for number in range(40)]
    labels = ["a" if seed % 2 else "b" for seed in seeds]
    data = LabelledImages(pictures(seeds), list(map(str, range(40))), labels)
    rows = split(data, test_split=0.3, validation_split=0.2, random_state=0)
    sides = [{seeds[row] for row in part} for part in rows.values()]
    assert sum(map(len, sides)) == 20
    # Each part has its share of the images, not of the distinct pictures.
    assert [len(part) for part in rows.values()] == [20, 8, 12]


def test_looks_say_nothing_where_most_of_a_class_looks_alike() -> None:
    images = pictures([0] * 7 + list(range(1, 14)))
    images[:7, 0, 0, 0] = range(7)
    data = LabelledImages(images, list(map(str, range(20))), ["a"] * 10 + ["b"] * 10)
    with pytest.warns(Notice, match="most images of a look alike: there, only equal files"):
        rows = split(data, random_state=0)
    of_a = {part: int((found < 10).sum()) for part, found in rows.items()}
    assert of_a == {"train": 7, "val": 1, "test": 2}
    # The seven are not kept together: the other three of the class would fill these parts.
    assert min(*rows["val"], *rows["test"]) < 7


def test_a_small_class_of_one_look_is_divided() -> None:
    images = pictures([0, 0, 0, 1, 2, 3])
    images[2] //= 2
    data = LabelledImages(images, list("abcdef"), list("xxxyyy"))
    with pytest.warns(Notice, match="most images of x look alike"):
        rows = split(data, test_split=0.3, random_state=0)
    assert all((found < 3).sum() == (found >= 3).sum() == 1 for found in rows.values())


def test_pictures_with_different_labels_are_no_copies() -> None:
    seeds = [number // 2 for number in range(40)]
    data = LabelledImages(pictures(seeds), list(map(str, range(40))), ["a", "b"] * 20)
    rows = split(data, test_split=0.3, validation_split=0.2, random_state=0)
    assert sum(len({seeds[row] for row in part}) for part in rows.values()) > 20


def test_an_image_in_two_classes_is_told() -> None:
    data = make([0, 1, 2, 3, 4, 5, 6, 0], ["a"] * 4 + ["b"] * 4)
    with pytest.warns(Notice, match=r"1 image is in .* class, such as 0 \(a\), .* 0 \(b"):
        rows = split(data, random_state=0)
    assert {0, 7} <= set(rows["train"])
    # Only of sources with names; label-errors, for example, fits one classifier for each fold.
    Classifier("nn", epochs=1, random_state=0).fit(data.images, data.labels)


def test_few_images_are_enough_without_a_test_set() -> None:
    data = make([0, 1, 2, 3], ["a", "a", "b", "b"])
    with pytest.raises(InvalidInputError, match=r"no class has 3 .* \(a test split of 0\)"):
        split(data, random_state=0)
    rows = split(data, test_split=0, random_state=0)
    assert [len(part) for part in rows.values()] == [2, 2, 0]


def test_nearly_equal_images_in_train_and_test_are_told() -> None:
    seeds = [0, 1, 2, 3, 0, 9]
    data = LabelledImages(
        pictures(seeds), list("abcdef"), list("xyxyxy"), parts=["train"] * 4 + ["test"] * 2
    )
    with pytest.warns(UserWarning, match="1 of the test and validation images"):
        split(data, random_state=0)


def test_a_large_group_of_copies_stays_in_training() -> None:
    values = [0] * 12 + list(range(1, 19)) + list(range(50, 80))
    rows = split(
        make(values, ["a"] * 30 + ["b"] * 30), test_split=0.1, validation_split=0.1, random_state=0
    )
    assert set(range(12)) <= set(rows["train"])
    assert [len(part) for part in rows.values()] == [48, 6, 6]


def test_small_classes_keep_an_image_to_learn_from() -> None:
    data = make(list(range(12)), ["a"] * 10 + ["b"] * 2)
    rows = split(data, random_state=0)
    parts = [part for part in rows if rows[part].max() >= 10]
    assert parts == ["train", "test"]


def test_every_one_of_several_labels_is_learned() -> None:
    names = list("abcdefgh")
    rng = np.random.default_rng(0)
    labels = [tuple(rng.choice(names, 3, replace=False)) for _ in range(12)]
    data = LabelledImages(pixels_of(list(range(12))), list(map(str, range(12))), labels, True)
    for seed in range(20):
        rows = split(data, test_split=0.4, validation_split=0.3, random_state=seed)
        learned = {name for row in rows["train"] for name in labels[row]}
        assert learned == {name for label in labels for name in label}


def test_files_that_cannot_be_read_are_in_no_part(folder: Path) -> None:
    broken = [folder / "cat/0.png", folder / "dog/deeper/3.png"]
    for file in broken:
        file.write_bytes(b"no image")
    data = read_labelled(folder)
    rows = split(data, random_state=0)
    assert sorted(np.concatenate(list(rows.values()))) == [
        row for row, file in enumerate(data.images) if file not in broken
    ]
    for file in (folder / "dog").rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(InvalidInputError, match=r"images of dog can be read, such as dog/deeper/0"):
        split(data)
    for file in folder.rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(InvalidInputError, match=r"none of the images can be read, such as cat/0"):
        split(data)


@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        ([1, 2, 3], ["a", "a", "a"], "at least 2 classes. Received: a"),
        ([1, 2, 3], ["a", "a", "b"], "Received: 1 of b"),
        ([1, 2, 3, 3], ["a", "a", "b", "b"], "Received: 1 of b"),
        ([1, 2, 3, 4, 4], ["a", "a", "b", "b", "b"], "part 'val': no class has 3 different ones"),
    ],
)
def test_classes_that_cannot_be_learned(values: list[int], labels: list[str], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        split(make(values, labels))


def test_shares_must_fit() -> None:
    with pytest.raises(InvalidInputError, match=r"together below 1. Received: 0.6, 0.5"):
        split(make([1, 2], ["a", "b"]), test_split=0.6, validation_split=0.5)


def test_class_weights_answer_imbalance_only() -> None:
    assert class_weights([20, 10]) is None
    weights = class_weights([30, 10])
    assert weights is not None
    np.testing.assert_allclose(weights * [30, 10], 20)


def test_a_notebook_shows_the_labels_not_all_images() -> None:
    pixels = np.zeros((4, 8, 8, 1), np.uint8)
    one = LabelledImages(pixels, list("wxyz"), [3, 1, 1, 2])
    several = LabelledImages(pixels, list("wxyz"), [("a", "b"), (), ("c", "d"), ("e",)], True)
    assert repr(one) == "LabelledImages(4 images, labels 1, 2, 3)"
    assert repr(several) == "LabelledImages(4 images, labels a, b, c and 2 more)"
    assert repr(LabelledImages(pixels[:1], ["w"], None)) == "LabelledImages(1 image, no labels)"
