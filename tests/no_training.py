"""Skip the training of networks in tests of the code around it: tracing takes most of the time.

The fixture ``untrained`` in conftest.py applies this to whole tests.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import keras


def _fit(
    model: "keras.Model",
    batches: "keras.utils.PyDataset",
    *,
    callbacks: "Sequence[keras.callbacks.Callback]",
    initial_epoch: int,
    epochs: int,
    **_: Any,
) -> None:
    logs = {part + name: 0.5 for part in ("", "val_") for name in ("loss", "accuracy")}
    for callback in callbacks:
        callback.set_model(model)
        callback.set_params({"epochs": epochs, "steps": len(batches)})
        callback.on_train_begin()
        for epoch in range(initial_epoch, epochs):
            callback.on_epoch_end(epoch, logs)
        callback.on_train_end()


@contextmanager
def learning_nothing() -> Iterator[None]:
    """Make trainings run all epochs without learning anything."""
    import keras

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "fit", _fit)
        yield
