"""The HTTP API: its answers, its errors, and that it continues while files change."""

import asyncio
import gc
import gzip
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from click.testing import CliRunner
from PIL import Image
from starlette.testclient import TestClient

import clusterkit as ck
from clusterkit.cli import main
from clusterkit.clustering.confounding import Confounding, RemovedConfounder
from clusterkit.errors import ImageError, InvalidInputError, NotFoundError, WeightsError
from clusterkit.images.decoding import decode_image
from clusterkit.serve import Limits, create_app, run_server
from clusterkit.serve.batching import MAX_BATCH, Batcher
from clusterkit.serve.connections import patient_for
from clusterkit.serve.limits import RefusedError
from clusterkit.serve.page import Page, PageKeeper
from clusterkit.serve.served import Sources
from clusterkit.serve.uploads import Upload, _Form
from clusterkit.similarity.catalogue import Catalogue, build_index
from tests.image_writers import encode
from tests.serving import Files, new_picture
from tests.stores import make_photos

pytestmark = pytest.mark.usefixtures("tiny_network")
TOKEN = "a-long-secret"
POSTS = ["/v1/predict", "/v1/similar", "/v1/cluster", "/v1/explain", "/v1/embed/images/bytes"]


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory, tiny_network: None, tiny_weights: Path
) -> Files:
    return Files(tmp_path_factory.mktemp("serve"), tiny_weights)


@pytest.fixture(scope="module")
def client(files: Files) -> Iterator[TestClient]:
    with TestClient(files.app(), base_url="http://localhost") as client:
        yield client


