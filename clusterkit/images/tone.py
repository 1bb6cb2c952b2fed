"""Colours as they are seen."""

import numpy as np
from numpy.typing import NDArray

# sRGB primaries and white point D65 (IEC 61966-2-1).
_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32
)
_LINEAR = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_LINEAR <= 0.04045, _LINEAR / 12.92, ((_LINEAR + 0.055) / 1.055) ** 2.4)


def to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert sRGB pixels to CIELAB, in which distances are those that people see.

    Parameters
    ----------
    rgb : ndarray of shape (..., 3), uint8
        The pixels.

    Returns
    -------
    ndarray of shape (..., 3), float32
        Lightness from 0 to 100, and two colour axes, 0 for grey.

    References
    ----------
    CIE 15: Colorimetry. 2004, for the white point D65.
    """
    xyz = _LINEAR[rgb].astype(np.float32) @ (_TO_XYZ / _TO_XYZ.sum(axis=1, keepdims=True)).T
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
