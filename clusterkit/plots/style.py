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
# Clusters have other colours: each has a contrast of at least 3 with the light and dark backgrounds
# of figures and page.  Within that range of luminance, the first ten and the first twenty have the
# largest smallest difference (CIEDE2000) that a search found, for normal vision and without red or
# green cones; of the others, each is the most different from all before it.
_CODES = (
    "278ab7 da001a 7b993a a600f8 978a65 5a89ff 587564 ee3f88 cb0294 718b8d "
    "677045 ff1f00 2c9cac d40069 00861b 4b6cab f132e9 59907e db1e4b 317675 "
    "886677 bb77aa 9977dd bb7777 776699 aa7700 bb7755 aa5544 ff4455 119966 "
    "886655 9955bb 4455ff 777788 aa5577 998899 668855 447788 7788bb 887722 "
    "cc11cc 9955ff 778899 778877 bb55aa aa5511 dd6633 7766cc 888844 ff33bb "
    "449922 0077dd dd6677 887777 887799 996633 557700 ff2266 6677dd cc5555"
)
_CLUSTERS = tuple(f"#{code}" for code in _CODES.split())
# Of noise: with the same contrast.
_NOISE = "#888888"
# The colours after these: hues by the golden ratio, and the same range of luminance.
_GOLDEN_RATIO = 0.6180339887
_SATURATIONS, _LUMINANCES = (0.9, 0.55), (0.155, 0.265, 0.21)

INK, QUIET, RULE, TILE = "#222222", "#666666", "#D9D9D9", "#F0F0F0"
# In place of letters that no installed font has.
UNKNOWN = "□"

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

    The first twenty are as different as possible, for all common kinds of colour vision, the first
    sixty for normal vision; then near numbers have different hues.
    """
    if cluster < 0:
        return _NOISE
    if cluster < len(_CLUSTERS):
        return _CLUSTERS[cluster]
    number = cluster - len(_CLUSTERS)
    hue = (number * _GOLDEN_RATIO + 0.1) % 1
    saturation = _SATURATIONS[number % len(_SATURATIONS)]
    target = _LUMINANCES[number // len(_SATURATIONS) % len(_LUMINANCES)]
    # Linear RGB, in which luminance is a sum (IEC 61966-2-1); darkened, or mixed with white.
    linear = [((one + 0.055) / 1.055) ** 2.4 for one in hsv_to_rgb((hue, saturation, 1.0))]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    if luminance > target:
        linear = [one * target / luminance for one in linear]
    else:
        white = (target - luminance) / (1 - luminance)
        linear = [(1 - white) * one + white for one in linear]
    red, green, blue = (max(0.0, 1.055 * one ** (1 / 2.4) - 0.055) for one in linear)
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
    return "".join(letter if ord(letter) in known else UNKNOWN for letter in composed)


def _escape(text: str) -> str:
    """Escape dollar signs, which matplotlib would interpret as a formula."""
    return text.replace("$", r"\$")


def _cut(text: str, kept: int) -> str:
    """Keep ``kept`` characters of both ends, more of the end, where file names usually differ."""
    head = kept // 2
    return f"{text[:head]}…{text[len(text) - (kept - head) :]}" if kept else "…"