def form(*pictures: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """Return pictures as the files of a form."""
    return [("files", (f"{i}.png", data)) for i, data in enumerate(pictures)]


def test_predict_is_as_the_library_predicts(client: TestClient, files: Files) -> None:
    photos = [files.photos / f"{i:03}.png" for i in range(5)]
    answer = client.post("/v1/predict", files=form(*(photo.read_bytes() for photo in photos)))
    results = answer.json()["results"]
    expected = files.classifier.predict_proba(photos)
    got = [[one["probabilities"][name] for name in files.classifier.classes_] for one in results]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert [one["classes"] for one in results] == [[c] for c in files.classifier.predict(photos)]
    assert [(one["index"], one["name"]) for one in results][2] == (2, "2.png")


def test_several_labels_are_predicted_above_their_thresholds(files: Files, tmp_path: Path) -> None:
    labels = [("a", "b") if i % 3 else ("b",) for i in range(len(files.embeddings))]
    classifier = ck.Classifier("tinynet", weights=files.weights, random_state=0)
    classifier.fit(files.embeddings, labels).save(tmp_path / "several.keras")
    photo = files.photos / "003.png"
    with TestClient(
        create_app(model=tmp_path / "several.keras"), base_url="http://localhost"
    ) as client:
        result = client.post("/v1/predict", files=form(photo.read_bytes())).json()["results"][0]
        described = client.get("/v1/describe").json()
        assert client.post("/v1/similar", files=form(photo.read_bytes())).status_code == 404
    assert tuple(result["classes"]) == classifier.predict([photo])[0]
    assert described["task"] == "multilabel"
    assert described["capabilities"] == []


@pytest.mark.parametrize("is_known", [True, False])
def test_neighbours_are_those_of_find_similar(
    client: TestClient, files: Files, tmp_path: Path, is_known: bool
) -> None:
    photo = files.photos / "003.png"
    if not is_known:
        photo = tmp_path / "new.png"
        photo.write_bytes(new_picture())
    expected = ck.find_similar(photo, files.store, n_neighbors=4).to_dict()["results"]
    answer = client.post("/v1/similar?n=5", files=form(photo.read_bytes()))
    result = answer.json()["results"][0]
    found = {
        one["path"]: one["similarity"]
        for one in result["neighbors"]
        if not (is_known and one["path"] == photo.name)
    }
    assert (result["id"] is not None) == is_known
    assert [*found][:4] == [one["path"] for one in expected]
    for one in expected:  # a server computes in bfloat16 where the processor has it
        assert found[one["path"]] == pytest.approx(one["similarity"], abs=2e-3)


def test_groups_are_those_of_the_table(client: TestClient, files: Files) -> None:
    photos = files.embeddings.files
    answer = client.post("/v1/cluster", files=form(*(photo.read_bytes() for photo in photos)))
    results = answer.json()["results"]
    assert [one["cluster"] for one in results] == files.clustering.labels.tolist()
    np.testing.assert_allclose(
        [one["distance"] for one in results], files.clustering.distances, atol=1e-5
    )
    assert all(0 <= one["margin"] <= 1 and 0 <= one["agreement"] <= 1 for one in results)
    assert all(one["next"]["distance"] >= one["distance"] for one in results)


def test_groups_of_another_space_are_told_of_in_their_own_words(
    files: Files, tmp_path: Path
) -> None:
    other = replace(files.embeddings, space=files.embeddings.space | {"fingerprint": "0" * 64})
    table = ck.cluster(other, n_clusters=3, random_state=0).to_csv(tmp_path / "other.csv")
    said = r"^the clusters are of the space .*-00000000, the vectors of .*: centres, distances and"
    with pytest.warns(UserWarning, match=said):
        create_app(files.store, extractor="tinynet", clusters=table)


def test_groups_of_noise_alone_are_refused(files: Files, tmp_path: Path) -> None:
    noise = replace(files.clustering, labels=np.full(len(files.embeddings), -1))
    with pytest.raises(InvalidInputError, match=r"noise.csv has no cluster but noise"):
        create_app(files.store, clusters=noise.to_csv(tmp_path / "noise.csv"))


def test_explanation_is_that_of_the_library(
    client: TestClient, files: Files, tmp_path: Path
) -> None:
    photo = tmp_path / "new.png"
    photo.write_bytes(new_picture())
    other = client.post("/v1/similar?n=5", files=form(photo.read_bytes()))
    other = other.json()["results"][0]["neighbors"][4]
    answer = client.post(f"/v1/explain?id={other['id']}", files=form(photo.read_bytes()))
    result = answer.json()["results"][0]
    expected = ck.explain(photo, other["path"], files.embeddings, random_state=0).to_dict()
    assert result["path"] == other["path"]
    assert result["similarity"] == pytest.approx(expected["similarity"], abs=2e-3)
    assert result["percentile"] == pytest.approx(expected["percentile"], abs=1)
    # JSON has no tuples, and rounds float32 differently.
    assert result["where"].keys() == json.loads(json.dumps(expected["where"])).keys()
    assert str(files.photos.parent) not in answer.text
    assert "/tmp" not in answer.text


def test_embedding_is_what_the_store_holds(client: TestClient, files: Files) -> None:
    data = [(files.photos / name).read_bytes() for name in ("000.png", "006.png", "001.png")]
    answer = client.post("/v1/embed/images/bytes", files=form(*data)).json()
    assert answer["kept_indices"] == [0, 2]
    expected = files.embeddings[["000.png", "001.png"]].vectors
    np.testing.assert_allclose(answer["embeddings"], expected, atol=1e-2)
    assert answer["dimension"] == expected.shape[1]


@pytest.mark.parametrize("path", POSTS[:4])
def test_a_broken_picture_does_not_fail_the_others(client: TestClient, path: str) -> None:
    answer = client.post(path, files=form(b"no picture", new_picture(), b""))
    first, second, third = answer.json()["results"]
    assert answer.status_code == 200
    assert "not an image" in first["error"] or "damaged" in first["error"]
    assert "error" not in second
    assert third["error"] == "the file is empty"


def test_thumbnail_and_neighbours_of_an_image(client: TestClient, files: Files) -> None:
    data = (files.photos / "003.png").read_bytes()
    result = client.post("/v1/similar?n=2", files=form(data)).json()["results"][0]
    answer = client.get(f"/v1/images/{result['id']}/thumbnail?side=32")
    assert answer.headers["content-type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(answer.content)).size) == 32
    found = client.get(f"/v1/images/{result['id']}/similar?n=1").json()
    assert found["path"] == "003.png"
    assert found["neighbors"] == result["neighbors"][1:]


def test_an_image_whose_file_is_gone_has_no_picture(
    client: TestClient, files: Files, tmp_path: Path
) -> None:
    file = (files.photos / "004.png").rename(tmp_path / "004.png")
    try:
        answer = client.get("/images/004.png")
    finally:
        file.rename(files.photos / "004.png")
    assert answer.status_code == 404
    assert "the file of that image is gone" in answer.json()["error"]


def test_sheets_of_the_page_are_served(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(b"", "", {"00000.avif": b"pictures"}, "image/avif")
    monkeypatch.setattr(client.app.service.page, "get", lambda _: page)  # type: ignore[attr-defined]
    answer = client.get("/sheets/00000.avif")
    assert (answer.content, answer.headers["content-type"]) == (b"pictures", "image/avif")
    assert client.get("/sheets/00001.avif").status_code == 404


def test_the_page_has_its_policy_and_a_form(client: TestClient, files: Files) -> None:
    _wait_for(lambda: "upload-part" in client.get("/").text)
    answer = client.get("/")
    meta = re.search('Security-Policy" content="([^"]*)"', answer.text)
    assert meta is not None
    policy = answer.headers["content-security-policy"]
    assert policy == meta[1].replace("&#39;", "'") + "; frame-ancestors 'none'"
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert 'data-kinds="predict cluster similar"' in answer.text
    picture = client.get("/images/003.png")
    assert picture.headers["content-type"] == "image/jpeg"
    for path in ("/images/nothing.png", "/images/..%2f..%2fclf.keras", "/sheets/00000.avif"):
        assert client.get(path).status_code == 404
    assert str(files.photos) not in answer.text
    assert "the audit of the space is slow" in answer.text


def test_the_page_is_compressed_for_clients_that_accept_it(
    client: TestClient, files: Files
) -> None:
    _wait_for(lambda: "upload-part" in client.get("/").text)

    def ask(accepted: str, method: str = "GET") -> tuple[dict[str, str], bytes]:
        with client.stream(method, "/", headers={"accept-encoding": accepted}) as answer:
            assert answer.status_code == 200
            return dict(answer.headers), b"".join(answer.iter_raw())

    plain, html = ask("identity")
    assert "content-encoding" not in plain
    for accepted in ("gzip, deflate, br", "br;q=1.0, GZIP;q=0.5"):
        headers, content = ask(accepted)
        assert headers["content-encoding"] == "gzip"
        assert headers["content-length"] == str(len(content))
        assert len(content) < 0.7 * len(html)
        assert gzip.decompress(content) == html
        for name in ("content-security-policy", "cache-control", "x-frame-options", "vary"):
            assert headers[name] == plain[name]
    assert plain["vary"] == "Accept-Encoding"
    for refused in ("gzip;q=0", "gzip; q=0.000, br", "", "xgzip"):
        assert ask(refused)[1] == html
    headers, content = ask("gzip", "HEAD")
    assert content == b""
    assert headers["content-encoding"] == "gzip"


def test_the_page_before_stays_where_a_new_one_cannot_be_made(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("no disk")

    served, keeper = create_app(files.store).service.served, PageKeeper(Sources(files.store))
    monkeypatch.setattr("clusterkit.serve.page.make_page", fail)
    with pytest.raises(RefusedError, match="could not be made"):
        _wait_for(lambda: keeper.get(served) is not None)
    made = Page(b"page", "policy")
    monkeypatch.setattr("clusterkit.serve.page.make_page", lambda *_: made)
    served = replace(served)
    _wait_for(lambda: keeper.get(served) is made)
    monkeypatch.setattr("clusterkit.serve.page.make_page", fail)
    served = replace(served)
    for _ in range(20):
        assert keeper.get(served) is made
        time.sleep(0.01)
    keeper.close()


def test_a_page_of_too_many_images_says_so(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterkit.serve.routes.MAX_ON_PAGE", 3)
    answer = client.get("/")
    assert answer.status_code == 200
    assert "a page shows at most 3" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_head_is_answered_as_get_without_the_body(client: TestClient) -> None:
    for path in ("/v2/health/live", "/v1/describe", "/openapi.json"):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == got.headers["content-length"]
    assert client.head("/v1/predict").status_code == 405
    assert client.head("/nothing").status_code == 404


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names that are not UTF-8")
def test_the_page_shows_files_whose_names_are_not_utf_8(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 3)
    (photos / "000.png").rename(photos / os.fsdecode(b"caf\xe9 %.png"))
    ck.embed(ck.ImageFolder(photos), ck.create_extractor("pixels"), store=tmp_path / "store")
    with TestClient(create_app(tmp_path / "store"), base_url="http://localhost") as client:
        assert client.get("/images/caf%E9%20%25.png").status_code == 200
        assert client.get("/images/caf%E8.png").status_code == 404


def test_describe_and_counts(client: TestClient, files: Files) -> None:
    described = client.get("/v1/describe").json()
    assert described["images"] == len(files.embeddings)
    assert described["classes"] == ["a", "b"]
    assert sum(group["images"] for group in described["groups"]) == len(files.embeddings)
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    counts = client.get("/metrics").text
    assert 'clusterkit_requests_total{endpoint="/v1/describe",status="200"}' in counts
    for phase in ("import", "catalogue", "network", "first batch", "groups", "endpoints"):
        assert f'clusterkit_start_seconds{{phase="{phase}"}}' in counts
    # The request itself is the only active one.
    assert "clusterkit_active_requests 1.0" in counts


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        ({"files": form()}, 415, "multipart/form-data"),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "text/plain"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
        (
            {"content": b"text", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            "not a multipart form",
        ),
        (
            {"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            "ends too early",
        ),
        (
            {
                "content": b"--x\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
                "headers": {"content-type": "multipart/form-data; boundary=x"},
            },
            400,
            "not a multipart form",
        ),
        (
            {"files": form(b"x"), "headers": {"content-encoding": "gzip"}},
            415,
            "must not be compressed",
        ),
        (
            {
                "content": b"--x--\r\n",
                "headers": {"content-type": "multipart/form-data; boundary=x"},
            },
            422,
            "send at least one picture",
        ),
        ({"files": [("image", ("a.png", b"x"))]}, 422, "must be called files"),
        ({"files": [("files", (None, b"x"))]}, 422, "must be a file"),
        ({"files": form(b"")}, 422, "the file is empty"),
        ({"files": form(b"some text")}, 422, "the picture cannot be used"),
        ({"files": form(*[b"x"] * 10_000)}, 413, "at most 128 pictures"),
    ],
)
def test_bad_bodies_get_an_error(client: TestClient, request_: Any, status: int, said: str) -> None:
    answer = client.post("/v1/predict", **request_)
    assert answer.status_code == status
    assert said in answer.json()["error"]


@pytest.mark.parametrize("n", ["0", "-1", "1001", "x", ""])
def test_n_out_of_range_is_refused(client: TestClient, n: str) -> None:
    answer = client.post(f"/v1/similar?n={n}", files=form(new_picture()))
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("n: ")


@pytest.mark.parametrize(
    ("method", "address", "names"),
    [
        ("POST", "/v1/similar", "n, exact"),
        ("POST", "/v1/predict", "none"),
        ("GET", "/v1/images/0123456789abcdef/thumbnail", "side"),
        ("GET", "/v1/describe", "none"),
    ],
)
def test_unknown_parameters_are_refused(
    client: TestClient, method: str, address: str, names: str
) -> None:
    answer = client.request(method, f"{address}?top=3")
    assert answer.status_code == 422
    assert answer.json()["error"] == f"unknown parameter 'top': {address} has {names}"
    assert client.get("/?from=elsewhere").status_code != 422


@pytest.mark.parametrize("what", ["thumbnail", "similar"])
def test_unknown_ids_and_addresses_are_refused(client: TestClient, what: str) -> None:
    assert client.get(f"/v1/images/0123456789abcdef/{what}").status_code == 404
    assert client.get(f"/v1/images/%2e%2e%2fetc/{what}").status_code == 404
    assert client.get("/etc/passwd").json()["error"].startswith("there is no /etc/passwd")
    answer = client.get("/v1/predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"] == "/v1/predict takes POST, not GET"


def test_a_bomb_is_refused(client: TestClient) -> None:
    header = (50_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    bomb = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(b"0" * 99)), (b"IEND", b"")):
        check = zlib.crc32(kind + content).to_bytes(4, "big")
        bomb += len(content).to_bytes(4, "big") + kind + content + check
    answer = client.post("/v1/predict", files=form(bomb))
    assert answer.status_code == 422
    assert "too large" in answer.json()["error"]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        (f"Bearer {TOKEN}x", 401),
        ("Bearer \xff", 401),
        (TOKEN, 401),
        ("Basic !", 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer   {TOKEN}", 200),
        ("Basic OmEtbG9uZy1zZWNyZXQ=", 200),
    ],
)
def test_a_token_is_asked_for(files: Files, header: str | None, status: int) -> None:
    app = create_app(files.store, token=TOKEN)
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    client = TestClient(app, base_url="http://localhost")
    answer = client.get("/v1/describe", headers=headers)
    assert answer.status_code == status
    assert ("Bearer" in answer.headers.get("www-authenticate", "")) == (status == 401)
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/openapi.json").status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("localhost/@evil.example", 421),
        ("evil@localhost", 421),
        ("localhost:port", 421),
        ("192.168.0.1", 421),
        ("", 421),
    ],
)
def test_foreign_hosts_are_refused(client: TestClient, host: str, status: int) -> None:
    assert client.get("/v1/describe", headers={"host": host}).status_code == status


def test_a_public_server_answers_for_any_address_and_its_names(files: Files) -> None:
    app = create_app(files.store, token=TOKEN, hosts=["api.example"], any_address=True)
    client = TestClient(app, headers={"authorization": f"Bearer {TOKEN}"})
    for host, status in (("192.168.0.1:80", 200), ("api.example", 200), ("b.example", 421)):
        assert client.get("/v1/describe", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "site", "status"),
    [
        ("http://localhost:8000", "same-site", 200),
        ("https://127.0.0.1", "cross-site", 200),
        ("null", "same-origin", 200),
        ("null", "cross-site", 403),
        ("http://evil.example", "cross-site", 403),
        ("http://localhost.evil.example", "cross-site", 403),
        ("http://evil.example/@localhost", "cross-site", 403),
        ("", "none", 403),
    ],
)
def test_pages_of_other_hosts_are_refused(
    client: TestClient, origin: str, site: str, status: int
) -> None:
    headers = {"origin": origin, "sec-fetch-site": site}
    answer = client.post("/v1/predict", files=form(new_picture()), headers=headers)
    assert answer.status_code == status


