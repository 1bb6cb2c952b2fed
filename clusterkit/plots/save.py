"""Write figures to files, the same bytes each time."""

import io
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure, SubFigure

from clusterkit.errors import InvalidInputError
from clusterkit.files import check_output, write_whole
from clusterkit.plots.display import Display

# The format, and the metadata without which a file would differ from run to run.
_FORMATS: dict[str, tuple[str, dict[str, Any] | None]] = {
    ".png": ("png", {"Software": None}),
    ".pdf": ("pdf", {"CreationDate": None}),
    ".svg": ("svg", {"Date": None}),
    ".jpg": ("jpeg", None),
    ".jpeg": ("jpeg", None),
}


def check_figure_path(path: str | Path, *, overwrite: bool = False) -> Path:
    """Check, before any work is done, that a figure can be saved under this name.

    Parameters
    ----------
    path : path
        The file to be.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    InvalidInputError
        If the suffix names no format that can be written.
    NotFoundError
        If the folder does not exist.
    OutputExistsError
        If the file exists and ``overwrite`` is false.
    """
    _format(Path(path).suffix)
    return check_output(path, overwrite=overwrite)


def save_figure(
    figure: Display | Figure | SubFigure,
    path: str | Path,
    *,
    overwrite: bool = False,
    dpi: float = 150,
) -> Path:
    """Write a display or a figure to a file.

    The file appears whole or not at all, and the same figure gives the same bytes.

    Parameters
    ----------
    figure : Display, Figure or SubFigure
        A display (plotted first, if it is not yet), or any matplotlib figure.
    path : path
        The file; its suffix (.png, .pdf, .svg, .jpg) names the format.
    overwrite : bool
        Whether an existing file may be replaced.
    dpi : float
        Dots per inch of pixel formats.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    InvalidInputError
        If the suffix names no format that can be written, or the folder cannot be written to.
    NotFoundError
        If the folder does not exist.
    OutputExistsError
        If the file exists and ``overwrite`` is false.
    """
    path = check_figure_path(path, overwrite=overwrite)
    write_whole(path, render_figure(figure, path.suffix, dpi=dpi))
    return path


def render_figure(
    figure: Display | Figure | SubFigure, suffix: str = ".png", *, dpi: float = 150
) -> bytes:
    """Return the content of a picture file, for instance to embed it in a page.

    Parameters
    ----------
    figure : Display, Figure or SubFigure
        A display (plotted first, if it is not yet), or any matplotlib figure.
    suffix : {".png", ".pdf", ".svg", ".jpg", ".jpeg"}
        The format.
    dpi : float
        Dots per inch of pixel formats.

    Returns
    -------
    bytes
        The same for the same figure.

    Raises
    ------
    InvalidInputError
        If the suffix names no format that can be written.
    """
    if isinstance(figure, Display):
        figure = (figure if hasattr(figure, "figure_") else figure.plot()).figure_
    name, metadata = _format(suffix)
    content = io.BytesIO()
    # The salt replaces the random ids of SVG elements.
    with matplotlib.rc_context({"svg.hashsalt": "clusterkit"}):
        figure.canvas.figure.savefig(
            content, format=name, dpi=dpi, metadata=metadata, bbox_inches="tight", pad_inches=0.12
        )
    return content.getvalue()


def _format(suffix: str) -> tuple[str, dict[str, Any] | None]:
    """Return matplotlib's name of a format, and the metadata to set."""
    try:
        return _FORMATS[suffix.lower()]
    except KeyError:
        allowed = ", ".join(_FORMATS)
        raise InvalidInputError(
            f"a picture's name must end in {allowed}. Received: {suffix!r}"
        ) from None
