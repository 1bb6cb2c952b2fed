"""Tables from pandas, R, Excel and people are read as intended; and our own tables."""

import contextlib
import csv
import io
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from clusterkit.clustering.saved import read_clusters
from clusterkit.datasets.label_tables import LabelTable, read_label_table
from clusterkit.datasets.labelled_images import read_labelled
from clusterkit.datasets.labels import read_labels
from clusterkit.datasets.names import match_names
from clusterkit.datasets.places import part_of
from clusterkit.datasets.tables import read_table, to_csv, unprotect
from clusterkit.errors import ClusterkitError, InvalidInputError, NotFoundError, Notice

# Notices about unusual tables are tested below.
pytestmark = pytest.mark.filterwarnings("ignore::clusterkit.errors.Notice")

NAMES = ["a.png", "b.png", "c.png", "d.png"]
ONE = ["cat", "dog", "Löwe", "cat"]
SEVERAL = [("cat", "dog"), ("dog",), ("cat", "fox"), ("fox", "dog")]


def write(file: Path, *lines: str, encoding: str = "utf-8", end: str = "\n") -> Path:
    file.write_bytes((end.join(lines) + end).encode(encoding, "surrogateescape"))
    return file


def read(file: Path, **options: Any) -> list[Any]:
    table = read_label_table(file, **options)
    assert table.names == NAMES
    return table.labels


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("header", ["filename,label", "label,Image Path", "id,genres", "x,y"])
def test_delimiters_encodings_and_headers(
    delimiter: str, encoding: str, header: str, tmp_path: Path
) -> None:
    rows = [header.split(","), *map(list, zip(NAMES, ONE, strict=True))]
    if header.startswith("label"):
        rows[1:] = [row[::-1] for row in rows[1:]]
    lines = [delimiter.join(row) for row in rows]
    file = write(tmp_path / "t.csv", *lines, "", delimiter, encoding=encoding, end="\r\n")
    assert read(file) == ONE


