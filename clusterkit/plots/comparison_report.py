"""The table and the picture of a comparison of networks, in its folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from clusterkit.classifiers.comparison.records import check_own, record_own
from clusterkit.plots.display import save_figure
from clusterkit.plots.network_curves import NetworkCurvesDisplay

if TYPE_CHECKING:
    from clusterkit.classifiers.comparison.result import NetworkComparison

_TABLE, _PICTURE = "comparison.csv", "comparison.png"


def check_comparison_folder(folder: str | Path, *, overwrite: bool = False) -> None:
    """Check, before any training, that a comparison can be written to this folder.

    Parameters
    ----------
    folder : path
        The folder, which need not exist.
    overwrite : bool
        Whether files that no comparison wrote there may be replaced.

    Raises
    ------
    OutputExistsError
        If it holds a table or picture that was not written by a comparison, or was changed since.
    """
    check_own(Path(folder), (_TABLE, _PICTURE), overwrite=overwrite)


def save_comparison_report(
    comparison: "NetworkComparison", folder: str | Path, *, overwrite: bool = False
) -> list[Path]:
    """Write ``comparison.csv`` and, if a network was trained, the curves as ``comparison.png``.

    Parameters
    ----------
    comparison : NetworkComparison
        From :func:`clusterkit.classifiers.compare_networks`.
    folder : path
        The folder of its networks.  Files of an earlier comparison are replaced.
    overwrite : bool
        Whether other files may be replaced.

    Returns
    -------
    list of pathlib.Path
        All files of the comparison, those of the networks included.

    Raises
    ------
    OutputExistsError
        As :func:`check_comparison_folder`.
    """
    folder = Path(folder)
    check_comparison_folder(folder, overwrite=overwrite)
    comparison.to_csv(folder / _TABLE)
    record_own(folder, _TABLE)
    if not comparison.results:
        return [folder / _TABLE]
    curves = NetworkCurvesDisplay.from_comparison(comparison)
    save_figure(curves, folder / _PICTURE, overwrite=True)
    record_own(folder, _PICTURE)
    models = [Path(result.model) for result in comparison.results if result.model is not None]
    return [*models, folder / _TABLE, folder / _PICTURE]
