"""Training logs for TensorBoard."""

from pathlib import Path
from typing import Any

import keras


class TensorBoardLog(keras.callbacks.Callback):
    """Write loss and accuracy of each epoch, as one run each for training and validation.

    ``keras.callbacks.TensorBoard`` needs the package tensorboard, which TensorFlow no longer
    installs.  TensorFlow itself can write the same files.

    Parameters
    ----------
    folder : path
        Folder for ``tensorboard --logdir``, with the sub-folders ``train`` and ``validation``.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder)

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the files."""
        import tensorflow as tf

        self.writers = {
            run: tf.summary.create_file_writer(str(self.folder / run))
            for run in ("train", "validation")
        }

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the values with the tags of Keras' own callback."""
        for name, value in logs.items():
            run = "validation" if name.startswith("val_") else "train"
            with self.writers[run].as_default(step=epoch):
                _write_scalar(f"epoch_{name.removeprefix('val_')}", value)
            self.writers[run].flush()

    def on_train_end(self, logs: Any = None) -> None:
        """Close the files."""
        for writer in self.writers.values():
            writer.close()


def write_history(folder: str | Path, history: dict[str, list[float]]) -> None:
    """Write the logs of a completed training."""
    log = TensorBoardLog(folder)
    log.on_train_begin()
    for epoch, values in enumerate(zip(*history.values(), strict=True)):
        log.on_epoch_end(epoch, dict(zip(history, values, strict=True)))
    log.on_train_end()


def _write_scalar(tag: str, value: float) -> None:
    """Write a value for TensorBoard's scalars plugin."""
    import tensorflow as tf
    from tensorflow.core.framework.summary_pb2 import DATA_CLASS_SCALAR, SummaryMetadata

    plugin = SummaryMetadata.PluginData(plugin_name="scalars")
    metadata = SummaryMetadata(plugin_data=plugin, data_class=DATA_CLASS_SCALAR)
    tf.summary.write(tag, tf.constant(value, tf.float32), metadata=metadata)
