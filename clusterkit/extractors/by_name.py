"""Registry of extractors by their command-line names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterkit.errors import InvalidInputError
from clusterkit.utils.registry import Registry
from clusterkit.utils.text import did_you_mean

if TYPE_CHECKING:
    from clusterkit.extractors.base import Extractor


# Extractors without a network and weights.
WITHOUT_NETWORK = Registry("extractor", {"pixels": "clusterkit.extractors.pixels:Pixels"})


def extractor_names() -> list[str]:
    """Return all names accepted by :func:`create_extractor`, except ``.keras`` files."""
    from clusterkit.extractors.applications import NETWORKS

    networks = [name + suffix for name in NETWORKS for suffix in ("", "-predictions")]
    return [*networks, *WITHOUT_NETWORK]


def create_extractor(
    name: str | Path,
    *,
    weights: str | Path | None = None,
    batch_size: int | None = None,
    resize: str = "stretch",
    precision: str = "auto",
    runtime: str = "auto",
) -> Extractor:
    """Create an extractor from its command-line name.

    Parameters
    ----------
    name : str or path
        A network of ``keras.applications`` in lower case, with ``-predictions`` for its class
        probabilities, ``pixels``, or the path of an autoencoder's ``.keras`` file.
    weights : path, optional
        Local weights of a network; by default those that ``CLUSTERKIT_WEIGHTS`` names, otherwise
        Keras downloads them.  An autoencoder's file contains them, and pixels need none.
    batch_size : int, optional
        Images per forward pass; by default depends on the hardware.
    resize : {"stretch", "crop", "pad"}
        How images are resized to the network's input.  An autoencoder resizes as in its training.
    precision, runtime : str
        See :class:`~clusterkit.extractors.applications.KerasApplication`.  Autoencoders run in
        float32 with Keras.

    Returns
    -------
    Extractor
        The extractor; its network is loaded at the first forward pass.

    Raises
    ------
    InvalidInputError
        If there is no extractor of that name, or it has no such parameter.
    """
    name = str(name)
    options: dict[str, Any] = {} if batch_size is None else {"batch_size": batch_size}
    if name.endswith(".keras"):
        from clusterkit.extractors.autoencoder.extractor import Autoencoder

        return Autoencoder(name, **options)
    if name in WITHOUT_NETWORK:
        return _create_without_network(name, options | {"resize": resize})

    from clusterkit.extractors.applications import NETWORKS, KerasApplication

    network = name.removesuffix("-predictions")
    if network not in NETWORKS:
        raise InvalidInputError(
            f"extractor must be a .keras file of `clusterkit train autoencoder`, or one of "
            f"{', '.join(NETWORKS)}, each also as NAME-predictions, or "
            f"{', '.join(WITHOUT_NETWORK)}. Received: {name!r}"
            f"{did_you_mean(name, extractor_names())}"
        )
    return KerasApplication(
        network,
        output="features" if network == name else "predictions",
        weights=weights,
        resize=resize,
        precision=precision,
        runtime=runtime,
        **options,
    )


def _create_without_network(name: str, options: dict[str, Any]) -> Extractor:
    """Create an extractor with those options that it has; all others must be the defaults."""
    created: Any = WITHOUT_NETWORK[name]
    known = created._parameter_defaults()
    for option, value in options.items():
        if option not in known and value != getattr(created, option):
            raise InvalidInputError(
                f"the extractor {name} has no parameter {option}. Received: {option}={value!r}"
            )
    return created(**{option: value for option, value in options.items() if option in known})
