"""One restrained look for all pictures, and text that any file name survives."""

import textwrap
import unicodedata
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

# Okabe & Ito (2008), "Color universal design": distinct for all common kinds of colour vision.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#F0E442"
CYCLE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW)

INK, QUIET, RULE, TILE = "#222222", "#666666", "#D9D9D9", "#F0F0F0"

# matplotlib brings DejaVu Sans, which has no Chinese, Japanese or Korean; each system has one of
# the others.
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

# matplotlib's parameters for the time of drawing; the user's own are never changed.
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
    """Return the installed families that text is set in, the first choice first."""
    installed = set(font_manager.get_font_names())
    return [family for family in _FAMILIES if family in installed]


def styled() -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws in this style."""
    parameters: Any = {**_PARAMETERS, "font.family": font_families()}
    return matplotlib.rc_context(parameters)


def cluster_color(cluster: int) -> str:
    """Return a cluster's colour; noise (-1) is grey, and colours repeat after seven clusters."""
    return QUIET if cluster < 0 else CYCLE[cluster % len(CYCLE)]


def on_color(color: str) -> str:
    """Return black or white, whichever reads better on this colour."""
    red, green, blue = to_rgb(color)
    # Relative luminance (Rec. 709), without the gamma that this choice does not need.
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5 else "white"


def cluster_name(cluster: int | str) -> str:
    """Return "cluster 3", "noise" for -1, and a name as it is."""
    if isinstance(cluster, str):
        return cluster
    return "noise" if cluster < 0 else f"cluster {cluster}"


def fit(text: str, width: float, *, size: float = 9, weight: str = "normal") -> str:
    """Prepare one line of text, shortened in the middle where it is too wide.

    Parameters
    ----------
    text : str
        Any text: a file name may hold characters without a glyph, dollar signs, newlines.
    width : float
        The space for it, in points.
    size : float
        Font size, in points.
    weight : {"normal", "bold"}
        Font weight.

    Returns
    -------
    str
        What to hand to matplotlib.
    """
    text = _printable(text)
    if _width(text, size, weight) <= width:
        return _escape(text)
    low, high = 0, len(text) - 1
    while low < high:
        kept = (low + high + 1) // 2
        fits = _width(_cut(text, kept), size, weight) <= width
        low, high = (kept, high) if fits else (low, kept - 1)
    return _escape(_cut(text, low))


def wrap(text: str, width: float, *, size: float = 9, lines: int | None = None) -> str:
    """Prepare text that may take several lines.

    Parameters
    ----------
    text : str
        Words; a word that is too wide is broken.
    width : float
        The space for a line, in points.
    size : float
        Font size, in points.
    lines : int, optional
        Largest number of lines; what is beyond ends in "…".

    Returns
    -------
    str
        What to hand to matplotlib.
    """
    text = _printable(" ".join(text.split()))
    # Letters differ in width: start from narrow ones and reduce the columns until each line fits.
    for columns in range(max(2, int(3 * width / size)), 1, -1):
        broken = textwrap.wrap(text, columns, max_lines=lines, placeholder="…")
        if all(_width(line, size) <= width for line in broken):
            break
    return _escape("\n".join(broken))


@cache
def _characters() -> frozenset[int]:
    """Return the code points that the fonts in use can draw."""
    files = (font_manager.findfont(FontProperties(family=[name])) for name in font_families())
    return frozenset(code for file in files for code in font_manager.get_font(file).get_charmap())


def _printable(text: str) -> str:
    """Compose accents, and show a box for what no font has: matplotlib would warn at each draw."""
    known = _characters()
    composed = unicodedata.normalize("NFC", text)
    return "".join(letter if ord(letter) in known else "□" for letter in composed)


def _escape(text: str) -> str:
    """Keep matplotlib from reading a pair of dollar signs as a formula."""
    return text.replace("$", r"\$")


def _cut(text: str, kept: int) -> str:
    """Keep this many characters of both ends; names of files differ at the end more often."""
    head = kept // 2
    return f"{text[:head]}…{text[len(text) - (kept - head) :]}" if kept else "…"


def _width(text: str, size: float, weight: str = "normal") -> float:
    """Measure one line of text, in points."""
    font = FontProperties(family=font_families(), size=size, weight=weight)
    # On screens, letters are rounded to pixels, and mostly grow.
    return 1.05 * text_to_path.get_text_width_height_descent(text, font, False)[0]
