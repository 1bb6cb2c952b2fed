"""The pictures of an autoencoder's training, beside its file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit.plots.display import check_figure_path, save_figure
from clusterkit.plots.reconstructions import ReconstructionDisplay
from clusterkit.plots.training import LossCurveDisplay

if TYPE_CHECKING:
    from clusterkit.extractors.autoencoder.training import AutoencoderTraining


def check_autoencoder_report(output: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Check, before any work is done, that the pictures of a training can be saved.

    Parameters
    ----------
    output : path
        The ``.keras`` file that will be trained.
    overwrite : bool
        Whether existing pictures may be replaced.

    Returns
    -------
    list of pathlib.Path
        ``NAME-loss.png`` and ``NAME-reconstructions.png`` beside the file.

    Raises
    ------
    NotFoundError
        If the folder does not exist.
    OutputExistsError
        If a picture exists and ``overwrite`` is false.
    """
    output = Path(output)
    names = (f"{output.stem}-{kind}.png" for kind in ("loss", "reconstructions"))
    return [check_figure_path(output.with_name(name), overwrite=overwrite) for name in names]


def save_autoencoder_report(report: AutoencoderTraining, *, overwrite: bool = False) -> list[Path]:
    """Save the loss curve of a training, and some images beside their reconstructions.

    Parameters
    ----------
    report : AutoencoderTraining
        From :func:`clusterkit.train_autoencoder`.
    overwrite : bool
        Whether existing pictures may be replaced.

    Returns
    -------
    list of pathlib.Path
        The pictures, see :func:`check_autoencoder_report`.
    """
    loss, reconstructions = check_autoencoder_report(report.output, overwrite=overwrite)
    curve = LossCurveDisplay.from_history(report.history)
    images = ReconstructionDisplay.from_arrays(report.originals, report.reconstructions)
    return [
        save_figure(curve, loss, overwrite=overwrite),
        save_figure(images, reconstructions, overwrite=overwrite),
    ]
