"""Pictures decoded in separate processes: a crash, a hang or a wrong answer costs one picture."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clusterkit.errors import ImageError, InvalidInputError
from clusterkit.images import decoding_apart
from clusterkit.images.decoding import decode_image
from clusterkit.images.decoding_apart import TIME_VARIABLE, can_decode_apart, decode_apart
from clusterkit.images.decoding_memory import Claim, LargeImageError
from tests.grid_colours import REPOSITORY
from tests.image_writers import encode
from tests.odd_files import PICTURE

WEBP = encode(PICTURE, "WEBP", lossless=True)
# A decoder that does what the content of the file says.
PRETENDED = """
import os, signal, sys, time
import numpy as np
from clusterkit.images import decoding_child
def decode(data, size, claim, *, resize):
    word = bytes(data).split()[0].decode()
    if word == "crash": os.kill(os.getpid(), signal.SIGSEGV)
    if word == "leave": os._exit(7)
    if word == "hang": time.sleep(600)
    if word == "print": print("words of a library"); os.write(1, b"more")
    if word == "lie": os.write(4, b"nonsense" * 100); os.write(3, b"nonsense" * 100)
    if word == "fill": decoded.append(bytearray(int(data.split()[1])))
    if word == "claim": claim(int(data.split()[1]), "a picture")
    if word == "later" and not decoded: os.kill(os.getpid(), signal.SIGSEGV)
    decoded.append(word)
    return np.full((2, 3, 3), len(decoded), np.uint8), (20, 30)
decoded = []
decoding_child.decode_here = decode
decoding_child.main()
"""


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use processes with a decoder that does what the content of the file says."""
    monkeypatch.setattr(decoding_apart, "_idle", {False: [], True: []})
    monkeypatch.setattr(decoding_apart, "_MAIN", f"exec({PRETENDED!r})")
    yield
    for child in decoding_apart._idle[False] + decoding_apart._idle[True]:
        child.end()


def apart(words: str) -> tuple[np.ndarray, tuple[int, int]]:
    with Claim() as claim:
        return decode_apart(words.encode(), None, claim, resize="stretch")


@pytest.mark.usefixtures("pretended")
def test_a_crash_costs_one_picture() -> None:
    assert apart("good")[0].max() == 1
    with pytest.raises(ImageError, match=r"damaged: its decoder crashed on it \(SIGSEGV\)"):
        apart("crash")
    with pytest.raises(ImageError, match=r"its decoder crashed on it \(exit status 7\)"):
        apart("leave")
    # A new process decodes its first picture.
    image, shape = apart("good")
    assert (image.shape, image.max(), shape) == ((2, 3, 3), 1, (20, 30))
    assert apart("print")[0].max() == 2
    assert len(decoding_apart._idle[False]) == 1


@pytest.mark.usefixtures("pretended")
def test_a_picture_does_not_pay_for_what_an_earlier_one_broke() -> None:
    apart("good")
    decoding_apart._idle[False][0]._process.kill()
    assert apart("good")[0].max() == 1


@pytest.mark.usefixtures("pretended")
def test_a_hang_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    apart("good")
    monkeypatch.setenv(TIME_VARIABLE, "0.2")
    with pytest.raises(ImageError, match=rf"more than 0\.2 seconds; {TIME_VARIABLE}"):
        apart("hang")
    monkeypatch.delenv(TIME_VARIABLE)
    assert apart("good")[0].max() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit a process")
@pytest.mark.usefixtures("pretended")
def test_more_memory_than_the_limit_is_not_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTERKIT_IMAGE_MEMORY", "0.1")
    with pytest.raises(ImageError):
        apart(f"fill {2**30}")
    with pytest.raises(ImageError, match=r"decoding a picture takes about 0\.19 GiB"):
        apart(f"claim {200 * 10**6}")
    assert apart(f"claim {10**6}")[0].shape == (2, 3, 3)
    monkeypatch.setenv("CLUSTERKIT_IMAGE_MEMORY", "2")
    assert apart(f"fill {2**30}")[0].shape == (2, 3, 3)


