"""``clusterkit train``."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clusterkit.classifiers.training.networks import SCRATCH_NETWORKS
from clusterkit.cli.options import (
    Group,
    augmentation_option,
    balance_option,
    batch_size_option,
    columns_options,
    epochs_option,
    exclude_option,
    fine_tune_option,
    folders_argument,
    image_size_option,
    learning_rate_option,
    not_copies_option,
    notice_unused,
    patience_option,
    precision_option,
    resize_option,
    seed_option,
    store_option,
    tensorboard_option,
    test_split_option,
    validation_split_option,
    weights_option,
)
from clusterkit.cli.outputs import LocalPath, OutputFile, Outputs, notice, outputs, say, say_result
from clusterkit.errors import ClusterkitError

if TYPE_CHECKING:
    from clusterkit.classifiers.train import ClassifierTraining
    from clusterkit.extractors.autoencoder.training import AutoencoderTraining


@click.group(cls=Group)
def train() -> None:
    """Train a network on your own images.

    \b
    Example:
      clusterkit train autoencoder photos/ -o ae.keras
      clusterkit train classifier labelled/ -o clf.keras
    """


@train.command()
@folders_argument
@exclude_option
@click.option(
    "--latent-size",
    type=click.IntRange(1),
    help="Length of a vector.  [default: a feature map of 8 channels, 1/24 of the image's numbers]",
)
@click.option(
    "--image-size",
    type=click.IntRange(1),
    default=128,
    show_default=True,
    help="Side in pixels that images are resized to.",
)
@click.option(
    "--depth",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Number of times the image is halved; more gives a shorter vector and a blurrier image.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    help="Maximum number of epochs.  [default: 3 to 75, by the number of images]",
)
@click.option(
    "--validation-split",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Fraction of the images held out for early stopping and measurement.",
)
@click.option(
    "--patience",
    type=click.IntRange(1),
    help="Number of epochs without improvement before training stops.  [default: a quarter of "
    "--epochs]",
)
@resize_option()
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Images per step.  [default: 16, and 64 from 10,000 images on]",
)
@seed_option
@outputs(
    OutputFile(
        "--output",
        "The file to write, ending in .keras; pictures of the training go beside it.",
        "ae.keras",
        check="clusterkit.plots.autoencoder_report:check_autoencoder_report",
    )
)
def autoencoder(
    folders: tuple[str, ...],
    exclude: tuple[str, ...],
    latent_size: int | None,
    image_size: int,
    depth: int,
    epochs: int | None,
    validation_split: float,
    patience: int | None,
    resize: str,
    batch_size: int | None,
    seed: int,
    outputs: Outputs,
) -> None:
    """Train a convolutional autoencoder; its encoder is then an extractor.

    Writes the network, its loss curve (NAME-loss.png) and some images beside their reconstructions
    (NAME-reconstructions.png).  Images that cannot be read are listed and skipped.

    \b
    Example:
      clusterkit train autoencoder photos/ -o ae.keras
      clusterkit embed photos/ -e ae.keras
    """
    from clusterkit import plots
    from clusterkit.extractors.autoencoder.training import train_autoencoder
    from clusterkit.images.folder import ImageFolder

    report = train_autoencoder(
        ImageFolder(folders, exclude=exclude),
        outputs.files["output"],
        image_size=image_size,
        latent_size=latent_size,
        depth=depth,
        epochs=epochs,
        validation_split=validation_split,
        patience=patience,
        batch_size=batch_size,
        resize=resize,
        random_state=seed,
        overwrite=outputs.overwrite,
        progress=True,
    )
    pictures = plots.save_autoencoder_report(report, overwrite=outputs.overwrite)
    document = report.to_dict() | {"pictures": pictures}
    outputs.show(document, lambda: _print_autoencoder(report, pictures, folders))


@train.command()
@click.argument("source", metavar="FOLDER", type=LocalPath())
@exclude_option
@click.option(
    "--network",
    default="xception",
    show_default=True,
    help=f"Trained from scratch: {', '.join(SCRATCH_NETWORKS)}.  Or a network of "
    "keras.applications (xception, resnet50, …) whose last layer is trained on its embeddings.",
)
@columns_options
@fine_tune_option
@image_size_option
@augmentation_option
@epochs_option
@learning_rate_option
@patience_option
@test_split_option
@validation_split_option
@not_copies_option
@balance_option
@resize_option()
@batch_size_option
@precision_option
@tensorboard_option
@weights_option
@seed_option
@store_option
@outputs(
    OutputFile(
        "--output",
        "The file to write, ending in .keras; tables and pictures go to NAME-report/ beside it.",
        "clf.keras",
        check="clusterkit.plots.classifier_report:check_classifier_report",
    ),
    continues=True,
)
def classifier(
    source: Path,
    exclude: tuple[str, ...],
    network: str,
    fine_tune: int,
    image_size: int | None,
    augmentation: tuple[str, ...] | None,
    epochs: int | None,
    learning_rate: float,
    patience: int | None,
    test_split: float,
    validation_split: float,
    not_copies: Path | None,
    balance: str | None,
    resize: str,
    batch_size: int,
    precision: str,
    tensorboard: Path | None,
    weights: Path | None,
    seed: int,
    store: Path,
    outputs: Outputs,
    **columns: Any,
) -> None:
    """Train a classifier on labelled images, and evaluate it on a test set.

    FOLDER has one sub-folder per class, or train/, val/ and test/ with these; or it is a table
    (CSV) of files and labels (`|` between several labels), a table of label and pixels, or a folder
    of idx files.  The columns that are used are printed; ambiguous ones are an error.  Copies of
    one image are never in both training and test set.

    Writes the network (NAME.keras), and tables and pictures of it to NAME-report/: figures, class
    counts, training curves, and of the test images the predictions, the worst mistakes, the
    confusion matrix, ROC and precision-recall curves, reliability, and similarity of the classes.
    The same command continues an interrupted training.

    \b
    Example:
      clusterkit train classifier photos/ --network xception -o clf.keras
      clusterkit predict new.jpg --model clf.keras
    """
    from clusterkit import plots
    from clusterkit.classifiers.classifier import Classifier
    from clusterkit.classifiers.train import train_classifier
    from clusterkit.datasets.labelled_images import read_labelled

    if network not in SCRATCH_NETWORKS and not fine_tune:
        reason = "a last layer alone is not trained by epochs"
        notice_unused(reason, "epochs", "learning_rate", "patience", "precision")
    images = read_labelled(source, exclude=exclude, **columns)
    if images.is_multilabel:
        notice_unused("images with several labels get thresholds instead", "balance")
    report = train_classifier(
        images,
        outputs.files["output"],
        Classifier(
            network,
            weights=weights,
            fine_tune=fine_tune,
            image_size=image_size,
            augmentation=augmentation,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            validation_split=validation_split,
            patience=patience,
            balance=balance,
            resize=resize,
            precision=precision,
            random_state=seed,
            progress=True,
            tensorboard=tensorboard,
        ),
        test_split=test_split,
        not_copies=not_copies,
        store=store,
        overwrite=outputs.overwrite,
    )
    written = [report.output, *_save_report(plots.save_classifier_report, report, outputs)]
    document = report.to_dict() | {"report": written[-1].parent, "written": written}
    outputs.show(document, lambda: _print_classifier(report, written))


def _print_autoencoder(
    report: "AutoencoderTraining", pictures: list[Path], folders: tuple[str, ...]
) -> None:
    """Print the figures of an autoencoder, and what comes next."""
    for path, reason in report.failures:
        notice(f"Left out of the training: {path}: {reason}")
    say_result(report)
    say(
        f"{report.output}, {', '.join(map(str, pictures))}",
        f"Next: {shlex.join(['clusterkit', 'embed', *folders, '-e', str(report.output)])}",
    )


def _save_report(
    save: Callable[..., list[Path]], report: "ClassifierTraining", outputs: Outputs
) -> list[Path]:
    """Write a report; if that fails, its figures are printed: the training was not for nothing."""
    try:
        return save(report, overwrite=True)
    except (ClusterkitError, OSError) as error:
        outputs.show(report.to_dict(), lambda: say_result(report))
        raise click.ClickException(
            f"{error}. The report is not complete, but the classifier is: {report.output}"
        ) from error


def _print_classifier(report: "ClassifierTraining", written: list[Path]) -> None:
    """Print class counts, and the figures on the test images."""
    for path, reason in report.failures:
        notice(f"Left out of the training: {path}: {reason}")
    say_result(report)
    folder, names = written[-1].parent, ", ".join(file.name for file in written[1:])
    notice(f"Wrote {report.output} and {folder}/ ({names})")
