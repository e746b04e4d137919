"""Parameter groups: frozen, by pattern, without decay, norm-constrained."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import optax

from jaxdl import tree
from jaxdl._checks import check_positive
from jaxdl.optim.averaging import AverageState, nodes
from jaxdl.types import Array, PyTree

Patterns = str | Sequence[str]


def no_decay_on_vectors(params: PyTree) -> PyTree:
    """A mask for weight decay: True for matrices and kernels, False for biases and scales.

    >>> import jax.numpy as jnp
    >>> no_decay_on_vectors({"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)})
    {'bias': False, 'kernel': True}
    """
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def freeze(
    tx: optax.GradientTransformation, patterns: Patterns
) -> optax.GradientTransformationExtraArgs:
    """Freezes the parameters whose names match; the others follow ``tx``.

    Args:
        tx: transformation of the trained parameters.
        patterns: regular expressions for parameter names; see :func:`jaxdl.tree.mask`.

    Raises:
        ValueError: at ``init``, if a pattern matches no parameter.

    Source: ``requires_grad_(False)``.

    >>> import jax.numpy as jnp
    >>> from jaxdl import optim
    >>> params = {"body": jnp.zeros(1), "head": jnp.zeros(1)}
    >>> tx = freeze(optim.sgd(0.5), "body")
    >>> print(tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)[0])
    {'body': Array([0.], dtype=float32), 'head': Array([-0.5], dtype=float32)}
    """
    return by_pattern(
        {"frozen": optax.set_to_zero(), "trained": tx}, {"frozen": patterns}, "trained"
    )


def by_pattern(
    transformations: Mapping[str, optax.GradientTransformation],
    patterns: Mapping[str, Patterns],
    default: str,
) -> optax.GradientTransformationExtraArgs:
    """Applies one transformation per group of parameters: a learning rate per layer, e.g.

    Args:
        transformations: by label.
        patterns: regular expressions for parameter names, by label; see :func:`jaxdl.tree.mask`.
        default: label of the parameters that no pattern matches.

    Raises:
        ValueError: a label without a transformation; at ``init``, a pattern that matches no
            parameter, or a parameter that matches the patterns of two labels.

    Source: parameter groups of ``torch.optim``.

    >>> import jax.numpy as jnp
    >>> from jaxdl import optim
    >>> params = {"body": jnp.zeros(1), "head": jnp.zeros(1)}
    >>> groups = {"head": optim.sgd(1.0), "rest": optim.sgd(0.1)}
    >>> tx = by_pattern(groups, {"head": "^head"}, default="rest")
    >>> print(tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)[0])
    {'body': Array([-0.1], dtype=float32), 'head': Array([-1.], dtype=float32)}
    """
    unknown = {default, *patterns} - transformations.keys()
    if unknown:
        raise ValueError(
            f"no transformation for {sorted(unknown)}; there are {sorted(transformations)}."
        )

    def label(params: PyTree) -> PyTree:
        masks = {name: tree.mask(params, pattern) for name, pattern in patterns.items()}

        def choose(path: tuple[object, ...], _: Array, *matches: bool) -> str:
            chosen = [name for name, match in zip(masks, matches, strict=True) if match]
            if len(chosen) > 1:
                where = tree.leaf_name(path)
                raise ValueError(f"{where} matches the patterns of {chosen}; expected one of them.")
            return chosen[0] if chosen else default

        return jax.tree_util.tree_map_with_path(choose, params, *masks.values())

    return optax.multi_transform(dict(transformations), label)


class MaxNormState(NamedTuple):
    """The state of :func:`max_norm`: the optimizer's."""

    inner: PyTree


def max_norm(
    tx: optax.GradientTransformation,
    patterns: Patterns,
    limit: float,
    *,
    norm_type: float = 2.0,
) -> optax.GradientTransformationExtraArgs:
    """Shortens the rows of a table before they are updated: ``row * limit / (norm + 1e-7)``.

    With the same ``max_norm`` in :class:`jaxdl.nn.Embed`, whose lookup shortens its result but not
    the table, a table learns as PyTorch's does, where a lookup writes shortened rows back.

    Args:
        tx: optimizer.
        patterns: regular expressions for the names of the tables, (rows, features) each; see
            :func:`jaxdl.tree.mask`.
        limit: largest norm of a row.
        norm_type: p of the p-norm.

    Raises:
        ValueError: a limit or p that is not positive; at ``init``, a pattern that matches no
            parameter or one that is not a matrix, or a ``tx`` that averages the weights (``ema``
            and ``swa`` go around this).

    Source: ``max_norm`` of ``torch.nn.Embedding``, which shortens only rows that are looked up.
    Lookups give the same, except where momentum moves a row that is not looked up beyond the limit.

    >>> import jax.numpy as jnp
    >>> from jaxdl import optim
    >>> params = {"table": jnp.array([[3.0, 4.0]])}
    >>> tx = max_norm(optim.sgd(0.1), "table", 1.0)
    >>> updates, _ = tx.update({"table": jnp.zeros((1, 2))}, tx.init(params), params)
    >>> print(jnp.linalg.norm(params["table"] + updates["table"]).round(4))
    1.0
    """
    check_positive(limit=limit, norm_type=norm_type)
    tx = optax.with_extra_args_support(tx)

    def init(params: PyTree) -> MaxNormState:
        chosen = tree.named_leaves(tree.mask(params, patterns))
        for name, leaf in tree.named_leaves(params).items():
            if chosen[name] and leaf.ndim != 2:
                raise ValueError(
                    f"max_norm takes tables (rows, features), but {name} has shape {leaf.shape}."
                )
        inner = tx.init(params)
        if nodes(inner, AverageState):
            raise ValueError(
                "max_norm around ema or swa would shorten rows that were averaged before; "
                "expected ema(max_norm(tx))."
            )
        return MaxNormState(inner)

    def shorten(update: Array, rows: Array, chosen: bool) -> Array:
        if not chosen:
            return update
        return tree.shorten_rows(rows, limit, norm_type) - rows + update

    def update(
        updates: PyTree, state: MaxNormState, params: PyTree = None, **extra_args: object
    ) -> tuple[PyTree, MaxNormState]:
        if params is None:
            raise ValueError("max_norm needs the parameters: tx.update(gradients, state, params).")
        updates, inner = tx.update(updates, state.inner, params, **extra_args)
        updates = jax.tree.map(shorten, updates, params, tree.mask(params, patterns))
        return updates, MaxNormState(inner)

    return optax.GradientTransformationExtraArgs(init, update)