@pytest.mark.parametrize(
    "cells",
    [
        [str(list(one)) for one in SEVERAL],
        [str(one) for one in SEVERAL],
        ['["cat", "dog"]', '["dog"]', '["cat","fox"]', '["fox","dog"]'],
        ["['cat' 'dog']", "['dog']", "['cat' 'fox']", "['fox'\n 'dog']"],
        *([sign.join(one) for one in SEVERAL] for sign in ("|", ",", ", ", "; ", " | ")),
    ],
    ids=["list", "tuple", "json", "numpy", "bar", "comma", "comma space", "semicolon", "bars"],
)
def test_several_labels_in_a_cell(cells: Sequence[str], tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    pd.DataFrame({"filename": NAMES, "genres": cells}).to_csv(file, index=False)
    assert read(file) == SEVERAL


def test_names_with_a_comma_and_cells_that_may_be_either(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    synonyms = ["tench, Tinca tinca", "goldfish, Carassius auratus", "fox", "tench, Tinca tinca"]
    pd.DataFrame({"filename": NAMES, "label": synonyms}).to_csv(file, index=False)
    with pytest.warns(Notice, match="with , as a part of names such as 'tench, Tinca tinca'"):
        assert read(file) == synonyms
    places = ["Paris, France", "Paris, Texas", "Lyon, France", "Rome, Italy"]
    pd.DataFrame({"filename": NAMES, "label": places}).to_csv(file, index=False)
    with pytest.raises(InvalidInputError, match=r"may be one name or several.*--label-separator"):
        read(file)
    assert read(file, label_separator="none") == places
    assert read(file, label_separator=",")[0] == ("Paris", "France")
    decimals = ["1,0", "2,0", "0,0", "1,0"]
    pd.DataFrame({"filename": NAMES, "label": decimals}).to_csv(file, index=False)
    with pytest.raises(InvalidInputError, match="'1,0' may be one name or several"):
        read(file)
    assert read(file, label_separator="none") == decimals
    mixed = ["cat; dog", "cat, fox", "cat", "dog"]
    pd.DataFrame({"filename": NAMES, "label": mixed}).to_csv(file, index=False)
    with pytest.raises(InvalidInputError, match="with , or ; between"):
        read(file)


def test_tags_between_spaces_are_asked_for(tmp_path: Path) -> None:
    tags = ["haze primary", "clear primary water", "clear", "haze primary"]
    pd.DataFrame({"image_name": NAMES, "tags": tags}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InvalidInputError, match=r"'clear primary water' may be.*' ' for spaces"):
        read(tmp_path / "t.csv")
    assert read(tmp_path / "t.csv", label_separator=" ")[1] == ("clear", "primary", "water")
    assert read(tmp_path / "t.csv", label_separator="none") == tags


@pytest.mark.parametrize("one", [1, True, 1.0, "yes"])
@pytest.mark.parametrize("is_several", [False, True])
def test_a_column_for_each_class(one: Any, is_several: bool, tmp_path: Path) -> None:
    truth = SEVERAL if is_several else [(name,) for name in ("cat", "dog", "fox", "cat")]
    none = {"yes": "no"}.get(one, type(one)(0))
    table = pd.DataFrame({"image_id": NAMES})
    for name in ("cat", "dog", "fox"):
        table[name] = [one if name in labels else none for labels in truth]
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.warns(Notice, match="a class from each of 3 columns of 0 and 1"):
        labels = read(tmp_path / "t.csv")
    assert [set(one) for one in labels] == [
        set(one) if is_several else set(one[0]) for one in truth
    ]
    assert read(tmp_path / "t.csv", label_column=["dog", "cat"])[0] == (
        ("dog", "cat") if is_several else "cat"
    )


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        ({"filename": NAMES, "split": ["train", "test"] * 2, "label": ONE}, "label"),
        ({"": [3, 1, 2, 7], "filename": NAMES, "label": ONE}, "label"),
        ({"Unnamed: 0": range(4), "label": ONE, "file": NAMES}, "label"),
        ({"width": [1, 2, 3, 4], "image": NAMES, "species": ONE}, "species"),
        # The same with numbers and with words.
        ({"path": NAMES, "class_id": [0, 1, 2, 0], "class_name": ONE}, "class_name"),
        ({"path": NAMES, "label": [0, 1, 2, 0], "class": ONE}, "class"),
        ({"id": range(4), "file_name": NAMES, "category": ONE, "area": [1, 2, 3, 4]}, "category"),
        ({"filename": NAMES, "label": ONE, "fold": [0, 1, 0, 1]}, "label"),
        ({"filename": NAMES, "who": ONE}, "who"),
        ({"": NAMES, "label": ONE}, "label"),
    ],
)
def test_columns_are_known_by_name(columns: dict[str, Any], label: str, tmp_path: Path) -> None:
    pd.DataFrame(columns).to_csv(tmp_path / "t.csv", index=False)
    assert read(tmp_path / "t.csv") == [str(one) for one in columns[label]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"filename": NAMES, "label": ONE, "kind": list("xyzz")}, "labels.*label, kind.*--label-c"),
        ({"filename": NAMES, "who": ONE, "where": list("xyzz")}, "labels.*who, where.*--label-c"),
        ({"file": NAMES, "image": NAMES, "label": ONE}, "files.*file, image.*--path-column"),
        ({"filename": NAMES, "split": ["train", "test"] * 2}, "two columns, file and label"),
        ({"filename": NAMES, "label": ONE, "split": ["train", "x"] * 2}, "train, val or test.*'x'"),
        ({"who": ONE, "where": list("xyzz"), "when": list("abcd")}, "which column holds the files"),
    ],
)
def test_what_cannot_be_told_is_refused(
    columns: dict[str, Any], message: str, tmp_path: Path
) -> None:
    pd.DataFrame(columns).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InvalidInputError, match=message):
        read_label_table(tmp_path / "t.csv")


def test_a_column_may_be_named(tmp_path: Path) -> None:
    table = pd.DataFrame({"who": ONE, "Where Is": list("xyzz"), "shot": NAMES})
    table.to_csv(tmp_path / "t.csv", index=False)
    assert read(tmp_path / "t.csv", label_column="who", path_column="shot") == ONE
    assert read(tmp_path / "t.csv", label_column="where_is") == list("xyzz")
    with pytest.raises(
        InvalidInputError, match=r"column of .*t\.csv: who, Where Is, shot. Received"
    ):
        read(tmp_path / "t.csv", label_column="nobody")
    (tmp_path / "t.csv").write_text("filename,label,label\na.png,x,y\nb.png,x,z\n", "utf-8")
    with pytest.raises(InvalidInputError, match="2 columns label: rename or remove all but one"):
        read(tmp_path / "t.csv", label_column="label")


