"""Weight penalties and the loss of mixed labels."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jaxdl import tree
from jaxdl._checks import check_fraction, check_shape
from jaxdl.losses._common import absolute, check_alike, floating
from jaxdl.types import Array, PyTree


def with_mixed_labels(
    loss: Callable[[Array, Array], Array],
    outputs: Real[Array, " B *F"],
    labels: Shaped[Array, " B *T"],
    partner_labels: Shaped[Array, " B *T"],
    weight: float | Array,
) -> Float[Array, " B *L"]:
    r"""Loss of mixed examples: :math:`\lambda L(z, y) + (1 - \lambda) L(z, y')`.

    Args:
        loss: ``(outputs, labels) -> (B, ...)`` losses.
        outputs: of the model for the mixed inputs λx + (1-λ)x'.
        labels: y, of the examples.
        partner_labels: y', of the examples mixed in; like ``labels``.
        weight: λ in [0, 1], a number, () or (B,). An array's values are not checked.

    Returns:
        losses, shaped like those of ``loss``.

    Raises:
        ValueError: shapes that differ, or a number outside [0, 1].

    Source: Zhang et al. 2018 (mixup); Yun et al. 2019 (CutMix), where λ is a fraction of the area.

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


def l1_penalty(params: PyTree, patterns: str | Sequence[str]) -> Float[Array, ""]:
    r"""L1 penalty, the sum of absolute weights: :math:`\sum |w|`.

    Args:
        params: pytree of arrays.
        patterns: regular expressions for the names of the leaves, such as "kernel$"; see
            :func:`jaxdl.tree.mask`.

    Returns:
        () float32; the gradient is 0 where a weight is 0.

    Raises:
        ValueError: a pattern matches no parameter.

    Source: ``param.abs().sum()`` in PyTorch.

    >>> print(l1_penalty({"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([5.0])}, "kernel"))
    3.0
    """
    return _sum_of_leaves(absolute, params, patterns)


def l2_penalty(params: PyTree, patterns: str | Sequence[str]) -> Float[Array, ""]:
    r"""L2 penalty, the sum of squared weights: :math:`\sum w^2`, without a factor of a half.

    Args, returns and raises: as :func:`l1_penalty`.

    Source: ``param.pow(2).sum()`` in PyTorch. λ/2 times it has the gradient of
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
