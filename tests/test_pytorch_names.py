"""Answers to PyTorch's names and keywords, and the dictionary behind them."""

import ast
import re

import jax.numpy as jnp
import pytest
from helpers.dictionary import ROWS, inputs, resolve, scope

import jaxdl
from jaxdl import data, losses, nn, optim, train, transforms
from jaxdl._pytorch_names import KEYWORDS, dictionary, explain_name, find_rows

SCOPE = scope()
FIELDS = {"jax", "difference", "pytorch", "code", "tolerance"}


@pytest.mark.parametrize(
    ("package", "name", "ours"),
    [
        (jaxdl, "DataLoader", "data.Loader"),
        (data, "DataLoader", "data.Loader"),
        (losses, "CrossEntropyLoss", "losses.cross_entropy"),
        (nn, "CrossEntropyLoss", "losses.cross_entropy"),
        (nn, "Linear", "nn.Dense"),
        (optim, "SGD", "optim.sgd"),
        (optim, "StepLR", "optim.step_decay"),
        (transforms, "ToTensor", "transforms.to_float"),
        (train, "load_state_dict", "interop.load_state_dict"),
    ],
)
def test_a_name_of_pytorch_is_answered_with_ours(package, name, ours):
    message = f"module {package.__name__!r} has no attribute {name!r}; PyTorch's {name} is {ours}."
    with pytest.raises(AttributeError, match=re.escape(message)):
        getattr(package, name)


@pytest.mark.parametrize("package", [jaxdl, data, losses, optim])
def test_another_name_is_answered_with_the_names_that_exist(package):
    with pytest.raises(
        AttributeError, match=rf"no attribute 'nonsense'; it has .*{package.__all__[0]}"
    ):
        _ = package.nonsense
    assert not hasattr(package, "__nonsense__")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: optim.sgd(lr=0.1),
            r"sgd\(\) has no keyword 'lr'; PyTorch's lr is learning_rate\.",
        ),
        (lambda: optim.adam(1e-3, betas=(0.9, 0.99)), "PyTorch's betas is b1 and b2"),
        (lambda: optim.recipe(optim.adam, lr=0.1), "PyTorch's lr is learning_rate"),
        (lambda: optim.recipe(optim.adam, 0.1, betas=(0.9, 0.99)), "betas is b1 and b2"),
        (lambda: optim.rmsprop(alpha=0.9), "PyTorch's alpha is decay"),
        (lambda: optim.adadelta(rho=0.9), "PyTorch's rho is decay"),
        (lambda: optim.step_decay(0.1, step_size=3), "PyTorch's step_size is every"),
        (lambda: optim.step_decay(0.1, 3, gamma=0.5), "PyTorch's gamma is factor"),
        (lambda: optim.one_cycle(max_lr=0.1, num_steps=9), "PyTorch's max_lr is learning_rate"),
        (
            lambda: losses.cross_entropy(jnp.zeros((1, 2)), jnp.zeros(1, int), ignore_index=0),
            "PyTorch's ignore_index is ignore_label",
        ),
        (
            lambda: losses.squared_error(jnp.zeros(2), jnp.zeros(2), reduction="sum"),
            r"PyTorch's reduction is metrics\.mean of the losses",
        ),
    ],
)
def test_a_keyword_of_pytorch_is_answered_with_ours(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_other_keywords_fail_as_python_has_it():
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        optim.sgd(0.1, nonsense=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'rho'"):
        optim.sgd(0.1, rho=1)
    assert "gamma" in KEYWORDS
    losses.focal(jnp.zeros((1, 2)), jnp.zeros(1, int), gamma=1.0)  # a name of ours there


@pytest.mark.parametrize("name", ROWS)
def test_counterparts_exist(name):
    for counterpart in ROWS[name]["jax"].split(", "):
        resolve(counterpart, SCOPE)


def test_rows_are_complete():
    for name, row in ROWS.items():
        assert name.startswith(("torch.", "torchvision.")), name
        assert row.keys() <= FIELDS, (name, row.keys() - FIELDS)
        assert ("pytorch" in row) == ("code" in row), name
        assert "code" in row or row.get("difference"), name
        assert not row.get("difference") or row["difference"].endswith("."), name


def test_expressions_use_known_names_only():
    known = set(SCOPE) | set(inputs()) | {"float", "bool", "list", "tuple"}
    for name, row in ROWS.items():
        if "code" not in row:
            continue
        tree = ast.parse(row["code"], mode="eval")
        bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert used <= known | bound, (name, used - known - bound)


def test_the_file_is_read_once():
    assert dictionary() is dictionary()
    assert len(dictionary()) == len(ROWS)


def test_short_names():
    assert [row.torch for row in find_rows("F.relu")] == ["torch.nn.functional.relu"]
    assert {row.torch for row in find_rows("relu")} == {
        "torch.nn.ReLU",
        "torch.nn.functional.relu",
    }
    assert find_rows("no such name") == []


def test_private_names_are_not_looked_up():
    assert "PyTorch" not in explain_name("jaxdl.nn", "__wrapped__", ["Dense"])