@pytest.mark.parametrize(
    "lines",
    [
        # write.csv, write.csv2, write.table, and write.table of a table whose rows have names.
        ['"","filename","label"', *(f'"{n}","{f}","x"' for n, f in enumerate(NAMES, 1))],
        ['"";"filename";"label"', *(f'"{n}";"{f}";"x"' for n, f in enumerate(NAMES, 1))],
        ['"filename" "label"', *(f'"{n}" "{f}" "x"' for n, f in enumerate(NAMES, 1))],
        ['"label"\t"size"', *(f'"{f}"\t"x"\t3,5' for f in NAMES)],
        # Excel: its own first line, blank rows, columns that were emptied; no header at all.
        ["sep=;", "filename;label;;", *(f"{f};x;;" for f in NAMES), ";;;"],
        [f"{f},x" for f in NAMES],
        [f"x;{f}" for f in NAMES],
    ],
    ids=["csv", "csv2", "table", "row names", "excel", "no header", "no header, turned"],
)
def test_other_programs(lines: Sequence[str], tmp_path: Path) -> None:
    assert read(write(tmp_path / "t.csv", *lines, end="\r\n")) == ["x"] * 4


@pytest.mark.parametrize("missing", ["", "NA", "nan", "NULL", "None", "#N/A", " "])
def test_missing_labels_are_left_out_and_names_stay(missing: str, tmp_path: Path) -> None:
    labels = ["01", "1", "001", missing]
    lines = [f"{name},{label}" for name, label in zip(NAMES, labels, strict=True)]
    file = write(tmp_path / "t.csv", "filename,label", *lines)
    assert read(file) == ["01", "1", "001", None]
    assert read_labels(file, NAMES).labels == ["01", "1", "001", None]


def test_parts_come_from_their_column(tmp_path: Path) -> None:
    file = write(
        tmp_path / "t.csv",
        "filename,Usage,label",
        *(f"{n},{u},x" for n, u in zip(NAMES, ["Training", "PublicTest", "dev", ""], strict=True)),
    )
    with pytest.warns(Notice, match="with parts from column 'Usage'"):
        table = read_label_table(file)
    assert table.parts == ["train", "test", "val", "unlabelled"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", "binary data. Save it as CSV"),
        (b"file,label\na.png,c\0at\nb.png,dog\n", "holds binary data. Save it as CSV"),
        (b"\xff\xfea\0b", "utf-16 truncated data. Save it as CSV"),
        (b"filename,label\na.png,ca\0t\n", "binary data. Save it as CSV"),
        (b'filename,label\na.png,x\n"b.png,y\nc.png,z\n', "line 3: .*quotation marks"),
        (b"sep=;\r\nfilename;label\r\na.png;x;y;z\r\nb.png;x;y\r\n", "line 3: must have 2"),
        (b"filename,cat,dog,cat\na.png,1,0,0\nb.png,0,1,0\n", "several columns of the class cat"),
        (b"filename,label\na.png,\x81\x8d\n", "neither UTF-8 nor of Windows"),
        (b"filename,label\n,x\n", "the label x has no file"),
        (b"", "at least one row"),
    ],
)
def test_no_tables(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InvalidInputError, match=message):
        read_label_table(tmp_path / "t.csv")


@pytest.mark.parametrize("file", ["s3://bucket/t.csv", Path("s3://bucket/t.csv")])
def test_a_table_on_object_storage_is_refused(file: str | Path) -> None:
    with pytest.raises(InvalidInputError, match="is on object storage: name a table"):
        read_label_table(file)


