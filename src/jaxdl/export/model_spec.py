"""Models as data: a public constructor of ``jaxdl.models`` by name, and its fields as JSON."""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxdl import models

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "elu": nn.elu,
    "gelu": nn.gelu,
    "leaky_relu": nn.leaky_relu,
    "relu": nn.relu,
    "sigmoid": nn.sigmoid,
    "silu": nn.silu,
    "softplus": nn.softplus,
    "tanh": jnp.tanh,
}
"""Functions that a field may be, by the name that stands in a description."""


def describe_model(model: nn.Module) -> dict[str, Any]:
    """What :func:`make_model` makes the same model of.

    Fields that have their default, and initialisers (``*_init``), which only count before the first
    weights, are left out.

    Args:
        model: of a class that ``jaxdl.models`` offers.

    Returns:
        ``{"name": …, "fields": {…}}``, JSON values.

    Raises:
        ValueError: a model of another class, or a field that JSON cannot hold; it is named.

    >>> describe_model(models.MLP((30, 20, 3), jnp.tanh))
    {'name': 'MLP', 'fields': {'features': [30, 20, 3], 'activation': {'function': 'tanh'}}}
    """
    name = type(model).__name__
    if _constructors().get(name) is not type(model):
        raise ValueError(
            f"{name} is no model of jaxdl.models, so another machine could not make it; there are "
            f"{', '.join(_constructors())}."
        )
    fields = {}
    for field in _fields(type(model)):
        value = _encode(f"{name}.{field.name}", getattr(model, field.name))
        if field.default is dataclasses.MISSING or value != _encode(field.name, field.default):
            fields[field.name] = value
    return {"name": name, "fields": fields}


def make_model(description: Mapping[str, Any]) -> nn.Module:
    """The model that :func:`describe_model` described.

    Args:
        description: ``{"name": "ResNet18", "fields": {"num_classes": 10}}``; the name may be any
            constructor of ``jaxdl.models``, and fields that are left out have their default.

    Raises:
        ValueError: an unknown model, or a field that is unknown, missing or of another kind.

    >>> make_model({"name": "MLP", "fields": {"features": [30, 3]}}).features
    (30, 3)
    """
    if not isinstance(description, Mapping) or not isinstance(description.get("name"), str):
        raise ValueError(f"a model is described by its name and fields, got {description!r}.")
    name, fields = description["name"], description.get("fields", {})
    constructors = _constructors()
    if name not in constructors:
        raise ValueError(f"jaxdl.models has no {name!r}; there are {', '.join(constructors)}.")
    constructor: Any = constructors[name]
    known, given = _fields(_class_of(constructor)), _given(constructor)
    unknown = sorted(fields.keys() - {field.name for field in known})
    if unknown:
        listed = ", ".join(field.name for field in known)
        raise ValueError(f"{name} has no field {unknown[0]!r}; its fields are {listed}.")
    values = {key: _decode(f"{name}.{key}", value) for key, value in fields.items()}
    for field in known:
        if field.default is dataclasses.MISSING and field.name not in {*values, *given}:
            raise ValueError(f"{name} needs the field {field.name!r}, which has no default.")
    return constructor(**values)


@functools.cache
def _constructors() -> dict[str, Any]:
    """The public classes of modules, and partials of them, in the modules of ``jaxdl.models``."""
    found = {}
    for info in pkgutil.iter_modules(models.__path__):
        for name, value in vars(importlib.import_module(f"{models.__name__}.{info.name}")).items():
            cls = _class_of(value)
            if not name.startswith("_") and getattr(cls, "__module__", "").startswith(
                "jaxdl.models."
            ):
                found[name] = value
    return found


def _class_of(constructor: Any) -> Any:
    inner = constructor
    if inspect.isfunction(constructor):
        inner = inspect.signature(constructor).return_annotation
    return inner if isinstance(inner, type) and issubclass(inner, nn.Module) else None


def _given(constructor: Any) -> set[str]:
    """The fields that a constructor sets itself."""
    names = {field.name for field in _fields(_class_of(constructor))}
    return names - inspect.signature(constructor).parameters.keys()


def _fields(cls: type) -> list[dataclasses.Field]:
    return [
        field
        for field in dataclasses.fields(cls)
        if field.name not in ("parent", "name") and not field.name.endswith("_init")
    ]


def _encode(where: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_encode(where, each) for each in value]
    if isinstance(value, functools.partial) and not value.args:
        keywords = {key: _encode(where, each) for key, each in value.keywords.items()}
        return {**_encode(where, value.func), "keywords": keywords}
    for name, function in FUNCTIONS.items():
        if value is function:
            return {"function": name}
    if _is_public_module(value):
        return {"module": value.__name__}
    if isinstance(value, np.dtype) or (isinstance(value, type) and _is_dtype(value)):
        return {"dtype": np.dtype(value).name}
    raise ValueError(
        f"{where} is {value!r}, which cannot be written as text; known are numbers, text, lists of "
        f"them, dtypes, modules of jaxdl.models and the functions {', '.join(FUNCTIONS)}."
    )


def _is_public_module(value: Any) -> bool:
    return isinstance(value, type) and _constructors().get(value.__name__) is value


def _is_dtype(value: type) -> bool:
    try:
        return np.dtype(value).kind in "fiubV" and value is not object
    except (TypeError, ValueError):
        return False


def _decode(where: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(where, each) for each in value)
    if not isinstance(value, Mapping):
        return value
    if "function" in value and value["function"] in FUNCTIONS:
        function = FUNCTIONS[value["function"]]
        return functools.partial(function, **value["keywords"]) if "keywords" in value else function
    if "module" in value and value["module"] in _constructors():
        return _constructors()[value["module"]]
    if "dtype" in value and value["dtype"] in ("float32", "bfloat16", "float16", "float64"):
        return jnp.dtype(value["dtype"])
    raise ValueError(
        f"{where}: {dict(value)!r} is no function, module or dtype that is known here."
    )
