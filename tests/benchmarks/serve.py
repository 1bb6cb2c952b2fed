"""Measure whether a server is as fast as the library, and remains so under attack.

``python -m tests.benchmarks.serve PART PHOTOS [-e NETWORK] [--weights FILE]`` runs ``clusterkit
serve`` in a separate process, with clients in threads of this one:

- ``speed``: images/s of ``embed`` and of 16 clients that send one picture at a time; the 95th
  percentile of the latency (p95) of one client, and of decoding a picture and running the network
  in this process; the time from loaded weights to the first answer.
- ``harm``: the p95 of a client, before and while 200 clients send slowly and others send bombs, a
  body of 5 GiB, or disconnect; the longest latency of ``/v2/health/live``.
- ``memory``: the memory after 2,000 and after 10,000 requests to all endpoints, with pictures that
  are broken, large or too many.
- ``swap``: the number of requests that fail while model and store are replaced 20 times.
- ``neighbours``: the p95 of searching the neighbours of an image among ``--rows`` imported vectors
  of 512 dimensions, the memory, and the recall of the ten nearest.  The vectors are of 1,000
  ``clusters``, ``random``, or ``mixed`` from those in an ``.npz`` file, which is given instead of
  the photos.
- ``schema``: the number of answers to 20,000 random requests for the whole OpenAPI document that
  are server errors, or do not match the document.

Prints one JSON document.
"""

import argparse
import http.client
import itertools
import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import clusterkit as ck
from clusterkit.images.decoding import decode_image
from clusterkit.similarity.nearest import nearest_others
from clusterkit.similarity.scaling import unit_rows
from clusterkit.utils.parallel import count_cpus

CLIENTS, SLOW, AWAY, SWAPS = 16, 200, 100, 20
REQUESTS = {"memory": 10_000, "schema": 20_000}
EMBED = "/v1/embed/images/bytes"


class Server:
    """A running server."""

    def __init__(self, folder: Path, *options: object) -> None:
        command = [sys.executable, "-m", "clusterkit", "serve", "--port", "0", "--json"]
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, *map(str, options)], cwd=folder, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        text = "".join(iter(self.process.stdout.readline, "}\n")) + "}"
        self.start_seconds = time.perf_counter() - started
        self.start_cpu_seconds = self.cpu_seconds()
        self.port = int(json.loads(text)["url"].rpartition(":")[2])

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def memory(self) -> dict[str, int]:
        """Return the resident memory in MiB: all of it, and that without mapped files."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return {name: int(found[name].split()[0]) // 1024 for name in ("VmRSS", "RssAnon")}

    def cpu_seconds(self) -> float:
        """Return the CPU time of the server, on which other processes have no influence."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8")
        user, system = text.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(folder: Path, *options: object) -> Iterator[Server]:
    """Run a server within a with statement."""
    server = Server(folder, *options)
    try:
        yield server
    finally:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(60)


