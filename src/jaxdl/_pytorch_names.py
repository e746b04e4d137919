"""Counterparts of PyTorch's names, for the messages about names and keywords that do not exist."""

import functools
import inspect
from collections.abc import Callable, Collection
from typing import NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

NAMES = {
    # losses
    "CrossEntropyLoss": "losses.cross_entropy",
    "NLLLoss": "losses.nll",
    "BCELoss": "losses.binary_cross_entropy_on_probabilities",
    "BCEWithLogitsLoss": "losses.binary_cross_entropy",
    "MSELoss": "losses.squared_error",
    "L1Loss": "losses.absolute_error",
    "HuberLoss": "losses.huber",
    "SmoothL1Loss": "losses.smooth_l1",
    "KLDivLoss": "losses.kl_divergence",
    "HingeEmbeddingLoss": "losses.hinge_embedding",
    "MarginRankingLoss": "losses.margin_ranking",
    "TripletMarginLoss": "losses.triplet_margin",
    "CosineEmbeddingLoss": "losses.cosine_embedding",
    "CTCLoss": "losses.ctc",
    "GaussianNLLLoss": "losses.gaussian_nll",
    "PoissonNLLLoss": "losses.poisson_nll",
    "MultiMarginLoss": "losses.multi_margin",
    "MultiLabelMarginLoss": "losses.multi_label_margin",
    "MultiLabelSoftMarginLoss": "losses.multi_label_soft_margin",
    "SoftMarginLoss": "losses.soft_margin",
    "TripletMarginWithDistanceLoss": "losses.triplet_margin(..., distance=)",
    # optimizers and schedules
    "SGD": "optim.sgd",
    "Adam": "optim.adam",
    "AdamW": "optim.adamw",
    "RMSprop": "optim.rmsprop",
    "Adagrad": "optim.adagrad",
    "Adadelta": "optim.adadelta",
    "Muon": "optim.muon",
    "NAdam": "optim.nadam",
    "RAdam": "optim.radam",
    "Adamax": "optim.adamax",
    "ASGD": "optim.asgd",
    "Rprop": "optim.rprop",
    "Adafactor": "optim.adafactor",
    "LBFGS": "optax.lbfgs",
    "StepLR": "optim.step_decay",
    "MultiStepLR": "optim.multi_step",
    "ExponentialLR": "optim.exponential",
    "CosineAnnealingLR": "optim.warmup_cosine",
    "CosineAnnealingWarmRestarts": "optim.cosine_restarts",
    "LinearLR": "optim.linear or optim.warmup",
    "CyclicLR": "optim.cyclic",
    "ConstantLR": "optax.piecewise_constant_schedule",
    "OneCycleLR": "optim.one_cycle",
    "PolynomialLR": "optim.polynomial",
    "LambdaLR": "optim.chained",
    "ChainedScheduler": "optim.chained",
    "SequentialLR": "optax.join_schedules",
    "ReduceLROnPlateau": "optim.reduce_on_plateau",
    "AveragedModel": "optim.ema or optim.swa",
    "GradScaler": "optim.mixed_precision",
    "autocast": "optim.mixed_precision",
    "clip_grad_norm_": "optim.recipe(..., clip_norm=)",
    "clip_grad_value_": "optim.recipe(..., clip_value=)",
    # data
    "DataLoader": "data.Loader",
    "TensorDataset": "data.ArraySource",
    "Subset": "data.subset",
    "ConcatDataset": "data.concatenate",
    "IterableDataset": "data.from_iterable",
    "ImageFolder": "data.open",
    # layers
    "Module": "flax.linen.Module",
    "Sequential": "flax.linen.Sequential",
    "Linear": "nn.Dense",
    "Conv2d": "nn.Conv",
    "ConvTranspose2d": "nn.ConvTranspose",
    "BatchNorm2d": "nn.BatchNorm",
    "BatchNorm1d": "nn.BatchNorm",
    "Embedding": "nn.Embed",
    "MaxPool2d": "nn.max_pool",
    "AvgPool2d": "nn.avg_pool",
    "AdaptiveAvgPool2d": "nn.adaptive_avg_pool",
    "Flatten": "nn.flatten",
    "Dropout": "flax.linen.Dropout",
    "ReLU": "flax.linen.relu",
    "spectral_norm": "nn.SpectralNorm",
    # transforms
    "Compose": "transforms.compose",
    "Normalize": "transforms.normalize",
    "ToTensor": "transforms.to_float",
    "Resize": "transforms.resize",
    "CenterCrop": "transforms.center_crop",
    "RandomCrop": "transforms.random_crop",
    "RandomResizedCrop": "transforms.random_resized_crop",
    "RandomHorizontalFlip": "transforms.random_flip",
    "RandomRotation": "transforms.random_rotation",
    "ColorJitter": "transforms.color_jitter",
    # training and weights
    "SummaryWriter": "tensorboard.open_writer",
    "load_state_dict": "interop.load_state_dict",
    "state_dict": "interop.params_to_torch",
    "save": "checkpoint.CheckpointManager",
}
"""Names of ``torch`` and ``torchvision``, and what stands for them here."""

KEYWORDS = {
    "lr": "learning_rate",
    "max_lr": "learning_rate",
    "betas": "b1 and b2",
    "alpha": "decay",
    "rho": "decay",
    "initial_accumulator_value": "initial_accumulator",
    "gamma": "factor",
    "step_size": "every",
    "maximize": "optax.chain(optax.scale(-1.0), ...)",
    "lambd": "decay",
    "etas": "factors",
    "T_max": "num_steps",
    "T_0": "num_steps",
    "T_mult": "growth",
    "total_steps": "num_steps",
    "total_iters": "num_steps",
    "min_lr": "min_scale",
    "weight": "class_weights",
    "pos_weight": "positive_weight",
    "ignore_index": "ignore_label",
    "log_target": "log_targets",
    "reduction": "metrics.mean of the losses",
}
"""Keywords of PyTorch's optimizers, schedulers and losses, and ours."""


def explain_name(package: str, name: str, names: Collection[str]) -> str:
    """The message for an attribute that a package does not have.

    >>> explain_name("jaxdl.optim", "SGD", ["adam", "sgd"])
    "module 'jaxdl.optim' has no attribute 'SGD'; PyTorch's SGD is optim.sgd."
    """
    message = f"module {package!r} has no attribute {name!r}"
    if name in NAMES:
        return f"{message}; PyTorch's {name} is {NAMES[name]}."
    return f"{message}; it has {', '.join(sorted(names))}."


def explain_names(
    package: str, names: list[str]
) -> tuple[Callable[[str], NoReturn], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose names are all there already."""

    def refuse(name: str) -> NoReturn:
        raise AttributeError(explain_name(package, name, names))

    return refuse, lambda: names


def explain_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose error about one of PyTorch's keywords names ours.

    >>> explain_keywords(lambda learning_rate: learning_rate)(lr=0.1)
    Traceback (most recent call last):
    TypeError: <lambda>() has no keyword 'lr'; PyTorch's lr is learning_rate.
    """
    own = inspect.signature(function).parameters

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            answer = KEYWORDS.get(name, "")
            elsewhere = answer.startswith(("metrics.", "optax."))
            if name not in own and (elsewhere or own.keys() & set(answer.split())):
                raise TypeError(
                    f"{function.__name__}() has no keyword {name!r}; PyTorch's {name} is {answer}."
                )
        return function(*args, **kwargs)

    return call