def test_answers_have_safe_headers(client: TestClient) -> None:
    for path in ("/v1/describe", "/nothing"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def call(app: Any, receive: Callable[[], Any], **headers: str) -> tuple[int, Any]:
    """Call an application with a body that comes as it comes; return status and document."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    names = {"host": "localhost", "content-type": "multipart/form-data; boundary=x"} | headers
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/similar",
        "raw_path": b"/v1/similar",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in names.items()],
    }
    asyncio.run(app(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(body)


def test_a_body_without_end_is_counted_while_it_comes(files: Files) -> None:
    n_read = 0

    async def receive() -> Any:
        nonlocal n_read
        n_read += 1
        start = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        return {
            "type": "http.request",
            "body": start if n_read == 1 else b"0" * 1000,
            "more_body": True,
        }

    app = create_app(files.store, limits=Limits(body_bytes=20_000))
    assert call(app, receive)[0] == 413
    assert n_read <= 22
    assert app.service.held.now == 0
    n_read = 0
    app = create_app(files.store, limits=Limits(held_bytes=10_000))
    status, document = call(app, receive)
    assert (status, n_read <= 12) == (429, True)
    assert "busy" in document["error"]


def test_a_body_that_says_it_is_too_large_is_not_read(files: Files) -> None:
    async def receive() -> Any:
        raise AssertionError("nothing is to be read")

    app = create_app(files.store, limits=Limits(body_bytes=20_000))
    for length in ("20001", "9" * 400):
        assert call(app, receive, **{"content-length": length})[0] == 413


def test_a_slow_body_is_refused(files: Files) -> None:
    async def receive() -> Any:
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"", "more_body": True}

    app = create_app(files.store, limits=Limits(seconds=0.2))
    status, document = call(app, receive)
    assert (status, "did not arrive" in document["error"]) == (408, True)


def test_a_client_that_goes_away_holds_nothing(files: Files) -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    app = create_app(files.store)
    assert call(app, receive)[0] == 400
    assert (app.service.held.now, app.service.waiting.now, app.requests.now) == (0, 0, 0)


def test_nothing_of_a_request_is_left_for_the_garbage_collector(client: TestClient) -> None:
    gc.collect()
    gc.disable()
    try:
        for pictures in (form(new_picture()), form(b"text")):
            client.post("/v1/predict", files=pictures)
        kinds = (_Form, Upload, ImageError)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [one for one in gc.garbage if isinstance(one, kinds)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left == []


def test_too_many_pictures_are_refused_with_a_time_to_try_again(files: Files) -> None:
    app = create_app(files.store, limits=Limits(pictures=4, waiting=4))
    started, go_on = threading.Event(), threading.Event()
    network = app.service.served.extractor

    def slow(images: Any) -> Any:
        started.set()
        go_on.wait(10)
        return network.run(images)

    served = app.service.served
    object.__setattr__(served, "extractor", network._replace(run=slow))
    with (
        TestClient(app, base_url="http://localhost") as client,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(
            client.post, "/v1/similar", files=form(*(new_picture(50 + i) for i in range(4)))
        )
        assert started.wait(10)
        refused = client.post("/v1/similar", files=form(new_picture(60)))
        # Other requests are answered meanwhile: the event loop is not blocked.
        assert client.get("/v1/describe").status_code == 200
        go_on.set()
        assert first.result().status_code == 200
        assert client.post("/v1/similar", files=form(new_picture(60))).status_code == 200
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"


def test_nobody_waits_for_a_large_picture_but_other_large_ones(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than the test may take: a large picture must not count as one that is coming.
    monkeypatch.setattr("clusterkit.serve.batching.WAIT_SECONDS", 100.0)
    monkeypatch.setattr("clusterkit.serve.service._MAX_BYTES_AT_ONCE", 2**19)
    large = encode(Image.new("RGB", (300, 200), "red"), "PNG")
    started, go_on = threading.Event(), threading.Event()

    def decode(data: bytes, *args: Any, in_background: bool = False, **options: Any) -> Any:
        if in_background:
            started.set()
            go_on.wait(60)
        return decode_image(data, *args, in_background=in_background, **options)

    monkeypatch.setattr("clusterkit.serve.service.decode_image", decode)
    app = create_app(files.store, limits=Limits(large=1))
    with (
        TestClient(app, base_url="http://localhost") as client,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(client.post, "/v1/similar", files=form(large))
        assert started.wait(60)
        assert client.post("/v1/similar", files=form(new_picture(70))).status_code == 200
        refused = client.post("/v1/similar", files=form(large))
        part = client.post("/v1/similar", files=form(large, new_picture(71))).json()["results"]
        go_on.set()
        assert first.result().status_code == 200
        assert client.post("/v1/similar", files=form(large)).status_code == 200
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert "too many large pictures" in part[0]["error"]
    assert len(part[1]["neighbors"]) == 10
    assert (app.service.large.now, app.service.waiting.now) == (0, 0)


def test_pictures_of_several_requests_are_computed_together() -> None:
    sizes: list[int] = []
    batcher = Batcher(sizes.append)

    def run(images: Any) -> Any:
        return images[:, 0, 0, :1].astype(np.float32)

    def other(images: Any) -> Any:
        raise ValueError("broken network")

    batcher.expect(40)
    pixels = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    start = time.monotonic()
    futures = [batcher.submit(run, one) for one in pixels]
    assert [future.result(10)[0] for future in futures] == list(range(40))
    assert max(sizes) <= MAX_BATCH
    assert len(sizes) < 40
    # The next picture waits for one that does not arrive, but not for long.
    batcher.expect(2)
    assert batcher.submit(run, pixels[7]).result(10)[0] == 7
    assert time.monotonic() - start < 5
    batcher.expect(-1)
    batcher.expect(1)
    with pytest.raises(ValueError, match="broken network"):
        batcher.submit(other, pixels[0]).result(10)
    # One broken batch does not end the thread.
    batcher.expect(1)
    assert batcher.submit(run, pixels[9]).result(10)[0] == 9
    batcher.close()
    assert not batcher.is_alive


# New images are in no group until they are clustered again.
@pytest.mark.filterwarnings("ignore:left out:clusterkit.errors.Notice")
def test_changed_files_are_swapped_in_without_a_failed_request(
    tmp_path: Path, tiny_weights: Path
) -> None:
    files = Files(tmp_path, tiny_weights)
    statuses: list[int] = []
    is_done = threading.Event()

    def ask(client: TestClient) -> None:
        while not is_done.is_set():
            for path in ("/v1/predict", "/v1/similar", "/v1/cluster"):
                statuses.append(client.post(path, files=form(new_picture())).status_code)

    with (
        TestClient(files.app(look_seconds=0.05), base_url="http://localhost") as client,
        ThreadPoolExecutor(2) as pool,
    ):
        asking = [pool.submit(ask, client) for _ in range(2)]
        try:
            for i in range(3):
                classes = "abcd"[: 3 + i % 2]
                files.train(classes)
                (files.photos / f"new{i}.png").write_bytes(new_picture(100 + i))
                files.embed()
                n_images = len(files.embeddings) + i + 1
                _wait_for(lambda n=n_images, c=[*classes]: _is_served(client, n, c))
            # A damaged model is not loaded.
            files.model.write_bytes(b"damaged")
            _wait_for(lambda: 'loads_total{outcome="failed"} 1' in client.get("/metrics").text)
            assert client.get("/v1/describe").json()["classes"] == ["a", "b", "c"]
        finally:
            is_done.set()
        for one in asking:
            one.result(20)
    assert len(statuses) > 10
    assert set(statuses) == {200}


def _is_served(client: TestClient, n_images: int, classes: list[str]) -> bool:
    """Return whether this number of images and these classes are served."""
    described = client.get("/v1/describe").json()
    return (described["images"], described["classes"]) == (n_images, classes)


def _wait_for(condition: Callable[[], bool]) -> None:
    """Wait for a condition: a process of low priority may be slow on a busy machine."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not become so"
        time.sleep(0.02)


def test_a_store_that_goes_away_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = import_many(tmp_path, np.eye(3, dtype=np.float32))
    looks: list[float] = []
    app = create_app(store, look_seconds=0.01)
    statuses = app.service.sources.statuses

    def look(sources: Sources) -> Any:
        looks.append(time.monotonic())
        return statuses()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Sources, "statuses", look)
        with TestClient(app, base_url="http://localhost") as client:
            store.rename(tmp_path / "away")
            n_looks = len(looks)
            _wait_for(lambda: len(looks) > n_looks + 5)
            assert client.get("/v1/describe").json()["images"] == 3
            assert 'loads_total{outcome="failed"} 1' in client.get("/metrics").text
    assert caplog.text.count("a change was not taken over: no embeddings in the store") == 1


