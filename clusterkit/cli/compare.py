"""``clusterkit compare``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.classifiers.by_name import SCRATCH_NETWORKS
from clusterkit.cli.options import (
    batch_size_option,
    columns_options,
    exclude_option,
    json_option,
    notice,
    notice_unused,
    overwrite_option,
    print_json,
    resize_option,
    say,
    seed_option,
    store_option,
    weights_option,
)
from clusterkit.cli.training_options import (
    augmentation_option,
    balance_option,
    epochs_option,
    image_size_option,
    patience_option,
    test_split_option,
    validation_split_option,
)

if TYPE_CHECKING:
    from clusterkit.classifiers.comparison.result import NetworkComparison

_TABLE, _PICTURE = "comparison.csv", "comparison.png"


@click.command()
@click.argument("source", metavar="FOLDER", type=click.Path(path_type=Path))
@exclude_option
@click.option(
    "--network",
    "networks",
    multiple=True,
    required=True,
    help=f"A network to train; to be given several times.  From scratch: "
    f"{', '.join(SCRATCH_NETWORKS)}.  Or one of keras.applications (xception, resnet50, …).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="comparison",
    show_default=True,
    help="Folder for the networks, the table and the picture.",
)
@columns_options
@image_size_option
@augmentation_option
@epochs_option
@patience_option
@test_split_option
@validation_split_option
@balance_option
@resize_option
@batch_size_option
@weights_option
@overwrite_option
@seed_option
@store_option
@json_option
def compare(
    source: Path,
    exclude: tuple[str, ...],
    networks: tuple[str, ...],
    output: Path,
    test_split: float,
    validation_split: float,
    overwrite: bool,
    seed: int,
    store: Path,
    as_json: bool,
    label_column: tuple[str, ...],
    path_column: str | None,
    label_separator: str | None,
    **parameters: Any,
) -> None:
    """Train several networks on the same images of FOLDER, and show them side by side.

    FOLDER is what `clusterkit train classifier` takes.  All networks learn from the same images and
    are measured on the same test images.  One that cannot be trained, for instance since the images
    are too small for it, is listed with its reason.

    Writes each network (NAME.keras), the table (comparison.csv) and the curves of all
    (comparison.png) into a folder.  A network that is there already, from a run that was cut or an
    earlier one with the same images and options, is not trained again.  A table or picture that is
    not of an earlier run, or was changed since, is replaced with --overwrite only.

    \b
    Example:
      clusterkit compare digits.csv --network dnn-dropout --network cnn --network dcnn
      clusterkit predict new.png --model comparison/cnn.keras
    """
    from clusterkit.classifiers.comparison.compare import compare_networks
    from clusterkit.classifiers.comparison.records import check_own
    from clusterkit.datasets.labelled_images import read_labelled

    if set(networks) <= set(SCRATCH_NETWORKS):
        notice_unused("all of the networks are trained from scratch", "weights")
    if not set(networks) & set(SCRATCH_NETWORKS):
        reason = "none of the networks is trained from scratch"
        notice_unused(reason, "image_size", "augmentation", "epochs", "patience")
    check_own(output, (_TABLE, _PICTURE), overwrite=overwrite)
    found = compare_networks(
        read_labelled(
            source,
            exclude=exclude,
            label_column=label_column,
            path_column=path_column,
            label_separator=label_separator,
        ),
        {name: _classifier(name, seed=seed, **parameters) for name in networks},
        output,
        test_size=test_split,
        validation_size=validation_split,
        random_state=seed,
        store=store,
        overwrite=overwrite,
    )
    written = _write(found, output)
    if as_json:
        print_json(found.to_dict() | {"written": written})
    else:
        for name in found.unreadable:
            notice(f"Not learned from: {name}, which cannot be read")
        for result in found.results:
            if result.is_reused:
                notice(f"Not trained again: {result.name}, which {result.model} holds")
        say(*found.to_text().split("\n"))
        notice(f"Wrote {', '.join(map(str, written))}")
    if not found.results:
        raise click.ClickException("none of the networks could be trained")


def _classifier(name: str, *, seed: int, **parameters: Any) -> Any:
    """Return an untrained classifier with the options of the command line."""
    from clusterkit.classifiers.classifier import Classifier

    classifier = Classifier(name, random_state=seed, progress=True, **parameters)
    # Each kind leaves out the options that are for the other.
    foreign = ("image_size", "augmentation") if classifier.is_transfer else ("weights",)
    return classifier.set_params(**dict.fromkeys(foreign))


def _write(found: "NetworkComparison", folder: Path) -> list[Path]:
    """Write the table and the picture; those of an earlier run in the folder are replaced."""
    from clusterkit.classifiers.comparison.records import record_own

    table, picture = folder / _TABLE, folder / _PICTURE
    found.to_csv(table)
    record_own(folder, _TABLE)
    if not found.results:
        return [table]
    from clusterkit.plots.display import save_figure
    from clusterkit.plots.network_curves import NetworkCurvesDisplay

    save_figure(NetworkCurvesDisplay.from_comparison(found), picture, overwrite=True)
    record_own(folder, _PICTURE)
    models = [Path(result.model) for result in found.results if result.model is not None]
    return [*models, table, picture]
