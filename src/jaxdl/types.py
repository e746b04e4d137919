"""The few types that every part of jaxdl shares.

State is one pytree; everything else is a function of it. A :class:`TrainState` holds no optimizer,
model or function, so any state can be jitted, vmapped, sharded, saved and compared.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import flax.struct
import jax

Array = jax.Array
PyTree = Any

IGNORE_LABEL = -100
"""A label that counts nowhere: not in the loss, not in a metric; PyTorch's ``ignore_index``."""

Batch = Mapping[str, Array]
"""Named arrays with a leading batch axis: ``"image"`` (B, H, W, C), ``"label"`` (B,) int32, …

An optional ``"mask"`` (B,) float32 is 1 for a real example and 0 for padding.
"""


class Mean(NamedTuple):
    """A mean that has not been divided yet: sums add across batches and devices.

    Attributes:
        total: sum of the values, weighted by their mask; float32, shape ().
        count: sum of the mask, the number of real examples; float32, shape ().
    """

    total: Array
    count: Array  # type: ignore[assignment]  # tuple.count gives way to the statistic


Metrics = Mapping[str, Mean | Array]
"""Named additive statistics: a :class:`Mean`, or an array of counts such as a confusion matrix."""


@flax.struct.dataclass
class TrainState:
    """Everything that training changes, and nothing else.

    Attributes:
        step: number of updates made so far; int32, shape ().
        params: trainable parameters.
        model_state: every other variable collection of the model (``batch_stats``, …), perhaps {}.
        opt_state: the state of the Optax transformation.
        key: root PRNG key; it never advances. A step's key is ``fold_in(key, step)``.
    """

    step: Array
    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    key: Array


class LossFn(Protocol):
    """A loss to differentiate, with the new model state and metrics as its auxiliary output."""

    def __call__(
        self, params: PyTree, model_state: PyTree, batch: Batch, *, key: Array, train: bool
    ) -> tuple[Array, tuple[PyTree, Metrics]]: ...


class StepFn(Protocol):
    """One update. The state is any pytree with a ``step`` field and comes back in the same shape.

    A step may carry a function attribute ``gradients(state, batch) -> gradients``; where it does,
    ``run`` uses it to name the largest gradient when the loss stops being finite.
    """

    def __call__(self, state: Any, batch: Batch) -> tuple[Any, Metrics]: ...


class EvalFn(Protocol):
    """The metrics of one batch; the state is left alone."""

    def __call__(self, state: Any, batch: Batch) -> Metrics: ...
