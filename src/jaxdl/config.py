"""Configurations: a frozen dataclass is the command line, the file and the record of a run."""

import dataclasses
import importlib.metadata
import os
import platform
import sys
import typing
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jaxdl._files import read_json, write_json

Config = TypeVar("Config")

PACKAGES = ("jaxdl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
"""The packages whose versions decide what a run computes."""


RESUMED_RUN_MAY_CHANGE = (
    "data_dir", "num_epochs", "patience", "resume", "run_dir", "save_every_seconds",
)  # fmt: skip
"""Fields that change where a run reads and writes and when it ends, not what it computes."""


def save(config: Any, path: Path | str) -> None:
    """Writes a configuration as JSON, with the versions and the machine that it ran on.

    Args:
        config: instance of a dataclass whose fields JSON can hold (a ``Path`` becomes a string).
        path: of the file, ``runs/NAME/config.json``; appears whole or not at all.
    """
    path = Path(path)
    content = {
        "config": {
            name: str(value) if isinstance(value, Path) else value
            for name, value in dataclasses.asdict(config).items()
        },
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def load(cls: type[Config], path: Path | str) -> Config:
    """Reads a configuration that :func:`save` wrote, or a plain JSON object of fields.

    Args:
        cls: the dataclass; fields that the file lacks take their defaults.
        path: of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, an unknown or missing field, or a value of the wrong type.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {path}; a run folder has a config.json.")
    content = read_json(path)
    values = content.get("config", content)
    if not isinstance(values, dict):
        values = content
    hints = typing.get_type_hints(cls)
    unknown = sorted(values.keys() - hints.keys())
    if unknown:
        raise ValueError(f"{path} has the unknown field {unknown[0]!r}; known are {sorted(hints)}.")
    missing = [
        field.name
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]
        if field.name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{path} lacks the field {missing[0]!r}, which has no default.")
    return cls(**{name: _convert(path, name, values[name], hints[name]) for name in values})


def _convert(path: Path, name: str, value: Any, hint: Any) -> Any:
    options = typing.get_args(hint) if _is_union(hint) else (hint,)
    for option in options:
        if option is Path and isinstance(value, str):
            return Path(value)
        if option is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if typing.get_origin(option) is typing.Literal:
            if value in typing.get_args(option):
                return value
        elif typing.get_origin(option) is tuple and isinstance(value, list):
            return tuple(value)
        elif isinstance(option, type) and type(value) is option:
            return value
    expected = getattr(hint, "__name__", None) if isinstance(hint, type) else str(hint)
    raise ValueError(f"{path}: field {name!r} must be {expected}, got {value!r}.")


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Union or type(hint).__name__ == "UnionType"


def parse(
    cls: type[Config],
    arguments: Sequence[str] | None = None,
    *,
    description: str | None = None,
    may_differ: Sequence[str] = RESUMED_RUN_MAY_CHANGE,
) -> Config:
    """Reads a configuration from the command line: one flag a field, by tyro.

    Two ways to begin from a file, after which flags still count: ``--config FILE``, which repeats
    a run in another folder, and, for a class with the fields ``run_dir`` and ``resume``,
    ``--run_dir DIR --resume``, which takes the run's own configuration and refuses flags that
    contradict it.

    Args:
        cls: a dataclass.
        arguments: the command line without the program's name; None takes ``sys.argv[1:]``.
        description: shown by ``--help``; an experiment gives its ``__doc__``.
        may_differ: fields that a resumed run may change.

    Raises:
        ValueError: what a file holds, or a flag that contradicts the run that is resumed.
        SystemExit: an unknown flag or a bad value; tyro prints which and what was expected.
    """
    import tyro

    arguments = list(sys.argv[1:] if arguments is None else arguments)
    default, arguments = _take_config_file(cls, arguments)

    def read(default: Config | None) -> Config:
        kwargs: dict[str, Any] = {} if default is None else {"default": default}
        return tyro.cli(
            cls,
            args=arguments,
            description=f"{(description or '').rstrip()}\n\n--config FILE takes the values of a "
            "config.json, from which the flags given beside it differ.",
            use_underscores=True,
            **kwargs,
        )

    config = read(default)
    if not getattr(config, "resume", False):
        return config
    if default is not None:
        raise ValueError(
            "--config and --resume exclude each other: a run is resumed with its own config.json."
        )
    run_dir = getattr(config, "run_dir", None)
    if run_dir is None:
        raise ValueError("--resume needs --run_dir DIR, the folder of the run to go on with.")
    if not (Path(run_dir) / "config.json").is_file():
        return config
    before = load(cls, Path(run_dir) / "config.json")
    config = read(before)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        old, new = getattr(before, field.name), getattr(config, field.name)
        if field.name not in may_differ and old != new:
            raise ValueError(
                f"{run_dir} was made with --{field.name} {old}, the command line says {new}. "
                "Leave the flag out to resume, or choose another --run_dir."
            )
    return config


def _take_config_file(cls: type[Config], arguments: list[str]) -> tuple[Config | None, list[str]]:
    """Takes ``--config FILE`` out of the arguments; where the run went is not repeated."""
    for index, argument in enumerate(arguments):
        if argument == "--config" or argument.startswith("--config="):
            rest = arguments[index + 1 :]
            path = argument.partition("=")[2] or (rest.pop(0) if rest else "")
            if not path:
                raise ValueError("--config needs the path of a JSON file.")
            loaded: Any = load(cls, path)
            fresh = {
                field.name: field.default
                for field in dataclasses.fields(loaded)
                if field.name in ("run_dir", "resume")
            }
            return dataclasses.replace(loaded, **fresh), arguments[:index] + rest
    return None, arguments


def main(function: Callable[[Any], Any], cls: type[Any], *, description: str | None = None) -> None:
    """Runs an experiment from the command line: errors become one line, Ctrl-C a calm goodbye.

    Args:
        function: ``main(config)`` of the experiment.
        cls: its configuration.
        description: see :func:`parse`.

    Exit status: 0; 1 for a failure that the message explains; 2 for bad flags; 130 for Ctrl-C.
    """
    warnings.formatwarning = lambda message, *_args, **_kwargs: f"warning: {message}\n"
    try:
        function(parse(cls, description=description))
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'stopped'}", file=sys.stderr)
        raise SystemExit(130) from None
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("JAXDL_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