def form(data: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a form with one picture."""
    head = b'--xyz\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=xyz"}
    return head + data + b"\r\n--xyz--\r\n", headers


def post(connection: http.client.HTTPConnection, path: str, data: bytes) -> int:
    """Send a picture, read the answer, and return its status."""
    body, headers = form(data)
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def p95(seconds: Sequence[float]) -> float:
    """Return the 95th percentile in ms."""
    return round(1000 * float(np.percentile(seconds, 95)), 2)


def timed(call: Callable[[Any], Any], items: Sequence[Any]) -> list[float]:
    """Return the time of each call in seconds."""
    found = []
    for item in items:
        start = time.perf_counter()
        call(item)
        found.append(time.perf_counter() - start)
    return found


def measure_speed(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Compare the server with the library."""
    files = ck.ImageFolder(arguments.photos).files[: arguments.images]
    extractor = ck.create_extractor(arguments.extractor, weights=arguments.weights)
    ck.embed_to_store(ck.ImageFolder(files), extractor, folder / "store")
    data = [file.read_bytes() for file in files]
    one = extractor.extract(np.stack([decode_image(data[0], extractor.image_size)[0]]))
    assert len(one.vectors) == 1

    def alone(content: bytes) -> None:
        pixels = decode_image(content, extractor.image_size, resize=extractor.resize)[0]
        extractor.extract(pixels[None])

    few = data[:60]
    # The first start may convert the network.
    with serving(folder, "-s", "store"):
        pass
    # In turns, since other processes may use the cores.
    in_process, over_http, rates = [], [], []
    with serving(folder, "-s", "store") as server:
        phases = phases_of(server)
        for _ in range(3):
            in_process += timed(alone, few)
            ask = partial(post, server.connect(), EMBED)  # Idle connections are closed.
            over_http += timed(ask, few)
        embedding, embed_cpu, server_cpu = [], [], []
        for _ in range(3):
            # The network is already loaded, as in the server.
            used = time.process_time()
            embedding.append(len(data) / timed(lambda _: ck.embed(files, extractor), [0])[0])
            embed_cpu.append(time.process_time() - used)
            used, start = server.cpu_seconds(), time.perf_counter()
            with ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(lambda part: send_all(server, part), split(data, CLIENTS)))
            rates.append(len(data) / (time.perf_counter() - start))
            server_cpu.append(server.cpu_seconds() - used)
    return {
        "images": len(data),
        "embed_images_per_second": [round(rate, 1) for rate in embedding],
        "clients_images_per_second": [round(rate, 1) for rate in rates],
        "embed_cpu_ms_per_image": [round(1000 * used / len(data), 1) for used in embed_cpu],
        "server_cpu_ms_per_image": [round(1000 * used / len(data), 1) for used in server_cpu],
        "one_client_p95_ms": p95(over_http),
        "decode_and_forward_p95_ms": p95(in_process),
        "one_client_median_ms": round(1000 * float(np.median(over_http)), 2),
        "decode_and_forward_median_ms": round(1000 * float(np.median(in_process)), 2),
        "start_seconds": round(server.start_seconds, 1),
        "start_cpu_seconds": round(server.start_cpu_seconds, 1),
        "phases_seconds": phases,
        "seconds_after_the_weights": round(phases["first batch"] + phases["endpoints"], 2),
    }


def split(data: Sequence[Any], n: int) -> list[Sequence[Any]]:
    """Distribute pictures or requests among clients."""
    return [data[start::n] for start in range(n)]


def send_all(server: Server, data: Sequence[bytes]) -> None:
    """Send pictures one after the other."""
    connection = server.connect()
    for content in data:
        status = post(connection, EMBED, content)
        assert status == 200, status


def bomb(side: int = 8000) -> bytes:
    """Return a small PNG file of a picture with ``side`` x ``side`` pixels."""
    lines = zlib.compress(bytes(side * (1 + 3 * side)), 1)
    content = b"\x89PNG\r\n\x1a\n"
    header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    for kind, part in ((b"IHDR", header), (b"IDAT", lines), (b"IEND", b"")):
        check = zlib.crc32(kind + part).to_bytes(4, "big")
        content += len(part).to_bytes(4, "big") + kind + part + check
    return content


def counts(server: Server, name: str) -> dict[str, float]:
    """Return a counter of the server for each value of its label."""
    connection = server.connect()
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    start = f"clusterkit_{name}{{"
    found = [line.removeprefix(start).split("} ") for line in lines if line.startswith(start)]
    return {label.partition("=")[2].strip('"'): float(value) for label, value in found}


def phases_of(server: Server) -> dict[str, float]:
    """Return the time of each phase of the start in seconds."""
    return {name: round(value, 2) for name, value in counts(server, "start_seconds").items()}


def loop_lags(server: Server) -> dict[str, int]:
    """Return the cumulative histogram of delays of the event loop, by bound in seconds."""
    found = counts(server, "event_loop_lag_seconds_bucket")
    return {bucket: int(count) for bucket, count in found.items()}


