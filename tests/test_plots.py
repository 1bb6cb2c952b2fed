"""Displays: numbers in, Axes out; every figure can be saved, with any file names."""

import gc
import io
import os
import subprocess
import sys
import warnings
import weakref
from collections.abc import Iterator
from copy import copy
from functools import partial
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.style import context as style_context
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

import clusterkit.plots
from clusterkit.classifiers import ClassificationReport
from clusterkit.clustering.decisions import Decisions
from clusterkit.errors import InvalidInputError, NotFoundError, Notice, OutputExistsError
from clusterkit.images.folder import ImageFolder, digest_file
from clusterkit.plots import (
    AuditDisplay,
    ClassCountsDisplay,
    ClassScoresDisplay,
    ClassSimilarityDisplay,
    ConfusionDisplay,
    ContactSheetDisplay,
    ContactSheets,
    CrosstabDisplay,
    Display,
    ElbowDisplay,
    ExplanationDisplay,
    GalleryDisplay,
    InspectionDisplay,
    LearningCurvesDisplay,
    LossCurveDisplay,
    MapDisplay,
    NetworkCurvesDisplay,
    PredictionsDisplay,
    RankingCurvesDisplay,
    ReconstructionDisplay,
    ReliabilityDisplay,
    SampleDisplay,
    SpaceComparisonDisplay,
    check_figure_path,
    check_sheet_path,
    pictures,
    render_figure,
    save_figure,
)
from clusterkit.plots.audit import PropertyBar
from clusterkit.plots.inspection import ClusterRow
from clusterkit.plots.predictions import PredictionLine
from clusterkit.plots.style import BLUE, INK, VERMILION, cluster_color, fit, wrap
from clusterkit.similarity.projection import project
from clusterkit.similarity.similar import explain
from clusterkit.similarity.space_audit import Audit
from clusterkit.space_comparison import SpaceComparison, SpaceScores
from clusterkit.store.embeddings import Embeddings
from tests.colour_distance import contrasts, differences, smallest

# Of names with letters that no font here may have.
pytestmark = pytest.mark.filterwarnings("ignore:no installed font:clusterkit.errors.Notice")

DIGITS = Path(__file__).parent.parent / "data" / "digits"
SUFFIXES = (".png", ".pdf", ".svg", ".jpg")
# Each breaks a naive plot in a different way.
AWKWARD_NAMES = (
    "x" * 200 + ".png",
    "costs $5 and $6.png",
    r"\alpha_{x}^2 $\frac$.png",
    "猫と犬の写真 한국어.png",
    "line\nbreak\ttab.png",
    "العربية.png",
    "cafe\N{COMBINING ACUTE ACCENT} \N{CAT FACE}.png",
    os.fsdecode(b"not \xff\xfe unicode.png"),
    "",
)


@pytest.fixture(scope="module")
def emb() -> Embeddings:
    images = ImageFolder(DIGITS)[::5]
    vectors = np.stack([image[..., 0].ravel() for image in images])
    return Embeddings(vectors, paths=images.paths, root=images.root)


@pytest.fixture(scope="module")
def clustering(emb: Embeddings) -> Any:
    """Three clusters and noise; later rows are nearer to their centre."""
    labels = np.arange(len(emb)) % 3
    labels[-4:] = -1
    distances = np.linspace(1, 0, len(emb))
    distances[labels < 0] = np.nan
    return SimpleNamespace(
        labels=labels, distances=distances, embeddings=emb, names={1: "ones"}, parameters={}
    )


def elbow_curve(**changes: Any) -> Any:
    curve = {
        "n_clusters": np.arange(2, 8),
        "inertia": np.array([9.0, 6.0, 3.0, 2.5, 2.2, 2.0]),
        "silhouette": np.array([0.1, 0.2, 0.5, 0.4, 0.3, np.nan]),
        "calinski_harabasz": None,
        "davies_bouldin": np.full(6, np.nan),
        "stability": None,
        "k": 4,
        "verdict": "4 clusters: knee and silhouette agree",
        "probability": np.array([0.1, 0.05, 0.5, 0.1, 0.05, 0.0]),
        "levels": (
            SimpleNamespace(n_clusters=2, confidence=0.15),
            SimpleNamespace(n_clusters=4, confidence=0.65),
        ),
        "votes": {"knee": 5, "silhouette": 4, "davies_bouldin": None},
    }
    return SimpleNamespace(**curve | changes)


def evaluation(**changes: Any) -> Any:
    result = {
        "table": np.array([[1, 0, 0], [0, 7, 3], [9, 0, 1]]),
        "clusters": np.array([-1, 0, 1]),
        "label_names": ["cat", "dog", "fox"],
        "accuracy": 0.81,
        "nmi": 0.72,
        "ari": 0.63,
        "purity": 0.84,
        "names": {1: "fox"},
    }
    return SimpleNamespace(**result | changes)


HISTORY = {
    "loss": [3.0, 2.0, 1.5],
    "val_loss": [3.0, 2.0, 2.5],
    "accuracy": [0.3, 0.5, 0.7],
    "val_accuracy": [0.3, 0.6, 0.4],
}


def report() -> ClassificationReport:
    truth, predicted = np.eye(3, dtype=bool)[[0, 0, 1, 2]], np.eye(3, dtype=bool)[[0, 1, 1, 2]]
    return ClassificationReport(
        ["cat $5", "猫", "x" * 80],
        list("abcd"),
        truth,
        predicted,
        (0.7 * predicted + 0.1).astype(np.float32),
        is_multilabel=False,
        images=list(ImageFolder(DIGITS).files[:4]),
        class_similarity=np.array([[1, 0.8, np.nan], [0.8, 1, np.nan], [np.nan] * 3]),
    )


def comparison() -> SpaceComparison:
    """Return three compared spaces."""
    spaces = [
        SpaceScores("xception-5d41402a", 2048, 380, 0.85, 0.70, 0.93, 0.33, 0.63, 0.95),
        SpaceScores("resnet50-predictions-0a1b2c3d", 1000, 380, 0.77, 0.64, 0.94, 0.54, 0.58, 0.9),
        SpaceScores("pixels-11111111", 3072, 400, 0.03, 0.08, 0.46, 0.05, 0.02, 0.22),
    ]
    return SpaceComparison(tuple(spaces), n=380, n_clusters=(8, 10, 12), n_labels=10)


