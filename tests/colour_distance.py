"""How different colours look: CIEDE2000, also to a deuteranope, and contrast."""

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
# Machado, Oliveira & Fernandes (2009): deuteranopia, in linear RGB.
_DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)


def linear_rgb(colors: list[str]) -> NDArray[np.float64]:
    """Return linear RGB of shape (n, 3)."""
    rgb = np.array([to_rgb(color) for color in colors])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def as_deuteranopes_see(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return linear RGB as it looks to a deuteranope."""
    return np.clip(linear @ _DEUTERANOPIA.T, 0, 1)


def to_lab(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return CIELAB (D65) of linear RGB."""
    xyz = linear @ _TO_XYZ.T / _TO_XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )


def differences(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return CIEDE2000 of all pairs, of shape (n, n); Sharma, Wu & Dalal (2005)."""
    one, other = lab[:, None, :], lab[None, :, :]
    chroma = (np.hypot(one[..., 1], one[..., 2]) + np.hypot(other[..., 1], other[..., 2])) / 2
    g = 0.5 * (1 - np.sqrt(chroma**7 / (chroma**7 + 25.0**7)))
    a1, a2 = (1 + g) * one[..., 1], (1 + g) * other[..., 1]
    c1, c2 = np.hypot(a1, one[..., 2]), np.hypot(a2, other[..., 2])
    h1 = np.degrees(np.arctan2(one[..., 2], a1)) % 360
    h2 = np.degrees(np.arctan2(other[..., 2], a2)) % 360
    grey = c1 * c2 == 0
    turn = np.where(grey, 0, (h2 - h1 + 180) % 360 - 180)
    dh = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2)
    light, c = (one[..., 0] + other[..., 0]) / 2, (c1 + c2) / 2
    far = np.abs(h1 - h2) > 180
    hue = np.where(
        grey, h1 + h2, (h1 + h2 + np.where(far, np.where(h1 + h2 < 360, 360, -360), 0)) / 2
    )
    cos = lambda factor, plus: np.cos(np.radians(factor * hue + plus))  # noqa: E731
    t = 1 - 0.17 * cos(1, -30) + 0.24 * cos(2, 0) + 0.32 * cos(3, 6) - 0.2 * cos(4, -63)
    turned = 30 * np.exp(-(((hue - 275) / 25) ** 2))
    rotation = -2 * np.sqrt(c**7 / (c**7 + 25.0**7)) * np.sin(np.radians(2 * turned))
    s_l = 1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2)
    l_term = (other[..., 0] - one[..., 0]) / s_l
    c_term = (c2 - c1) / (1 + 0.045 * c)
    h_term = dh / (1 + 0.015 * c * t)
    return np.sqrt(l_term**2 + c_term**2 + h_term**2 + rotation * c_term * h_term)


def smallest(colors: list[str], *, deuteranopia: bool = False) -> float:
    """Return the smallest difference of two colours."""
    linear = linear_rgb(colors)
    found = differences(to_lab(as_deuteranopes_see(linear) if deuteranopia else linear))
    return float(found[np.triu_indices(len(colors), 1)].min())


def contrasts(colors: list[str], background: str) -> NDArray[np.float64]:
    """Return the contrast of colours with a background, from 1 to 21, as WCAG defines it."""
    luminance = linear_rgb([*colors, background]) @ _TO_XYZ[1]
    high = np.maximum(luminance[:-1], luminance[-1])
    low = np.minimum(luminance[:-1], luminance[-1])
    return (high + 0.05) / (low + 0.05)
