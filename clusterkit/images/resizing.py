"""Antialiased bicubic resizing, as in Pillow but in about half the time."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError
from clusterkit.utils.arguments import check_at_least

RESIZE_MODES = ("stretch", "crop", "pad")
# Large images are resized in strips, since intermediate pixels take four bytes each.
_STRIP_VALUES = 2**22

Pixel = TypeVar("Pixel", np.uint8, np.float32)


def resize_image(
    image: NDArray[np.uint8], size: tuple[int, int], mode: str = "stretch"
) -> NDArray[np.uint8]:
    """Resize an image.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
        The image.
    size : tuple of int
        Target (height, width) in pixels.
    mode : {"stretch", "crop", "pad"}
        ``stretch`` ignores the aspect ratio, ``crop`` keeps it by cropping the centre, ``pad``
        keeps it by adding black bars.

    Returns
    -------
    ndarray of shape (*size, 3), uint8
        The resized image.

    Raises
    ------
    InvalidInputError
        If the image, size or mode is invalid.

    Notes
    -----
    Each side is resized by a product with a sparse matrix of the cubic kernel of Keys (1981, "Cubic
    convolution interpolation for digital image processing", a = -1/2), scaled by the reduction
    factor.  The weights are Pillow's; Pillow rounds to 8 bits between the sides, which changes a
    few pixels by one level.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InvalidInputError(
            "an image must be uint8 of shape (height, width, 3). "
            f"Received: {image.dtype} {image.shape}"
        )
    check_resize_mode(mode)
    size = check_size(size)
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    if mode == "pad":
        scale = min(size[0] / height, size[1] / width)
        # A very narrow image keeps at least one pixel.
        inner = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
        padded = np.zeros((*size, 3), np.uint8)
        padded[top : top + inner[0], left : left + inner[1]] = resize_image(image, inner)
        return padded
    kept = 1.0, 1.0
    if mode == "crop":
        ratio = (width / height) / (size[1] / size[0])
        kept = min(1.0, ratio), min(1.0, 1.0 / ratio)
    turned = _swap_sides(_apply(_weights(height, size[0], kept[0]), image))
    return _swap_sides(_round(_apply(_weights(width, size[1], kept[1]), turned)))


def resize_grey(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a grey image as :func:`resize_image` does, without rounding or clipping.

    Parameters
    ----------
    image : ndarray of shape (height, width), float32
        The image.
    size : tuple of int
        Target (height, width) in pixels.

    Returns
    -------
    ndarray of shape size, float32
        The resized image.
    """
    height, width = image.shape
    turned = np.ascontiguousarray((_weights(height, size[0], 1.0) @ image).T)
    resized: NDArray[np.float32] = (_weights(width, size[1], 1.0) @ turned).T
    return resized


def check_resize_mode(mode: str) -> None:
    """Check that a resize mode is valid."""
    if mode not in RESIZE_MODES:
        raise InvalidInputError(
            f"resize must be one of {', '.join(RESIZE_MODES)}. Received: {mode!r}"
        )


def check_size(size: Any) -> tuple[int, int]:
    """Return a target size, or raise InvalidInputError if it is not (height, width) in pixels."""
    if not isinstance(size, list | tuple | np.ndarray) or len(size) != 2:
        raise InvalidInputError(f"size must be (height, width) in pixels. Received: {size!r}")
    return check_at_least(size[0], 1, "height"), check_at_least(size[1], 1, "width")


def _apply(weights: Any, image: NDArray[Any]) -> NDArray[np.float32]:
    """Resize the first side of (n, other, 3): (wanted, other, 3)."""
    flat = image.reshape(len(image), -1)
    columns = max(3, _STRIP_VALUES // len(image) // 3 * 3)
    strips = [
        weights @ flat[:, start : start + columns].astype(np.float32)
        for start in range(0, flat.shape[1], columns)
    ]
    resized = strips[0] if len(strips) == 1 else np.concatenate(strips, axis=1)
    return resized.reshape(weights.shape[0], -1, 3)


def _swap_sides(image: NDArray[Pixel]) -> NDArray[Pixel]:
    """Swap height and width; copying whole pixels as one value is twice as fast."""
    pixels = image.view(np.dtype((np.void, 3 * image.itemsize)))
    return np.ascontiguousarray(pixels[:, :, 0].T)[:, :, None].view(image.dtype)


def _round(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round to 8 bits and clip, since the kernel overshoots at edges."""
    np.clip(values, 0.0, 255.0, out=values)
    values += 0.5
    return values.astype(np.uint8)


@lru_cache(maxsize=256)
def _weights(n: int, wanted: int, kept: float) -> Any:
    """Return the sparse matrix (wanted, n) of weights of ``n`` pixels.

    Only the middle part ``kept`` of the side is used.
    """
    from scipy.sparse import csr_array

    step = n * kept / wanted
    stretch = max(1.0, step)
    centers = n * (1.0 - kept) / 2.0 + step * (np.arange(wanted) + 0.5)
    first = np.floor(centers - 2.0 * stretch + 0.5).astype(np.intp)
    pixels = first[:, None] + np.arange(int(np.ceil(4.0 * stretch)) + 1)
    values = _cubic((pixels + 0.5 - centers[:, None]) / stretch)
    values[(pixels < 0) | (pixels >= n)] = 0.0
    values /= values.sum(axis=1, keepdims=True)
    rows, taps = np.nonzero(values)
    entries = values[rows, taps].astype(np.float32), (rows, pixels[rows, taps])
    return csr_array(entries, shape=(wanted, n))


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Keys' cubic kernel with a = -1/2, which is zero from 2 on."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
