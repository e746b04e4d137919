"""Weight penalties and the loss of mixed labels."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl._checks import check_fraction, check_shape
from jaxdl.losses._common import absolute, check_alike, floating
from jaxdl.types import Array, PyTree


def with_mixed_labels(
    loss: Callable[[Array, Array], Array],
    outputs: Array,
    labels: Array,
    partner_labels: Array,
    weight: float | Array,
) -> Array:
    r"""The loss of mixed examples: :math:`\lambda L(z, y) + (1 - \lambda) L(z, y')`.

    Args:
        loss: ``(outputs, labels) -> (B, ...)`` losses.
        outputs: of the model for the mixed inputs λx + (1-λ)x'.
        labels: y, of the examples.
        partner_labels: y', of those that they were mixed with; like ``labels``.
        weight: λ in [0, 1], a number, () or (B,). An array's values are not checked.

    Returns:
        losses, shaped like those of ``loss``.

    Raises:
        ValueError: shapes that differ, or a number outside [0, 1].

    Source: Zhang et al. 2018. CutMix (Yun et al. 2019) has the same loss, λ the share of the area.

    >>> from jaxdl.losses import cross_entropy
    >>> cats, dogs = jnp.array([0]), jnp.array([1])
    >>> print(with_mixed_labels(cross_entropy, jnp.array([[0.0, 100.0]]), cats, dogs, 0.75))
    [75.]
    """
    check_alike(labels=labels, partner_labels=partner_labels)
    if isinstance(weight, int | float):
        check_fraction(weight=weight)
    losses, partner_losses = loss(outputs, labels), loss(outputs, partner_labels)
    weight = jnp.asarray(weight, losses.dtype)
    if weight.ndim > 0:
        check_shape("weight", weight, losses.shape[:1])
        weight = weight.reshape(weight.shape + (1,) * (losses.ndim - 1))
    return weight * losses + (1.0 - weight) * partner_losses


def l1_penalty(params: PyTree, patterns: str | Sequence[str]) -> Array:
    r"""The sum of absolute weights, :math:`\sum |w|`; add it to a loss times a strength.

    Args:
        params: pytree of arrays.
        patterns: regular expressions for the names of the leaves that count, such as "kernel$";
            see :func:`jaxdl.tree.mask`.

    Returns:
        () float32; the gradient is 0 where a weight is 0.

    Raises:
        ValueError: a pattern matches no parameter.

    Source: ``param.abs().sum()``, written out in PyTorch.

    >>> print(l1_penalty({"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([5.0])}, "kernel"))
    3.0
    """
    return _sum_of_leaves(absolute, params, patterns)


def l2_penalty(params: PyTree, patterns: str | Sequence[str]) -> Array:
    r"""The sum of squared weights, :math:`\sum w^2` (no half); add it to a loss times a strength.

    Args: as :func:`l1_penalty`. Returns: () float32. Raises: as :func:`l1_penalty`.

    Source: ``param.pow(2).sum()``, written out in PyTorch. λ/2 times it has the gradient of
    ``weight_decay=λ`` in ``torch.optim.SGD``.

    >>> print(l2_penalty({"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([5.0])}, "kernel"))
    5.0
    """
    return _sum_of_leaves(jnp.square, params, patterns)


def _sum_of_leaves(
    function: Callable[[Array], Array], params: PyTree, patterns: str | Sequence[str]
) -> Array:
    chosen = jax.tree.leaves(tree.mask(params, patterns))
    leaves = [leaf for leaf, use in zip(jax.tree.leaves(params), chosen, strict=True) if use]
    return sum((function(leaf).sum() for leaf in floating(*leaves)), jnp.zeros(()))
