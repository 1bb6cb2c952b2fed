"""JPEG headers: the kinds that can be scaled, and files that would take forever."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from clusterkit.errors import ImageError
from clusterkit.images.decoding import decode_image
from clusterkit.images.jpeg import MAX_SCANS, estimate_quality, has_too_many_scans, read_frame
from tests.image_writers import encode, lossless_jpeg, segment
from tests.odd_files import PICTURE


def with_scans(n: int) -> bytes:
    """Return a progressive JPEG whose last scan header is repeated ``n`` times, without data."""
    data = encode(PICTURE, "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    header = data[start : start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")]
    return data[:-2] + n * header + data[-2:]


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("size", [None, (299, 299), (20, 40), (1, 1)])
def test_a_lossless_jpeg_is_decoded_whole(bands: int, size: tuple[int, int] | None) -> None:
    image, shape = decode_image(lossless_jpeg(640, 328, bands), size)
    assert shape == (328, 640)
    assert image.shape == (*(size or shape), 3)
    assert image.min() == image.max() == 128


@pytest.mark.parametrize("kind", sorted(set(range(0xC3, 0xD0)) - {0xC4, 0xC9, 0xCA}))
def test_other_frames_end_in_a_picture_or_a_reason(kind: int) -> None:
    data = lossless_jpeg(256, 256, kind=kind)
    with contextlib.suppress(ImageError):
        assert decode_image(data, (16, 16))[0].shape == (16, 16, 3)


def test_the_frame_is_found_as_libjpeg_finds_it() -> None:
    data = encode(PICTURE, "JPEG")
    frame = read_frame(data)
    assert frame is not None
    assert frame[:5] == (0xC0, 8, PICTURE.height, PICTURE.width, 3)
    assert not frame.keeps_coefficients
    # The frame of a thumbnail in a segment does not count; fill and stray bytes are skipped.
    thumbnail = segment(0xE1, encode(PICTURE.resize((8, 8)), "JPEG"))
    assert read_frame(data[:2] + thumbnail + b"\0\x12\xff\xff\xff" + data[3:]) == frame
    assert read_frame(lossless_jpeg(8, 8)).kind == 0xC3  # type: ignore[union-attr]
    assert read_frame(data[:20]) is None
    assert read_frame(b"\xff\xd8\xff") is None
    assert read_frame(b"\xff\xd8\xff\xe0\0\0" + data[2:4]) is None


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_progressive_files_keep_their_coefficients(mode: str) -> None:
    frame = read_frame(encode(PICTURE.convert(mode), "JPEG", progressive=True))
    assert frame is not None
    assert frame.keeps_coefficients
    assert frame.n_components == len(mode)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    assert not has_too_many_scans(with_scans(20))
    assert decode_image(with_scans(20))[1] == (PICTURE.height, PICTURE.width)
    with pytest.raises(ImageError, match=f"more than {MAX_SCANS} scans"):
        decode_image(with_scans(200))


def test_bytes_after_the_picture_are_no_scans() -> None:
    data = encode(PICTURE, "JPEG", progressive=True) + 200 * b"\xff\xda\0\x08"
    assert not has_too_many_scans(data)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode_image(data)[0], expected)


@pytest.mark.parametrize("n_bytes", [0, 1, 64])
def test_a_table_cut_by_the_end_of_the_file_tells_no_quality(n_bytes: int) -> None:
    assert np.isnan(estimate_quality(b"\xff\xd8\xff\xdb\x00\x43" + bytes(n_bytes)))
