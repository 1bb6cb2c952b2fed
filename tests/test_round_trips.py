"""Written files are read back unchanged, with any names, cells and numbers."""

import json
import os
import re
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clusterkit.clustering import Clustering, match_clusters
from clusterkit.clustering.saved import read_clusters
from clusterkit.datasets.tables import read_table, to_csv, unprotect
from clusterkit.store.embeddings import Embeddings
from clusterkit.store.part_file import Row
from clusterkit.store.store import Store
from clusterkit.utils.text import escape_path, json_text, printable, unescape_path

# No deadline, since machines differ; no database, which would be a folder in the checkout.
few = settings(max_examples=25, deadline=None, database=None)
# Characters that start a formula in a spreadsheet.
FORMULA = {*"=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"}
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?"
# Any bytes, often those with a meaning for a reader.
MEANT = [
    rb"\udce9",
    *(letter.encode() for letter in "=+-@'\"\\,;|\t\n\r \x1b\ufeffé\uff1d\u2028\u202e"),
]
raw = st.lists(st.sampled_from(MEANT) | st.binary(max_size=3), max_size=4).map(b"".join)
names = (
    raw.map(lambda name: name.replace(b"\0", b"").replace(b"/", b""))
    .filter(lambda name: name not in (b"", b".", b".."))
    .map(os.fsdecode)
)
texts = raw.map(lambda text: text.replace(b"\0", b"").decode("utf-8", "ignore"))
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
labels = st.lists(st.integers(-1, 5), min_size=1, max_size=12)


@given(names)
@few
def test_any_name_is_escaped_and_printed_safely(name: str) -> None:
    escaped = escape_path(name)
    assert escaped.encode("utf-8")
    assert unescape_path(escaped) == name
    shown = printable(name)
    assert shown.encode("utf-8", "strict" if shown == name else "surrogateescape")
    assert not {unicodedata.category(letter) for letter in shown} & {"Cc", "Cs", "Zl", "Zp"}


@given(names | texts, st.booleans())
@few
def test_any_name_comes_back_from_json(name: str, only_ascii: bool) -> None:
    text = json_text({"path": name}, only_ascii=only_ascii)
    assert text.encode("ascii" if only_ascii else "utf-8")
    assert unescape_path(json.loads(text)["path"]) == name


@given(st.lists(paths, min_size=1, max_size=6, unique=True), st.data())
@few
def test_a_table_of_clusters_is_read_as_it_was_written(
    files: list[str], data: st.DataObject
) -> None:
    n = len(files)
    numbers = data.draw(st.lists(st.integers(-1, 3), min_size=n, max_size=n))
    called = {number: data.draw(texts.map(str.strip).filter(bool)) for number in {*numbers} - {-1}}
    clustering = Clustering(
        Embeddings(np.eye(n, dtype=np.float32), paths=files),
        np.array(numbers),
        distances=np.where(np.array(numbers) < 0, np.nan, 0.5),
        exemplars=np.zeros(n, bool),
        algorithm="kmeans",
        parameters={},
        names=called,
    )
    with tempfile.TemporaryDirectory() as folder:
        table = read_clusters(clustering.to_csv(Path(folder, "clusters.csv")))
    assert table.paths == files
    assert table.clusters == numbers
    assert table.names() == called


@given(st.lists(st.lists(texts, min_size=2, max_size=2), min_size=1, max_size=5))
@example([["", "+0"], ["", "-1e3"], ["", "-1+2"]])
@few
def test_any_cell_comes_back_and_is_no_formula(rows: list[list[str]]) -> None:
    rows = [["x" + first, second] for first, second in rows]  # no blank row
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "table.csv")
        file.write_text(to_csv(["first", "second"], rows), encoding="utf-8", newline="")
        table = read_table(file)
    # Numbers with a sign stay numbers.
    written = [cell for row in table.rows for cell in row if not re.fullmatch(NUMBER, cell, re.I)]
    assert not any(cell[:1] in FORMULA for cell in written if cell)
    assert [[unprotect(cell) for cell in row] for row in table.rows] == rows


@given(labels, st.permutations(range(6)), st.randoms())
@few
def test_clusters_keep_their_numbers_under_any_other_numbers(
    before: list[int], order: list[int], random: object
) -> None:
    after = [order[label] if label >= 0 else -1 for label in before]
    report = match_clusters(after, before)
    assert report.labels.tolist() == before
    assert (report.n_kept, report.moved, report.new, report.vanished) == (len(before), [], [], [])
    rows = list(range(len(before)))
    random.shuffle(rows)  # type: ignore[attr-defined]
    shuffled = match_clusters(
        [after[row] for row in rows], before, paths=rows, previous_paths=range(len(before))
    )
    assert shuffled.labels.tolist() == [before[row] for row in rows]


@given(
    st.dictionaries(
        paths,
        arrays(np.float32, 3, elements=st.floats(-1e6, 1e6, width=32)),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 6),
)
@few
def test_a_store_gives_back_what_was_put_in(vectors: dict[str, np.ndarray], per_part: int) -> None:
    rows = [
        Row(escape_path(path), "", size=1, mtime_ns=1, vector=vector)
        for path, vector in vectors.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        space = Store(folder).open_space(
            {"extractor": "own", "fingerprint": "0" * 64, "dimension": 3}
        )
        for start in range(0, len(rows), per_part):
            space.append(rows[start : start + per_part])
        found = Store(folder).space().read()
        assert Store(folder).verify() == []
    assert dict(zip(found.paths, found.vectors.tolist(), strict=True)) == {
        path: vector.tolist() for path, vector in vectors.items()
    }
