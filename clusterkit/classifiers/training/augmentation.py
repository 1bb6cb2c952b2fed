"""Augmentation layers by name, which are active in training only.

Keras is imported only to build them, so that the command line can list the names.
"""

from collections.abc import Callable, Collection
from typing import Any

from clusterkit.errors import InvalidInputError

# Four bilinear interpolations leave a third of a photo's fine detail: the network would be trained
# on blurred images and predict sharp ones, with other statistics in batch normalisation.
_SHARP = {"interpolation": "nearest"}

# Name of a Keras layer and its arguments at a strength, in the order of application: geometry, then
# colours.  Borders are filled by reflection.
AUGMENTATIONS: dict[str, tuple[str, Callable[[float], dict[str, Any]]]] = {
    "flip": ("RandomFlip", lambda strength: {"mode": "horizontal"}),
    "rotation": ("RandomRotation", lambda strength: {"factor": 0.04 * strength} | _SHARP),
    "shift": (
        "RandomTranslation",
        lambda strength: {"height_factor": 0.1 * strength, "width_factor": 0.1 * strength} | _SHARP,
    ),
    # Mostly enlarging, and height and width independently, similar to a random crop.
    "zoom": (
        "RandomZoom",
        lambda strength: (
            {
                "height_factor": (-0.3 * strength, 0.1 * strength),
                "width_factor": (-0.3 * strength, 0.1 * strength),
            }
            | _SHARP
        ),
    ),
    # Keras cannot load a saved shear layer whose factor is a single number.
    "shear": (
        "RandomShear",
        lambda strength: (
            {"x_factor": (0.0, 0.1 * strength), "y_factor": (0.0, 0.1 * strength)} | _SHARP
        ),
    ),
    "brightness": (
        "RandomBrightness",
        lambda strength: {"factor": 0.15 * strength, "value_range": (0, 1)},
    ),
    "hue": ("RandomHue", lambda strength: {"factor": 0.05 * strength, "value_range": (0, 1)}),
}


def check_augmentation(names: Collection[str]) -> None:
    """Check that all names are in the table.

    Raises
    ------
    InvalidInputError
        If a name is not, or ``names`` is a string.
    """
    unknown = [names] if isinstance(names, str) else sorted(set(names) - set(AUGMENTATIONS))
    if unknown:
        raise InvalidInputError(
            f"augmentation must be among {', '.join(AUGMENTATIONS)}. Received: {', '.join(unknown)}"
        )


def build_augmentation(
    names: Collection[str], channels: int = 3, *, strength: float = 1.0
) -> list[Any]:
    """Build augmentation layers for pixels on the scale 0-1.

    Parameters
    ----------
    names : collection of str
        Keys of ``AUGMENTATIONS``, in any order; none for no augmentation.
    channels : int
        Number of channels of the images; ``hue`` is left out for images of one channel.
    strength : float
        Factor of the range of all augmentations except ``flip``.  1 is suitable for photos:
        rotation by up to 14 degrees, shift by a tenth of the side, zoom by up to 30 %.

    Returns
    -------
    list of keras.layers.Layer
        In the order of the table.

    Raises
    ------
    InvalidInputError
        If a name is not in the table.
    """
    check_augmentation(names)
    from keras import layers

    return [
        getattr(layers, layer)(**arguments(strength))
        for name, (layer, arguments) in AUGMENTATIONS.items()
        if name in names and (name != "hue" or channels == 3)
    ]
