"""Measure time and memory of spaces that do not fit into memory.

``python -m tests.benchmarks.beyond_memory commands --rows 10000 --rows 100000 --rows 1000000``
writes stores with these numbers of vectors, and runs the commands on each as a user does.  It
prints wall time, CPU time and peak memory of each process, and those of an interpreter that only
imports clusterkit.  ``kmeans --rows 10000000 --dimension 256`` clusters the parts of a store on one
thread and on several, and checks that the centres are equal to the bit.  ``inertia --features
FILE.npz`` compares the inertia with that of k-means in memory.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pyarrow as pa

from clusterkit.clusterers import KMeans
from clusterkit.clusterers.kmeans.estimator import solve_stream
from clusterkit.clusterers.kmeans.streaming import settle
from clusterkit.clusterers.row_stream import ArrayStream
from clusterkit.store.part_file import schema, write_part
from clusterkit.store.space_files import PartList
from clusterkit.store.store import Store
from clusterkit.store.stream import VectorStream

PART_ROWS = 8192
N_GROUPS = 80
COMMANDS: dict[str, list[str]] = {
    "similar, first": ["similar", "{one}"],
    "similar": ["similar", "{one}"],
    "cluster -k 50": ["cluster", "-k", "50", "-o", "{folder}/clusters.csv"],
    "elbow": ["elbow"],
    "export": ["export", "-o", "{folder}/all.parquet"],
    "explain": ["explain", "{one}", "{other}"],
    "report": ["report", "{folder}/clusters.csv", "-o", "{folder}/report.html"],
}


class Cost(NamedTuple):
    """Time and memory of a process."""

    wall: float
    cpu: float
    mib: float
    status: int


@click.group()
def main() -> None:
    """Measure spaces beyond memory."""


@main.command()
@click.option("--rows", multiple=True, type=int, default=[10_000, 100_000, 1_000_000])
@click.option("--dimension", default=512, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Folder for the stores.")
@click.option("--only", multiple=True, help="Commands to measure; by default, all.")
def commands(
    rows: tuple[int, ...], dimension: int, folder: Path | None, only: tuple[str, ...]
) -> None:
    """Run the commands on stores of several sizes, and print a table."""
    base = measure([sys.executable, "-c", "import clusterkit.cli, numpy, pyarrow.parquet"], {})
    print(f"interpreter with clusterkit, numpy and pyarrow: {base.mib:.0f} MiB, {base.cpu:.1f} s")
    print(f"{'rows':>10}  {'command':<16}{'wall s':>9}{'CPU s':>9}{'MiB':>9}{'MiB above':>11}")
    for n in rows:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            make_store(Path(place), n, dimension)
            names = {"one": path_of(3), "other": path_of(4), "folder": place}
            for name, words in COMMANDS.items():
                if only and name not in only:
                    continue
                asked = [word.format(**names) for word in words]
                # Import clusterkit from this checkout, whatever is installed.
                cost = measure(
                    [sys.executable, "-m", "clusterkit", *asked, "-s", f"{place}/store"],
                    {"CLUSTERKIT_CACHE": f"{place}/cache", "PYTHONPATH": str(Path.cwd())},
                )
                failed = "" if cost.status == 0 else f"  failed with status {cost.status}"
                print(
                    f"{n:>10,}  {name:<16}{cost.wall:>9.1f}{cost.cpu:>9.1f}{cost.mib:>9.0f}"
                    f"{cost.mib - base.mib:>11.0f}{failed}",
                    flush=True,
                )


@main.command()
@click.option("--rows", default=10_000_000, show_default=True)
@click.option("--dimension", default=256, show_default=True)
@click.option("-k", "k", default=50, show_default=True)
@click.option("--threads", multiple=True, type=int, default=[1, 2, 4])
@click.option("--max-iter", default=300, show_default=True, help="Maximum number of passes.")
@click.option("--folder", type=click.Path(path_type=Path), help="Folder for the store.")
def kmeans(
    rows: int, dimension: int, k: int, threads: tuple[int, ...], max_iter: int, folder: Path | None
) -> None:
    """Cluster the parts of a store on several numbers of threads."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        started = time.perf_counter()
        make_store(Path(place), rows, dimension)
        print(f"made {rows:,} x {dimension} in {time.perf_counter() - started:.0f} s", flush=True)
        digests = []
        for n_threads in threads:
            code = (
                "import sys; from tests.benchmarks.beyond_memory import fit_parts; "
                "fit_parts(*sys.argv[1:])"
            )
            file = Path(place) / f"{n_threads}.npy"
            cost = measure(
                [sys.executable, "-c", code, *map(str, (place, dimension, k, max_iter, file))],
                {"OPENBLAS_NUM_THREADS": str(n_threads), "PYTHONPATH": str(Path.cwd())},
            )
            digests.append(file.read_bytes() if file.exists() else b"")
            print(
                f"{n_threads} threads: {cost.wall:.0f} s, CPU {cost.cpu:.0f} s, {cost.mib:.0f} MiB,"
                f" status {cost.status}, the same bits: {digests[-1] == digests[0]}",
                flush=True,
            )


