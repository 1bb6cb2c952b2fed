"""The memory that decoding may take: of one picture, and of all at once."""

import io
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from clusterkit.errors import ImageError, InvalidInputError
from clusterkit.images import decoding_memory
from clusterkit.images.decoding import decode_image
from clusterkit.images.decoding_memory import GIB, LIMIT_VARIABLE, Claim, memory_limit
from tests.image_writers import encode
from tests.odd_files import PNG

MIB = 2**20


def test_the_limit_follows_the_environment_then_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LIMIT_VARIABLE, raising=False)
    assert memory_limit() == pytest.approx(2 * GIB)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert memory_limit() == math.inf
    monkeypatch.setenv(LIMIT_VARIABLE, "0.5")
    assert memory_limit() == GIB / 2


@pytest.mark.parametrize("value", ["", "2GB", "0", "-1", "nan"])
def test_a_limit_must_be_a_number(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, value)
    with pytest.raises(InvalidInputError, match=f"{LIMIT_VARIABLE} must be a positive number"):
        decode_image(PNG)


def test_what_is_over_the_limit_says_how_to_allow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "0.001")
    data = encode(Image.new("RGB", (600, 400)), "PNG")
    with pytest.raises(ImageError, match=rf"decoding 600 x 400 pixels .*{LIMIT_VARIABLE}=1 in the"):
        decode_image(data)
    monkeypatch.setenv(LIMIT_VARIABLE, "1")
    assert decode_image(data)[1] == (400, 600)


def test_no_more_is_taken_at_once_than_half_of_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, str(100 * MIB / GIB))
    lock, taken, most = threading.Lock(), 0, 0

    def work(n_bytes: int) -> None:
        nonlocal taken, most
        with Claim() as claim:
            claim(n_bytes // 2, "a picture")
            claim(n_bytes, "a picture")
            with lock:
                taken += n_bytes
                most = max(most, taken)
            with lock:
                taken -= n_bytes

    rng = np.random.default_rng(0)
    with ThreadPoolExecutor(8) as pool:
        # Pictures that need more than half are decoded alone.
        list(pool.map(work, (MIB * rng.integers(1, 100, 300)).tolist()))
    assert most <= 100 * MIB
    assert decoding_memory._budgets[False]._taken == 0


def test_a_claim_is_given_back_when_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, str(100 * MIB / GIB))
    with Claim() as claim:
        claim(60 * MIB, "a picture")
        with pytest.raises(ImageError, match="too large"):
            claim(101 * MIB, "a picture")
        assert decoding_memory._budgets[False]._taken == 60 * MIB
    assert decoding_memory._budgets[False]._taken == 0


def jpeg_of(width: int, height: int, **options: object) -> bytes:
    """Return a uniform JPEG of any size, quickly."""
    stream = io.BytesIO()
    Image.new("L", (width, height), 200).save(stream, "JPEG", quality=30, **options)
    return stream.getvalue()


@pytest.mark.parametrize("size", [(12000, 9000), (20992, 10496)])
def test_a_large_photo_is_decoded_scaled(size: tuple[int, int]) -> None:
    image, shape = decode_image(jpeg_of(*size), (224, 224))
    assert shape == size[::-1]
    assert image.shape == (224, 224, 3)
    assert np.abs(image.astype(int) - 200).max() <= 1


def test_coefficients_count(monkeypatch: pytest.MonkeyPatch) -> None:
    # A progressive file is decoded as a whole, with two bytes per sample.
    monkeypatch.setenv(LIMIT_VARIABLE, str(6e6 / GIB))
    assert decode_image(jpeg_of(2000, 2000), (20, 20))[1] == (2000, 2000)
    with pytest.raises(ImageError, match="too large"):
        decode_image(jpeg_of(2000, 2000, progressive=True), (20, 20))


def test_a_header_that_lies_takes_no_memory() -> None:
    # 34 bytes for which Pillow allocates 268 million pixels when it opens them.
    bits = (16383 - 1 | (16383 - 1) << 14).to_bytes(4, "little")
    chunk = b"VP8L" + (13).to_bytes(4, "little") + b"\x2f" + bits + bytes(9)
    data = b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk
    with pytest.raises(ImageError, match="too large: decoding 16383 x 16383 pixels"):
        decode_image(data, (32, 32))


def test_out_of_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", fail)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(ImageError, match="there is not enough memory to decode it"):
        decode_image(PNG)
