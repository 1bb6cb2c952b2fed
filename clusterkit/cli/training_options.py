"""Options of the commands that train classifiers."""

import click

image_size_option = click.option(
    "--image-size",
    type=click.IntRange(1),
    help="Side in pixels, for a network trained from scratch.  [default: 28 to 128, by network]",
)
epochs_option = click.option(
    "--epochs",
    type=click.IntRange(1),
    help="At most so many passes over the images.  [default: 20 to 100, by network]",
)
patience_option = click.option(
    "--patience",
    type=click.IntRange(1),
    help="Stop after so many epochs without a gain.  [default: a quarter of --epochs, 5 to 15]",
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
class_weight_option = click.option(
    "--class-weight",
    type=click.Choice(["auto", "balanced", "none"]),
    default="auto",
    show_default=True,
    help="auto makes classes count the same where the largest has twice the smallest's images.",
)
