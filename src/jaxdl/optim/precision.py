"""Mixed precision with loss scaling."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import tree
from jaxdl.optim.averaging import nodes
from jaxdl.types import Array, PyTree


class PrecisionState(NamedTuple):
    """The state of :func:`mixed_precision`.

    Attributes:
        inner: the optimizer's state.
        like: an empty array, whose dtype is that of the computation.
        loss_scale: what the loss is multiplied by before it is differentiated.
        num_good: updates since it changed.
    """

    inner: PyTree
    like: Array
    loss_scale: Array
    num_good: Array


GROW_AFTER = 2000
"""Updates without overflow after which the loss scale doubles; that of ``torch.amp.GradScaler``."""


def mixed_precision(
    tx: optax.GradientTransformation, dtype: Literal["bfloat16", "float16"] = "bfloat16"
) -> optax.GradientTransformation:
    """Computes forward and backward in half precision; weights and optimizer stay float32.

    ``make_step`` sees it in the state and casts the parameters, ``supervised`` the inputs. In
    float16 the loss is scaled, so that small gradients do not vanish; an update whose gradients
    overflow is left out and the scale halved.

    Args:
        tx: optimizer, sees float32 gradients.
        dtype: bfloat16 has float32's range and needs no scale; float16 is the more precise.

    Source: ``torch.autocast`` and ``torch.amp.GradScaler``; unlike autocast everything is cast, and
    what wants float32 (norms, losses) asks for it.
    """
    if dtype not in ("bfloat16", "float16"):
        raise ValueError(f"dtype must be 'bfloat16' or 'float16', got {dtype!r}.")
    scaled = dtype == "float16"

    def init(params: PyTree) -> PrecisionState:
        return PrecisionState(
            tx.init(params),
            like=jnp.zeros(0, dtype),
            loss_scale=jnp.array(2.0**16 if scaled else 1.0),
            num_good=jnp.zeros((), jnp.int32),
        )

    def update(
        updates: PyTree, state: PrecisionState, params: PyTree = None
    ) -> tuple[PyTree, PrecisionState]:
        if not scaled:
            updates, inner = tx.update(updates, state.inner, params)
            return updates, state._replace(inner=inner)
        gradients = optax.tree.scale(1 / state.loss_scale, updates)
        finite = tree.all_finite(gradients)
        updates, inner = tx.update(gradients, state.inner, params)
        updates = jax.tree.map(lambda u: jnp.where(finite, u, 0), updates)
        inner = jax.tree.map(lambda new, old: jnp.where(finite, new, old), inner, state.inner)
        num_good = jnp.where(finite, state.num_good + 1, 0)
        grow = num_good >= GROW_AFTER
        change = jnp.where(finite, jnp.where(grow, 2.0, 1.0), 0.5)
        return updates, PrecisionState(
            inner, state.like, state.loss_scale * change, jnp.where(grow, 0, num_good)
        )

    return optax.GradientTransformation(init, update)


def compute_precision(state: PyTree) -> tuple[Any, Array | float]:
    """Dtype of the computation (None: as the weights are) and loss scale of a state."""
    for node in nodes(state, PrecisionState):
        return node.like.dtype, node.loss_scale
    return None, 1.0
