"""Networks of ``keras.applications``: pooled features or ImageNet class probabilities."""

from __future__ import annotations

import math
import os
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clusterkit.errors import InvalidInputError, WeightsError
from clusterkit.extractors.base import N_CLASSES, Extraction, Extractor
from clusterkit.images.folder import digest_weights
from clusterkit.networks.runtimes.base import NetworkSource
from clusterkit.networks.runtimes.choose import FEW_IMAGES, OpenNetwork
from clusterkit.networks.runtimes.keras import dtype_policy

OUTPUTS = ("features", "predictions")


class Network(NamedTuple):
    """Properties of a network.

    Attributes
    ----------
    builder : str
        Function of ``keras.applications``.
    module : str
        Module of ``keras.applications`` with its ``preprocess_input``.
    side : int
        Height and width of its input in pixels.
    dimension : int
        Length of its pooled features.
    """

    builder: str
    module: str
    side: int
    dimension: int


NETWORKS = {
    "xception": Network("Xception", "xception", 299, 2048),
    "convnexttiny": Network("ConvNeXtTiny", "convnext", 224, 768),
    "convnextsmall": Network("ConvNeXtSmall", "convnext", 224, 768),
    "convnextbase": Network("ConvNeXtBase", "convnext", 224, 1024),
    "convnextlarge": Network("ConvNeXtLarge", "convnext", 224, 1536),
    "convnextxlarge": Network("ConvNeXtXLarge", "convnext", 224, 2048),
    "densenet121": Network("DenseNet121", "densenet", 224, 1024),
    "densenet169": Network("DenseNet169", "densenet", 224, 1664),
    "densenet201": Network("DenseNet201", "densenet", 224, 1920),
    "efficientnetb0": Network("EfficientNetB0", "efficientnet", 224, 1280),
    "efficientnetb1": Network("EfficientNetB1", "efficientnet", 240, 1280),
    "efficientnetb2": Network("EfficientNetB2", "efficientnet", 260, 1408),
    "efficientnetb3": Network("EfficientNetB3", "efficientnet", 300, 1536),
    "efficientnetb4": Network("EfficientNetB4", "efficientnet", 380, 1792),
    "efficientnetb5": Network("EfficientNetB5", "efficientnet", 456, 2048),
    "efficientnetb6": Network("EfficientNetB6", "efficientnet", 528, 2304),
    "efficientnetb7": Network("EfficientNetB7", "efficientnet", 600, 2560),
    "efficientnetv2b0": Network("EfficientNetV2B0", "efficientnet_v2", 224, 1280),
    "efficientnetv2b1": Network("EfficientNetV2B1", "efficientnet_v2", 240, 1280),
    "efficientnetv2b2": Network("EfficientNetV2B2", "efficientnet_v2", 260, 1408),
    "efficientnetv2b3": Network("EfficientNetV2B3", "efficientnet_v2", 300, 1536),
    "efficientnetv2s": Network("EfficientNetV2S", "efficientnet_v2", 384, 1280),
    "efficientnetv2m": Network("EfficientNetV2M", "efficientnet_v2", 480, 1280),
    "efficientnetv2l": Network("EfficientNetV2L", "efficientnet_v2", 480, 1280),
    "inceptionresnetv2": Network("InceptionResNetV2", "inception_resnet_v2", 299, 1536),
    "inceptionv3": Network("InceptionV3", "inception_v3", 299, 2048),
    "mobilenet": Network("MobileNet", "mobilenet", 224, 1024),
    "mobilenetv2": Network("MobileNetV2", "mobilenet_v2", 224, 1280),
    "mobilenetv3large": Network("MobileNetV3Large", "mobilenet_v3", 224, 960),
    "mobilenetv3small": Network("MobileNetV3Small", "mobilenet_v3", 224, 576),
    "nasnetlarge": Network("NASNetLarge", "nasnet", 331, 4032),
    "nasnetmobile": Network("NASNetMobile", "nasnet", 224, 1056),
    "resnet50": Network("ResNet50", "resnet", 224, 2048),
    "resnet101": Network("ResNet101", "resnet", 224, 2048),
    "resnet152": Network("ResNet152", "resnet", 224, 2048),
    "resnet50v2": Network("ResNet50V2", "resnet_v2", 224, 2048),
    "resnet101v2": Network("ResNet101V2", "resnet_v2", 224, 2048),
    "resnet152v2": Network("ResNet152V2", "resnet_v2", 224, 2048),
    "vgg16": Network("VGG16", "vgg16", 224, 512),
    "vgg19": Network("VGG19", "vgg19", 224, 512),
}


