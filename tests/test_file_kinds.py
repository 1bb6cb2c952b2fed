"""Files of many kinds, compared with their content and with the results of OpenCV and libvips."""

import functools

import numpy as np
import pytest
from numpy.typing import NDArray

from clusterkit.errors import ImageError
from clusterkit.images.decoding import decode_image
from tests.file_kinds import FileKind, Pixels, all_kinds


@functools.cache
def seen() -> list[tuple[FileKind, Pixels | str]]:
    """Return all kinds of files, with the decoded picture or the reason of the failure."""
    return [(kind, _decode(kind.data)) for kind in all_kinds()]


def _decode(data: bytes) -> Pixels | str:
    try:
        return decode_image(data)[0]
    except ImageError as error:
        return str(error)


def fault(kind: FileKind, image: Pixels | str) -> str:
    """Describe what is wrong with the picture of a file; empty if it is right."""
    if isinstance(image, str):
        return "" if kind.shows is None and kind.reason in image else f"refused: {image}"
    if kind.shows is None:
        return "not refused"
    if image.shape != kind.shows.shape:
        return f"has the shape {image.shape}"
    off = np.abs(image.astype(int) - kind.shows)
    if kind.tolerance == 255:
        return f"is off by {off.mean():.1f} on average" if off.mean() > 24 else ""
    return f"is off by {off.max()}" if off.max() > kind.tolerance else ""


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_every_kind_shows_its_picture_or_is_refused_with_a_reason() -> None:
    assert len({kind.name for kind, _ in seen()}) == len(seen()) >= 300
    faults = {kind.name: fault(kind, image) for kind, image in seen()}
    assert {name: what for name, what in faults.items() if what} == {}


def as_shown(values: NDArray[np.generic], *, cmyk: bool = False) -> Pixels:
    """Convert the result of another decoder, (height, width[, bands]), to 8-bit RGB on white."""
    values = values[..., None] if values.ndim == 2 else values
    if values.dtype.kind == "f":
        top = 1.0
    elif values.dtype.kind == "i":
        top = float(np.iinfo(values.dtype).max)
    else:
        top = {1: 255.0, 2: 65535.0, 4: 2.0**32 - 1}[values.dtype.itemsize]
    # OpenCV takes planes of fractions for something else, which is no number at places.
    fractions = np.clip(np.nan_to_num(values.astype(float)) / top, 0.0, 1.0)
    if cmyk:
        return np.rint(255 * (1 - fractions[..., :3]) * (1 - fractions[..., 3:4])).astype(np.uint8)
    if fractions.shape[2] in (2, 4):
        alpha = fractions[..., -1:]
        fractions = fractions[..., :-1] * alpha + 1 - alpha
    return np.rint(np.broadcast_to(fractions * 255, (*fractions.shape[:2], 3))).astype(np.uint8)


def by_vips(data: bytes) -> Pixels | None:
    pyvips = pytest.importorskip("pyvips")
    try:
        image = pyvips.Image.new_from_buffer(data, "", fail_on="error").autorot()
        cmyk = image.interpretation == "cmyk"
        if image.interpretation in ("lab", "labs"):
            image = image.colourspace("srgb")
        return as_shown(image.numpy(), cmyk=cmyk)
    except pyvips.Error:
        return None


def by_opencv(data: bytes) -> Pixels | None:
    cv2 = pytest.importorskip("cv2")
    flags = cv2.IMREAD_UNCHANGED
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    if image is None:
        return None
    if image.ndim == 3:
        image = image[..., [2, 1, 0, 3][: image.shape[2]]]
    return as_shown(image)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_another_decoder_sees_the_same() -> None:
    faults, agreeing = {}, 0
    for kind, image in seen():
        if isinstance(image, str) or not kind.others:
            continue
        others = [
            other for other in (by_vips(kind.data), by_opencv(kind.data)) if other is not None
        ]
        off = [
            int(np.abs(image.astype(int) - other).max()) if image.shape == other.shape else 255
            for other in others
        ]
        # All decoders agree on a lossy picture.
        if any(each <= (2 if kind.tolerance == 255 else max(2, kind.tolerance)) for each in off):
            agreeing += 1
        elif off:
            faults[kind.name] = off
    assert faults == {}
    assert agreeing >= 500
