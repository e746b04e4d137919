"""Losses per example: shape (B, ...) in, (B,) out, not reduced.

:func:`jaxdl.metrics.mean` reduces them under a mask. They take logits and log-probabilities, so
that extreme values stay finite. Unit: nats. Half precision is computed in float32, as under
``torch.autocast``. Shapes, dtypes and Python numbers are checked. The values of an array cannot be
checked under ``jit``: each docstring tells the result of those out of range.
"""

from typing import TYPE_CHECKING

from jaxdl._pytorch_names import explain_names
from jaxdl.losses import adversarial
from jaxdl.losses.classification import (
    binary_cross_entropy,
    binary_cross_entropy_on_probabilities,
    binary_focal,
    cross_entropy,
    focal,
    label_weights,
    nll,
    soft_cross_entropy,
)
from jaxdl.losses.divergences import (
    distillation,
    kl_divergence,
    kl_to_standard_normal,
    negative_elbo,
)
from jaxdl.losses.margins import (
    multi_label_margin,
    multi_label_soft_margin,
    multi_margin,
    soft_margin,
)
from jaxdl.losses.overlap import dice, jaccard, tversky
from jaxdl.losses.ranking import (
    cosine_embedding,
    hinge_embedding,
    info_nce,
    margin_ranking,
    triplet_margin,
)
from jaxdl.losses.regression import (
    absolute_error,
    gaussian_nll,
    huber,
    log_cosh,
    poisson_nll,
    quantile,
    smooth_l1,
    squared_error,
)
from jaxdl.losses.regularization import l1_penalty, l2_penalty, with_mixed_labels
from jaxdl.losses.sequences import ctc

__all__ = [
    "absolute_error",
    "adversarial",
    "binary_cross_entropy",
    "binary_cross_entropy_on_probabilities",
    "binary_focal",
    "cosine_embedding",
    "cross_entropy",
    "ctc",
    "dice",
    "distillation",
    "focal",
    "gaussian_nll",
    "hinge_embedding",
    "huber",
    "info_nce",
    "jaccard",
    "kl_divergence",
    "kl_to_standard_normal",
    "l1_penalty",
    "l2_penalty",
    "label_weights",
    "log_cosh",
    "margin_ranking",
    "multi_label_margin",
    "multi_label_soft_margin",
    "multi_margin",
    "negative_elbo",
    "nll",
    "poisson_nll",
    "quantile",
    "smooth_l1",
    "soft_cross_entropy",
    "soft_margin",
    "squared_error",
    "triplet_margin",
    "tversky",
    "with_mixed_labels",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = explain_names(__name__, __all__)