def test_a_pipe_is_no_table(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(InvalidInputError, match="not a regular file"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("caf\u00e9/1.jpg", "cafe\u0301/1.jpg"),
        ("cafe\u0301/1.jpg", "caf\u00e9\\1.jpg"),
        ("train/0001.jpg", "0001"),
        ("x/train/1.jpg", "train/1"),
        ("train/a.b.jpg", "a.b"),
        ("caf\u00e9.jpg", "caf\udce9.jpg"),  # code page 1252
        ("caf\udce9.jpg", "caf\udce9.jpg"),
        ("caf\udce9.jpg", r"caf\udce9.jpg"),  # As written by clusterkit.
        ("=1.jpg", "'=1.jpg"),
        ("'=1.jpg", "'=1.jpg"),
        ("a/1.jpg", " 1.jpg "),
        ("a/ 1.jpg", " 1.jpg"),
        ("x/a/1.jpg ", "a/1.jpg "),
        ("a/1 .jpg", "1 "),
        ("a/ caf\u00e9.jpg", " cafe\u0301"),
    ],
)
def test_a_name_means_a_file(path: str, name: str) -> None:
    others = ["y/1.png", "z/2.png"]
    assert match_names([path, *others], [name, "none"], "t.csv") == {path: name}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["1.jpg", "1.png"], ["1"]),
        (["a/1.jpg", "b/1.jpg"], ["1"]),
        (["\u00e9.jpg", "e\u0301.jpg"], ["x/\u00e9.jpg"]),
        (["\u00e9.jpg"], ["x/e\u0301.jpg", "y/\u00e9.jpg"]),
    ],
)
def test_a_name_of_several_files_is_refused(paths: list[str], names: list[str]) -> None:
    with pytest.raises(InvalidInputError, match=r"fits 2 .* Write each path with its folders"):
        match_names(paths, names, "t.csv")