def test_a_default_that_changes_while_it_is_loaded_is_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ck.Store(tmp_path / ".clusterkit")
    for name in ("first", "second"):
        np.savez(tmp_path / f"{name}.npz", vectors=np.eye(2, dtype="f"), paths=["a.png", name])
        ck.import_vectors(tmp_path / f"{name}.npz", store)
    find_space = Sources._find_space

    def find_and_change(sources: Sources) -> Any:
        found = find_space(sources)
        store.use("second")
        return found

    sources = Sources(store.folder)
    with monkeypatch.context() as patched:
        patched.setattr(Sources, "_find_space", find_and_change)
        served = sources.load()
    again = sources.load(served)
    assert again.catalogue is not None
    assert list(again.catalogue.paths) == ["a.png", "second"]


def test_vectors_are_mapped_and_found_again(files: Files) -> None:
    space = ck.Store(files.store).space()
    first = Catalogue(space)
    assert not first.vectors.flags.writeable
    assert not first.vectors.flags.owndata
    file = first.folder / "vectors.npy"
    before = file.stat().st_mtime_ns
    again = Catalogue(space)
    assert file.stat().st_mtime_ns == before
    np.testing.assert_array_equal(again.vectors, files.embeddings.vectors)
    assert list(again.paths) == files.embeddings.paths
    assert again.paths[1:3] == files.embeddings.paths[1:3]


