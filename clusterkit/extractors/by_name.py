"""Extractors by their names: new ones, and those that the spaces of a store remember."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError, Notice, SpaceMismatchError, WeightsError
from clusterkit.extractors.applications import (
    NETWORKS,
    KerasApplication,
    default_weights,
    digest_named_weights,
    holds_head,
)
from clusterkit.extractors.base import Extraction, Extractor
from clusterkit.store.space import Space
from clusterkit.store.store import Store, as_store
from clusterkit.utils.imports import Registry
from clusterkit.utils.text import did_you_mean

# Extractors without a network and weights.
WITHOUT_NETWORK = Registry("extractor", {"pixels": "clusterkit.extractors.pixels:Pixels"})


def extractor_names() -> list[str]:
    """Return all names accepted by :func:`create_extractor`, except ``.keras`` files."""
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


def recall_extractor(
    name: str,
    store: Store | str | Path,
    *,
    weights: str | Path | None = None,
    batch_size: int | None = None,
    resize: str | None = None,
    precision: str | None = None,
    runtime: str | None = None,
) -> Extractor:
    """Return the extractor of a space in a store, or a new one if there is no such space.

    Options that are not given are as when the space was embedded.  A new space takes the weights
    and options of another space of the same network: ``resnet50-predictions`` those of
    ``resnet50``, if they have the classification head.

    Parameters
    ----------
    name : str
        A name as for :func:`create_extractor`, or that of a space of the store.
    store : Store or path
        The store.  If several of its spaces fit, the last that was embedded is used.
    weights, batch_size, resize, precision, runtime
        See :func:`create_extractor`.

    Returns
    -------
    Extractor
        A :class:`RememberedExtractor` if there is a space.

    Raises
    ------
    InvalidInputError
        If there is no extractor of that name.
    WeightsError
        If the given weights do not exist.

    Warns
    -----
    Notice
        If several spaces fit.
    """
    options = {"weights": weights, "batch_size": batch_size, "resize": resize}
    options |= {"precision": precision, "runtime": runtime}
    if name.endswith(".keras") and Path(name).is_file():
        return _create(name, options)  # its file defines everything
    spaces = as_store(store).spaces_of(name)
    known = [space for space in spaces if _fits(space, name, weights)]
    fitting = [space for space in known if resize in (None, space.info["parameters"].get("resize"))]
    if not fitting:
        # Resized in another way, or another output of the same network: another space.
        related = known[0].info if known else _find_related(name, store)
        before = {option: related.get(option) for option in ("resize", "precision", "runtime")}
        before["weights"] = related.get("weights_source")
        given = {option: value for option, value in options.items() if value is not None}
        return _create(related["extractor"] if known else name, before | given)
    found, *others = fitting
    if others:
        warnings.warn(
            f"using {found.folder.name}, the last embedded; {name} may also be "
            f"{', '.join(space.folder.name for space in others)}: choose one by its name",
            Notice,
            stacklevel=2,
        )
    return RememberedExtractor(
        found.info, weights=weights, batch_size=batch_size, precision=precision, runtime=runtime
    )


class RememberedExtractor(Extractor):
    """The extractor that made an embedding space, as recorded in the space.

    The network is opened for the first batch, so that known images need no weights.

    Parameters
    ----------
    space : dict
        Description of the space: ``Embeddings.space`` or ``Space.info``.
    weights : path, optional
        The weights, if their file has moved.  By default those that the space was made with or, if
        they are gone, those that ``CLUSTERKIT_WEIGHTS`` names, if they are the same.
    batch_size : int, optional
        Images per forward pass; by default depends on the hardware.
    precision, runtime : str, optional
        See :class:`~clusterkit.extractors.applications.KerasApplication`; by default as before.

    Raises
    ------
    WeightsError
        At the first forward pass, if the weights are gone, or the network is not known.
    SpaceMismatchError
        At the first forward pass, if the weights are not those of the space.

    Examples
    --------
    >>> emb = Store(".clusterkit").read("xception")  # doctest: +SKIP
    >>> RememberedExtractor(emb.space).transform(["new.jpg"])  # doctest: +SKIP
    """

    def __init__(
        self,
        space: dict[str, Any],
        *,
        weights: str | Path | None = None,
        batch_size: int | None = None,
        precision: str | None = None,
        runtime: str | None = None,
    ) -> None:
        self.space = space
        self.weights = weights
        self.batch_size = batch_size
        self.precision = precision
        self.runtime = runtime

    @property
    def name(self) -> str:  # type: ignore[override]
        """Command-line name of the extractor."""
        return str(self._recall("extractor"))

    @property
    def image_size(self) -> tuple[int, int]:  # type: ignore[override]
        """(height, width) of the network's input, in pixels."""
        height, width = self._recall("image_size")
        return height, width

    @property
    def dimension(self) -> int:  # type: ignore[override]
        """Length of a vector."""
        return int(self._recall("dimension"))

    @property
    def resize(self) -> str:  # type: ignore[override]
        """How images are resized."""
        known = self.space.get("resize") or self._recall("parameters").get("resize")
        # Earlier versions left it to the file of an autoencoder.
        return str(known or self._open().resize)

    @property
    def fingerprint(self) -> str:
        """Identity of the embedding space."""
        return str(self._recall("fingerprint"))

    def describe(self) -> dict[str, Any]:
        """Return name, identity and preprocessing version of the extractor."""
        return {name: self._recall(name) for name in super().describe()}

    def _identity(self) -> dict[str, Any]:
        """Return the parameters that made the space."""
        return dict(self._recall("parameters"))

    def origin(self) -> dict[str, Any]:
        """Return where the network is from, and how it runs."""
        known = {name: self.space.get(name) for name in ("weights_source", "precision", "runtime")}
        given = super().origin()
        return known | {name: value for name, value in given.items() if value is not None}

    def _recall(self, name: str) -> Any:
        """Return a value of the description, which imported spaces lack."""
        if name not in self.space:
            raise self._unknown_network()
        return self.space[name]

    def _unknown_network(self) -> WeightsError:
        """Return the error of a space whose network is not known."""
        return WeightsError(
            f"images that are not in the space {self.space.get('extractor')} cannot be embedded, "
            "since the network that made them is not known"
        )

    def _prepare(self, n_images: int) -> None:
        """Load the network."""
        self._open_once().prepare(n_images)

    def _forward(self, images: NDArray[np.uint8]) -> Extraction:
        """Run the network."""
        return self._open_once().extract(images)

    def _forward_maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Run the network up to its last feature maps, if its vectors are their average."""
        return self._open_once().feature_maps(images)

    def _open_once(self) -> Extractor:
        """Return the extractor itself, opened at the first call."""
        if not hasattr(self, "_opened"):
            self._opened = self._open()
        return self._opened

    def _open(self) -> Extractor:
        """Return the extractor itself, with the first weights that match the space."""
        source = self.space.get("weights_source")
        if source is None and self.name not in WITHOUT_NETWORK:
            raise self._unknown_network()
        is_file = str(source).endswith(".keras")
        # The file of an autoencoder holds its weights; those for other networks do not apply.
        given = self.weights if not is_file or str(self.weights).endswith(".keras") else None
        first = source if given is None else str(given)
        candidates = [first] if is_file or source is None else [first, default_weights()]
        options: dict[str, Any] = {"batch_size": self.batch_size}
        if not is_file:
            origin = self.origin()
            options |= {"resize": self.resize}
            options |= {"precision": origin["precision"], "runtime": origin["runtime"]}
        for weights in filter(_is_there, dict.fromkeys(candidates)):
            name = str(weights) if is_file else self.name
            extractor = _create(name, options | {"weights": weights})
            if extractor.fingerprint == self.fingerprint:
                return extractor
        if not _is_there(first):
            raise WeightsError(
                f"no weights file {first}: new images need the weights that made the space "
                f"{self.name}. Give their file with {'-e' if is_file else '--weights'}, or weights="
                "FILE in Python"
            )
        raise SpaceMismatchError(
            f"{first} is not what made the embeddings of {self.name}: give the weights that they "
            "were made with (--weights), or embed all images with others: `clusterkit embed FOLDER "
            f"-e {self.name} --weights FILE`"
        )


def recall_weights(network: str, store: Store | str | Path) -> str | None:
    """Return the weights file that the store records for a network, if it exists.

    Parameters
    ----------
    network : str
        A network of ``keras.applications``.
    store : Store or path
        The store.  Of several files, that of the last embedded space is returned.

    Returns
    -------
    str or None
        The file; None if there is none, or Keras downloaded it.
    """
    store = as_store(store)
    for name in (network, f"{network}-predictions"):
        for space in store.spaces_of(name):
            source = (space.read_info() or {}).get("weights_source")
            if source not in (None, "imagenet") and Path(source).is_file():
                return str(source)
    return None


def recall_if_gone(
    extractor: KerasApplication, store: Store | str | Path | None, *, fingerprint: str | None = None
) -> Extractor:
    """Return an extractor, or that of its space in the store if the file of its weights is gone.

    Images in the store then need no weights.

    Parameters
    ----------
    extractor : KerasApplication
        The network.
    store : Store or path, optional
        Where its embeddings may be.
    fingerprint : str, optional
        Of its space, if known.  By default that is the one that was made with this file, or the
        last that was embedded if the extractor names no file.

    Returns
    -------
    Extractor
        The extractor itself if its weights are there, or the store has no such space.
    """
    source = extractor.origin()["weights_source"]
    is_named = extractor.weights is not None or source != "imagenet"
    if store is None or (is_named and (source == "imagenet" or Path(source).is_file())):
        return extractor
    for space in as_store(store).spaces_of(extractor.name):
        info = space.read_info() or {}
        if fingerprint is not None:
            fits = info.get("fingerprint") == fingerprint
        else:
            is_sized_alike = info.get("parameters", {}).get("resize") == extractor.resize
            fits = is_sized_alike and (not is_named or info.get("weights_source") == source)
        if fits:
            return RememberedExtractor(info)
    return extractor


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


def _create(name: str, options: dict[str, Any]) -> Extractor:
    """Create an extractor with those options that have a value."""
    return create_extractor(
        name, **{option: value for option, value in options.items() if value is not None}
    )


def _fits(space: Space, name: str, weights: str | Path | None) -> bool:
    """Return whether a space of this name was made with the given weights, if any."""
    info = space.read_info() or {}
    known = info.get("parameters")
    if known is None:
        return False  # imported
    made_with = known.get("weights")
    if None not in (weights, made_with) and digest_named_weights(str(weights)) != made_with:
        return False
    # Another preprocessing makes another space, unless this one is named.
    is_current = info.get("preprocessing_version") == Extractor.preprocessing_version
    return is_current or name == space.folder.name


def _find_related(name: str, store: Store | str | Path) -> dict[str, Any]:
    """Return the description of a space of the same network with another output; empty if none.

    Its weights must exist, and have what the name needs.
    """
    network = name.removesuffix("-predictions")
    other = network if name != network else f"{network}-predictions"
    for space in as_store(store).spaces_of(other):
        info = space.read_info() or {}
        source = info.get("weights_source")
        if source is None or not (source == "imagenet" or Path(source).is_file()):
            continue
        if name == network or source == "imagenet" or holds_head(Path(source)):
            return info
    return {}


def _is_there(weights: str | None) -> bool:
    """Return whether weights can be read; Keras downloads its own."""
    return weights in (None, "imagenet") or Path(str(weights)).is_file()