@pytest.fixture(scope="module")
def displays(emb: Embeddings, clustering: Any) -> dict[str, Display]:
    """Return one plotted display of each kind."""
    images = np.stack([ImageFolder(DIGITS)[row] for row in range(3)])
    return {
        "class counts": ClassCountsDisplay(
            {"train": {"cat": 90, "$": 7}, "test": {"cat": 12}}
        ).plot(),
        "class scores": ClassScoresDisplay.from_report(report()),
        "class similarity": ClassSimilarityDisplay.from_report(report()),
        "contact sheet": ContactSheetDisplay.from_clustering(clustering),
        "crosstab": CrosstabDisplay.from_evaluation(evaluation()),
        "elbow": ElbowDisplay.from_curve(elbow_curve()),
        "explanation": ExplanationDisplay.from_explanation(explain(0, 1, emb)),
        "gallery": GalleryDisplay.from_neighbors(emb, [0.0, 0.1, 0.3], [4, 2, 8]),
        "confusion": ConfusionDisplay.from_report(report()),
        "curves": LearningCurvesDisplay(HISTORY, best_epoch=2).plot(),
        "loss": LossCurveDisplay.from_history({"loss": [3.0, 2.0, 1.5], "val_loss": [3, 2, 2.5]}),
        "map": MapDisplay.from_clustering(clustering),
        "map of points": MapDisplay.from_clustering(clustering, max_thumbnails=0),
        "predictions": PredictionsDisplay.from_report(report()),
        "ranking": RankingCurvesDisplay.from_report(report()),
        "reliability": ReliabilityDisplay.from_report(report()),
        "reconstruction": ReconstructionDisplay.from_arrays(images, images // 2),
        "space comparison": SpaceComparisonDisplay.from_comparison(comparison()),
    }


KINDS = (
    "class counts",
    "class scores",
    "class similarity",
    "confusion",
    "contact sheet",
    "crosstab",
    "curves",
    "elbow",
    "explanation",
    "gallery",
    "loss",
    "map",
    "map of points",
    "predictions",
    "ranking",
    "reconstruction",
    "reliability",
    "space comparison",
)


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "6", None, True])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_what_is_drawn_are_checked(
    displays: dict[str, Display], kind: str, wrong: Any
) -> None:
    display = copy(displays[kind])
    names = {"columns", "n_images", *(name for name in vars(display) if name.startswith("max_"))}
    for name in names & vars(display).keys():
        right = getattr(display, name)
        setattr(display, name, wrong)
        said = rf"^{name} must be an integer of at least 1\. Received: {name}={wrong!r}$"
        with pytest.raises(InvalidInputError, match=said):
            display.plot()
        setattr(display, name, right)


@pytest.mark.parametrize("n_images", [0, -1, "6"])
def test_numbers_of_images_to_choose_are_checked(clustering: Any, n_images: Any) -> None:
    pixels = np.zeros((3, 4, 4, 3), np.uint8)
    for draw in (
        partial(PredictionsDisplay.from_report, report()),
        partial(ContactSheets.from_clustering, clustering),
        partial(ContactSheetDisplay.from_clustering, clustering, show="all"),
        partial(ReconstructionDisplay.from_arrays, pixels, pixels),
    ):
        with pytest.raises(InvalidInputError, match=r"^n_images must be an integer of at least 1"):
            draw(n_images=n_images)
    with pytest.raises(
        InvalidInputError, match=r"^max_thumbnails must be an integer of at least 0"
    ):
        MapDisplay.from_clustering(clustering, max_thumbnails="6")


def texts(display: Display) -> list[str]:
    """Return all text on a figure."""
    written = [text.get_text() for text in display.figure_.findobj(Text)]
    return [text for text in written if text]


def drawn_texts(figure: Figure) -> Iterator[Text]:
    """Yield every drawn text; ticks beyond the limits are not drawn."""
    for ax in figure.axes:
        yield from (child for child in ax.get_children() if isinstance(child, Text))
        if ax.get_legend():
            yield from ax.get_legend().get_texts()
        for axis in (ax.xaxis, ax.yaxis) if ax.axison else ():
            yield axis.label
            low, high = sorted(axis.get_view_interval())
            yield from (
                tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high
            )


def read_png(content: bytes, path: Path) -> np.ndarray:
    path.write_bytes(content)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


# ---------------------------------------------------------------- every display


@pytest.mark.parametrize("kind", KINDS)
def test_plot_returns_the_display_with_axes_and_figure(
    displays: dict[str, Display], kind: str
) -> None:
    display = displays[kind]
    assert display.plot() is display
    axes = display.axes_[0] if hasattr(display, "axes_") else display.ax_
    assert axes.figure is display.figure_
    assert isinstance(display.figure_, Figure)