def import_many(folder: Path, vectors: np.ndarray) -> Path:
    """Return a store of vectors, with images that do not exist."""
    np.save(folder / "vectors.npy", vectors)
    names = "".join(f"{i:05}.png\n" for i in range(len(vectors)))
    (folder / "paths.txt").write_text(names)
    store = folder / "store"
    ck.import_vectors(folder / "vectors.npy", store, paths=folder / "paths.txt", name="foreign")
    return store


def test_many_images_get_an_index_and_exact_answers_before_and_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterkit.similarity.catalogue.MANY", 500)
    monkeypatch.setattr("clusterkit.similarity.neighbor_index._N_VECTORS_COMPARED", 20)
    vectors = np.random.default_rng(0).normal(size=(600, 64)).astype(np.float32)
    store = import_many(tmp_path, vectors)
    app = create_app(store, look_seconds=0.05)
    image_id = app.service.served.catalogue.id_of(7)
    expected = [
        one["path"] for one in ck.find_similar(7, ck.Store(store).read()).to_dict()["results"]
    ]

    def ask(query: str = "") -> list[str]:
        answer = client.get(f"/v1/images/{image_id}/similar{query}").json()
        return [one["path"] for one in answer["neighbors"]]

    with TestClient(app, base_url="http://localhost") as client:
        assert client.get("/v1/describe").json()["neighbors"] == "exact"
        assert ask() == expected
        _wait_for(lambda: client.get("/v1/describe").json()["neighbors"] == "approximate")
        assert ask("?exact=true") == expected
        found = ask()
        # Few codes are compared exactly here, so some neighbours are missed.
        assert len(found) == 10
        assert len({*found} & {*expected}) >= 5
        # More neighbours than there are near ones.
        assert len(ask("?n=600")) == 599
    # A later start finds the index.
    again = Catalogue(ck.Store(store).space())
    assert again.index is not None