@main.command()
@click.option("--features", type=click.Path(exists=True, path_type=Path), multiple=True)
def inertia(features: tuple[Path, ...]) -> None:
    """Compare the inertia of streams, also of samples of a part, with that in memory."""
    for file in features:
        vectors = np.load(file)["vectors"].astype(np.float32)
        for k in (10, 30):
            alone = KMeans(k, random_state=0).fit(vectors).inertia_
            stream = KMeans(k, random_state=0).fit(ArrayStream(vectors)).inertia_
            said = [f"{file.stem} k={k}: stream {100 * (stream / alone - 1):+.3f} %"]
            for share in (2, 4):
                found = solve_stream(
                    ArrayStream(vectors),
                    k,
                    normalize=True,
                    n_init=10,
                    max_iter=300,
                    tol=1e-4,
                    seed=0,
                    n_sample=len(vectors) // share,
                )
                gap = settle(found.centers, found.last).inertia / alone - 1
                said.append(f"searched on 1/{share} of the rows {100 * gap:+.3f} %")
            print(", ".join(said), flush=True)


def fit_parts(place: str, dimension: str, k: str, max_iter: str, output: str) -> None:
    """Cluster the parts in a folder by their names alone, and write the centres."""
    files = sorted(Path(place).glob("store/*/part-*.parquet"))
    chosen = {file: np.ones(_rows_of(file), np.bool_) for file in files}
    names: Any = range(sum(map(len, chosen.values())))  # Only their number matters.
    stream = VectorStream(names, Path(), {"dimension": int(dimension)}, chosen)
    model = KMeans(int(k), max_iter=int(max_iter), random_state=0).fit(stream, progress=True)
    np.save(output, model.cluster_centers_)


def _rows_of(file: Path) -> int:
    """Return the number of rows of a part."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(file).num_rows)


def path_of(i: int) -> str:
    """Return the path of an image that does not exist."""
    return f"photos/{i // 1000:05d}/image_{i:08d}.jpg"


def make_store(folder: Path, n: int, dimension: int) -> None:
    """Write vectors of overlapping groups as the parts of a space, one part after the other."""
    space = Store(folder / "store").open_space(
        {"extractor": "made", "fingerprint": "0123456789abcdef" * 4, "dimension": dimension}
    )
    centers = np.random.default_rng(0).normal(size=(N_GROUPS, dimension)).astype(np.float32)
    space.description.write(space.info)
    parts = []
    for start in range(0, n, PART_ROWS):
        size = min(PART_ROWS, n - start)
        rng = np.random.default_rng((1, start))
        rows = rng.standard_normal((size, dimension), dtype=np.float32)
        rows += 0.6 * centers[rng.integers(N_GROUPS, size=size)]
        kinds = schema(dimension)
        known: dict[str, Any] = {
            "path": pa.array([path_of(i) for i in range(start, start + size)]),
            "root": pa.array(["."] * size),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), dimension),
        }
        columns = {field.name: known.get(field.name, pa.nulls(size, field.type)) for field in kinds}
        file = space.folder / f"part-{len(parts) + 1:06d}.parquet"
        table = pa.table(columns, schema=kinds)
        parts.append(write_part(file, table, space.info["fingerprint"], folder=space.folders.about))
    PartList(tuple(parts), len(parts) + 1).write(space.folders.about / "parts.json")


def measure(words: list[str], environment: dict[str, str]) -> Cost:
    """Run a process, and return its time and memory."""
    started = time.perf_counter()
    quiet = os.open(os.devnull, os.O_WRONLY)
    pid = os.posix_spawn(
        words[0],
        words,
        os.environ | environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, quiet, 1), (os.POSIX_SPAWN_DUP2, quiet, 2)],
    )
    os.close(quiet)
    _, status, usage = os.wait4(pid, 0)
    return Cost(
        time.perf_counter() - started,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024,
        os.waitstatus_to_exitcode(status),
    )


if __name__ == "__main__":
    main()
