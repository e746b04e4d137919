"""Mixed precision with loss scaling."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import tree
from jaxdl.optim.accumulation import skip_batch
from jaxdl.optim.averaging import nodes
from jaxdl.types import Array, PyTree


class PrecisionState(NamedTuple):
    """The state of :func:`mixed_precision`.

    Attributes:
        inner: the optimizer's state.
        zero: 0 in the dtype of forward and backward, shape ().
        loss_scale: factor of the loss before it is differentiated.
        num_good: updates without overflow since the factor changed.
    """

    inner: PyTree
    zero: Array
    loss_scale: Array
    num_good: Array


GROW_AFTER = 2000
"""Updates without overflow after which the loss scale doubles; that of ``torch.amp.GradScaler``."""


def mixed_precision(
    tx: optax.GradientTransformation, dtype: Literal["bfloat16", "float16"] = "bfloat16"
) -> optax.GradientTransformationExtraArgs:
    """Computes forward and backward in half precision; weights and optimizer stay float32.

    ``make_step`` reads the dtype from the state and casts the parameters, ``supervised`` the
    inputs. In float16 the loss is scaled, so that small gradients do not vanish; an update whose
    gradients overflow is left out and the scale halved.

    Args:
        tx: optimizer, gets float32 gradients.
        dtype: bfloat16 has float32's range and needs no scale; float16 has more digits.

    Raises:
        ValueError: another dtype.

    Source: ``torch.autocast`` and ``torch.amp.GradScaler``; unlike under autocast everything is
    cast, except what asks for float32 (norms, losses).

    >>> from jaxdl import optim
    >>> tx = mixed_precision(optim.adam(1e-3), "float16")
    >>> print(tx.init({"w": jnp.zeros(2)}).loss_scale)
    65536.0
    """
    if dtype not in ("bfloat16", "float16"):
        raise ValueError(f"dtype must be 'bfloat16' or 'float16', got {dtype!r}.")
    scaled = dtype == "float16"
    tx = optax.with_extra_args_support(tx)

    def init(params: PyTree) -> PrecisionState:
        return PrecisionState(
            tx.init(params),
            zero=jnp.zeros((), dtype),
            loss_scale=jnp.array(2.0**16 if scaled else 1.0),
            num_good=jnp.zeros((), jnp.int32),
        )

    def update(
        updates: PyTree, state: PrecisionState, params: PyTree = None, **extra_args: object
    ) -> tuple[PyTree, PrecisionState]:
        if not scaled:
            updates, inner = tx.update(updates, state.inner, params, **extra_args)
            return updates, state._replace(inner=inner)
        gradients = optax.tree.scale(1 / state.loss_scale, updates)
        if "grad" in extra_args:  # what a line search reads is unscaled too
            extra_args["grad"] = gradients
        finite = tree.all_finite(gradients)
        updates, inner = tx.update(gradients, state.inner, params, **extra_args)
        updates = jax.tree.map(lambda u: jnp.where(finite, u, 0), updates)
        inner = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), inner, skip_batch(state.inner)
        )
        num_good = jnp.where(finite, state.num_good + 1, 0)
        grow = num_good >= GROW_AFTER
        change = jnp.where(finite, jnp.where(grow, 2.0, 1.0), 0.5)
        return updates, state._replace(
            inner=inner,
            loss_scale=state.loss_scale * change,
            num_good=jnp.where(grow, 0, num_good),
        )

    return optax.GradientTransformationExtraArgs(init, update)


def compute_precision(state: PyTree) -> tuple[jnp.dtype | None, Array | float]:
    """Dtype of the computation (None: that of the weights) and loss scale of a state."""
    for node in nodes(state, PrecisionState):
        return node.zero.dtype, node.loss_scale
    return None, 1.0