def test_a_damaged_index_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clusterkit.similarity.catalogue.MANY", 50)
    space = ck.Store(import_many(tmp_path, np.eye(60, dtype=np.float32))).space()
    catalogue = Catalogue(space)
    (catalogue.folder / "index.faiss").write_bytes(b"damaged")
    assert Catalogue(space).needs_index
    build_index(catalogue.folder)
    catalogue.open_index()
    assert not catalogue.needs_index
    query = np.eye(60, dtype=np.float32)[[3]]
    for exact in (False, True):
        distances, rows = catalogue.nearest(query, 2, exact=exact)
        assert (distances[0].tolist(), rows[0].tolist()) == ([0.0, 1.0], [3, 0])


def test_names_of_any_bytes_are_served(tmp_path: Path, tiny_weights: Path) -> None:
    photos = make_photos(tmp_path / "photos", 3)
    try:
        (photos / os.fsdecode(b"\xff.png")).write_bytes((photos / "000.png").read_bytes())
    except OSError:
        pytest.skip("this file system has names of text only")
    ck.embed_to_store(ck.ImageFolder(photos), ck.create_extractor("pixels"), tmp_path / "store")
    catalogue = Catalogue(ck.Store(tmp_path / "store").space())
    (row,) = (row for row, path in enumerate(catalogue.paths) if "0" not in path)
    assert catalogue.row_of_id(catalogue.id_of(row)) == row
    assert catalogue.row_of_path(catalogue.paths[row]) == row
    assert catalogue.file_of(row).exists()