class KerasApplication(Extractor):
    """A network of ``keras.applications`` with ImageNet weights.

    Parameters
    ----------
    network : str
        A key of :data:`NETWORKS`, such as ``"xception"`` or ``"efficientnetv2b0"``.
    output : {"features", "predictions"}
        The globally average-pooled features of the last convolution, or the probabilities of the
        1000 ImageNet classes.
    weights : path or "imagenet", optional
        A local weights file, with or without the classification head, or ``"imagenet"``, which
        Keras downloads and caches.  See :func:`default_weights` for the default.
    batch_size : int, optional
        Images per forward pass; by default depends on the hardware.
    resize : {"stretch", "crop", "pad"}
        See :func:`clusterkit.images.resizing.resize_image`.
    precision : {"auto", "float32", "bfloat16"}
        By default bfloat16 if it is faster, the first images agree with float32, and there are
        enough images to gain from it.
    runtime : {"auto", "keras", "openvino"}
        By default OpenVINO if it is installed and there is no GPU.  Runtime and precision are not
        part of the fingerprint; see :mod:`clusterkit.networks.runtimes.choose`.

    Attributes
    ----------
    runtime_, precision_ : str
        The choice made at the first forward pass.

    Raises
    ------
    WeightsError
        At the first forward pass, if the weights cannot be downloaded or do not match.
    """

    _neutral_parameters = frozenset({"batch_size", "precision", "runtime"})

    def __init__(
        self,
        network: str = "xception",
        *,
        output: str = "features",
        weights: str | Path | None = None,
        batch_size: int | None = None,
        resize: str = "stretch",
        precision: str = "auto",
        runtime: str = "auto",
    ) -> None:
        self.network = network
        self.output = output
        self.weights = weights
        self.batch_size = batch_size
        self.resize = resize
        self.precision = precision
        self.runtime = runtime

    @property
    def name(self) -> str:  # type: ignore[override]
        """Command-line name: that of the network, with ``-predictions`` for predictions."""
        return self.network if self.output == "features" else f"{self.network}-predictions"

    @property
    def image_size(self) -> tuple[int, int]:  # type: ignore[override]
        """(height, width) of the network's input, in pixels."""
        side = self._row().side
        return side, side

    @property
    def dimension(self) -> int:  # type: ignore[override]
        """Length of a vector."""
        return self._row().dimension if self.output == "features" else N_CLASSES

    def _row(self) -> Network:
        """Check the parameters, and return the network's properties."""
        if self.network not in NETWORKS:
            raise InvalidInputError(
                f"network must be one of {', '.join(NETWORKS)}. Received: {self.network!r}"
            )
        if self.output not in OUTPUTS:
            raise InvalidInputError(
                f"output must be one of {', '.join(OUTPUTS)}. Received: {self.output!r}"
            )
        return NETWORKS[self.network]

    def _identity(self) -> dict[str, Any]:
        """Return the parameters with the digest of the weights instead of their path."""
        return super()._identity() | {"weights": self._weights_digest()}

    def _weights_digest(self) -> str:
        """Return the digest of the weights."""
        if self.weights is None:
            return digest_named_weights(default_weights(), " (CLUSTERKIT_WEIGHTS)")
        return digest_named_weights(self.weights)

    def _weights_source(self) -> str:
        """Return the absolute path of the weights, or "imagenet"."""
        weights = default_weights() if self.weights is None else str(self.weights)
        return weights if weights == "imagenet" else os.path.abspath(weights)  # noqa: PTH100

    def _prepare(self, n_images: int) -> None:
        """Load the network, unless one that suits the number of images is loaded."""
        few = n_images < FEW_IMAGES
        if not hasattr(self, "_few") or (self._few and not few):
            self._load(few)

    def _load(self, few: bool) -> None:
        """Load the network, which is compiled at the next batch."""
        identity = {"network": self.network, "output": self.output}
        self._network = OpenNetwork(
            NetworkSource(self.name, identity | {"weights": self._weights_digest()}, self._build),
            runtime=self.runtime,
            precision=self.precision,
            few=few,
        )
        self._few = few

    def _forward(self, images: NDArray[np.uint8]) -> Extraction:
        """Run the network."""
        if not hasattr(self, "_few"):
            self._load(few=False)
        if hasattr(self, "_network"):
            started = self._network.start(images, batch_size=self.full_batch)
            self._run, self.runtime_, self.precision_ = started
            del self._network  # with the weights, which may have been copied
        outputs = self._run(images)
        if self.output == "predictions":
            return Extraction(outputs[0], outputs[0])
        return Extraction(*outputs)

    def _forward_maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Run the network up to the layer before pooling, in float32."""
        # ConvNeXt normalises after pooling: its vectors are not averages.
        if self.output != "features" or self._row().module == "convnext":
            return None
        if not hasattr(self, "_run_maps"):
            identity = {
                "network": self.network,
                "output": "maps",
                "weights": self._weights_digest(),
            }
            source = NetworkSource(f"{self.network}-maps", identity, self._build_maps)
            network = OpenNetwork(source, runtime=self.runtime, precision="float32", few=True)
            self._run_maps = network.start(images, batch_size=self.full_batch).run
        (flat,) = self._run_maps(images)
        # Runtimes return vectors; inputs are square, and so are the maps of all these networks.
        side = math.isqrt(flat.shape[1] // self.dimension)
        return flat.reshape(len(images), side, side, self.dimension)

    def _build_maps(self, policy: str) -> Any:
        """Build the network from pixels to its last feature maps, flattened."""
        import keras

        pixels, scaled = self._build_input()
        with dtype_policy(policy):
            network = self._build_inner()
            network = keras.Model(network.input, _before_pooling(network.outputs[0]))
            maps = keras.layers.Flatten()(network(scaled))
        return keras.Model(pixels, [keras.ops.cast(maps, "float32")])

    def __getstate__(self) -> dict[str, Any]:
        """Exclude the loaded network from pickles; it is loaded again on use."""
        loaded = ("_few", "_network", "_run", "_run_maps")
        return {k: v for k, v in vars(self).items() if k not in loaded}

    def _build(self, policy: str) -> Any:
        """Build the network from pixels to outputs, including preprocessing.

        Parameters
        ----------
        policy : str
            Keras dtype policy of the network.  Preprocessing and outputs are float32.
        """
        import keras

        pixels, scaled = self._build_input()
        with dtype_policy(policy):
            outputs = self._build_inner()(scaled)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        return keras.Model(pixels, [keras.ops.cast(output, "float32") for output in outputs])

    def _build_input(self) -> tuple[Any, Any]:
        """Return the uint8 input, and the same after the preprocessing of the network."""
        import keras

        module = import_module(f"keras.applications.{self._row().module}")
        pixels = keras.Input((*self.image_size, 3), dtype="uint8")
        values = keras.ops.cast(pixels, "float32")
        return pixels, module.preprocess_input(values, data_format="channels_last")

    def build_network(self, policy: str = "float32") -> Any:
        """Build the whole network, as a base for further layers.

        Parameters
        ----------
        policy : str
            Keras dtype policy.

        Returns
        -------
        keras.Model
            From uint8 pixels (n, height, width, 3) to float32 vectors (n, dimension), including
            preprocessing.
        """
        import keras

        model = self._build(policy)
        return keras.Model(model.input, model.outputs[0])

    def _build_inner(self) -> Any:
        """Build the network itself, for features and, if the weights have a head, predictions."""
        import keras

        from clusterkit.networks.downloads import guarded_downloads

        row = self._row()
        builder = getattr(keras.applications, row.builder)
        shape = (row.side, row.side, 3)
        source = self._weights_source()
        file = None if source == "imagenet" else Path(source)
        has_head = file is None or holds_head(file)
        if self.output == "predictions" and not has_head:
            raise WeightsError(
                f"{file} holds no classification head, which {self.name} needs: give the full "
                f"weights, or use the extractor {self.network}"
            )
        try:
            with guarded_downloads():
                model = builder(
                    weights=source,
                    include_top=has_head,
                    input_shape=shape,
                    pooling=None if has_head else "avg",
                )
        # Keras raises a bare Exception if a download fails, and many kinds of errors on wrong
        # files.
        except Exception as error:
            raise WeightsError(self._explain(error, file)) from error
        if self.output == "features" and has_head:
            return keras.Model(model.input, [_pooled_features(model), model.output])
        return model

    def _explain(self, error: Exception, file: Path | None) -> str:
        """Return an error message for the weights, with a remedy."""
        reason = " ".join(str(error).split())[:300]
        if file is None:
            return (
                f"cannot download the ImageNet weights of {self.network} ({reason}). Without a "
                "network connection give a local file: --weights FILE, or weights=FILE in Python. "
                "What works without weights: `-e pixels`, or an autoencoder of your own "
                "(`clusterkit train autoencoder`); both group photos by colour and tone, not by "
                "what they show; and classifiers that are trained from scratch, such as `--network "
                "two-conv`. `clusterkit demo` runs the whole chain on sample images"
            )
        return f"{file} does not hold weights of {self.network} ({reason})"


class Xception(KerasApplication):
    """Xception (Chollet, 2017) with ImageNet weights: 2048 pooled features of 299 x 299 pixels.

    Parameters are those of :class:`KerasApplication` except ``network``.
    """

    def __init__(
        self,
        *,
        output: str = "features",
        weights: str | Path | None = None,
        batch_size: int | None = None,
        resize: str = "stretch",
        precision: str = "auto",
        runtime: str = "auto",
    ) -> None:
        super().__init__(
            "xception",
            output=output,
            weights=weights,
            batch_size=batch_size,
            resize=resize,
            precision=precision,
            runtime=runtime,
        )

    def _identity(self) -> dict[str, Any]:
        """Return the identity of ``KerasApplication("xception")``."""
        return super()._identity() | {"network": self.network}


def digest_named_weights(weights: str | Path, named_by: str = "") -> str:
    """Return the digest of a weights file; Keras checks the hashes of its downloads.

    Raises
    ------
    WeightsError
        If there is no such file; the message says what named it.
    """
    if str(weights) == "imagenet":
        return "imagenet"
    if Path(weights).is_dir():
        raise WeightsError(f"weights are a file, but {weights}{named_by} is a folder")
    if not Path(weights).is_file():
        raise WeightsError(f"no weights file {weights}{named_by}")
    return digest_weights(weights)


def default_weights() -> str:
    """Return the weights file that ``CLUSTERKIT_WEIGHTS`` names, otherwise ``"imagenet"``."""
    return os.environ.get("CLUSTERKIT_WEIGHTS") or "imagenet"


def holds_head(file: Path) -> bool:
    """Return whether a weights file has the head of 1000 ImageNet classes.

    Raises
    ------
    WeightsError
        If it is not an HDF5 file.
    """
    import h5py

    found = []

    def visit(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape == (N_CLASSES,):
            found.append(item)

    try:
        with h5py.File(file) as weights:
            weights.visititems(visit)
    except OSError as error:
        raise WeightsError(f"{file} is not a Keras weights file (HDF5): {error}") from error
    return bool(found)


def _pooled_features(model: Any) -> Any:
    """Return the pooled features of a network with a head, as of ``include_top=False``.

    The head starts at the last global pooling or, if there is none (VGG), at the flattening;
    ConvNeXt normalises after pooling.
    """
    import keras

    kinds = (keras.layers.GlobalAveragePooling2D, keras.layers.Flatten)
    for kind in kinds:
        positions = [i for i, layer in enumerate(model.layers) if isinstance(layer, kind)]
        if positions:
            break
    head = positions[-1]
    features = keras.layers.GlobalAveragePooling2D()(model.layers[head].input)
    following = model.layers[head + 1]
    if isinstance(following, keras.layers.LayerNormalization):
        features = following(features)
    return features


def _before_pooling(features: Any) -> Any:
    """Return the feature maps whose global average are the features."""
    import keras

    layer = features._keras_history.operation
    if not isinstance(layer, keras.layers.GlobalAveragePooling2D):
        raise WeightsError(f"the features come from {layer.name}, not from an average of maps")
    return layer.input