def attack(port: int, photo: Path) -> None:
    """Attack a server until stdin is closed, in a separate process; print the status codes.

    It has a lower priority, since real attackers do not use the cores of the server.
    """
    os.nice(5)
    data = photo.read_bytes()
    statuses: Counter[Any] = Counter()
    is_done = threading.Event()
    body, headers = form(data)
    head = f"POST {EMBED} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: {headers['Content-Type']}\r\n\r\n"

    def connect() -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def send_slowly() -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as link:
            link.sendall(head.encode())
            for byte in body:
                if is_done.wait(0.2):
                    return
                link.sendall(bytes([byte]))

    def send_bombs() -> None:
        content, connection = bomb(), connect()
        while not is_done.is_set():
            statuses["bomb", post(connection, EMBED, content)] += 1

    def send_endlessly() -> None:
        start = b'--xyz\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        chunks = itertools.chain([start], itertools.repeat(bytes(2**20), 5 * 1024))
        connection = connect()
        try:
            connection.request("POST", EMBED, chunks, headers)
            statuses["5 GiB", connection.getresponse().status] += 1
        except OSError:
            statuses["5 GiB", "cut off"] += 1

    def go_away() -> None:
        for _ in range(AWAY):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as link:
                link.sendall(head.encode())
                link.sendall(body[: len(body) // 2])
                statuses["went away", "-"] += 1

    harms = [send_slowly] * SLOW + [send_bombs, send_endlessly, go_away]
    threads = [threading.Thread(target=harm) for harm in harms]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    is_done.set()
    for thread in threads:
        thread.join()
    print(json.dumps({f"{what}: {status}": n for (what, status), n in statuses.items()}))


@contextmanager
def attacked(server: Server, photo: Path, statuses: Counter[str]) -> Iterator[None]:
    """Attack a server within a with statement."""
    command = [sys.executable, "-m", "tests.benchmarks.serve", "attack", str(photo)]
    process = subprocess.Popen(
        [*command, "--port", str(server.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(8)  # Until the attack is under way.
    try:
        yield
    finally:
        said, _ = process.communicate()
        statuses.update(json.loads(said))


def measure_harm(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Compare the answers to a client with and without an attack."""
    files = ck.ImageFolder(arguments.photos).files[:200]
    extractor = ck.create_extractor(arguments.extractor, weights=arguments.weights)
    ck.embed_to_store(ck.ImageFolder(files), extractor, folder / "store")
    data = [file.read_bytes() for file in files]
    statuses: Counter[str] = Counter()
    is_done = threading.Event()
    lags: list[float] = []

    def look(server: Server) -> None:
        connection = server.connect()
        while not is_done.wait(0.01):
            start = time.perf_counter()
            connection.request("GET", "/v2/health/live")
            connection.getresponse().read()
            lags.append(time.perf_counter() - start)

    with serving(folder, "-s", "store") as server:
        timed(partial(post, server.connect(), EMBED), data[:50])
        before, during = [], []
        # In turns, since other processes may use the cores.
        for _ in range(3):
            before += timed(partial(post, server.connect(), EMBED), data)
            with attacked(server, files[0], statuses):
                watcher = threading.Thread(target=look, args=(server,))
                is_done.clear()
                watcher.start()
                during += timed(partial(post, server.connect(), EMBED), data)
                is_done.set()
                watcher.join()
        lag = loop_lags(server)
    return {
        "p95_ms_before": p95(before),
        "p95_ms_during": p95(during),
        "median_ms_before": round(1000 * float(np.median(before)), 2),
        "median_ms_during": round(1000 * float(np.median(during)), 2),
        "event_loop_lags": lag,
        "live_longest_ms": round(1000 * max(lags), 1),
        "live_p95_ms": p95(lags),
        "statuses": dict(statuses),
    }


def furnish(arguments: argparse.Namespace, folder: Path) -> tuple[list[Path], list[str]]:
    """Create a store, a classifier and groups; return the pictures and the server options."""
    files = ck.ImageFolder(arguments.photos).files[:60]
    extractor = ck.create_extractor(arguments.extractor, weights=arguments.weights)
    emb = ck.embed(ck.ImageFolder(files), extractor, store=folder / "store")
    ck.cluster(emb, n_clusters=3, random_state=0).to_csv(folder / "clusters.csv")
    classifier = ck.Classifier("cnn5", image_size=32, epochs=1, random_state=0)
    classifier.fit(emb.files, ["ab"[i % 2] for i in range(len(emb))]).save(folder / "clf.keras")
    return files, ["-s", "store", "--model", "clf.keras", "--clusters", "clusters.csv"]


Request = tuple[str, str, bytes, dict[str, str]]


def mixed_requests(files: Sequence[Path], image_id: str) -> list[Request]:
    """Return requests to all endpoints, about a third of which cannot succeed."""
    data = [file.read_bytes() for file in files]
    posts = ["/v1/predict", "/v1/similar?n=5", "/v1/cluster", EMBED]
    found: list[Request] = []
    for i, content in enumerate(data):
        path = posts[i % len(posts)]
        broken = [content[: len(content) // 2], content[:40], b"some text", b""][i // 4 % 4]
        for sent in (content, content + bytes([i]), broken):
            found.append(("POST", path, *form(sent)))
        found.append(("POST", path.replace("?n=5", "?n=0"), *form(content)))
        found += [
            ("GET", address, b"", {})
            for address in (
                f"/v1/images/{image_id}/thumbnail",
                f"/v1/images/{image_id}/similar",
                f"/v1/images/{i:016x}/similar",
                ("/", "/metrics", "/v1/describe", "/openapi.json", "/nothing")[i % 5],
            )
        ]
    for path in posts:
        found.append(("POST", path, *form(bomb(3000))))
        body, headers = form(b"x")
        many = body.removesuffix(b"--xyz--\r\n") * 200
        found.append(("POST", path, many, headers))
        found.append(("POST", path, body, {"Content-Type": "text/plain"}))
        found.append(("POST", path, body[:-9], headers))
        found.append(("POST", path, body, headers | {"Host": "elsewhere.example"}))
    found.append(("POST", f"/v1/explain?id={image_id}", *form(data[1])))
    return found


def measure_memory(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure the memory after some and after many requests."""
    files, options = furnish(arguments, folder)
    statuses: Counter[Any] = Counter()
    memory = []

    def send(server: Server, requests: Sequence[Request]) -> None:
        connection = server.connect()
        for method, path, body, headers in requests:
            name = f"{method} {re.sub('[0-9a-f]{16}', 'ID', path.partition('?')[0])}"
            try:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                answer.read()
                statuses[f"{name}: {answer.status}"] += 1
            except OSError:  # Rejected bodies are not read completely.
                statuses[f"{name}: cut off"] += 1
                connection = server.connect()

    with serving(folder, *options) as server:
        requests = mixed_requests(files, example_of(server))
        rng = np.random.default_rng(0)
        n_sent = 0
        # During the first requests, each thread allocates memory that it keeps.
        for n_requests in (arguments.requests // 5, arguments.requests):
            chosen = [requests[i] for i in rng.integers(len(requests), size=n_requests - n_sent)]
            with ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(lambda part: send(server, part), split(chosen, CLIENTS)))
            n_sent = n_requests
            memory.append(server.memory())
    first, last = memory
    return {
        "requests": n_sent,
        "statuses": dict(sorted(statuses.items())),
        "server_errors": sum(n for what, n in statuses.items() if ": 5" in what),
        "memory_mib": memory,
        "growth_percent": {name: round(100 * (last[name] / first[name] - 1), 1) for name in first},
    }


def measure_swap(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Replace model and store under load."""
    files = ck.ImageFolder(arguments.photos).files[:60]
    extractor = ck.create_extractor(arguments.extractor, weights=arguments.weights)
    known = files[: 60 - SWAPS]
    emb = ck.embed(ck.ImageFolder(known), extractor, store=folder / "store")
    classifiers = []
    for classes in ("ab", "abc"):
        classifier = ck.Classifier("cnn5", image_size=32, epochs=1, random_state=0)
        labels = [classes[i % len(classes)] for i in range(len(emb))]
        classifiers.append(classifier.fit(emb.files, labels))
    model = folder / "clf.keras"
    classifiers[0].save(model)
    data = [file.read_bytes() for file in files]
    statuses: Counter[Any] = Counter()
    is_done = threading.Event()

    def ask(server: Server) -> None:
        connection = server.connect()
        for content in itertools.cycle(data):
            for path in ("/v1/predict", "/v1/similar?n=5"):
                statuses[post(connection, path, content)] += 1
            if is_done.is_set():
                return

    def now(server: Server) -> tuple[int, int]:
        found = described(server)
        return found["images"], len(found["classes"])

    n_swapped = 0
    with serving(folder, "-s", "store", "--model", model) as server:
        threads = [threading.Thread(target=ask, args=(server,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for i in range(SWAPS):
            known = files[: 60 - SWAPS + i + 1]
            ck.embed_to_store(ck.ImageFolder(known), extractor, folder / "store")
            classifiers[(i + 1) % 2].save(model, overwrite=True)
            wanted, end = (len(known), 2 + (i + 1) % 2), time.monotonic() + 60
            while now(server) != wanted and time.monotonic() < end:
                time.sleep(0.1)
            n_swapped += now(server) == wanted
        is_done.set()
        for thread in threads:
            thread.join()
    return {"swapped": n_swapped, "statuses": {str(key): n for key, n in statuses.items()}}


def write_vectors(file: Path, arguments: argparse.Namespace) -> None:
    """Write vectors of one kind, shape (rows, 512)."""
    rng = np.random.default_rng(0)
    vectors = np.lib.format.open_memmap(file, "w+", np.float32, (arguments.rows, 512))
    centers = rng.normal(size=(1000, 512)).astype(np.float32)
    if arguments.kind == "mixed":
        with np.load(arguments.photos) as stored:
            real = unit_rows(stored["vectors"].astype(np.float32))
        # Random directions preserve angles.
        real = real @ rng.normal(size=(real.shape[1], 512)).astype(np.float32)
        _, near = nearest_others(real, 16)
    for start in range(0, arguments.rows, 50_000):
        part = vectors[start : start + 50_000]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        if arguments.kind == "clusters":
            part += centers[rng.integers(1000, size=len(part))]
        elif arguments.kind == "mixed":
            # Between three near vectors, with noise.
            first = rng.integers(len(real), size=len(part))
            shares = rng.dirichlet([1, 1, 1], size=len(part)).astype(np.float32)
            part *= 0.3 * real.std()
            part += shares[:, :1] * real[first]
            for place in (1, 2):
                other = near[first, rng.integers(near.shape[1], size=len(part))]
                part += shares[:, place, None] * real[other]
    vectors.flush()


def measure_neighbours(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure the search of neighbours among many images, and its recall."""
    write_vectors(folder / "vectors.npy", arguments)
    names = [f"{row:07}.jpg" for row in range(arguments.rows)]
    (folder / "names.txt").write_text("\n".join(names))
    ck.import_vectors(
        folder / "vectors.npy", folder / "store", paths=folder / "names.txt", name="foreign"
    )
    (folder / "vectors.npy").unlink()

    def ask(connection: http.client.HTTPConnection, query: str = "") -> list[str]:
        nonlocal image_id
        connection.request("GET", f"/v1/images/{image_id}/similar?n=10{query}")
        found = [one["id"] for one in json.load(connection.getresponse())["neighbors"]]
        if not query:
            image_id = found[-1]
        return found

    with serving(folder, "-s", "store") as server:
        started = time.perf_counter()
        first_start, image_id = server.start_seconds, example_of(server)
        connection = server.connect()
        exact = timed(lambda _: ask(connection), range(20))
        end = time.monotonic() + 3000
        while described(server)["neighbors"] == "exact" and time.monotonic() < end:
            time.sleep(0.2)
        index_seconds = time.perf_counter() - started
        first_memory = server.memory()
    with serving(folder, "-s", "store") as server:
        connection, phases = server.connect(), phases_of(server)
        timed(lambda _: ask(connection), range(20))
        cpu = server.cpu_seconds()
        seconds = timed(lambda _: ask(connection), range(arguments.queries))
        cpu = server.cpu_seconds() - cpu
        memory = server.memory()
        n_found = 0
        for _ in range(100):
            n_found += len({*ask(connection, "&exact=true")} & {*ask(connection)})
        memory_after_exact = server.memory()
    files = [file for file in (folder / "cache").rglob("*") if file.is_file()]
    return {
        "kind": arguments.kind,
        "rows": arguments.rows,
        "first_start_seconds": round(first_start, 1),
        "index_seconds": round(index_seconds, 1),
        "p95_ms_while_the_index_is_built": p95(exact),
        "first_memory_mib": first_memory,
        "second_start_seconds": round(server.start_seconds, 1),
        "second_phases_seconds": phases,
        "p95_ms": p95(seconds),
        "median_ms": round(1000 * float(np.median(seconds)), 1),
        "cpu_ms": round(1000 * cpu / len(seconds), 1),
        "recall_at_10": n_found / 1000,
        "file_mib": arguments.rows * 512 * 4 // 2**20,
        "cache_mib": {file.name: file.stat().st_size // 2**20 for file in files},
        "memory_mib": memory,
        "memory_mib_after_all_vectors_were_compared": memory_after_exact,
    }


def example_of(server: Server) -> str:
    """Return the id of an image in the form that the document requires."""
    connection = server.connect()
    connection.request("GET", "/openapi.json")
    document = json.load(connection.getresponse())
    one = document["paths"]["/v1/images/{image_id}/similar"]["get"]["parameters"]
    return next(part["example"] for part in one if "example" in part)


def described(server: Server) -> dict[str, Any]:
    """Return what is served."""
    connection = server.connect()
    connection.request("GET", "/v1/describe")
    found: dict[str, Any] = json.load(connection.getresponse())
    return found


def measure_schema(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Send random requests for the whole document, and check each answer."""
    _, options = furnish(arguments, folder)
    statuses: Counter[str] = Counter()
    violations: list[str] = []
    # Most of the time is spent on generating requests.
    n_clients = count_cpus()
    with serving(folder, *options) as server:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(n_clients, mp_context=spawn) as pool:
            parts = [
                pool.submit(send_random, server.port, -(-arguments.requests // n_clients), client)
                for client in range(n_clients)
            ]
            for part in parts:
                some, wrong = part.result()
                statuses.update(some)
                violations += wrong
    return {
        "requests": sum(statuses.values()),
        "statuses": dict(sorted(statuses.items())),
        "server_errors": sum(n for what, n in statuses.items() if what[-3] == "5"),
        "violations": len(violations),
        "first_violations": violations[:5],
    }


def send_random(port: int, n_requests: int, client: int) -> tuple[Counter[str], list[str]]:
    """Send random requests; return the number of answers with each status, and violations."""
    import hypothesis
    import requests
    import schemathesis
    from schemathesis.checks import positive_data_acceptance

    url = f"http://127.0.0.1:{port}"
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [one.ok() for one in schema.get_all_operations()]
    statuses: Counter[str] = Counter()
    violations: list[str] = []
    # One connection, since a new one for each request would take longer.
    session = requests.Session()

    def check(case: Any) -> None:
        if statuses.total() >= n_requests:
            return
        answer = case.call(base_url=url, session=session)
        statuses[f"{case.method} {case.path}: {answer.status_code}"] += 1
        try:
            # The schema allows any bytes as a picture, but the server rejects those that are none.
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])
        except Exception as error:
            violations.append(f"{case.method} {case.path}: {error}")

    settings = hypothesis.settings(
        max_examples=100,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    for i in itertools.count():
        # Equally many requests for each operation.
        for operation in operations:
            if statuses.total() >= n_requests:
                return statuses, violations
            given = hypothesis.given(case=operation.as_strategy())
            hypothesis.seed(1000 * client + i)(settings(given(check)))()
        print(client, statuses.total(), len(violations), file=sys.stderr, flush=True)
    raise AssertionError("the loop has no end")


PARTS = {
    "speed": measure_speed,
    "harm": measure_harm,
    "memory": measure_memory,
    "swap": measure_swap,
    "neighbours": measure_neighbours,
    "schema": measure_schema,
}


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=[*PARTS, "attack"])
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("-e", "--extractor", default="pixels")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument(
        "--requests",
        type=int,
        help="number of requests; by default 10,000, and 20,000 for the schema",
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--port", type=int, help="port of the server that `attack` attacks")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--kind", choices=("clusters", "random", "mixed"), default="clusters")
    arguments = parser.parse_args()
    if arguments.part == "attack":
        attack(arguments.port, arguments.photos)
        return
    arguments.requests = arguments.requests or REQUESTS.get(arguments.part, 0)
    with tempfile.TemporaryDirectory(prefix="clusterkit-") as folder:
        os.environ["CLUSTERKIT_CACHE"] = str(Path(folder, "cache"))
        found = PARTS[arguments.part](arguments, Path(folder))
    print(json.dumps({"part": arguments.part, "load": os.getloadavg()} | found, indent=2))


if __name__ == "__main__":
    main()