def test_a_store_that_was_made_anew_is_read_anew(tmp_path: Path) -> None:
    for value in (1, 2):
        vectors = np.zeros((3, 2), np.float32)
        vectors[:, value - 1] = 1
        store = import_many(tmp_path, vectors)
        catalogue = Catalogue(ck.Store(store).space())
        assert catalogue.vectors.tolist() == vectors.tolist()
        shutil.rmtree(store)


def test_imported_vectors_have_neighbours_but_no_network(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    names = "".join(f"{i:02}.png\n" for i in range(30))
    (tmp_path / "paths.txt").write_text(names)
    ck.import_vectors(
        tmp_path / "vectors.npy", tmp_path / "store", paths=tmp_path / "paths.txt", name="foreign"
    )
    with TestClient(create_app(tmp_path / "store"), base_url="http://localhost") as client:
        document = client.get("/openapi.json").json()
        assert "/v1/embed/images/bytes" not in document["paths"]
        answer = client.post("/v1/similar", files=form(new_picture()))
        assert answer.status_code == 422
        assert "is not known" in answer.json()["error"]
        path = document["paths"]["/v1/images/{image_id}/similar"]["get"]["parameters"]
        image_id = next(one["example"] for one in path if one["name"] == "image_id")
        found = client.get(f"/v1/images/{image_id}/similar?n=3").json()
    expected = ck.find_similar(0, ck.Store(tmp_path / "store").read(), n_neighbors=3)
    expected = [one["path"] for one in expected.to_dict()["results"]]
    assert [one["path"] for one in found["neighbors"]] == expected


def test_the_conformance_kit_of_lightly_studio_serve_passes(client: TestClient) -> None:
    # It needs newer libraries than the minimum versions of the server.
    pytest.importorskip("lightly_studio_serve.conformance")
    from lightly_studio_serve.conformance import client as kit
    from lightly_studio_serve.conformance.runner import check_conformance

    class Probing:
        """The kit's client, without a port."""

        def get(self, path: str, timeout: float) -> Any:
            answer = client.get(path)
            return kit.ProbeResponse(answer.status_code, answer.content)

        def post(self, path: str, content_type: str, body: bytes, timeout: float) -> Any:
            headers = {"content-type": content_type}
            answer = client.post(path, content=body, headers=headers)
            return kit.ProbeResponse(answer.status_code, answer.content)

    report = check_conformance(client=Probing(), probe_timeout=10)
    assert report.passed, report
    outcomes = {one.capability: one.outcome for one in report.capabilities}
    assert outcomes["image_bytes"] == "passed"


def test_the_examples_of_the_document_run(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    n_posts = 0
    for path, operations in document["paths"].items():
        for operation in operations.values():
            words = shlex.split(operation["description"])
            url = words[-1].removeprefix("http://localhost:8000")
            assert words[0] == "curl"
            if "-F" in words:
                n_posts += 1
                assert words[words.index("-F") + 1] == "files=@picture.jpg"
                answer = client.post(url, files=form(new_picture()))
            else:
                answer = client.get(url)
            assert answer.status_code == 200, path
    assert n_posts == len(POSTS)


def test_what_cannot_be_served_is_said_before_anything_is_loaded(
    files: Files, tmp_path: Path
) -> None:
    for error, said, arguments in (
        (InvalidInputError, "nothing to serve", {}),
        (NotFoundError, "clusterkit embed", {"store": tmp_path}),
        (WeightsError, "nothing.keras", {"model": tmp_path / "nothing.keras"}),
        (
            NotFoundError,
            "nothing.csv",
            {"store": files.store, "clusters": tmp_path / "nothing.csv"},
        ),
        (InvalidInputError, "with the store", {"model": files.model, "clusters": files.clusters}),
        (InvalidInputError, "token", {"store": files.store, "token": ""}),
        (InvalidInputError, "without https://", {"store": files.store, "hosts": ["http://a.b"]}),
        (InvalidInputError, "'a.b:80'", {"store": files.store, "hosts": ["::1", "a.b:80"]}),
        (InvalidInputError, "above 0", {"store": files.store, "limits": Limits(seconds=0)}),
        (InvalidInputError, "at least", {"store": files.store, "limits": Limits(waiting=1)}),
    ):
        with pytest.raises(error, match=re.escape(said)):
            create_app(**arguments)


def test_clusters_without_a_confounder_are_refused_before_their_files_are_read(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = RemovedConfounder("tone", n_components=2, share=0.3, before=0.5, after=0.1)
    clustering = replace(files.clustering, confounding=Confounding((removed,), moved=0.2))
    table = clustering.to_csv(tmp_path / "clusters.csv")
    monkeypatch.setattr("clusterkit.serve.groups.reopen_clustering", None)
    with pytest.raises(InvalidInputError, match="without tone, which cannot be removed from a new"):
        create_app(files.store, clusters=table)


def test_a_public_address_needs_a_token(files: Files) -> None:
    for host in ("0.0.0.0", "::", "192.168.0.1", "example.org"):
        with pytest.raises(InvalidInputError, match="give a token"):
            run_server(files.store, host=host)
    command = ["serve", "-s", str(files.store), "--host", "0.0.0.0"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert result.output.startswith("Error: 0.0.0.0 can be reached from other machines")


def test_a_port_in_use_is_told_with_a_remedy(files: Files) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInputError, match=f"port {port}: .*; name another port, or 0"):
            run_server(files.store, port=port)


@pytest.mark.skipif(os.name != "posix", reason="the signals are POSIX'")
def test_a_server_answers_and_ends_when_it_is_told(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 12)
    pixels = ck.create_extractor("pixels")
    ck.embed_to_store(ck.ImageFolder(photos), pixels, tmp_path / "store")
    command = [sys.executable, "-m", "clusterkit", "serve", "-s", str(tmp_path / "store")]
    process = subprocess.Popen(
        [*command, "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        text = "".join(iter(process.stdout.readline, "}\n")) + "}"
        url = json.loads(text)["url"]
        boundary, data = "xyz", (photos / "000.png").read_bytes()
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}

        def slowly() -> Iterator[bytes]:
            yield body[:50]
            time.sleep(0.3)  # until the request runs
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            yield body[50:]

        broken = urllib.request.Request(f"{url}/v1/similar", b"no form", headers)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(broken, timeout=20)
        asked = urllib.request.Request(f"{url}/v1/similar?n=1", slowly(), headers)
        with urllib.request.urlopen(asked, timeout=20) as answer:
            found = json.load(answer)["results"][0]
        assert found["neighbors"][0]["path"] == "000.png"
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert said == ""
    # Ended by the signal, after the request.
    assert process.returncode in (-signal.SIGTERM, 0)


@contextmanager
def running(app: Any, seconds: float) -> Iterator[int]:
    """Run an application behind guarded connections within the block; yield its port."""
    config = uvicorn.Config(app, http=patient_for(seconds), port=0, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        _wait_for(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.mark.parametrize("begun", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_client_that_sends_no_headers_is_cut_off(begun: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(0.6)  # longer than a client may idle
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    with running(app, 0.2) as port, socket.create_connection(("127.0.0.1", port)) as link:
        link.settimeout(10)
        # A client that sent a request may wait for the answer, and send another.
        for _ in range(2):
            link.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert link.recv(999).startswith(b"HTTP/1.1 204")
        start = time.monotonic()
        link.sendall(begun)
        if begun:
            assert link.recv(999) == b""
            assert time.monotonic() - start < 3  # uvicorn itself waits 5 s, and only for the first
        with socket.create_connection(("127.0.0.1", port)) as silent:
            silent.settimeout(10)
            silent.sendall(begun)
            assert silent.recv(999) == b""


def test_a_client_that_goes_on_sending_what_was_refused_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 413, "headers": []})
            await send({"type": "http.response.body"})

    monkeypatch.setattr("clusterkit.serve.connections._LAST_SECONDS", 0.2)
    with running(app, 60) as port, socket.create_connection(("127.0.0.1", port)) as link:
        link.settimeout(10)
        link.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n")
        assert link.recv(999).startswith(b"HTTP/1.1 413")
        _wait_for(lambda: _is_cut_off(link))


def _is_cut_off(link: socket.socket) -> bool:
    """Send a little; return whether the connection has ended."""
    try:
        link.sendall(b"0" * 1000)
    except ConnectionError:
        return True
    return False


def test_a_client_that_does_not_read_is_cut_off() -> None:
    ended = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(1000):
                await send({"type": "http.response.body", "body": bytes(2**18), "more_body": True})
            ended.set()

    with running(app, 0.2) as port, socket.create_connection(("127.0.0.1", port)) as link:
        link.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert ended.wait(10)


# The schema allows any bytes as a picture, but the server rejects those that are none.
def test_random_requests_get_documented_answers(client: TestClient) -> None:
    import requests
    import schemathesis
    from hypothesis import HealthCheck, given, settings
    from schemathesis.checks import positive_data_acceptance

    document = client.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    n_requests = 0

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=HealthCheck)
    @given(case=schema.as_strategy())
    def check(case: Any) -> None:
        nonlocal n_requests
        n_requests += 1
        call = case.as_transport_kwargs(base_url="http://localhost")
        call.pop("timeout", None)
        prepared = requests.Request(**call).prepare()
        answer = client.request(
            prepared.method, prepared.url, content=prepared.body or b"", headers=prepared.headers
        )
        case.validate_response(answer, excluded_checks=[positive_data_acceptance])

    check()
    assert n_requests > 30


def test_the_cloud_function_answers_as_the_library_predicts(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    import base64

    from functions_framework import create_app as create_function

    monkeypatch.setenv("MODEL", str(files.model))
    source = Path(__file__).parent.parent / "examples/cloud_function/main.py"
    function = create_function("predict", str(source)).test_client()
    photo = files.photos / "003.png"
    sent = base64.b64encode(photo.read_bytes()).decode()
    answer = function.post("/", json={"image": sent})
    expected = ck.classify([photo], files.classifier).predictions[0]
    assert answer.json["classes"] == list(expected.classes)
    assert answer.json["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    for document, status in (
        ({"image": "no base64!"}, 400),
        ({"image": 1}, 400),
        ([], 400),
        ({"image": ""}, 422),
        ({"image": base64.b64encode(b"text").decode()}, 422),
    ):
        answer = function.post("/", json=document)
        assert answer.status_code == status
        assert answer.json["error"]
    assert function.post("/", data="text").status_code == 400
    assert function.get("/").status_code == 405