@pytest.mark.parametrize("value", ["no", "0", "-1", "nan", "inf", ""])
def test_a_time_must_be_one(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(TIME_VARIABLE, value)
    with pytest.raises(InvalidInputError, match=f"{TIME_VARIABLE} must be a positive number"):
        decode_image(WEBP)


def test_threads_have_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: decode_image(WEBP)[0], range(12)))
    assert all((result == np.asarray(PICTURE)).all() for result in results)
    assert 1 <= len(decoding_apart._idle[False]) <= 4


def test_a_program_frozen_into_one_file_decodes_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not can_decode_apart()
    monkeypatch.setattr(decoding_apart, "_Child", None)
    monkeypatch.setattr(decoding_apart, "_idle", {False: [], True: []})
    assert decode_image(WEBP, (4, 5))[0].shape == (4, 5, 3)


def test_a_python_that_cannot_be_started_is_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(decoding_apart, "_idle", {False: [], True: []})
    monkeypatch.setattr(multiprocessing.spawn, "get_executable", lambda: str(tmp_path / "none"))
    with pytest.raises(ImageError, match="its decoder could not be started: No such file"):
        decode_image(WEBP)


@pytest.mark.usefixtures("pretended")
def test_what_is_decoded_in_the_background_has_more_time_and_a_process_that_waits_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Claim(in_background=True) as claim:
        options = {"resize": "stretch", "in_background": True}
        assert decode_apart(b"good", None, claim, **options)[0].max() == 1
        (child,) = decoding_apart._idle[True]
        if hasattr(os, "SCHED_IDLE"):
            assert os.sched_getscheduler(child._process.pid) == os.SCHED_IDLE
        # Set only now: on a busy machine the process waits.
        monkeypatch.setenv(TIME_VARIABLE, "0.2")
        with pytest.raises(ImageError, match=r"more than 0\.6 seconds"):
            decode_apart(b"hang", None, claim, **options)


def test_the_background_gives_the_same_pixels() -> None:
    data = encode(Image.fromarray(np.asarray(PICTURE)), "PNG")
    image, shape = decode_image(data, (20, 30), in_background=True)
    assert shape == decode_image(data)[1]
    assert (image == decode_image(data, (20, 30))[0]).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_large_picture_is_none_to_be_decoded_at_once(kind: str) -> None:
    data = encode(Image.new("RGB", (600, 400)), kind)
    with pytest.raises(LargeImageError, match="decoding 600 x 400 pixels takes about"):
        decode_image(data, max_bytes=2**20)
    assert decode_image(data, max_bytes=2**24)[1] == (400, 600)


SCRIPT = """
import pathlib, sys
from clusterkit.images.decoding import decode_image
data = pathlib.Path(sys.argv[1]).read_bytes()
print("once", decode_image(data)[1])
"""
FORKED = """
import os
pid = os.fork()
shape = decode_image(data)[1]
if not pid:
    os._exit(0 if shape == (32, 48) else 1)
print(os.waitpid(pid, 0)[1], shape)
"""


@pytest.mark.parametrize("more", ["", FORKED], ids=["plain", "forked"])
def test_a_script_without_a_main_guard_runs_once(tmp_path: Path, more: str) -> None:
    if more and not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    (tmp_path / "a.webp").write_bytes(WEBP)
    (tmp_path / "script.py").write_text(SCRIPT + more)
    command = [sys.executable, "-W", "error", tmp_path / "script.py", tmp_path / "a.webp"]
    run = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = "once (32, 48)\n" + ("0 (32, 48)\n" if more else "")
    assert (run.stdout, run.stderr) == (expected, "")


def test_the_process_knows_no_network() -> None:
    code = "import sys, clusterkit.images.decoding_child; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert not {"tensorflow", "keras", "sklearn", "faiss", "pyarrow"} & set(run.stdout.split())
