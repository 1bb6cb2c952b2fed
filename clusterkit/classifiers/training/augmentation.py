"""Augmentation by name: layers that vary images in training, and only there.

No Keras is imported here but to build them, so that a command line can list the names.
"""

from collections.abc import Callable, Collection
from typing import Any

from clusterkit.errors import InvalidInputError
from clusterkit.utils.optional_imports import import_keras

# Four bilinear passes leave a third of a photo's fine detail: a network would learn from blurred
# images and predict sharp ones, at which its normalisation is off.
_SHARP = {"interpolation": "nearest"}

# Name of a Keras layer and its arguments at a strength, in the order in which they are applied:
# where things are first, then their colours.  Borders are filled by reflection.
AUGMENTATIONS: dict[str, tuple[str, Callable[[float], dict[str, Any]]]] = {
    "flip": ("RandomFlip", lambda strength: {"mode": "horizontal"}),
    "rotation": ("RandomRotation", lambda strength: {"factor": 0.04 * strength} | _SHARP),
    "shift": (
        "RandomTranslation",
        lambda strength: {"height_factor": 0.1 * strength, "width_factor": 0.1 * strength} | _SHARP,
    ),
    # Closer rather than farther, height and width each on its own: most of what a random crop is.
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
    # Keras cannot load a shear again that was given as one number.
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
    """Refuse names that are not in the table.

    Raises
    ------
    InvalidInputError
        If one is not, or if it is no collection of names.
    """
    unknown = [names] if isinstance(names, str) else sorted(set(names) - set(AUGMENTATIONS))
    if unknown:
        raise InvalidInputError(
            f"augmentation must be among {', '.join(AUGMENTATIONS)}. Received: {', '.join(unknown)}"
        )


def build_augmentation(
    names: Collection[str], channels: int = 3, *, strength: float = 1.0
) -> list[Any]:
    """Build layers that vary images with pixels on the scale 0-1.

    Parameters
    ----------
    names : collection of str
        Keys of ``AUGMENTATIONS``, in any order; none for no augmentation.
    channels : int
        Of the images.  Those of one channel have no hue, which is left out.
    strength : float
        How far images are varied: at 1 as photos can be, by up to 14 degrees, a tenth of the side,
        and a third of the size.  A flip has no strength.

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
    layers = import_keras().layers
    return [
        getattr(layers, layer)(**arguments(strength))
        for name, (layer, arguments) in AUGMENTATIONS.items()
        if name in names and (name != "hue" or channels == 3)
    ]
