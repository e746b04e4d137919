"""New losses against live PyTorch, over random options: values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdl import losses

F = torch.nn.functional
NUM_DRAWS = 20
TOLERANCE = 1e-5


def normal(rng, *shape, scale=2.0):
    return (rng.normal(size=shape) * scale).astype(np.float32)


def per_example(values):
    return values.flatten(1).mean(1) if values.ndim > 1 else values


def shape_of(rng):
    return (5, *rng.integers(1, 5, rng.integers(0, 3)))


def with_shape(draw):
    """A case of a shape (B, ...)."""
    return lambda rng: draw(rng, shape_of(rng))


@with_shape
def smooth_l1(rng, shape):
    beta = float(rng.choice([0.0, 0.3, 1.0, 2.5]))
    inputs = normal(rng, *shape), normal(rng, *shape)
    return (
        inputs,
        1,
        {"beta": beta},
        lambda p, t: F.smooth_l1_loss(p, t, beta=beta, reduction="none"),
    )


@with_shape
def gaussian_nll(rng, shape):
    full, eps = bool(rng.integers(2)), float(rng.choice([1e-6, 0.1]))
    shape = (*shape, 3)
    variances = rng.uniform(0.0, 2.0, (*shape[:-1], rng.choice([1, 3]))).astype(np.float32)
    inputs = normal(rng, *shape), normal(rng, *shape), variances

    def theirs(mean, targets, variance):
        return F.gaussian_nll_loss(mean, targets, variance, full=full, eps=eps, reduction="none")

    return inputs, 3, {"full": full, "eps": eps}, theirs


@with_shape
def poisson_nll(rng, shape):
    full, log_input = bool(rng.integers(2)), bool(rng.integers(2))
    predictions = normal(rng, *shape) if log_input else rng.uniform(0.1, 4, shape)
    inputs = predictions.astype(np.float32), rng.poisson(2.0, shape).astype(np.float32)

    def theirs(p, t):
        return F.poisson_nll_loss(p, t, log_input=log_input, full=full, reduction="none")

    return inputs, 1, {"full": full, "log_input": log_input}, theirs


def multi_margin(rng):
    num_classes, p = int(rng.integers(2, 7)), int(rng.integers(1, 3))
    margin = float(rng.choice([0.5, 1.0, 2.0]))
    weights = rng.uniform(0.2, 3, num_classes).astype(np.float32) if rng.integers(2) else None
    inputs = normal(rng, 6, num_classes), rng.integers(0, num_classes, 6)

    def theirs(z, y):
        weight = None if weights is None else torch.from_numpy(weights)
        return F.multi_margin_loss(z, y, p=p, margin=margin, weight=weight, reduction="none")

    return inputs, 1, {"p": p, "margin": margin, "class_weights": weights}, theirs


def multi_label_margin(rng):
    num_classes = int(rng.integers(2, 7))
    labels = np.stack([rng.permutation(num_classes) for _ in range(6)])
    cut = rng.integers(0, num_classes + 1, 6)
    labels[np.arange(num_classes) == cut[:, None]] = -1
    return (
        (normal(rng, 6, num_classes), labels),
        1,
        {},
        lambda z, y: F.multilabel_margin_loss(z, y, reduction="none"),
    )


@with_shape
def soft_margin(rng, shape):
    inputs = normal(rng, *shape), rng.choice([-1.0, 1.0], shape).astype(np.float32)
    return inputs, 1, {}, lambda z, t: F.soft_margin_loss(z, t, reduction="none")


def multi_label_soft_margin(rng):
    shape = (6, int(rng.integers(2, 6)))
    weights = rng.uniform(0.2, 3, shape[1]).astype(np.float32) if rng.integers(2) else None
    inputs = normal(rng, *shape), rng.integers(0, 2, shape).astype(np.float32)

    def theirs(z, t):
        weight = None if weights is None else torch.from_numpy(weights)
        return F.multilabel_soft_margin_loss(z, t, weight=weight, reduction="none")

    return inputs, 2, {"class_weights": weights}, theirs


def soft_cross_entropy(rng):
    shape = (*shape_of(rng), int(rng.integers(2, 6)))
    smoothing = float(rng.choice([0.0, 0.1, 0.5]))
    weights = rng.uniform(0.2, 3, shape[-1]).astype(np.float32) if rng.integers(2) else None
    inputs = normal(rng, *shape), rng.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)

    def theirs(z, t):
        weight = None if weights is None else torch.from_numpy(weights)
        return F.cross_entropy(
            z.movedim(-1, 1),
            t.movedim(-1, 1),
            weight=weight,
            label_smoothing=smoothing,
            reduction="none",
        )

    return inputs, 2, {"label_smoothing": smoothing, "class_weights": weights}, theirs


def ctc(rng):
    """PyTorch's gradient is NaN, not 0, where the labels do not fit, unless infinity is zeroed."""
    times, size, num_classes = (int(n) for n in rng.integers([4, 1, 3], [9, 6, 6]))
    options = {"blank": int(rng.integers(num_classes)), "zero_infinity": True}
    classes = [c for c in range(num_classes) if c != options["blank"]]
    labels = rng.choice(classes, (6, size))
    lengths = rng.integers(1, times + 1, 6), rng.integers(0, size + 1, 6)

    def theirs(z, y):
        given = [torch.from_numpy(length) for length in lengths]
        log_p = z.log_softmax(-1).transpose(0, 1)
        return F.ctc_loss(log_p, y, *given, reduction="none", **options)

    given = {"input_lengths": lengths[0], "label_lengths": lengths[1]}
    inputs = normal(rng, 6, times, num_classes), labels
    return inputs, 1, functools.partial(losses.ctc, **given, **options), theirs


