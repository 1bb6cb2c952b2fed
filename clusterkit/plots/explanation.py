"""Plot of why two images are similar: where, the share of tone, and their latent vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import ArrayLike, NDArray

from clusterkit.errors import ImageError
from clusterkit.images.folder import read_image
from clusterkit.images.tone import in_grey
from clusterkit.plots.display import Display, has_layout
from clusterkit.plots.pictures import Picture, Sheet, load_picture
from clusterkit.plots.style import (
    BLUE,
    INK,
    ORANGE,
    PURPLE,
    QUIET,
    SKY,
    VERMILION,
    fit,
    on_color,
    wrap,
)
from clusterkit.similarity.tone_share import closer_than
from clusterkit.utils.text import percent

if TYPE_CHECKING:
    from clusterkit.similarity.explanation import Explanation
    from clusterkit.similarity.similarity_maps import Where
    from clusterkit.similarity.tone_share import ToneInfluence

_WIDTH, _WORDS, _PICTURES, _CHARTS = 700.0, 32.0, 206.0, 196.0
# Of the names beside the bars of the tone, and of the numbers beside the histograms: without a
# layout, matplotlib leaves no room for them.
_NAMES, _NUMBERS, _BETWEEN = 92.0, 46.0, 12.0
# Side at which pictures are drawn, in pixels.
_SIDE = 224
# Colours of the parts, different from those of the two images.
_PART_COLORS = (ORANGE, SKY, PURPLE)


class ExplanationDisplay(Display):
    """Two images, where they are alike, the share of tone, and their latent vectors.

    In the first two pictures, areas fade to white that can be hidden without making them less
    similar. In the others, corresponding parts have the same colour; without such parts, the
    pictures are unchanged.

    Parameters
    ----------
    files : pair of path
        The two images; None for vectors without a file.
    histograms : pair of array-like of shape (n_bins,)
        Fraction of each vector's values in each bin.
    bin_edges : array-like of shape (n_bins + 1,)
        Edges of the bins.
    labels : pair of str
        Names of the images.
    title : str
        Summary of the comparison.
    where : Where, optional
        Where the images are alike.
    tone : ToneInfluence, optional
        How much of the similarity is colour tone.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes
        Both pictures, both pictures with their parts, the bars of the tone, and the histograms;
        unknown ones are empty. Set by :meth:`plot`.
    """

    axes_: NDArray[Any]

    def __init__(
        self,
        files: tuple[str | Path | None, str | Path | None],
        histograms: tuple[ArrayLike, ArrayLike],
        bin_edges: ArrayLike,
        *,
        labels: tuple[str, str] = ("", ""),
        title: str = "",
        where: Where | None = None,
        tone: ToneInfluence | None = None,
    ) -> None:
        self.files = files
        self.histograms = histograms
        self.bin_edges = bin_edges
        self.labels = labels
        self.title = title
        self.where = where
        self.tone = tone

    @classmethod
    def from_explanation(cls, explanation: Explanation, *, ax: Axes | None = None) -> Self:
        """Plot the result of :func:`clusterkit.explain`.

        Parameters
        ----------
        explanation : Explanation
            The explanation.
        ax : matplotlib.axes.Axes, optional
            Axes to draw in, which is divided into six.

        Returns
        -------
        ExplanationDisplay
            The plotted display.
        """
        display = cls(
            (explanation.file_a, explanation.file_b),
            (explanation.histogram_a, explanation.histogram_b),
            explanation.bin_edges,
            labels=(explanation.path_a or "", explanation.path_b or ""),
            title=explanation.summary,
            where=explanation.where,
            tone=explanation.tone,
        )
        return display.plot(ax=ax)

    def _size(self) -> tuple[float, float]:
        """Return the size of a new figure in points."""
        return _WIDTH, _WORDS + _PICTURES + _CHARTS

    def _draw(self, ax: Axes) -> None:
        """Draw the words, the pictures, and the charts below each other."""
        width, height = _points(ax)
        has_room = width > 0.95 * _WIDTH
        said = wrap(self.title, (0.95 if has_room else 0.8) * width, size=10.5, lines=3)
        scale = height / self._size()[1]
        # In a new figure two lines have room; in a tiny Axes they take at most half.
        words_height = min(max(_WORDS * scale, 17 * (said.count("\n") + 1)), height / 2)
        rest = (height - words_height) / (_PICTURES + _CHARTS)
        heights = [words_height, _PICTURES * rest, _CHARTS * rest]
        words, above, below = self._divide(ax, 3, 1, height_ratios=heights)[:, 0]
        words.set_axis_off()
        title = words.text(0, 1, said, va="top", fontsize=10.5)
        title.set_in_layout(False)
        pictures = self._divide(above, 1, 4)[0]
        if has_layout(ax):
            charts = self._divide(below, 1, 2, width_ratios=[1, 1.15])[0]
        else:
            rest = max(0.1, width - _NAMES - _NUMBERS - _BETWEEN)
            widths = [_NAMES, rest / 2.15, _NUMBERS + _BETWEEN, rest * 1.15 / 2.15]
            columns = self._divide(below, 1, 4, width_ratios=widths, wspace=0)[0]
            for empty in columns[::2]:
                empty.set_axis_off()
            charts = columns[1::2]
        self._draw_pictures(pictures, width, has_note=scale > 0.5)
        _draw_tone(charts[0], self.tone, has_room=has_room)
        self._draw_histograms(charts[1])
        self.axes_ = np.concatenate([pictures, charts])

    def _draw_pictures(self, axes: NDArray[Any], width: float, *, has_note: bool) -> None:
        """Draw both images faded by their effect, then their parts."""
        where = self.where
        mode = "stretch" if where is None else where.resize
        effects = (None, None) if where is None else (where.effect_a, where.effect_b)
        for i, color in enumerate((BLUE, VERMILION)):
            picture = _load(self.files[i], mode)
            axes[i].set_anchor("N")
            Sheet(axes[i], 100, 100).picture(_fade(picture, effects[i]), 0, 0, 100, frame=color)
            label = fit(self.labels[i], 0.23 * width, size=8.5)
            axes[i].set_title(label, fontsize=8.5, color=color)
            axes[i + 2].set_axis_off()
            if where is None or picture.pixels is None:
                continue
            axes[i + 2].set_anchor("N")
            masks = [(part.mask_a, part.mask_b)[i] for part in where.parts]
            shown = _color_parts(picture, masks) if masks else picture
            Sheet(axes[i + 2], 100, 100).picture(shown, 0, 0, 100, frame=color)
            _number_parts(axes[i + 2], picture, masks)
        if where is not None:
            title = "same colour, same number: same part" if where.parts else "as they are"
            axes[2].set_title(fit(title, 0.48 * width, size=8.5), fontsize=8.5, color=QUIET)
        if where is not None and has_note:
            note = fit("faded: without it they are as similar", 0.48 * width, size=8.5)
            text = axes[0].text(0, 101, note, fontsize=8.5, color=QUIET, va="top")
            # All pictures have the same width.
            text.set_in_layout(False)

    def _draw_histograms(self, ax: Axes) -> None:
        """Draw the histograms of the latent vectors."""
        for histogram, color in zip(self.histograms, (BLUE, VERMILION), strict=True):
            ax.stairs(histogram, self.bin_edges, fill=True, color=color, alpha=0.35)
            ax.stairs(histogram, self.bin_edges, color=color, linewidth=1.2)
        ax.set_xlabel("value in the latent vector")
        ax.set_ylabel("share of the values")
        filled = np.concatenate([np.ravel(h) for h in self.histograms])
        # Rectified features are mostly zero, so one bin would dominate the others.
        if (filled > 0).any() and filled.max() > 10 * np.median(filled[filled > 0]):
            ax.set_yscale("log")


def _points(ax: Axes) -> tuple[float, float]:
    """Return the (width, height) of an Axes in points, as its layout will make it."""
    figure = ax.figure
    if has_layout(ax):
        spec = ax.get_subplotspec()
        rows, columns = (1, 1) if spec is None else spec.get_gridspec().get_geometry()
        n_rows, n_columns = (1, 1) if spec is None else (len(spec.rowspan), len(spec.colspan))
        box = figure.bbox
        width, height = box.width * n_columns / columns, box.height * n_rows / rows
    else:
        width, height = ax.get_window_extent().size
    return 72 * width / figure.dpi, 72 * height / figure.dpi


def _draw_tone(ax: Axes, tone: ToneInfluence | None, *, has_room: bool) -> None:
    """Draw the similarity in each version, beside that of an ordinary pair."""
    if tone is None or not tone.versions:
        ax.set_axis_off()
        return
    names, kept = zip(*tone.versions, strict=True)
    values = [version.similarity for version in kept]
    places = range(len(kept))
    ax.barh(places, values, height=0.5, color=[INK, QUIET, QUIET])
    for place, version in zip(places, kept, strict=True):
        if version.ordinary is not None:
            mark = (version.ordinary, version.ordinary)
            ax.plot(mark, (place - 0.38, place + 0.38), color=ORANGE, linewidth=2.5)
        rank = version.percentile if has_room else None
        standing = "" if rank is None else f", {closer_than(rank)}"
        # To the right of all bars, where no bar or mark is.
        ax.text(1.04, place, f"{version.similarity:z.2f}{standing}", va="center", fontsize=8.5)
    lowest = min(0.0, *values, *(version.ordinary or 0.0 for version in kept))
    ax.set_title(f"their colours are {percent(tone.colours)} alike", fontsize=8.5, color=QUIET)
    ax.set_xlim(lowest * 1.1, 2.3 if has_room else 1.4)
    ax.set_xticks([tick for tick in (-1, -0.5, 0, 0.5, 1) if tick >= lowest * 1.1])
    ax.set_yticks(places, names)
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    ax.set_ylim(2.6, -0.6)
    ax.axvline(0, color=QUIET, linewidth=0.8)
    ax.spines[["left", "bottom"]].set_visible(False)
    # There is more room below the names than below the histograms.
    ax.set_xlabel("similarity (orange: an ordinary pair)", loc="left" if has_room else "right")


def _load(file: str | Path | None, mode: str) -> Picture:
    """Load a picture as the network saw it; stretched ones keep their proportions."""
    if file is None or mode == "stretch":
        return load_picture(file, _SIDE)
    try:
        return Picture(read_image(file, (_SIDE, _SIDE), resize=mode))
    except ImageError as error:
        return Picture(None, reason=str(error))


def _fade(picture: Picture, effects: NDArray[np.float64] | None) -> Picture:
    """Fade to white what has little effect."""
    if picture.pixels is None or effects is None:
        return picture
    kept = _enlarge(np.maximum(effects, 0), picture.pixels.shape[:2])
    highest = kept.max()
    kept = 0.15 + 0.85 * (kept / highest if highest > 0 else kept)[..., None]
    return picture._replace(pixels=np.rint(255 - kept * (255.0 - picture.pixels)).astype(np.uint8))


def _color_parts(picture: Picture, masks: list[NDArray[np.bool_]]) -> Picture:
    """Return a pale grey picture with coloured parts."""
    assert picture.pixels is not None
    grey = in_grey(picture.pixels).astype(np.float64)
    pixels = 255 - 0.4 * (255 - grey)
    for mask, color in zip(masks, _PART_COLORS, strict=False):
        rows, columns = (
            np.minimum(np.arange(side) * n // side, n - 1)
            for side, n in zip(grey.shape[:2], mask.shape, strict=True)
        )
        inside = mask[np.ix_(rows, columns)]
        pixels[inside] = 0.45 * grey[inside] + 0.55 * 255 * np.array(to_rgb(color))
    return picture._replace(pixels=np.rint(pixels).astype(np.uint8))


def _number_parts(ax: Axes, picture: Picture, masks: list[NDArray[np.bool_]]) -> None:
    """Number the parts, for readers who cannot distinguish the colours."""
    width, height = min(1, 1 / picture.aspect), min(1, picture.aspect)
    for number, (mask, color) in enumerate(zip(masks, _PART_COLORS, strict=False), 1):
        if not mask.any():
            continue
        places = np.argwhere(mask)
        # The location nearest to the middle of the part, as the middle may be outside of it.
        row, column = places[np.argmin(((places - places.mean(axis=0)) ** 2).sum(axis=1))]
        x = 50 + 100 * width * ((column + 0.5) / mask.shape[1] - 0.5)
        y = 50 + 100 * height * ((row + 0.5) / mask.shape[0] - 0.5)
        box = {"boxstyle": "circle,pad=0.15", "facecolor": color, "linewidth": 0}
        style: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "fontsize": 8,
            "color": on_color(color),
        }
        ax.text(x, y, str(number), bbox=box, zorder=4, **style)


def _enlarge(values: NDArray[np.float64], size: tuple[int, ...]) -> NDArray[np.float64]:
    """Enlarge a map to a size, linearly between the middles of its locations."""
    for axis, side in enumerate(size):
        n = values.shape[axis]
        places = (np.arange(side) + 0.5) * n / side - 0.5
        lower = np.clip(np.floor(places).astype(int), 0, n - 1)
        rest = np.clip(places - lower, 0, 1)
        rest = rest[:, None] if axis == 0 else rest
        upper = np.minimum(lower + 1, n - 1)
        values = np.take(values, lower, axis) * (1 - rest) + np.take(values, upper, axis) * rest
    return values
