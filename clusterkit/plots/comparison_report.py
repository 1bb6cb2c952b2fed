"""Write the table and figure of a comparison of networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit.classifiers.comparison.records import check_own, record_own
from clusterkit.plots.display import save_figure
from clusterkit.plots.network_curves import NetworkCurvesDisplay

if TYPE_CHECKING:
    from clusterkit.classifiers.comparison.result import NetworkComparison

_TABLE, _PICTURE = "comparison.csv", "comparison.png"


def check_comparison_folder(folder: str | Path, *, overwrite: bool = False) -> None:
    """Check that a comparison can be written to a folder.

    Parameters
    ----------
    folder : path
        The folder, which need not exist.
    overwrite : bool
        Whether to overwrite files that were not written by a comparison.

    Raises
    ------
    OutputExistsError
        If the folder contains a table or figure that no comparison wrote, or that was changed.
    """
    check_own(Path(folder), (_TABLE, _PICTURE), overwrite=overwrite)


def save_comparison_report(
    comparison: NetworkComparison, folder: str | Path, *, overwrite: bool = False
) -> list[Path]:
    """Write ``comparison.csv`` and, if a network was trained, the curves as ``comparison.png``.

    Parameters
    ----------
    comparison : NetworkComparison
        From :func:`clusterkit.classifiers.compare_networks`.
    folder : path
        The folder of its networks.  Files of an earlier comparison are replaced.
    overwrite : bool
        Whether to overwrite other files.

    Returns
    -------
    list of pathlib.Path
        All files of the comparison, including the networks.

    Raises
    ------
    OutputExistsError
        As for :func:`check_comparison_folder`.
    """
    folder = Path(folder)
    check_comparison_folder(folder, overwrite=overwrite)
    comparison.to_csv(folder / _TABLE, overwrite=True)
    record_own(folder, _TABLE)
    if not comparison.results:
        return [folder / _TABLE]
    curves = NetworkCurvesDisplay.from_comparison(comparison)
    save_figure(curves, folder / _PICTURE, overwrite=True)
    record_own(folder, _PICTURE)
    models = [Path(result.model) for result in comparison.results if result.model is not None]
    return [*models, folder / _TABLE, folder / _PICTURE]