def distillation(rng):
    shape, temperature = (*shape_of(rng), int(rng.integers(2, 6))), float(rng.choice([1, 2, 4]))
    inputs = normal(rng, *shape), normal(rng, *shape)

    def theirs(student, teacher):
        log_p = (student / temperature).log_softmax(-1)
        q = (teacher.detach() / temperature).softmax(-1)
        return F.kl_div(log_p, q, reduction="none").sum(-1) * temperature**2

    return inputs, 1, {"temperature": temperature}, theirs


def triplet_margin(rng):
    margin, swap = float(rng.choice([0.5, 1.0])), bool(rng.integers(2))
    inputs = tuple(normal(rng, 6, 4) for _ in range(3))
    options = {"margin": margin, "swap": swap}

    def theirs(*vectors):
        def distance(x, y):
            return 1 - F.cosine_similarity(x, y)

        return F.triplet_margin_with_distance_loss(
            *vectors, distance_function=distance, reduction="none", **options
        )

    def distance(x, y):
        norms = jnp.linalg.norm(x, axis=1) * jnp.linalg.norm(y, axis=1)
        return 1 - (x * y).sum(1) / norms

    return inputs, 3, functools.partial(losses.triplet_margin, distance=distance, **options), theirs


CASES = [
    smooth_l1,
    gaussian_nll,
    poisson_nll,
    multi_margin,
    multi_label_margin,
    soft_margin,
    multi_label_soft_margin,
    soft_cross_entropy,
    ctc,
    distillation,
    triplet_margin,
]
NAMES = [
    "smooth_l1", "gaussian_nll", "poisson_nll", "multi_margin", "multi_label_margin",
    "soft_margin", "multi_label_soft_margin", "soft_cross_entropy", "ctc", "distillation",
    "triplet_margin",
]  # fmt: skip


@pytest.mark.parametrize(("name", "case"), list(zip(NAMES, CASES, strict=True)), ids=NAMES)
def test_values_and_gradients_of_twenty_options(name, case):
    """``num_differentiated`` leading inputs have a gradient."""
    rng = np.random.default_rng(0)
    for _ in range(NUM_DRAWS):
        inputs, num_differentiated, options, theirs = case(rng)
        ours = options if callable(options) else functools.partial(getattr(losses, name), **options)
        check(inputs, num_differentiated, ours, theirs, f"{options}, {[x.shape for x in inputs]}")


def check(inputs, num_differentiated, ours, theirs, what):
    tensors = [torch.from_numpy(array) for array in inputs]
    for tensor in tensors[:num_differentiated]:
        tensor.requires_grad_()
    expected = theirs(*tensors)
    example_axes = expected.ndim
    values = jax.jit(ours)(*inputs)
    expected = expected if example_axes == values.ndim else per_example(expected)
    close(values, expected.detach().numpy(), what)
    expected.sum().backward()
    gradients = jax.jit(
        jax.grad(lambda *x: ours(*x, *inputs[num_differentiated:]).sum(), range(num_differentiated))
    )(*inputs[:num_differentiated])
    for gradient, tensor in zip(gradients, tensors, strict=False):
        close(gradient, tensor.grad.numpy(), f"gradient of {what}")


def close(ours, theirs, what):
    largest = max(np.abs(theirs).max(initial=0.0), 1e-3)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * largest, err_msg=what)
