"""Options of the commands that train classifiers."""

from pathlib import Path

import click

from clusterkit.classifiers.training.augmentation import AUGMENTATIONS

image_size_option = click.option(
    "--image-size",
    type=click.IntRange(1),
    help="Side in pixels, for a network trained from scratch.  [default: 28 to 128, by network]",
)
augmentation_option = click.option(
    "--augmentation",
    metavar="NAME,...|none",
    callback=lambda _context, _option, value: _split_names(value),
    help=f"Augmentations for training from scratch: {', '.join(AUGMENTATIONS)}.  "
    "[default: by network]",
)
epochs_option = click.option(
    "--epochs",
    type=click.IntRange(1),
    help="Maximum number of epochs; ignored if only the last layer is trained.  [default: 10 to "
    "80, by network]",
)
learning_rate_option = click.option(
    "--learning-rate",
    type=click.FloatRange(0, 1, min_open=True),
    default=1e-3,
    show_default=True,
    help="Initial learning rate; it decays to a hundredth along a cosine.  Ignored if only the "
    "last layer is trained.",
)
fine_tune_option = click.option(
    "--fine-tune",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Number of top blocks of a keras.applications network to train with the last layer.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="For training from scratch; auto is bfloat16 on a GPU that supports it.",
)
tensorboard_option = click.option(
    "--tensorboard",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of logs for `tensorboard --logdir DIR`.",
)
patience_option = click.option(
    "--patience",
    type=click.IntRange(1),
    help="Number of epochs without improvement before training stops; ignored if only the last "
    "layer is trained.  [default: a quarter of --epochs, 5 to 15]",
)
test_split_option = click.option(
    "--test-split",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.2,
    show_default=True,
    help="Fraction of the images held out as test set, unless FOLDER has one.",
)
validation_split_option = click.option(
    "--validation-split",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Fraction of the images used for early stopping, unless FOLDER has a validation set.",
)
balance_option = click.option(
    "--balance",
    type=click.Choice(["auto", "weights", "oversample", "none"]),
    default="auto",
    show_default=True,
    callback=lambda _context, _option, value: None if value == "none" else value,
    help="How to compensate for rare classes.  auto is weights if the largest class has more "
    "than twice the images of the smallest.",
)


def _split_names(value: str | None) -> tuple[str, ...] | None:
    """Return the names between commas; "none" stands for no name."""
    if value is None:
        return None
    return () if value == "none" else tuple(name.strip() for name in value.split(","))
