"""Counterparts of PyTorch's names, for the messages about names and keywords that do not exist."""

import difflib
import functools
import inspect
import tomllib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple, NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Row(NamedTuple):
    """One name of the dictionary, ``pytorch.toml``.

    Attributes:
        torch: full name, e.g. "torch.nn.Linear".
        jax: the counterparts, e.g. "nn.Dense", separated by commas.
        difference: in a sentence; may be empty.
        pytorch: an expression in PyTorch; may be empty.
        code: the same in JAX.
    """

    torch: str
    jax: str
    difference: str = ""
    pytorch: str = ""
    code: str = ""


@functools.cache
def dictionary() -> dict[str, Row]:
    """The rows of ``pytorch.toml`` by PyTorch's full names.

    >>> dictionary()["torch.nn.Linear"].jax
    'nn.Dense'
    """
    text = (Path(__file__).parent / "pytorch.toml").read_text(encoding="utf-8")
    fields = set(Row._fields)
    return {
        name: Row(name, **{key: value for key, value in row.items() if key in fields})
        for name, row in tomllib.loads(text).items()
    }


def find_rows(name: str) -> list[Row]:
    """The rows of a name: the full name, or all that end with it, in any case.

    Those in the given case come first.

    >>> [row.torch for row in find_rows("crossentropyloss")]
    ['torch.nn.CrossEntropyLoss']
    """
    wanted = name.strip().strip(".").lower()
    for short, full in (("f.", "torch.nn.functional."), ("nn.", "torch.nn.")):
        if wanted.startswith(short):
            wanted = full + wanted.removeprefix(short)
    rows = dictionary().values()
    exact = [row for row in rows if row.torch.lower() == wanted]
    ends = exact or [row for row in rows if f".{row.torch.lower()}".endswith(f".{wanted}")]
    return sorted(ends, key=lambda row: not row.torch.endswith(name))


def similar_names(name: str) -> list[str]:
    """At most five of PyTorch's full names whose last part resembles a name's, nearest first.

    >>> similar_names("CrossEntropy")[:1]
    ['torch.nn.functional.cross_entropy']
    """
    names: dict[str, list[str]] = {}
    for full in dictionary():
        names.setdefault(full.rpartition(".")[2].lower(), []).append(full)
    last = name.rpartition(".")[2].lower()
    near = difflib.get_close_matches(last, names, n=5, cutoff=0.6)
    return [full for short in near for full in names[short]][:5]


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
    rows = [] if name.startswith("_") else find_rows(name)
    if rows:
        ours = " or ".join(rows[0].jax.split(", "))
        return f"{message}; PyTorch's {name} is {ours}."
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