@pytest.mark.parametrize("kind", KINDS)
def test_plot_draws_into_a_given_axes(displays: dict[str, Display], kind: str) -> None:
    display = displays[kind]
    figure = Figure(figsize=(8, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    display.plot(ax=left)
    assert display.figure_ is figure
    assert not right.has_data()
    drawn = list(display.axes_) if hasattr(display, "axes_") else [display.ax_]
    figure.draw_without_rendering()
    assert all(ax.get_position().x1 <= right.get_position().x0 for ax in drawn)
    display.plot()


def test_an_array_of_axes_or_a_figure_is_no_axes(displays: dict[str, Display]) -> None:
    figure = Figure()
    for wrong in (figure, figure.subplots(1, 2), 0):
        with pytest.raises(InvalidInputError, match=r"^ax must be one Axes, .* Received: "):
            displays["elbow"].plot(ax=wrong)
    removed = figure.subplots()
    removed.remove()
    for wrong, said in (
        (removed, "one that was removed"),
        (figure.add_subplot(projection="3d"), "one of three dimensions"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            displays["elbow"].plot(ax=wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_drawn_outside_the_picture(
    displays: dict[str, Display], kind: str, tmp_path: Path
) -> None:
    pixels = read_png(render_figure(displays[kind]), tmp_path / "a.png")
    # White at the borders, so nothing is cut off; dark somewhere, so something is drawn.
    edges = np.concatenate([pixels[:4].ravel(), pixels[-4:].ravel(), pixels[:, :4].ravel()])
    assert edges.min() == 255
    assert pixels[:, -4:].min() == 255
    assert pixels.min() < 60


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_lines_of_text_overlap(displays: dict[str, Display], kind: str) -> None:
    check_text_of(displays[kind].figure_)


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_cut_off_by_a_plain_savefig(displays: dict[str, Display], kind: str) -> None:
    figure = displays[kind].figure_
    figure.draw_without_rendering()
    for text in drawn_texts(figure):
        if text.get_visible() and text.get_text():
            box = text.get_window_extent()
            assert figure.bbox.x0 - 1 <= box.x0 < box.x1 <= figure.bbox.x1 + 1, text.get_text()
            assert figure.bbox.y0 - 1 <= box.y0 < box.y1 <= figure.bbox.y1 + 1, text.get_text()


@pytest.mark.parametrize("is_part", [True, False])
def test_a_legend_below_fits_into_its_part_of_a_figure(
    displays: dict[str, Display], is_part: bool
) -> None:
    figure = Figure(figsize=(12, 5), layout="constrained")
    if is_part:
        part = figure.subfigures(1, 2)[1]
        ax, place = part.subplots(), part.bbox
    else:
        ax, place = figure.subplots(1, 2)[1], figure.bbox
    displays["space comparison"].plot(ax=ax)
    figure.draw_without_rendering()
    legend = ax.get_legend().get_window_extent()
    assert place.x0 <= legend.x0
    assert legend.x1 <= place.x1
    assert ax.get_legend()._ncols == 1
    assert displays["space comparison"].plot().ax_.get_legend()._ncols == 2


@pytest.mark.parametrize("layout", ["none", "constrained"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_two_lines_overlap_on_axes_of_the_usual_size(
    displays: dict[str, Display], kind: str, layout: str
) -> None:
    figure = Figure(layout=layout)
    displays[kind].plot(ax=figure.subplots())
    check_text_of(figure)
    displays[kind].plot()


@pytest.mark.parametrize("layout", ["none", "constrained"])
def test_an_explanation_with_tone_fits_axes_of_the_usual_size(layout: str) -> None:
    version = SimpleNamespace(similarity=0.5, ordinary=0.4, percentile=85.2)
    names = ("as they are", "in grey", "with matched tone")
    figure = Figure(layout=layout)
    ExplanationDisplay(
        (None, None),
        ([0.5, 0.5], [0.25, 0.75]),
        [0, 0.5, 1],
        labels=("cat/felis-catus_10_82a2f8b6.jpg", "jaguar/panthera-onca_83_92429648.jpg"),
        title="0.51 similar, closer than 85.2 % of all pairs of images, an ordinary pair.",
        where=SimpleNamespace(resize="stretch", effect_a=None, effect_b=None, parts=[]),
        tone=SimpleNamespace(colours=0.67, versions=[(name, version) for name in names]),
    ).plot(ax=figure.subplots())
    check_text_of(figure)
    page = figure.bbox
    for text in drawn_texts(figure):
        box = text.get_window_extent()
        assert not text.get_text() or page.x0 <= box.x0 < box.x1 <= page.x1, text.get_text()


@pytest.mark.parametrize("is_tight", [False, True])
@pytest.mark.parametrize("kind", ["crosstab", "elbow", "map"])
def test_names_are_not_cut_off_on_axes_of_the_usual_size(kind: str, is_tight: bool) -> None:
    names = {0: "grey wolf / timber wolf / red wolf", 1: "a very long name of a cluster"}
    display = {
        "crosstab": CrosstabDisplay([[7, 1], [2, 9]], list(names.values()), list(names.values())),
        "elbow": ElbowDisplay([2, 3, 4], [3, 2, 1], probability=[0.1, 0.8, 0.05], chosen=3),
        "map": MapDisplay(np.arange(40).reshape(20, 2) % 7, np.arange(20) % 2, names=names),
    }[kind]
    for size in ((6.4, 4.8), (8, 3)):
        figure = Figure(figsize=size)
        ax = figure.subplots()
        if is_tight:
            figure.tight_layout()
        display.plot(ax=ax)
        figure.draw_without_rendering()
        box, page = figure.get_tightbbox(), figure.bbox_inches
        assert (box.min >= page.min - 0.01).all()
        assert (box.max <= page.max + 0.01).all()


def test_an_explanation_is_drawn_on_a_tiny_axes(displays: dict[str, Display]) -> None:
    figure = Figure()
    displays["explanation"].plot(ax=figure.subplots(8, 8)[0, 0])
    figure.draw_without_rendering()
    displays["explanation"].plot()


def check_text_of(figure: Figure) -> None:
    """Check that no two lines of text of a figure overlap."""
    figure.draw_without_rendering()
    drawn = [
        (text.get_text(), text.get_window_extent())
        for text in drawn_texts(figure)
        if text.get_visible() and text.get_text() and text.get_rotation() in (0, 90)
    ]
    for (text, box), (other, other_box) in combinations(drawn, 2):
        shared = Bbox.intersection(box, other_box)
        area = 0 if shared is None else shared.width * shared.height
        # The boxes of two lines touch, since they include space for accents.
        assert area < 0.1 * box.width * box.height, (text, other)


def test_the_style_does_not_leak(emb: Embeddings) -> None:
    before = dict(matplotlib.rcParams)
    LossCurveDisplay([1.0, 2.0]).plot()
    GalleryDisplay(emb.files[:2]).plot()
    assert dict(matplotlib.rcParams) == before


def test_figures_are_freed(emb: Embeddings, tmp_path: Path) -> None:
    alive = []
    for index in range(30):  # pyplot would warn from the 21st on
        display = GalleryDisplay(emb.files[:1]).plot()
        display.save(tmp_path / f"{index}.png", dpi=30)
        alive.append(weakref.ref(display.figure_))
    del display
    gc.collect()
    assert [figure for figure in alive if figure() is not None] == []


def test_a_fresh_process_needs_no_screen_and_no_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys, clusterkit.plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from clusterkit.plots import LossCurveDisplay\n"
        f"LossCurveDisplay([2, 1]).save({str(tmp_path / 'loss.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    hidden = {"DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=environment)
    assert (tmp_path / "loss.png").stat().st_size > 1000


def test_a_notebook_shows_every_display_of_every_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND")  # the notebook sets its own
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    sources = [
        "from clusterkit.plots import LossCurveDisplay\n"
        "LossCurveDisplay([2, 1]).plot()\n"
        "LossCurveDisplay([3, 1]).plot();",
        "LossCurveDisplay([4, 1]).plot();",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    done = nbclient.execute(notebook, timeout=60)
    shown = [
        sum("image/png" in output.get("data", {}) for output in cell.outputs) for cell in done.cells
    ]
    assert shown == [2, 1]


def test_all_names_are_exported() -> None:
    assert {"ElbowDisplay", "save_figure"} <= set(dir(clusterkit.plots))
    for name in clusterkit.plots.__all__:
        assert getattr(clusterkit.plots, name).__name__ == name
    with pytest.raises(AttributeError, match="NoDisplay"):
        _ = clusterkit.plots.NoDisplay


# ---------------------------------------------------------------- saving


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_numbers_give_the_same_bytes(suffix: str, emb: Embeddings) -> None:
    first, second = (
        render_figure(GalleryDisplay(emb.files[:3], captions=["a", "b", "c"]), suffix)
        for _ in range(2)
    )
    assert first == second
    assert len(first) > 1000


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".PNG"])
def test_save_writes_one_whole_file(suffix: str, tmp_path: Path) -> None:
    display = LossCurveDisplay([2.0, 1.0])
    file = display.save(tmp_path / f"loss{suffix}")
    assert [file] == list(tmp_path.iterdir())
    assert file.read_bytes() == render_figure(display, suffix)


def test_save_never_replaces_unasked(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_text("mine")
    display = LossCurveDisplay([2.0, 1.0]).plot()
    with pytest.raises(OutputExistsError, match=r"a\.png exists"):
        save_figure(display, file)
    assert file.read_text() == "mine"
    save_figure(display, file, overwrite=True)
    assert file.read_bytes()[:4] == b"\x89PNG"


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_text("old")
    figure = Figure()
    figure.text(0, 0, r"$\frac$")  # fails when it is drawn
    with pytest.raises(ValueError, match="frac"):
        save_figure(figure, file, overwrite=True)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["a.gif", "a", ".png"])
def test_a_bad_suffix_names_the_allowed_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"\.png, \.pdf, \.svg, \.jpg"):
        check_figure_path(tmp_path / name)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        check_figure_path(tmp_path / "nowhere" / "a.png")


# ---------------------------------------------------------------- text


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_any_file_name_is_drawn_within_its_place(name: str, emb: Embeddings) -> None:
    display = GalleryDisplay(emb.files[:2], titles=[name] * 2, captions=[name] * 2).plot()
    render_figure(display)  # a warning would be an error
    display.figure_.draw_without_rendering()
    tile = display.ax_.images[0].get_window_extent()
    for text in display.ax_.texts[:2]:
        assert text.get_window_extent().x1 <= tile.x1 + 0.02 * tile.width


def test_labels_with_awkward_names_are_drawn() -> None:
    names = list(AWKWARD_NAMES)
    table = np.eye(len(names), dtype=int)
    render_figure(CrosstabDisplay(table, range(len(names)), names))
    render_figure(ContactSheetDisplay({0: []}, names={0: names[0]}))


def test_fit_keeps_both_ends() -> None:
    shortened = fit("fox/" + "long " * 50 + "0815.jpg", 100)
    assert shortened.startswith("fox/")
    assert shortened.endswith("0815.jpg")
    assert "…" in shortened
    assert fit("short.jpg", 100) == "short.jpg"
    assert fit("short.jpg", 1) == "…"


@pytest.mark.parametrize("kind", ["curves", "elbow", "explanation", "gallery", "map"])
def test_on_dark_axes_a_display_is_as_on_light_ones(
    displays: dict[str, Display], kind: str, tmp_path: Path
) -> None:
    drawn = {}
    for style in ("default", "dark_background"):
        with style_context(style):
            figure = Figure(figsize=(16, 8))
            other, ax = figure.subplots(1, 2)
            displays[kind].plot(ax=ax)
            content = io.BytesIO()
            figure.savefig(content, dpi=40)
        drawn[style] = read_png(content.getvalue(), tmp_path / "a.png")
    light, dark = drawn.values()
    displays[kind].plot()
    # The other panel of the dark figure is as it was.
    assert dark[20, 20].max() == 0
    assert to_rgba(other.get_facecolor())[:3] == (0, 0, 0)
    # All that is drawn is there in its colours; only frames are grey instead of black.
    drawn_pixels = (light < 245).any(axis=2)
    drawn_pixels[:, :320] = False
    change = np.abs(light.astype(int) - dark).max(axis=2)
    assert drawn_pixels.sum() > 500
    assert (change[drawn_pixels] > 120).mean() < 0.02


def test_titles_on_dark_axes_are_seen_and_a_removed_display_leaves_no_paper() -> None:
    display = MapDisplay(np.arange(40).reshape(20, 2) % 7, np.arange(20) % 2)
    with style_context("dark_background"):
        figure = Figure()
        ax = figure.subplots()
        ax.set_title("before", loc="right")
        ax.text(0, 0, "note")
        ax.text(1, 1, "own", color="red")
        display.plot(ax=ax)
        ax.set_title("after")
        figure.canvas.draw()
        colors = {text.get_text(): to_rgba(text.get_color()) for text in ax.findobj(Text)}
        assert colors["before"] == colors["after"] == colors["note"] == to_rgba(INK)
        assert colors["own"] == to_rgba("red")
        ax.remove()
        content = io.BytesIO()
        figure.savefig(content, dpi=40)
    assert np.asarray(Image.open(content).convert("L")).max() == 0


def test_letters_without_a_font_are_told(emb: Embeddings) -> None:
    curve = elbow_curve(verdict="2 clusters \U0010fffd")
    with pytest.warns(Notice, match="drawn as □: Noto Sans CJK"):
        ElbowDisplay.from_curve(curve)
    display = ElbowDisplay([2, 3], [2, 1], verdict="\U0010fffd")
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        with pytest.raises(Notice):
            display.plot()
    assert display.figure_.axes


def test_fit_replaces_what_no_font_has() -> None:
    assert fit("a\nb\udcff", 100) == "a□b□"


def test_wrap_breaks_lines_and_says_when_there_is_more() -> None:
    lines = wrap("one two three four five six seven", 60).split("\n")
    assert len(lines) > 1
    assert " ".join(lines) == "one two three four five six seven"
    cut = wrap("one two three four five six seven", 60, lines=2)
    assert cut.count("\n") == 1
    assert cut.endswith("…")
    assert wrap("", 60) == ""


def test_a_number_and_its_percent_sign_stay_on_one_line() -> None:
    for width in range(60, 200, 5):
        assert "\n%" not in wrap("closer than 99.8 % of all pairs, and 100 % of others", width)


# ---------------------------------------------------------------- elbow


def bars(ax: Any) -> dict[float, float]:
    """Return the heights of bars by place."""
    return {bar.get_x() + bar.get_width() / 2: bar.get_height() for bar in ax.patches}


def test_elbow_shows_the_probability_of_each_number_and_of_none() -> None:
    display = ElbowDisplay.from_curve(elbow_curve())
    main, inertia = display.axes_  # single indices are drawn on request
    *numbers, none = bars(main).items()
    assert dict(numbers) == pytest.approx({2: 0.1, 3: 0.05, 4: 0.5, 5: 0.1, 6: 0.05, 7: 0})
    assert none[0] < 2
    assert none[1] == pytest.approx(0.2)
    assert main.get_title(loc="left") == "4 clusters: knee and silhouette agree"
    assert main.get_xticklabels()[0].get_text() == "none"
    assert (main.get_ylabel(), inertia.get_ylabel()) == ("probability", "inertia")
    assert inertia.get_xlim() == main.get_xlim()


def test_elbow_labels_the_levels_and_the_best_most() -> None:
    display = ElbowDisplay.from_curve(elbow_curve())
    main, inertia = display.axes_
    labels = {text.get_text(): text.get_fontweight() for text in main.texts}
    assert labels == {"4 clusters, confidence 0.65": "bold", "2 (0.15)": "normal"}
    colors = {round(bar.get_x() + bar.get_width() / 2): bar.get_facecolor() for bar in main.patches}
    assert colors[4] == to_rgba(BLUE)
    assert len({colors[number] for number in (2, 3, 4)}) == 3
    lines = {line.get_xdata()[0]: line.get_linestyle() for line in inertia.lines[:2]}
    assert lines == {2: "--", 4: "-"}
    assert [text.get_text() for text in inertia.texts] == ["knee: 5"]


def test_elbow_without_a_clear_number() -> None:
    votes = {"knee": None, "silhouette": None}
    curve = elbow_curve(
        k=None, levels=(), votes=votes, verdict="no clear number", probability=np.full(6, 0.05)
    )
    display = ElbowDisplay.from_curve(curve, indices=True)
    colors = {line.get_color() for ax in display.axes_ for line in ax.lines}
    assert not colors & {BLUE, VERMILION}
    assert [text.get_text() for text in display.ax_.texts] == ["no clear number: 0.70"]
    assert display.axes_[2].get_title(loc="left") == "silhouette: no number"
    render_figure(display)
    curve = elbow_curve(
        k=None, levels=(), votes=votes, verdict="no clear number", probability=np.full(6, 0.15)
    )
    (text,) = ElbowDisplay.from_curve(curve).ax_.texts
    assert text.get_text() == "no clear number"


def test_elbow_draws_single_indices_on_request() -> None:
    curve = elbow_curve(stability=np.linspace(1, 0.5, 6), valley=np.linspace(0, 1, 6))
    display = ElbowDisplay.from_curve(curve, indices=True)
    # A curve of only None or NaN has no panel.
    titles = [ax.get_title(loc="left") for ax in display.axes_[2:]]
    assert titles == ["stability", "valley between groups", "silhouette: 4"]
    silhouette = display.axes_[-1]
    dots = [line for line in silhouette.lines if line.get_color() == VERMILION]
    assert [line.get_xdata().tolist() for line in dots] == [[4]]
    assert len([ax for ax in display.figure_.axes if ax.axison and ax.get_visible()]) == 5


@pytest.mark.parametrize("levels", [[2, 3, 4, 80], [40, 41], [78, 79, 80], [2, 80]])
def test_labels_of_elbow_levels_do_not_overlap(levels: list[int]) -> None:
    numbers = np.arange(2, 81)
    probability = np.isin(numbers, levels) / (len(levels) + 1)
    marks = dict.fromkeys(levels, 0.5)
    for chosen in levels:
        display = ElbowDisplay(
            numbers,
            100 / numbers,
            probability=probability,
            levels=marks,
            chosen=chosen,
            verdict=f"{chosen} clusters: " + "this is said at length, " * 12,
        ).plot()
        display.figure_.draw_without_rendering()
        boxes = [text.get_window_extent() for text in display.ax_.texts]
        boxes.append(display.ax_._left_title.get_window_extent())
        assert len(boxes) == len(levels) + 1
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
        assert all(box.y0 >= display.ax_.get_window_extent().y1 for box in boxes)


@pytest.mark.parametrize("is_of_a_grid", [True, False])
def test_elbow_on_an_axes_of_the_caller_is_one_panel(is_of_a_grid: bool) -> None:
    figure = Figure()
    ax = figure.add_subplot(1, 2, 1) if is_of_a_grid else figure.add_axes((0.1, 0.1, 0.5, 0.8))
    display = ElbowDisplay.from_curve(elbow_curve()).plot(ax=ax)
    assert display.ax_ is ax
    assert display.axes_.tolist() == [ax]
    assert figure.axes == [ax]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("probability", "number of clusters k")
    assert ax.get_title(loc="left") == "4 clusters"
    width = ax.get_window_extent().width
    assert max(text.get_window_extent().width for text in [ax.title, ax._left_title]) <= width
    assert len(display.plot().axes_) == 2


def test_elbow_of_numbers_alone_is_the_inertia() -> None:
    display = ElbowDisplay(range(2, 6), [9.0, 4.0, 2.0, 1.0], chosen=3, votes={"knee": 4}).plot()
    (ax,) = display.axes_
    assert ax.get_ylabel() == "inertia"
    assert [text.get_text() for text in ax.texts] == ["knee: 4", "3 clusters"]
    render_figure(display)


def test_elbow_of_a_single_k() -> None:
    one = elbow_curve(
        n_clusters=[2],
        inertia=[1.0],
        silhouette=None,
        davies_bouldin=None,
        k=2,
        probability=[0.6],
        levels=(SimpleNamespace(n_clusters=2, confidence=0.6),),
    )
    render_figure(ElbowDisplay.from_curve(one))


# ---------------------------------------------------------------- pictures


def test_gallery_puts_the_query_first(emb: Embeddings) -> None:
    display = GalleryDisplay.from_neighbors(emb, [0.0, 0.25], [4, 2])
    assert display.pictures == [emb.files[4], emb.files[2]]
    assert display.titles == ["query", "similarity 0.750"]
    assert display.highlighted == 0


def test_gallery_takes_a_query_from_outside(emb: Embeddings) -> None:
    outside = DIGITS / "7" / "digit_0007.png"
    display = GalleryDisplay.from_neighbors(emb, [0.1, 0.25], [4, 2], query=outside)
    assert display.pictures == [outside, emb.files[4], emb.files[2]]
    assert display.titles == ["query", "similarity 0.900", "similarity 0.750"]


def test_gallery_without_the_query_frames_none(emb: Embeddings) -> None:
    display = GalleryDisplay.from_neighbors(emb, [0.1, 0.25], [4, 2])
    assert display.highlighted is None
    assert display.titles == ["similarity 0.900", "similarity 0.750"]


def test_gallery_refuses_what_does_not_fit(emb: Embeddings) -> None:
    with pytest.raises(InvalidInputError, match=r"\(2,\) and \(3,\)"):
        GalleryDisplay.from_neighbors(emb, [0.1, 0.2], [1, 2, 3])
    with pytest.raises(InvalidInputError, match="at least one"):
        GalleryDisplay([]).plot()


def test_gallery_says_how_many_are_left_out(emb: Embeddings) -> None:
    display = GalleryDisplay(emb.files[:15], max_pictures=3).plot()
    assert len(display.ax_.images) == 3
    assert texts(display) == ["… and 12 more images"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "does not exist"), (b"", "empty"), (b"text", "not an image"), ("half", "damaged")],
)
def test_an_unreadable_picture_is_a_tile_with_the_reason(
    content: bytes | str | None, reason: str, tmp_path: Path, emb: Embeddings
) -> None:
    file = tmp_path / "a.png"
    if content == "half":
        file.write_bytes(emb.files[0].read_bytes()[:500])
    elif content is not None:
        file.write_bytes(content)
    display = GalleryDisplay([emb.files[0], file, emb.files[1]]).plot()
    assert len(display.ax_.images) == 2
    assert reason in " ".join(texts(display)).replace("\n", " ")


@pytest.mark.parametrize(("width", "height"), [(900, 90), (90, 900), (2000, 1), (1, 1)])
def test_pictures_keep_their_shape(width: int, height: int, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.new("RGB", (width, height), "red").save(file)
    left, right, bottom, top = GalleryDisplay([file]).plot().ax_.images[0].get_extent()
    drawn = (right - left) / (bottom - top)
    assert drawn == pytest.approx(np.clip(width / height, 1 / 50, 50))


def test_contact_sheet_shows_the_most_central_first(clustering: Any, emb: Embeddings) -> None:
    display = ContactSheetDisplay.from_clustering(clustering, n_images=3)
    assert [list(display.files), list(display.sizes.values())] == [[-1, 0, 1, 2], [4, 16, 15, 15]]
    members = np.flatnonzero(clustering.labels == 1)
    assert display.files[1] == [emb.files[row] for row in members[::-1][:3]]
    written = texts(display)
    assert written.index("cluster 0") < written.index("cluster 2") < written.index("noise")
    assert "ones" in written
    assert "3 of 15 images" in written


def test_contact_sheet_writes_long_names_a_class_a_line(emb: Embeddings) -> None:
    display = ContactSheetDisplay(
        {0: emb.files[:1]}, names={0: "tabby / Egyptian cat / lynx"}
    ).plot()
    written = texts(display)
    assert written == ["cluster 0", "tabby /", "Egyptian cat /", "lynx", "1 image"]


def test_contact_sheet_of_many_clusters(emb: Embeddings) -> None:
    files = {cluster: [emb.files[cluster]] for cluster in range(50)}
    display = ContactSheetDisplay(files).plot()
    assert len(display.ax_.images) == 30
    assert "… and 20 more clusters with 20 images" in texts(display)


def test_contact_sheet_shows_doubtful_random_or_all(clustering: Any, emb: Embeddings) -> None:
    vectors = np.asarray(emb)
    means = np.stack([vectors[clustering.labels == cluster].mean(axis=0) for cluster in range(3)])
    distances = np.linalg.norm(vectors[:, None] - means, axis=2)
    doubtful = ContactSheetDisplay.from_clustering(clustering, show="doubtful", n_images=1)
    for cluster in range(3):
        others = [other for other in range(3) if other != cluster]
        members = np.flatnonzero(clustering.labels == cluster)
        margins = distances[members][:, others].min(axis=1) - distances[members, cluster]
        assert doubtful.files[cluster] == [emb.files[members[margins.argmin()]]]
    whole = ContactSheetDisplay.from_clustering(clustering, show="all")
    assert [len(files) for files in whole.files.values()] == [4, 16, 15, 15]
    drawn = [
        ContactSheetDisplay.from_clustering(
            clustering, clusters=[0], show="random", random_state=seed
        ).files
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0][0]) <= set(whole.files[0])
    with pytest.raises(InvalidInputError, match="show must be one of central, doubtful"):
        ContactSheetDisplay.from_clustering(clustering, show="best")


def test_contact_sheet_draws_copies_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = []
    for number in range(3):
        picture = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((80, 80))
        files.append(tmp_path / f"{number}.png")
        picture.save(files[-1])
    for name in ("smaller.png", "again.png"):
        files.append(tmp_path / name)
        Image.open(files[1]).resize((60, 60)).save(files[-1])
    made = SimpleNamespace(
        labels=np.zeros(5, int),
        distances=np.arange(5.0),
        embeddings=Embeddings(np.eye(5), paths=[file.name for file in files], root=tmp_path),
        parameters={},
    )
    display = ContactSheetDisplay.from_clustering(made, file_names=True)
    assert display.files[0] == files[:3]
    assert display.copies == {files[1]: 2}
    written = texts(display)
    assert "x 3" in written
    assert "1.png" in written
    assert "3 of 5 images" in written
    # If a person declared that they are no copies, each has a picture; equal files share one.
    digests = [digest_file(file) for file in files]
    made.decisions = Decisions(not_copies=frozenset({tuple(sorted((digests[1], digests[3])))}))
    display = ContactSheetDisplay.from_clustering(made)
    assert display.files[0] == files[:4]
    assert display.copies == {files[3]: 1}


def count_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by the names of files that are read to find copies."""
    read: list[str] = []
    make = pictures.make_thumbnails

    def note(files: Any) -> Any:
        read.extend(file.name for file in files)
        return make(files)

    monkeypatch.setattr(pictures, "make_thumbnails", note)
    return read


def test_contact_sheet_finds_no_copies_in_clusters_that_it_does_not_draw(
    clustering: Any, emb: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = count_read(monkeypatch)
    display = ContactSheetDisplay.from_clustering(clustering, n_images=3, max_clusters=1)
    members = {emb.files[row].name for row in np.flatnonzero(clustering.labels == 0)}
    assert read
    assert set(read) <= members
    assert "… and 3 more clusters with 34 images" in texts(display)


def test_contact_sheet_draws_as_many_images_as_asked_behind_many_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{row:02}.png" for row in range(10)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((80, 80)).save(file)
    # A burst of one picture is nearest to the centre, as in the memory of a camera trap.
    for file in files[1:8]:
        Image.open(files[0]).save(file)
    made = SimpleNamespace(
        labels=np.zeros(10, int),
        distances=np.arange(10.0),
        embeddings=Embeddings(np.eye(10), paths=[file.name for file in files], root=tmp_path),
        parameters={},
    )
    read = count_read(monkeypatch)
    display = ContactSheetDisplay.from_clustering(made, n_images=2)
    assert display.files[0] == [files[0], files[8]]
    assert display.copies == {files[0]: 7}
    assert read == [file.name for file in files]


def test_contact_sheets_have_as_many_pages_as_needed(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(file)
    labels = np.repeat([0, 1, 2], [300, 1, 70])
    files = [f"{row}.png" for row in range(len(labels))]
    made = SimpleNamespace(
        labels=labels,
        distances=np.zeros(len(labels)),
        embeddings=Embeddings(np.zeros((len(labels), 2)), paths=files, root=tmp_path),
        parameters={},
        names={},
    )
    sheets = ContactSheets.from_clustering(made, show="all")
    starts = [page.starts for page in sheets.pages]
    assert starts == [{0: 0}, {0: 240, 1: 0, 2: 0}]
    assert "241 to 300 of 300" in texts(copy(sheets.pages[1]).plot())
    assert [len(page.files[0]) for page in sheets.pages] == [240, 60]
    written = sheets.save(tmp_path / "sheet.jpg", dpi=20)
    assert [path.name for path in written] == ["sheet.jpg", "sheet-2.jpg"]
    # All figures together would need too much memory.
    assert not any(hasattr(page, "figure_") for page in sheets.pages)
    written[0].unlink()
    for check in (sheets.save, check_sheet_path):
        with pytest.raises(OutputExistsError, match=r"sheet-2\.jpg exists"):
            check(tmp_path / "sheet.jpg")
    assert not written[0].exists()
    check_sheet_path(tmp_path / "sheet.jpg", overwrite=True)
    written[1].rename(tmp_path / "sheet-2019.jpg")
    check_sheet_path(tmp_path / "sheet.jpg")
    assert sheets.check(tmp_path / "sheet.jpg") == written


def test_clusters_have_different_colours_to_everybody_on_light_and_dark() -> None:
    # The example of Sharma, Wu & Dalal (2005), so that the differences below are right.
    pair = np.array([[50.0, 2.5, 0.0], [73.0, 25.0, -18.0]])
    assert differences(pair)[0, 1] == pytest.approx(27.1492, abs=1e-4)
    colors = [cluster_color(cluster) for cluster in range(200)]
    assert len(set(colors)) == 200
    # With tints of seven colours, these were 5.5, 6.1, 5.5, 5.8 and 4.9.
    assert smallest(colors[:10]) > 13
    assert smallest(colors[:10], deuteranopia=True) > 8
    assert smallest(colors[:20]) > 9.5
    assert smallest(colors[:20], deuteranopia=True) > 6.4
    assert smallest(colors[:60]) > 7.7
    assert smallest([*colors[:60], cluster_color(-1)]) > 7.7
    for background in ("#ffffff", "#f6f6f6", "#191919", "#222222"):
        assert contrasts([*colors, cluster_color(-1)], background).min() >= 3


def test_a_comparison_of_spaces_says_what_its_marks_mean(displays: dict[str, Display]) -> None:
    display = displays["space comparison"]
    assert display.ax_.get_xlabel() == "score and its parts: 0 as by chance, 1 best"
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert [said.partition(":")[0] for said in legend] == [
        *("score", "stability", "neighbours", "agreement", "accuracy")
    ]
    assert all(said.partition(": ")[2] for said in legend)
    # In the text, too; names in Python and columns of tables are American, as in scikit-learn.
    assert "neighbours" in comparison().to_text()
    assert "neighbors" in comparison().to_frame()


def test_contact_sheet_takes_a_page_of_clusters(clustering: Any) -> None:
    display = ContactSheetDisplay.from_clustering(clustering, clusters=[1, 2])
    assert list(display.files) == [1, 2]
    with pytest.raises(InvalidInputError, match=r"-1 to 2\. Received: \[7\]"):
        ContactSheetDisplay.from_clustering(clustering, clusters=[1, 7])
    with pytest.raises(InvalidInputError, match="at least one"):
        ContactSheetDisplay({}).plot()


def test_reconstruction_states_the_psnr() -> None:
    originals = np.zeros((2, 4, 4, 3), np.uint8)
    others = originals.copy()
    others[0] += 51  # a fifth of the scale: 20 log10(5)
    display = ReconstructionDisplay.from_arrays(originals, others)
    assert display.psnr == pytest.approx([20 * np.log10(5), np.inf])
    assert {"14.0 dB", "inf dB"} <= set(texts(display))


def test_reconstruction_takes_floats_and_grey() -> None:
    originals = np.random.default_rng(0).random((12, 5, 7))
    display = ReconstructionDisplay.from_arrays(originals, originals[..., None], psnr=range(12))
    assert display.originals.shape == (8, 5, 7, 3)
    assert display.psnr.tolist() == list(range(8))


@pytest.mark.parametrize(
    ("originals", "others", "message"),
    [
        (np.zeros((2, 4, 4, 3)), np.zeros((3, 4, 4, 3)), "same shape"),
        (np.zeros((2, 4)), np.zeros((2, 4)), r"shape.*Received: \(2, 4\)"),
        (np.zeros((2, 4, 4), int), np.zeros((2, 4, 4), int), "uint8 or float. Received: int64"),
        (np.zeros((0, 4, 4)), np.zeros((0, 4, 4)), "at least one"),
    ],
)
def test_reconstruction_refuses(originals: Any, others: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ReconstructionDisplay.from_arrays(originals, others)


# ---------------------------------------------------------------- curves and tables


def test_loss_is_dashed_in_training_and_solid_in_validation() -> None:
    history = SimpleNamespace(history={"loss": [3, 2, 1], "val_loss": [3.0, 1.5, np.nan]})
    display = LossCurveDisplay.from_history(history)
    curves = {line.get_label().split(",")[0]: line for line in display.ax_.lines}
    assert curves["training"].get_linestyle() == "--"
    assert curves["validation"].get_linestyle() == "-"
    assert curves["validation"].get_label() == "validation, lowest 1.5 at epoch 2"


def test_loss_of_one_epoch_and_of_none() -> None:
    render_figure(LossCurveDisplay.from_history({"loss": [1.0]}))
    with pytest.raises(InvalidInputError, match="Received: accuracy"):
        LossCurveDisplay.from_history({"accuracy": [1.0]})


def test_crosstab_orders_rows_into_a_diagonal() -> None:
    display = CrosstabDisplay.from_evaluation(evaluation())
    rows = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert rows == ["1 fox", "cluster 0", "noise"]
    counts = {text.get_position(): text.get_text() for text in display.ax_.texts}
    assert counts == {(0, 0): "9", (2, 0): "1", (1, 1): "7", (2, 1): "3", (0, 2): "1"}
    title = display.ax_.get_title(loc="left")
    assert title == "accuracy 0.810   NMI 0.720   ARI 0.630   purity 0.840"


def test_crosstab_takes_clusters_with_names() -> None:
    display = CrosstabDisplay([[0, 2], [3, 0]], ["rest", "cats"], ["cat", "dog"]).plot()
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["cats", "rest"]


def test_crosstab_says_what_is_left_out() -> None:
    display = CrosstabDisplay(np.ones((5, 4), int), range(5), "abcd", max_rows=3, max_columns=3)
    display.plot()
    assert display.ax_.images[0].get_array().shape == (3, 3)
    assert display.ax_.get_xlabel() == "… and 2 more clusters, … and 1 more label"


def test_crosstab_refuses_a_table_of_another_shape() -> None:
    with pytest.raises(InvalidInputError, match=r"\(2, 3\).*Received: \(3, 2\)"):
        CrosstabDisplay(np.ones((3, 2)), [0, 1], "abc").plot()


def test_explanation_draws_both_histograms(emb: Embeddings) -> None:
    explanation = explain(0, 1, emb)
    display = ExplanationDisplay.from_explanation(explanation)
    left, right, *_, middle = display.axes_
    outlines = [patch.get_data() for patch in middle.patches if not patch.get_fill()]
    assert [data.values.tolist() for data in outlines] == [
        explanation.histogram_a.tolist(),
        explanation.histogram_b.tolist(),
    ]
    assert all(np.array_equal(data.edges, explanation.bin_edges) for data in outlines)
    assert (len(left.images), len(right.images)) == (1, 1)
    assert left.get_title(loc="left") == emb.paths[0]
    assert explanation.to_text()[:30] in " ".join(texts(display)).replace("\n", " ")


def test_explanation_of_a_bare_vector(emb: Embeddings) -> None:
    display = ExplanationDisplay.from_explanation(explain(0, emb.vectors[3], emb))
    assert "no image file" in texts(display)


def test_map_draws_few_as_pictures_and_many_as_points(clustering: Any) -> None:
    few = MapDisplay.from_clustering(clustering)
    assert len(few.ax_.images) == 50
    many = MapDisplay.from_clustering(clustering, max_thumbnails=49)
    assert len(many.ax_.images) == 0
    points = many.ax_.collections[0]
    assert len(points.get_offsets()) == 50
    colors = {tuple(color[:3]) for color in points.get_facecolors()}
    assert len(colors) == 4
    assert to_rgba(cluster_color(0))[:3] in colors
    assert [text.get_text() for text in many.ax_.texts] == ["0", "1", "2"]


def test_map_lists_the_names_of_clusters() -> None:
    names = {cluster: f"kind {cluster}" for cluster in range(40)}
    display = MapDisplay(np.eye(40)[:, :2], range(40), names=names).plot()
    written = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert written == [*(f"{i}  kind {i}" for i in range(30)), "… and 10 more clusters"]
    assert MapDisplay(np.eye(40)[:, :2], range(40)).plot().ax_.get_legend() is None


def test_map_keeps_names_apart() -> None:
    positions = [[0, 0], [1, 0], [0, 0], [0, 0], [0, 0], [0, 0]]
    display = MapDisplay(positions, [0, 0, 1, 2, 3, 4])
    display.plot()
    places = np.array([text.get_position() for text in display.ax_.texts])
    gaps = np.hypot(*(places[:, None] - places[None]).T)[np.triu_indices(5, 1)]
    assert gaps.min() > 0.03


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_map_needs_a_plane(shape: tuple[int, int]) -> None:
    small = SimpleNamespace(labels=np.zeros(shape[0], int), embeddings=Embeddings(np.ones(shape)))
    with pytest.raises(InvalidInputError, match=f"n_samples={shape[0]}, n_features={shape[1]}"):
        MapDisplay.from_clustering(small)


def test_map_of_identical_vectors(emb: Embeddings) -> None:
    same = Embeddings(np.ones((4, 3)), paths=emb.paths[:4], root=emb.root)
    display = MapDisplay.from_clustering(SimpleNamespace(labels=np.zeros(4, int), embeddings=same))
    render_figure(display)


PIXELS = np.zeros((4, 4, 3), np.uint8)
LINES = [PredictionLine("cat", 0.5, "#000000")]
ONE_EPOCH = {"accuracy": [0.5], "val_accuracy": [0.5]}


@pytest.mark.parametrize(
    ("display", "message"),
    [
        (ConfusionDisplay([], []), r"must have the shape \(0, 0\)"),
        (ConfusionDisplay(np.zeros((0, 0)), []), "at least one class"),
        (ClassSimilarityDisplay([[np.nan]], ["a"]), "at least one class with images"),
        (CrosstabDisplay([1, 2], [0, 1], ["a"]), r"\(2, 1\).*Received: \(2,\)"),
        (CrosstabDisplay(np.zeros((0, 2)), [], ["a", "b"]), "at least one cluster"),
        (CrosstabDisplay(np.zeros((2, 0)), [0, 1], []), "at least one label"),
        (ElbowDisplay([], []), "at least one number of clusters"),
        (ElbowDisplay([2, 3], [1.0]), "inertia must hold one value.*Received: 1, not 2"),
        (GalleryDisplay([PIXELS, PIXELS], titles=["a"]), "titles must hold.*Received: 1, not 2"),
        (PredictionsDisplay([PIXELS], [LINES], []), "names must hold.*Received: 0, not 1"),
        (SampleDisplay([PIXELS], ["a"], []), "texts must hold one value for each picture"),
        (MapDisplay([], []), r"positions must have the shape \(n, 2\)"),
        (MapDisplay(np.zeros((0, 2)), []), "at least one image"),
        (MapDisplay([[0, np.nan]], [0]), "positions must be finite"),
        (MapDisplay([[0, 1], [1, 0]], [0]), "labels must hold one value for each image"),
        (NetworkCurvesDisplay({}, best_epochs=[]), "at least one network"),
        (NetworkCurvesDisplay({"a": ONE_EPOCH}, best_epochs=[]), "best_epochs must hold one value"),
        (ReconstructionDisplay([PIXELS], [PIXELS], psnr=[]), "psnr must hold one value"),
        (SpaceComparisonDisplay([], []), "at least one space"),
        (SpaceComparisonDisplay(["a"], [0.5], others={"b": []}), "b must hold one value"),
        (AuditDisplay([]), "something to draw"),
        (InspectionDisplay([]), "at least one cluster"),
        (LossCurveDisplay([]), "at least one epoch"),
        (LearningCurvesDisplay({"loss": []}, best_epoch=1), "at least one epoch"),
    ],
)
def test_what_cannot_be_drawn_is_an_error_before_anything_is_drawn(
    display: Display, message: str
) -> None:
    figure = Figure()
    ax = figure.add_subplot()
    before = len(ax.get_children())
    with pytest.raises(InvalidInputError, match=message):
        display.plot(ax=ax)
    assert (figure.axes, len(ax.get_children())) == ([ax], before)


def test_a_display_of_several_charts_needs_a_place_in_a_grid() -> None:
    ax = Figure().add_axes((0, 0, 1, 1))
    with pytest.raises(InvalidInputError, match="ax must be of a grid"):
        LearningCurvesDisplay(HISTORY, best_epoch=2).plot(ax=ax)
    assert ax.axison


def test_a_figure_that_is_not_a_number_has_an_empty_bar() -> None:
    row = ClusterRow(0, "", 1, np.nan, [], [], [])
    bar = PropertyBar("tone", np.nan, 0.2, follows=False)
    for display in (InspectionDisplay([row]), AuditDisplay([bar])):
        widths = [patch.get_width() for patch in display.plot().ax_.patches]
        assert 0 in widths


def test_classes_without_images_have_no_similarity() -> None:
    cosines = np.full((3, 3), np.nan)
    cosines[np.ix_([0, 2], [0, 2])] = [[1, 0.5], [0.5, 1]]
    display = ClassSimilarityDisplay(cosines, ["cat", "dog", "fox"]).plot()
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["cat", "fox"]


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_places_on_a_map_do_not_depend_on_the_length_of_vectors(scale: float) -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    expected, shares = project(vectors)
    found = project(vectors * np.float32(scale))
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    np.testing.assert_allclose(found[1], shares, rtol=1e-5)


def test_a_confusion_matrix_shows_counts_and_rates() -> None:
    texts = {text.get_text() for text in ConfusionDisplay.from_report(report()).ax_.texts}
    assert texts == {"1\n50 %", "1\n100 %"}
    several = ClassificationReport(
        ["a"], ["1"], *[np.ones((1, 1), bool)] * 2, np.ones((1, 1)), True
    )
    with pytest.raises(InvalidInputError, match="several labels"):
        ConfusionDisplay.from_report(several)
    with pytest.raises(InvalidInputError, match=r"shape \(2, 2\)"):
        ConfusionDisplay(np.eye(3), ["a", "b"]).plot()


def test_learning_curves_mark_the_epoch_that_was_kept() -> None:
    display = LearningCurvesDisplay(HISTORY, best_epoch=2).plot()
    for axes, value in zip(display.axes_, (2.0, 0.6), strict=True):
        training, validation, mark = axes.get_lines()
        assert (training.get_linestyle(), validation.get_linestyle()) == ("--", "-")
        assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (2, value)
    one = {f"{part}{name}": [0.5] for part in ("", "val_") for name in ("loss", "accuracy")}
    training, *_ = LearningCurvesDisplay(one, best_epoch=1).plot().axes_[0].get_lines()
    assert training.get_marker() == "."


def test_one_image_is_no_images_and_nothing_is_minus_zero() -> None:
    row = ClusterRow(0, "", 1, -0.001, [], [], [])
    assert {"1 image", "silhouette 0.00"} <= {*texts(InspectionDisplay([row]).plot())}
    assert "0.00" in texts(AuditDisplay([PropertyBar("brightness", -0.001, 0.3, False)]).plot())


def test_an_image_with_several_copies_is_drawn_once(emb: Embeddings) -> None:
    display = AuditDisplay.from_audit(Audit(emb, [], copies=[(0, 1), (0, 2), (1, 2)]))
    assert display.images["copies"] == [emb.files[row] for row in (0, 1, 2)]
