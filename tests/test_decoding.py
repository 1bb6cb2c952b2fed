"""Tests of clusterkit.images.decoding."""

import io
import re

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps, PngImagePlugin

from clusterkit.errors import ImageError, InvalidInputError
from clusterkit.images.decoding import decode_grey, decode_image
from clusterkit.images.pixels import to_grey
from tests.image_writers import encode
from tests.odd_files import PICTURE, PNG, picture


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_pixels_are_pillows(mode: str, options: dict[str, int]) -> None:
    data = encode(PICTURE.convert(mode), "JPEG", **options)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data)[0], expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(PICTURE, kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    image, shape = decode_image(data)
    np.testing.assert_array_equal(image, expected)
    assert shape == expected.shape[:2]
    assert image.flags.c_contiguous
    # The wanted size is that of the upright picture as well, also where the decoder halves.
    small, shape = decode_image(data, (8, 20))
    assert (shape, small.shape) == (expected.shape[:2], (8, 20, 3))
    full = np.asarray(Image.fromarray(expected).resize((20, 8), Image.Resampling.BICUBIC))
    assert np.abs(small.astype(int) - full).mean() < 4


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("size", [None, (8, 20), (64, 96)])
def test_grey_is_the_brightness_of_the_colours(
    mode: str, kind: str, size: tuple[int, int] | None
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    large = PICTURE.convert(mode).resize((240, 160), Image.Resampling.BICUBIC)
    data = encode(large, kind, exif=exif)
    colours, expected_shape = decode_image(data, size)
    found, shape = decode_grey(data, size)
    assert (shape, found.shape, found.dtype) == (expected_shape, colours.shape[:2], np.uint8)
    assert np.abs(found - to_grey(colours)).mean() < 1


@pytest.mark.parametrize("n_bytes", [0, 100, 400])
def test_a_truncated_file_has_no_brightness_for_the_reason_that_it_has_no_colours(
    n_bytes: int,
) -> None:
    data = encode(PICTURE, "JPEG")[:n_bytes]
    with pytest.raises(ImageError) as expected:
        decode_image(data)
    with pytest.raises(ImageError, match=re.escape(str(expected.value))):
        decode_grey(data)


def test_a_jpeg_is_halved_only_above_the_wanted_size() -> None:
    rng = np.random.default_rng(0)
    data = encode(Image.fromarray(rng.integers(0, 256, (160, 400, 3), dtype=np.uint8)), "JPEG")
    full = np.asarray(Image.open(io.BytesIO(data)).resize((90, 90), Image.Resampling.BICUBIC))
    # 400 could be halved twice, 160 not once.
    assert np.abs(decode_image(data, (90, 90))[0].astype(int) - full).mean() < 0.5


def test_a_jpeg_with_four_channels() -> None:
    data = encode(PICTURE.convert("CMYK"), "JPEG", quality=95)
    assert np.abs(decode_image(data)[0].astype(int) - picture()).mean() < 12


def test_stretch_crop_and_pad() -> None:
    stripes = np.zeros((60, 120, 3), np.uint8)
    stripes[:, :30], stripes[:, 30:90], stripes[:, 90:] = 60, 120, 240
    stream = io.BytesIO()
    Image.fromarray(stripes).save(stream, "PNG")
    middle = {}
    for mode in ("stretch", "crop", "pad"):
        image, shape = decode_image(stream.getvalue(), (40, 40), resize=mode)
        assert shape == (60, 120)
        assert image.shape == (40, 40, 3)
        middle[mode] = image[20, [2, 20, 37], 0].tolist()
        assert (image[0, 20, 0] == 0) == (mode == "pad")
    assert middle == {"stretch": [60, 120, 240], "crop": [120, 120, 120], "pad": [60, 120, 240]}


def test_an_unknown_way_to_resize_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"resize must be one of .*Received: 'zoom'"):
        decode_image(PNG, resize="zoom")


def test_halved_decoding_shows_the_same_picture() -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    large = small.resize((2400, 1600), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    large.save(stream, "JPEG", quality=95)
    halved, shape = decode_image(stream.getvalue(), (100, 150))
    full = np.asarray(
        Image.open(stream).convert("RGB").resize((150, 100), Image.Resampling.BICUBIC)
    )
    assert shape == (1600, 2400)
    assert np.abs(halved.astype(int) - full).mean() < 1.5


def test_the_size_is_that_of_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    PICTURE.save(stream, "JPEG", exif=exif)
    image, shape = decode_image(stream.getvalue(), (10, 20))
    assert shape == (48, 32)
    assert image.shape == (10, 20, 3)


def test_the_limit_of_pixels_is_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageError, match=r"too large: decoding 48 x 32 pixels"):
        decode_image(PNG)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode_image(PNG)[0].shape == (32, 48, 3)


def test_the_reason_of_a_decoder_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no end\nof the file\n")

    # What Pillow calls to read the pixels of a PNG.
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(ImageError) as caught:
        decode_image(PNG)
    assert str(caught.value) == "damaged: no end of the file"


def test_a_jpeg_with_odd_sides_is_decoded_at_half_its_size_without_a_resize() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (95, 127, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), "JPEG")
    half = simplejpeg.decode_jpeg(data, "RGB", min_height=48, min_width=64)
    assert half.shape == (48, 64, 3)
    assert (decode_image(data, (48, 64))[0] == half).all()
    assert decode_image(data, (48, 64))[1] == (95, 127)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x\n", "not an image, or of an unknown format"),
        (encode(PICTURE, "BMP")[:10], "damaged: the file is truncated"),
        (encode(PICTURE, "GIF")[:8], "damaged: the file is truncated"),
    ],
)
def test_very_short_files_have_a_plain_reason(data: bytes, reason: str) -> None:
    # Pillow: "unpack_from requires a buffer of at least 4 bytes for unpacking 4 bytes at offset 0".
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    assert str(caught.value) == reason
