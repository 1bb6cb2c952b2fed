"""``clusterkit compare``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.classifiers.training.networks import SCRATCH_NETWORKS
from clusterkit.cli.options import (
    augmentation_option,
    balance_option,
    batch_size_option,
    columns_options,
    epochs_option,
    exclude_option,
    image_size_option,
    not_copies_option,
    notice_unused,
    patience_option,
    resize_option,
    seed_option,
    store_option,
    test_split_option,
    validation_split_option,
    weights_option,
)
from clusterkit.cli.outputs import LocalPath, OutputFile, Outputs, notice, outputs, say_result

if TYPE_CHECKING:
    from clusterkit.classifiers.comparison.result import NetworkComparison


@click.command()
@click.argument("source", metavar="FOLDER", type=LocalPath())
@exclude_option
@click.option(
    "--network",
    "networks",
    multiple=True,
    required=True,
    help=f"A network to train.  From scratch: {', '.join(SCRATCH_NETWORKS)}.  Or one of "
    "keras.applications (xception, resnet50, …).  Can be given several times.",
)
@columns_options
@image_size_option
@augmentation_option
@epochs_option
@patience_option
@test_split_option
@validation_split_option
@not_copies_option
@balance_option
@resize_option()
@batch_size_option
@weights_option
@seed_option
@store_option
@outputs(
    OutputFile(
        "--output",
        "Folder for the networks, the table and the picture.",
        "comparison",
        is_folder=True,
        check="clusterkit.plots.comparison_report:check_comparison_folder",
    ),
    continues=True,
)
def compare(
    source: Path,
    exclude: tuple[str, ...],
    networks: tuple[str, ...],
    test_split: float,
    validation_split: float,
    not_copies: Path | None,
    seed: int,
    store: Path,
    outputs: Outputs,
    label_column: tuple[str, ...],
    path_column: str | None,
    label_separator: str | None,
    **parameters: Any,
) -> None:
    """Train several networks on the same images of FOLDER, and compare them.

    FOLDER is what `clusterkit train classifier` takes.  All networks are trained and tested on the
    same images.  One that cannot be trained, for example because the images are too small for it,
    is listed with its reason.

    Writes each network (NAME.keras), the table (comparison.csv) and the curves of all
    (comparison.png) into a folder.  A network that an earlier run trained there, with the same
    images and options, is not trained again, and the table keeps those that are not named.  A table
    or picture that is not of an earlier run, or was changed since, is replaced with --overwrite
    only.

    \b
    Example:
      clusterkit compare digits.csv --network dnn-dropout --network cnn --network dcnn
      clusterkit predict new.png --model comparison/cnn.keras
    """
    from clusterkit import plots
    from clusterkit.classifiers.comparison.compare import compare_networks
    from clusterkit.datasets.labelled_images import read_labelled

    if set(networks) <= set(SCRATCH_NETWORKS):
        notice_unused("all of the networks are trained from scratch", "weights")
    if not set(networks) & set(SCRATCH_NETWORKS):
        reason = "none of the networks is trained from scratch"
        notice_unused(reason, "image_size", "augmentation", "epochs", "patience")
    folder = outputs.files["output"]
    images = read_labelled(
        source,
        exclude=exclude,
        label_column=label_column,
        path_column=path_column,
        label_separator=label_separator,
    )
    if images.is_multilabel:
        notice_unused("images with several labels get thresholds instead", "balance")
    found = compare_networks(
        images,
        networks,
        folder,
        test_split=test_split,
        validation_split=validation_split,
        random_state=seed,
        not_copies=not_copies,
        store=store,
        overwrite=outputs.overwrite,
        progress=True,
        **parameters,
    )
    outputs.written += plots.save_comparison_report(found, folder, overwrite=outputs.overwrite)
    written = {"written": outputs.written}
    outputs.show(found.to_dict() | written, lambda: _print(found))
    if not found.results:
        raise click.ClickException("none of the networks could be trained")


def _print(found: "NetworkComparison") -> None:
    """Print the figures of all networks."""
    for path, reason in found.unreadable:
        notice(f"Left out of the training: {path}: {reason}")
    for result in found.results:
        if result.is_reused:
            notice(f"Not trained again: {result.name}, which {result.model} holds")
    say_result(found)
