"""Common style of all displays, and preparation of text."""

import textwrap
import unicodedata
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.colors import hsv_to_rgb, to_hex, to_rgb
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

# Okabe & Ito (2008), "Color universal design": distinct for all common kinds of colour vision.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#F0E442"
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW)
# Change of the colours after one cycle and two: towards white (1) or black (0).
_SHADES = ((0.0, 0.0), (1.0, 0.5), (0.0, 0.4))
_GOLDEN_RATIO = 0.6180339887
_SATURATIONS, _VALUES = (0.4, 0.7), (0.95, 0.75, 0.55)

INK, QUIET, RULE, TILE = "#222222", "#666666", "#D9D9D9", "#F0F0F0"

# matplotlib's DejaVu Sans has no Chinese, Japanese or Korean; most systems have one of the others.
_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans JP",
    "Hiragino Sans",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "WenQuanYi Micro Hei",
    "Arial Unicode MS",
)

# matplotlib's parameters while drawing; the user's own are not changed.
_PARAMETERS = {
    "axes.axisbelow": True,
    "axes.edgecolor": QUIET,
    "axes.facecolor": "white",
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlesize": 10,
    "axes.titleweight": "normal",
    "figure.facecolor": "white",
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "text.color": INK,
    "text.parse_math": True,
    "text.usetex": False,
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
}


@cache
def font_families() -> list[str]:
    """Return the installed font families in order of preference."""
    installed = set(font_manager.get_font_names())
    return [family for family in _FAMILIES if family in installed]


def styled() -> AbstractContextManager[None]:
    """Return a context manager for this matplotlib style."""
    parameters: Any = {**_PARAMETERS, "font.family": font_families()}
    return matplotlib.rc_context(parameters)


def cluster_color(cluster: int) -> str:
    """Return the colour of a cluster; noise (-1) is grey.

    The first seven are distinct for all kinds of colour vision; lighter and darker variants follow,
    then hues by the golden ratio, so that near numbers have different colours.
    """
    if cluster < 0:
        return QUIET
    turn, index = divmod(cluster, len(CYCLE))
    if turn < len(_SHADES):
        target, share = _SHADES[turn]
        red, green, blue = ((1 - share) * one + share * target for one in to_rgb(CYCLE[index]))
    else:
        number = cluster - len(_SHADES) * len(CYCLE)
        hue = (number * _GOLDEN_RATIO + 0.1) % 1
        saturation = _SATURATIONS[number % len(_SATURATIONS)]
        red, green, blue = hsv_to_rgb((hue, saturation, _VALUES[number % len(_VALUES)]))
    return to_hex((red, green, blue))


def on_color(color: str) -> str:
    """Return black or white, whichever has more contrast with this colour."""
    red, green, blue = to_rgb(color)
    # Relative luminance (Rec. 709), without gamma, which is not needed here.
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5 else "white"


def cluster_name(cluster: int | str) -> str:
    """Return "cluster 3", "noise" for -1, or the name itself."""
    if isinstance(cluster, str):
        return cluster
    return "noise" if cluster < 0 else f"cluster {cluster}"


def fit(text: str, width: float, *, size: float = 9, weight: str = "normal") -> str:
    """Prepare one line of text, shortened in the middle if it is too wide.

    Parameters
    ----------
    text : str
        Any text, including characters without a glyph, dollar signs and newlines.
    width : float
        Available width in points.
    size : float
        Font size, in points.
    weight : {"normal", "bold"}
        Font weight.

    Returns
    -------
    str
        Text for matplotlib.
    """
    text = _printable(text)
    if text_width(text, size, weight) <= width:
        return _escape(text)
    low, high = 0, len(text) - 1
    while low < high:
        kept = (low + high + 1) // 2
        fits = text_width(_cut(text, kept), size, weight) <= width
        low, high = (kept, high) if fits else (low, kept - 1)
    return _escape(_cut(text, low))


def wrap(text: str, width: float, *, size: float = 9, lines: int | None = None) -> str:
    """Prepare text of several lines.

    Parameters
    ----------
    text : str
        Text; words that are too wide are broken.
    width : float
        Available width of a line in points.
    size : float
        Font size, in points.
    lines : int, optional
        Maximum number of lines; longer text ends in "…".

    Returns
    -------
    str
        Text for matplotlib.
    """
    # A number and its % stay on one line.
    text = _printable(" ".join(text.split())).replace(" %", "\N{NO-BREAK SPACE}%")
    # Letters differ in width: assume narrow ones and reduce the columns until each line fits.
    for columns in range(max(2, int(3 * width / size)), 1, -1):
        broken = textwrap.wrap(text, columns, max_lines=lines, placeholder="…")
        if all(text_width(line, size) <= width for line in broken):
            break
    return _escape("\n".join(broken))


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return the width of one line of text in points."""
    font = FontProperties(family=font_families(), size=size, weight=weight)
    # On screens, letters are rounded to pixels, and usually become wider.
    return 1.05 * text_to_path.get_text_width_height_descent(text, font, False)[0]


@cache
def _characters() -> frozenset[int]:
    """Return the code points supported by the fonts in use."""
    files = (font_manager.findfont(FontProperties(family=[name])) for name in font_families())
    return frozenset(code for file in files for code in font_manager.get_font(file).get_charmap())


def _printable(text: str) -> str:
    """Compose accents, and replace unsupported characters, for which matplotlib would warn."""
    known = _characters()
    composed = unicodedata.normalize("NFC", text)
    return "".join(letter if ord(letter) in known else "□" for letter in composed)


def _escape(text: str) -> str:
    """Escape dollar signs, which matplotlib would interpret as a formula."""
    return text.replace("$", r"\$")


def _cut(text: str, kept: int) -> str:
    """Keep ``kept`` characters of both ends, more of the end, where file names usually differ."""
    head = kept // 2
    return f"{text[:head]}…{text[len(text) - (kept - head) :]}" if kept else "…"