def test_a_table_names_files_that_differ_by_a_space(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\n 1.jpg,with\n1.jpg,without\n2.jpg ,trailing\n")
    paths = ["a/1.jpg", "a/ 1.jpg", "a/2.jpg"]
    assert read_labels(tmp_path / "t.csv", paths).labels == ["without", "with", "trailing"]


def test_names_that_are_the_numbers_of_others_mean_none() -> None:
    assert match_names(["001.jpg", "01.jpg"], ["1", "01"], "t.csv") == {"01.jpg": "01"}


@pytest.mark.parametrize(
    ("cells", "clusters"),
    [
        (["0.0", "-1.0", "1.0"], [0, -1, 1]),
        (["0", "-1", "1.0"], [0, -1, 1]),
        (["cats", "-1", "dogs"], ["cats", -1, "dogs"]),
        (["cats", "Noise", "-1.0"], ["cats", -1, -1]),
        (["01", "1", "001"], ["01", "1", "001"]),
        (["1_0", "1", "2"], ["1_0", "1", "2"]),
        (["1.5", "1", "noise"], ["1.5", "1", -1]),
        (["0", "nan", "2.0"], [0, 2]),
        (["0", "", "2"], [0, 2]),
    ],
)
def test_noise_is_noise_and_names_are_names(
    cells: list[str], clusters: list[Any], tmp_path: Path
) -> None:
    rows = [f"{n},{c}" for n, c in zip(NAMES, cells, strict=False)]
    file = write(tmp_path / "c.csv", "path,cluster", *rows)
    assert read_clusters(file).clusters == clusters
    if len(clusters) < len(cells):
        with pytest.warns(Notice, match="left out 1 of 3 images, which have no cluster .*: b.png"):
            read_clusters(file)


def test_clusters_that_excel_saved_again(tmp_path: Path) -> None:
    lines = ["path;cluster;distance;exemplar;name", "café/1.png;0;0,5;WAHR;Löwe", "b.png;-1;;;"]
    file = write(tmp_path / "c.csv", *lines, encoding="cp1252", end="\r\n")
    with pytest.warns(Notice, match=r"semicolons.*1252 \(such as 'café/1.png'\)"):
        table = read_clusters(file)
    assert table[:2] == (["café/1.png", "b.png"], [0, -1])
    assert table.names() == {0: "Löwe"}


CELLS = [
    "=1+1",
    "+a",
    "-a.png",
    "@x",
    "\ty",
    "\rz",
    "\nz",
    "'=1",
    "''=1",
    "'plain'",
    "'",
    "a\rb",
    "a\nb",
    'say "hi", twice',
    " spaces ",
    os.fsdecode(b"caf\xe9=1"),
    os.fsdecode(b"=caf\xe9"),
    r"a\udce9",
    "\uff1d1",
    "-1",
    "+1.5e3",
]


@pytest.mark.parametrize("cell", CELLS, ids=ascii)
def test_what_we_write_is_no_formula_and_comes_back(cell: str, tmp_path: Path) -> None:
    text = to_csv(["path", cell, "number"], [[cell, cell, -1.5]])
    text.encode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[1][2] == "-1.5"
    first = rows[1][0]
    assert first[0] not in "=+-@\t\r\n\uff1d" or float(first)  # A number is harmless.
    assert [unprotect(one) for one in (rows[0][1], first)] == [cell, cell]
    assert pd.read_csv(io.StringIO(text)).shape == (1, 3)
    (tmp_path / "t.csv").write_text(to_csv(["path", "cluster"], [[cell, -1], ["b", 2]]), newline="")
    assert read_clusters(tmp_path / "t.csv")[:2] == ([cell, "b"], [-1, 2])


@pytest.mark.parametrize(
    ("part", "names"),
    {
        "train": "train Training TRAIN training_set seg_train trainset train2017 train-images "
        "TrainData images_train Train_Set1 trainingset",
        "val": "val Valid validation DEV validation_set val2017 ValidationSet devset",
        "test": "test Testing test_set seg_test eval evaluation PublicTest test_images TestData",
        "unlabelled": "pred seg_pred unlabelled unlabeled prediction",
        None: "trainer strain cat contest latest set images train_station 2017 devil testbed été",
    }.items(),
)
def test_parts_are_known_by_meaning(part: str | None, names: str) -> None:
    assert {name: part_of(name) for name in names.split()} == dict.fromkeys(names.split(), part)


def test_nothing_is_said_of_a_plain_table(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    lines = [f"{name},{label}" for name, label in zip(NAMES, ONE, strict=True)]
    found: LabelTable = read_label_table(write(tmp_path / "t.csv", "filename,label", *lines))
    assert found.labels == ONE
    assert not recwarn.list


@pytest.mark.parametrize(
    "lines",
    [["0001,cat", "0002,dog"], ["x,cat", "y,dog", "z,cat"], ["a.png,cat", "b.png,dog"]],
)
def test_a_first_line_that_is_plainly_a_row_is_one(lines: list[str], tmp_path: Path) -> None:
    with pytest.warns(Notice, match="as a table without a header"):
        table = read_label_table(write(tmp_path / "t.csv", *lines))
    assert len(table.names) == len(lines)


def test_lists_of_more_than_names_are_refused(tmp_path: Path) -> None:
    cells = ["[{'id': 28, 'name': 'Action'}]"] * 4
    pd.DataFrame({"id": NAMES, "genres": cells}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InvalidInputError, match=r"a plain list of names\. Received: .*28"):
        read_label_table(tmp_path / "t.csv")


BITS = [
    b",",
    b";",
    b"\t",
    b"|",
    b'"',
    b"'",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"[",
    b"{",
]
BITS += [b"-1", b"nan", b"1e999", b"\\udcff", b"sep=;\n", b"9" * 30, b"\xc2\xb2", b"\xd9\xa3"]
TABLES = [
    b"filename,split,label\na.png,train,caf\xe9\nb.png,test,dog\n",
    b"path,cluster,distance,exemplar,name\na/1.png,0,0.1,true,fox\nb.png,-1,,false,\n",
    "id;tags\n1;['a','b']\n2;a, b\n".encode("utf-16"),
    b"label,pixel0,pixel1,pixel2,pixel3\n1,2,3,4,5\n2,3,4,5,6\n",
    b'"","f","x y"\n"1","a","q|r"\n',
]


@pytest.mark.parametrize("seed", range(5))
def test_no_damage_ends_in_a_traceback(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    file = tmp_path / "t.csv"
    for _ in range(40):
        data = bytearray(TABLES[seed])
        for _ in range(rng.randint(1, 5)):
            place = rng.randrange(len(data) + 1)
            data[place : place + rng.randint(0, 5)] = rng.choice(BITS)
        file.write_bytes(data)
        for read in (
            read_label_table,
            read_labelled,
            lambda table: read_clusters(table).names(),
        ):
            with contextlib.suppress(ClusterkitError):
                read(file)


def test_names_that_differ_only_in_case_are_shown(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "file,label", "IMG_1.JPG,cat", "IMG_2.JPG,dog")
    said = r"Upper and lower case matter: did you mean img_1\.jpg instead of IMG_1\.JPG\?$"
    with pytest.raises(InvalidInputError, match=said):
        read_labels(file, ["a/img_1.jpg", "a/img_2.jpg"])
    for name in ("img_1.jpg", "img_2.jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    if not (tmp_path / "IMG_1.JPG").exists():  # as on Linux
        with pytest.raises(NotFoundError, match=said):
            read_labelled(file)
    other = write(tmp_path / "other.csv", "file,label", "x.jpg,cat")
    with pytest.raises(InvalidInputError, match=r"--path-column$"):
        read_labels(other, ["a/img_1.jpg"])
