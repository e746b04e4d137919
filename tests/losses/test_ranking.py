"""Ranking and embedding losses by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.losses import LABEL, LN2, LOGITS, ONE, close, run

from jaxdl import losses


def test_hinge_embedding_by_hand():
    values = run(losses.hinge_embedding, jnp.array([0.5, 2.0, 0.25]), jnp.array([1, -1, -1]))
    close(values, [0.5, 0.0, 0.75])
    close(values[:2].mean(), 0.25)
    values = run(losses.hinge_embedding, jnp.array([-2.0, 0.5]), jnp.array([-1, -1]), margin=-1.0)
    close(values, [1.0, 0.0])  # PyTorch takes a negative margin too


def test_margin_ranking_by_hand():
    x1, x2, y = jnp.array([0.2, 0.2]), jnp.array([0.5, 0.5]), jnp.array([1, -1])
    close(run(losses.margin_ranking, x1, x2, y), [0.3, 0.0])
    close(run(losses.margin_ranking, x1, x2, y, margin=0.5), [0.8, 0.2])
    close(run(losses.margin_ranking, x1, x2, y, margin=-0.1), [0.2, 0.0])


def test_triplet_margin_by_hand():
    anchor, positive = jnp.zeros((2, 2)), jnp.array([[1.0, 0.0], [1.0, 0.0]])
    negative = jnp.array([[0.0, 3.0], [0.0, 1.5]])
    close(run(losses.triplet_margin, anchor, positive, negative), [0.0, 0.5])
    # swap: the positive is √(1 + 0.5²) from (1, 0.5), the anchor √(1 + 0.5²); 1 from (2, 0), not 2
    near = jnp.array([[2.0, 0.0]])
    close(run(losses.triplet_margin, anchor[:1], positive[:1], near, swap=True), [1.0])
    close(run(losses.triplet_margin, anchor[:1], positive[:1], near), [0.0])


def test_cosine_embedding_by_hand():
    x1, x2 = jnp.array([[3.0, 4.0]] * 3), jnp.array([[4.0, 3.0]] * 3)  # cosine 0.96
    close(run(losses.cosine_embedding, x1, x2, jnp.array([1, -1, 0])), [0.04, 0.96, 0.0])
    close(
        run(losses.cosine_embedding, x1, x2, jnp.array([1, -1, 0]), margin=0.5), [0.04, 0.46, 0.0]
    )
    close(run(losses.cosine_embedding, 0 * x1, x2, jnp.array([1, -1, 1])), [1.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.triplet_margin(ONE, ONE, ONE, margin=0.0), "margin must be greater than 0"),
        (lambda: losses.triplet_margin(ONE, ONE, ONE, p=0.5), "p must be at least 1, got 0.5"),
        (
            lambda: losses.triplet_margin(LABEL, LABEL, LABEL),
            r"anchor must have shape \(B, D\), got \(1,\)",
        ),
        (
            lambda: losses.triplet_margin(ONE, ONE, LOGITS),
            r"negative must have shape \(1, 2\), got \(1, 3\)",
        ),
        (
            lambda: losses.cosine_embedding(ONE, ONE, jnp.ones(1), margin=1.5),
            "margin must lie in -1 to 1, got 1.5",
        ),
        (
            lambda: losses.cosine_embedding(ONE, ONE, ONE),
            r"targets must have shape \(1\), got \(1, 2\)",
        ),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_info_nce_by_hand():
    queries = jnp.array([[3.0, 0.0], [0.0, 2.0]])  # their lengths do not count
    keys = jnp.array([[1.0, 0.0], [1.0, 0.0]])
    close(run(losses.info_nce, queries, keys), [LN2, LN2])
    right = run(losses.info_nce, queries, queries, temperature=0.5)
    close(right, [np.log(1 + np.exp(-2.0))] * 2)
    with pytest.raises(ValueError, match="at least two examples"):
        losses.info_nce(keys[:1], keys[:1])


def test_a_distance_may_be_given():
    vectors = jnp.eye(3)
    options = {"distance": lambda x, y: jnp.abs(x - y).max(axis=1)}
    far = run(losses.triplet_margin, vectors, vectors, -vectors, **options)
    close(far, [0.0] * 3)
    close(run(losses.triplet_margin, vectors, -vectors, vectors, **options), [3.0] * 3)
