"""Losses in PyTorch: values of every example, and gradients of their sum weighted by a cotangent.

A case holds its inputs, ``cotangent``, ``values`` and ``NAME_gradient`` for every input that has a
gradient in PyTorch. Losses without a PyTorch function (focal loss, the VAE's, mixup, penalties) are
written out in its operations.
"""

import math

import numpy as np

BATCH = 6


def cases() -> dict[str, dict[str, np.ndarray]]:
    import torch

    functional = torch.nn.functional
    generator = np.random.default_rng(0)
    results = {}

    def draw(*shape, scale=1.0):
        return (generator.normal(size=shape) * scale).astype(np.float32)

    def between(*shape, low=0.01, high=0.99):
        return generator.uniform(low, high, shape).astype(np.float32)

    def per_example(losses):
        return losses.flatten(1).mean(1)

    def add(name, function, constants=(), **arrays):
        """A case; the gradients are those of all floating-point inputs but the constants."""
        inputs = {key: torch.from_numpy(array.copy()) for key, array in arrays.items()}
        for key, tensor in inputs.items():
            if tensor.is_floating_point() and key not in constants:
                tensor.requires_grad_()
        values = function(
            **{k: x if x.is_floating_point() else x.long() for k, x in inputs.items()}
        )
        cotangent = draw(*values.shape) if values.ndim else np.float32(1.5)
        (values * torch.from_numpy(np.asarray(cotangent))).sum().backward()
        results[name] = {
            **arrays,
            "cotangent": np.asarray(cotangent),
            "values": values.detach().numpy(),
            **{
                f"{key}_gradient": tensor.grad.numpy()
                for key, tensor in inputs.items()
                if tensor.requires_grad
            },
        }

    logits, labels = draw(BATCH, 5, scale=3.0), np.array([0, 4, 2, 1, 1, 3], np.int32)
    some = np.where(np.arange(BATCH) % 3 == 1, -100, labels).astype(np.int32)
    weights = between(5, low=0.2, high=3.0)

    def cross_entropy(**options):
        return lambda logits, labels, class_weights=None: functional.cross_entropy(
            logits, labels, weight=class_weights, reduction="none", **options
        )

    add("cross_entropy", cross_entropy(), logits=logits, labels=labels)
    add("cross_entropy smooth", cross_entropy(label_smoothing=0.1), logits=logits, labels=labels)
    for name, options in {
        "weights": {},
        "weights smooth": {"label_smoothing": 0.3},
    }.items():
        add(
            f"cross_entropy {name} ignore",
            cross_entropy(**options),
            ("class_weights",),
            logits=logits,
            labels=some,
            class_weights=weights,
        )
    add(
        "cross_entropy tokens",
        lambda logits, labels: functional.cross_entropy(
            logits.permute(0, 2, 1), labels, ignore_index=0, reduction="none", label_smoothing=0.1
        ),
        logits=draw(3, 4, 5),
        labels=generator.integers(0, 5, (3, 4)).astype(np.int32),
    )
    for name, options in {"mean": {}, "mean smooth": {"label_smoothing": 0.2}}.items():
        add(
            f"cross_entropy {name}",
            lambda logits, labels, class_weights, options=options: functional.cross_entropy(
                logits, labels, weight=class_weights, **options
            ),
            ("class_weights",),
            logits=logits,
            labels=some,
            class_weights=weights,
        )
    add(
        "nll",
        lambda log_probabilities, labels, class_weights: functional.nll_loss(
            log_probabilities, labels, class_weights, reduction="none"
        ),
        ("class_weights",),
        log_probabilities=np.log(between(BATCH, 5)),
        labels=some,
        class_weights=weights,
    )

    def focal(gamma):
        def function(logits, labels, class_weights):
            losses = functional.cross_entropy(logits, labels, reduction="none")
            return class_weights[labels] * (1 - torch.exp(-losses)) ** gamma * losses

        return function

    for gamma in (0.5, 2.0):
        add(
            f"focal {gamma}",
            focal(gamma),
            ("class_weights",),
            logits=draw(BATCH, 5),
            labels=labels,
            class_weights=weights,
        )

    add(
        "binary_cross_entropy",
        lambda logits, targets: per_example(
            functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        ),
        logits=draw(BATCH, 2, 3, scale=4.0),
        targets=between(BATCH, 2, 3),
    )
    add(
        "binary_cross_entropy positive_weight",
        lambda logits, targets, positive_weight: per_example(
            functional.binary_cross_entropy_with_logits(
                logits, targets, pos_weight=positive_weight, reduction="none"
            )
        ),
        ("positive_weight",),
        logits=draw(BATCH, 2, 3, scale=4.0),
        targets=between(BATCH, 2, 3),
        positive_weight=np.array([0.5, 1.0, 4.0], np.float32),
    )

    def on_probabilities(probabilities, targets):
        return per_example(
            functional.binary_cross_entropy(probabilities, targets, reduction="none")
        )

    add(
        "binary_cross_entropy_on_probabilities",
        on_probabilities,
        probabilities=between(BATCH, 4),
        targets=between(BATCH, 4),
    )
    add(
        "binary_cross_entropy_on_probabilities edges",
        on_probabilities,
        ("targets",),
        probabilities=np.array([[0, 0, 1], [1, 1, 0]], np.float32),
        targets=np.array([[0, 1, 0], [1, 0.5, 0.25]], np.float32),
    )

    def binary_focal(logits, targets):
        losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        alpha = 0.25 * targets + 0.75 * (1 - targets)
        return per_example(alpha * (1 - torch.exp(-losses)) ** 2 * losses)

    add(
        "binary_focal",
        binary_focal,
        ("targets",),
        logits=draw(BATCH, 4),
        targets=(between(BATCH, 4) > 0.5).astype(np.float32),
    )

    # with errors of exactly 0 and exactly delta
    pair = {"predictions": draw(BATCH, 4), "targets": draw(BATCH, 4)}
    pair["predictions"][0] = [0.0, 0.5, -0.5, 2.0]
    pair["targets"][0] = 0.0
    for name, function in {
        "squared_error": lambda p, t: functional.mse_loss(p, t, reduction="none"),
        "absolute_error": lambda p, t: functional.l1_loss(p, t, reduction="none"),
        "huber": lambda p, t: functional.huber_loss(p, t, reduction="none", delta=0.5),
        "smooth_l1": lambda p, t: functional.smooth_l1_loss(p, t, reduction="none", beta=0.5),
    }.items():
        add(
            name,
            lambda predictions, targets, f=function: per_example(f(predictions, targets)),
            **pair,
        )

    # with distances and scores exactly at the margin, and targets that are neither 1 nor -1
    distances, signs = draw(BATCH, 3), np.sign(draw(BATCH, 3))
    distances[0], signs[0] = [1.5, 1.5, 0.25], [-1, 1, 0]
    add(
        "hinge_embedding",
        lambda distances, targets: per_example(
            functional.hinge_embedding_loss(distances, targets, margin=1.5, reduction="none")
        ),
        ("targets",),
        distances=distances,
        targets=signs,
    )
    x1, x2, signs = draw(BATCH, 3), draw(BATCH, 3), np.sign(draw(BATCH, 3))
    x1[0], x2[0], signs[0] = [1.5, 1.0, 1.0], [1.0, 1.0, 3.0], [1, -1, 2]
    add(
        "margin_ranking",
        lambda x1, x2, targets: per_example(
            functional.margin_ranking_loss(x1, x2, targets, margin=0.5, reduction="none")
        ),
        ("targets",),
        x1=x1,
        x2=x2,
        targets=signs,
    )

    triplet = {"anchor": draw(BATCH, 4), "positive": draw(BATCH, 4), "negative": draw(BATCH, 4)}
    triplet["positive"][0] = triplet["anchor"][0]
    triplet["negative"][1] = triplet["positive"][1]
    for name, options in {
        "p2": {},
        "p2 swap": {"swap": True, "margin": 2.0},
        "p1": {"p": 1.0},
        "p3": {"p": 3.0},
        "pinf": {"p": math.inf},
        "eps0": {"eps": 0.0},
    }.items():
        add(
            f"triplet_margin {name}",
            lambda anchor, positive, negative, options=options: functional.triplet_margin_loss(
                anchor, positive, negative, reduction="none", **options
            ),
            **triplet,
        )
    x1, x2 = draw(BATCH, 4), draw(BATCH, 4)
    x1[0], x2[1] = 0.0, x1[1]
    x1[2] = 0.0
    add(
        "cosine_embedding",
        lambda x1, x2, targets: functional.cosine_embedding_loss(
            x1, x2, targets, margin=0.0, reduction="none"
        ),
        x1=x1,
        x2=x2,
        targets=np.array([1, -1, -1, 1, -1, 0], np.int32),
    )
    add(
        "cosine_embedding margin",
        lambda x1, x2, targets: functional.cosine_embedding_loss(
            x1, x2, targets, margin=0.3, reduction="none"
        ),
        x1=draw(BATCH, 4),
        x2=draw(BATCH, 4),
        targets=np.array([1, -1, -1, 1, -1, -1], np.int32),
    )

    def kl_divergence(log_targets):
        def function(log_predictions, targets):
            terms = functional.kl_div(
                log_predictions, targets, reduction="none", log_target=log_targets
            )
            return terms.flatten(1).sum(1)

        return function

    log_predictions, targets = np.log(between(BATCH, 2, 3)), between(BATCH, 2, 3)
    add("kl_divergence", kl_divergence(False), log_predictions=log_predictions, targets=targets)
    add(
        "kl_divergence log_targets",
        kl_divergence(True),
        log_predictions=log_predictions,
        targets=np.log(targets),
    )
    add(
        "kl_divergence zero targets",
        kl_divergence(False),
        ("targets",),
        log_predictions=log_predictions,
        targets=np.where(targets < 0.5, 0.0, targets).astype(np.float32),
    )

    def kl_to_standard_normal(mean, log_variance):
        return -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).flatten(1).sum(1)

    def negative_elbo(logits, targets, mean, log_variance):
        pixels = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return pixels.flatten(1).sum(1) + 0.5 * kl_to_standard_normal(mean, log_variance)

    latent = {"mean": draw(BATCH, 3), "log_variance": draw(BATCH, 3)}
    add("kl_to_standard_normal", kl_to_standard_normal, **latent)
    add(
        "negative_elbo",
        negative_elbo,
        logits=draw(BATCH, 4, 4, 1),
        targets=between(BATCH, 4, 4, 1),
        **latent,
    )
    add(
        "mixup",
        lambda outputs, labels, partner_labels, weight: (
            weight * functional.cross_entropy(outputs, labels, reduction="none")
            + (1 - weight) * functional.cross_entropy(outputs, partner_labels, reduction="none")
        ),
        outputs=logits,
        labels=labels,
        partner_labels=labels[::-1].copy(),
        weight=between(BATCH),
    )
    kernel = draw(3, 4)
    kernel[0, 0] = 0.0
    add("l1_penalty", lambda kernel: kernel.abs().sum(), kernel=kernel)
    add("l2_penalty", lambda kernel: kernel.pow(2).sum(), kernel=kernel)
    return results
