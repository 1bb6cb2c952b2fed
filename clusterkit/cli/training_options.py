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
    help=f"How images are varied in a training from scratch: {', '.join(AUGMENTATIONS)}.  "
    "[default: by network]",
)
epochs_option = click.option(
    "--epochs",
    type=click.IntRange(1),
    help="At most so many passes over the images.  Not for a last layer alone.  [default: 10 to "
    "80, by network]",
)
learning_rate_option = click.option(
    "--learning-rate",
    type=click.FloatRange(0, 1, min_open=True),
    default=1e-3,
    show_default=True,
    help="Of the first step; it falls to a hundredth along a cosine.  Not for a last layer alone.",
)
fine_tune_option = click.option(
    "--fine-tune",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of a network of keras.applications, train the top N blocks with the last layer.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Of a training from scratch: auto is bfloat16 where a GPU has it.",
)
tensorboard_option = click.option(
    "--tensorboard",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of logs, to look at with `tensorboard --logdir DIR`.",
)
patience_option = click.option(
    "--patience",
    type=click.IntRange(1),
    help="Stop after so many epochs without a gain.  Not for a last layer alone.  [default: a "
    "quarter of --epochs, 5 to 15]",
)
test_split_option = click.option(
    "--test-split",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the images to measure on, where FOLDER has no test images of its own.",
)
validation_split_option = click.option(
    "--validation-split",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of the images to stop in time by, where FOLDER has none of its own.",
)
balance_option = click.option(
    "--balance",
    type=click.Choice(["auto", "weights", "oversample", "none"]),
    default="auto",
    show_default=True,
    callback=lambda _context, _option, value: None if value == "none" else value,
    help="How rare classes are made to count: by weights, or shown more often.  auto is weights "
    "where the largest class has more than twice the images of the smallest.",
)


def _split_names(value: str | None) -> tuple[str, ...] | None:
    """Return the names between commas; "none" stands for no name."""
    if value is None:
        return None
    return () if value == "none" else tuple(name.strip() for name in value.split(","))
