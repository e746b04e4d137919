"""Models as JSON: the name of a class in ``jaxdl.models`` and the values of its fields."""

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
from jaxdl._files import Form, check_form

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
"""Functions that a field may hold, by their name in JSON."""

REQUIRED = inspect.Parameter.empty

DTYPES = ("float32", "bfloat16", "float16", "float64")

FORM: Form = {"name?": str, "class?": str, "fields?": dict}
"""Form of a model in JSON."""


def is_known(model: nn.Module) -> bool:
    """Returns True if the model's class is one of ``jaxdl.models``."""
    return _constructors().get(type(model).__name__) is type(model)


def model_to_json(model: nn.Module) -> dict[str, Any]:
    """A model as JSON values.

    Fields with their default value and initializers (``*_init``), which matter only before the
    first weights, are left out.

    Args:
        model: any Linen module.

    Returns:
        ``{"name": …, "fields": {…}}`` for a class of ``jaxdl.models``, the argument of
        :func:`model_from_json`. For any other class ``{"class": "package.module:Name", "fields":
        {…}}``, where fields that are not JSON values are given by their ``repr``.

    Raises:
        ValueError: a field of a class of ``jaxdl.models`` that JSON cannot hold; it is named.

    >>> model_to_json(models.MLP((30, 20, 3), jnp.tanh))
    {'name': 'MLP', 'fields': {'features': [30, 20, 3], 'activation': {'function': 'tanh'}}}
    """
    cls, known = type(model), is_known(model)
    fields = {}
    for name, default in _fields(cls).items():
        value = _encode(f"{cls.__name__}.{name}", getattr(model, name), strict=known)
        if default is REQUIRED or value != _encode("", default, strict=False):
            fields[name] = value
    if known:
        return {"name": cls.__name__, "fields": fields}
    return {"class": f"{cls.__module__}:{cls.__qualname__}", "fields": fields}


def model_from_json(values: Mapping[str, Any]) -> nn.Module:
    """A model from JSON values; the reverse of :func:`model_to_json`.

    Only classes and functions of jaxdl are looked up, nothing is imported or executed.

    Args:
        values: ``{"name": "ResNet18", "fields": {"num_classes": 10}}``; the name of any constructor
            of ``jaxdl.models``; fields that are left out have their default.

    Raises:
        ValueError: an unknown model, or a field that is unknown, missing or of another kind.

    >>> model_from_json({"name": "MLP", "fields": {"features": [30, 3]}}).features
    (30, 3)
    """
    check_form("the model", values, {"name": str, "fields?": dict})
    name, fields = values["name"], values.get("fields", {})
    constructors = _constructors()
    if name not in constructors:
        raise ValueError(f"unknown model {name!r}; expected one of {', '.join(constructors)}.")
    constructor = constructors[name]
    known = _fields(constructor)
    unknown = sorted(fields.keys() - known.keys())
    if unknown:
        listed = ", ".join(known)
        raise ValueError(f"{name}: unknown field {unknown[0]!r}; expected one of {listed}.")
    decoded = {key: _decode(f"{name}.{key}", value) for key, value in fields.items()}
    for key, default in known.items():
        if default is REQUIRED and key not in decoded:
            raise ValueError(f"{name}: field {key!r} is missing and has no default.")
    model: nn.Module = constructor(**decoded)
    return model


@functools.cache
def _constructors() -> dict[str, Callable[..., Any]]:
    """The public classes of modules, and functions that make them, of ``jaxdl.models``."""
    found = {}
    for info in pkgutil.iter_modules(models.__path__, f"{models.__name__}."):
        for name, value in vars(importlib.import_module(info.name)).items():
            defined_in = getattr(_class_of(value), "__module__", "")
            if not name.startswith("_") and defined_in.startswith(models.__name__):
                found[name] = value
    return found


def _class_of(constructor: object) -> type[nn.Module] | None:
    """The class that a constructor makes, or None if it is not a constructor of modules."""
    made = constructor
    if inspect.isfunction(constructor):
        made = inspect.signature(constructor).return_annotation
    return made if isinstance(made, type) and issubclass(made, nn.Module) else None


def _fields(constructor: Callable[..., Any]) -> dict[str, object]:
    """The fields that a constructor sets, with their default or REQUIRED."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(constructor).parameters.items()
        if name not in ("parent", "name") and not name.endswith("_init")
    }


def _encode(where: str, value: Any, *, strict: bool) -> Any:
    encode = functools.partial(_encode, where, strict=strict)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [encode(each) for each in value]
    if isinstance(value, functools.partial) and not value.args:
        function = encode(value.func)
        keywords = {key: encode(each) for key, each in value.keywords.items()}
        if isinstance(function, dict):
            return {**function, "keywords": keywords}
    for name, function in FUNCTIONS.items():
        if value is function:
            return {"function": name}
    if isinstance(value, type) and _constructors().get(value.__name__) is value:
        return {"module": value.__name__}
    if isinstance(value, np.dtype) or (isinstance(value, type) and _is_dtype(value)):
        return {"dtype": np.dtype(value).name}
    if not strict:
        return repr(value)
    raise ValueError(
        f"{where} is {value!r}, which JSON cannot hold; expected numbers, text, lists of them, "
        f"dtypes, modules of jaxdl.models, or one of the functions {', '.join(FUNCTIONS)}."
    )


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
    check_form(where, value, {"function?": str, "module?": str, "dtype?": str, "keywords?": dict})
    if value.get("function") in FUNCTIONS:
        function, keywords = FUNCTIONS[value["function"]], value.get("keywords")
        if keywords is None:
            return function
        check_form(where, keywords, {"*": (float, str, bool, None)})
        return functools.partial(function, **keywords)
    if value.get("module") in _constructors():
        return _constructors()[value["module"]]
    if value.get("dtype") in DTYPES:
        return jnp.dtype(value["dtype"])
    raise ValueError(f"{where}: unknown function, module or dtype {dict(value)!r}.")
