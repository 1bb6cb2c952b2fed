"""Write figures to files: never over another, never half of one, the same bytes each time."""

import io
import os
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure, SubFigure

from clusterkit.errors import InvalidInputError, NotFoundError, OutputExistsError
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
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        allowed = ", ".join(_FORMATS)
        raise InvalidInputError(f"a picture's name must end in {allowed}. Received: {path}")
    if not path.parent.is_dir():
        raise NotFoundError(f"no such folder: {path.parent}")
    if path.is_dir():
        raise OutputExistsError(f"{path} is a folder; name a file")
    if os.path.lexists(path) and not overwrite:
        raise OutputExistsError(f"{path} exists; choose another name, or overwrite it")
    return path


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
    content = render_figure(figure, path.suffix, dpi=dpi)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror or error}") from error
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
    """
    if isinstance(figure, Display):
        figure = (figure if hasattr(figure, "figure_") else figure.plot()).figure_
    name, metadata = _FORMATS[suffix.lower()]
    content = io.BytesIO()
    # The salt replaces the random ids of SVG elements.
    with matplotlib.rc_context({"svg.hashsalt": "clusterkit"}):
        figure.canvas.figure.savefig(
            content, format=name, dpi=dpi, metadata=metadata, bbox_inches="tight", pad_inches=0.12
        )
    return content.getvalue()
