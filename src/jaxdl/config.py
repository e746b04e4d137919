"""Configurations: one frozen dataclass is the command line, ``config.json`` and its record.

An experiment is a file of this form::

    @dataclasses.dataclass(frozen=True)
    class Config(config.Run):
        learning_rate: float = 1e-3

    def main(cfg: Config) -> None:
        workdir = cfg.workdir or config.new_run_dir("mnist")
        ...

    if __name__ == "__main__":
        config.main(main, Config, description=__doc__)
"""

import builtins
import contextlib
import dataclasses
import os
import platform
import sys
import time
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from jaxdl import _versions
from jaxdl._files import read_json, write_json


class Dataclass(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


Config = TypeVar("Config", bound=Dataclass)

RESUMED_RUN_MAY_CHANGE = (
    "data_dir", "num_epochs", "patience", "resume", "save_every_seconds", "workdir",
)  # fmt: skip
"""Fields that decide where a run reads, where it writes and when it ends, not its numbers."""


@dataclasses.dataclass(frozen=True)
class Run:
    """Base configuration of an experiment that trains; subclasses add fields and change defaults.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Config(Run):
    ...     learning_rate: float = 1e-3
    >>> parse(Config, ["--seed", "1", "--learning_rate", "0.1"]).learning_rate
    0.1
    """

    data_dir: Path | None = None
    """Folder of the data; by default the data set is downloaded or bundled."""
    num_epochs: int = 10
    """Passes over the training data."""
    batch_size: int = 32
    """Examples per step."""
    seed: int = 0
    """Seed of weights, order, dropout and augmentation."""
    workdir: Path | None = None
    """Run folder; by default a new one in runs/."""
    resume: bool = False
    """Resume the run in workdir."""


def new_run_dir(name: str) -> Path:
    """Returns a run folder that does not exist yet: ``runs/NAME_DATE-TIME``.

    Args:
        name: name of the experiment, which may hold its main options.

    >>> new_run_dir("mnist").parent
    PosixPath('runs')
    """
    path = Path("runs") / f"{name}_{time.strftime('%Y%m%d-%H%M%S')}"
    number, unused = 1, path
    while unused.exists():
        number += 1
        unused = path.with_name(f"{path.name}-{number}")
    return unused


def save(config: Dataclass, path: Path | str) -> None:
    """Writes a configuration as JSON, with the versions of packages and the platform.

    Args:
        config: a dataclass instance of JSON values, paths and tuples of them.
        path: file to write, ``runs/NAME/config.json``; its folder is created.

    >>> import tempfile
    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...     learning_rate: float = 0.1
    >>> path = Path(tempfile.mkdtemp()) / "config.json"
    >>> save(Config(0.5), path)
    >>> load(Config, path)
    Config(learning_rate=0.5)
    """
    path = Path(path)
    content = {
        "config": _to_json(dataclasses.asdict(config)),
        "versions": _versions.installed(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def _to_json(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _to_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def load(cls: type[Config], path: Path | str) -> Config:
    """Reads a configuration that :func:`save` wrote, or a plain JSON object of fields.

    Args:
        cls: the dataclass; fields that the file lacks take their defaults.
        path: JSON file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, an unknown or missing field, or a value of the wrong type.

    >>> import tempfile
    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...     learning_rate: float = 0.1
    >>> path = Path(tempfile.mkdtemp()) / "config.json"
    >>> _ = path.write_text('{"learning_rates": 0.5}')
    >>> load(Config, path)
    Traceback (most recent call last):
        ...
    ValueError: ...config.json: unknown field 'learning_rates'; expected one of ['learning_rate'].
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"configuration file not found: {path} (expected the config.json of a run folder)."
        )
    content = read_json(path)
    values = content.get("config", content)
    if not isinstance(values, dict):
        values = content
    hints = typing.get_type_hints(cls)
    unknown = sorted(values.keys() - hints.keys())
    if unknown:
        raise ValueError(f"{path}: unknown field {unknown[0]!r}; expected one of {sorted(hints)}.")
    missing = [
        field.name
        for field in dataclasses.fields(cls)
        if field.name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{path}: missing field {missing[0]!r}, which has no default.")
    fields = {}
    for name, value in values.items():
        try:
            fields[name] = _convert(value, hints[name])
        except TypeError:
            hint = hints[name]
            expected = hint.__name__ if type(hint) is type else str(hint)
            raise ValueError(
                f"{path}: field {name!r} must be {expected}, got {repr(value)[:200]}."
            ) from None
    return cls(**fields)


def _convert(value: object, hint: object) -> object:
    """Returns a JSON value as the type of a field; raises TypeError if it has another type."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union or isinstance(hint, types.UnionType):
        for option in options:
            with contextlib.suppress(TypeError):
                return _convert(value, option)
    elif origin is typing.Literal:
        if any(type(value) is type(option) and value == option for option in options):
            return value
    elif origin is tuple and isinstance(value, list):
        inner = options[:1] * len(value) if options[1:] == (...,) else options
        if len(inner) == len(value):
            return tuple(map(_convert, value, inner))
    elif hint is Path and isinstance(value, str):
        return Path(value)
    elif hint is float and type(value) is int:
        with contextlib.suppress(OverflowError):
            return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise TypeError


def parse(
    cls: type[Config],
    arguments: Sequence[str] | None = None,
    *,
    description: str | None = None,
    may_differ: Sequence[str] = RESUMED_RUN_MAY_CHANGE,
) -> Config:
    """Reads a configuration from the command line: one flag per field, parsed by tyro.

    Flags change the values of a file in two cases: ``--config FILE`` repeats a run in another
    folder, and ``--workdir DIR --resume``, for a class with these fields, takes the run's own
    configuration and refuses flags that contradict it.

    Args:
        cls: a dataclass.
        arguments: command line without the program's name; ``sys.argv[1:]`` by default.
        description: shown by ``--help``; an experiment passes its ``__doc__``.
        may_differ: fields that a resumed run may change.

    Raises:
        ValueError: an invalid file, a negative count, or a flag that contradicts the resumed run.
        SystemExit: an unknown flag or an invalid value; tyro prints it.

    >>> parse(Run, ["--num_epochs", "3"]).num_epochs
    3
    """
    path, arguments = _take_config_path(sys.argv[1:] if arguments is None else arguments)
    default = None if path is None else _without_workdir(load(cls, path))
    config = _parse_flags(cls, arguments, default, description)
    _check_counts(config)
    if not getattr(config, "resume", False):
        return config
    if path is not None:
        raise ValueError(
            "--config and --resume are mutually exclusive: a run is resumed with its own "
            "config.json."
        )
    workdir = getattr(config, "workdir", None)
    if workdir is None:
        raise ValueError("--resume needs --workdir DIR, the folder of the run to resume.")
    if not (Path(workdir) / "config.json").is_file():
        return config
    saved = load(cls, Path(workdir) / "config.json")
    config = _parse_flags(cls, arguments, saved, description)
    for field in dataclasses.fields(cls):
        old, new = getattr(saved, field.name), getattr(config, field.name)
        if field.name not in may_differ and old != new:
            raise ValueError(
                f"{workdir} was trained with --{field.name} {old}, got --{field.name} {new}. "
                "Omit the flag to resume, or choose another --workdir."
            )
    return config


def _check_counts(config: Dataclass) -> None:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name.startswith("num_") and isinstance(value, int) and value < 0:
            raise ValueError(f"--{field.name} must be at least 0, got {value}.")


def _parse_flags(
    cls: type[Config], arguments: Sequence[str], default: Config | None, description: str | None
) -> Config:
    with _without_shown_value():
        import tyro

    defaults: dict[str, Any] = {} if default is None else {"default": default}
    about = "--config FILE reads a config.json; other flags override its values."
    config: Config = tyro.cli(
        cls,
        args=arguments,
        description=f"{(description or '').rstrip()}\n\n{about}",
        use_underscores=True,
        **defaults,
    )
    return config


@contextlib.contextmanager
def _without_shown_value() -> Iterator[None]:
    """Hides ``builtins._``, the value that an interpreter showed last.

    tyro puts all builtins into a set when it is imported; a JAX array has no hash.
    """
    shown = vars(builtins).pop("_", None)
    try:
        yield
    finally:
        if shown is not None:
            vars(builtins)["_"] = shown


def _take_config_path(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Takes ``--config FILE`` out of the arguments."""
    arguments = list(arguments)
    for index, argument in enumerate(arguments):
        if argument == "--config" or argument.startswith("--config="):
            rest = arguments[index + 1 :]
            path = argument.partition("=")[2] or (rest.pop(0) if rest else "")
            if not path:
                raise ValueError("--config needs the path of a JSON file.")
            return path, arguments[:index] + rest
    return None, arguments


def _without_workdir(config: Config) -> Config:
    """The configuration of a run, to be repeated in another folder."""
    changes = {
        field.name: field.default
        for field in dataclasses.fields(config)
        if field.name in ("workdir", "resume")
    }
    return dataclasses.replace(config, **changes)


def main(
    function: Callable[[Config], object], cls: type[Config], *, description: str | None = None
) -> None:
    """Runs an experiment from the command line.

    Args:
        function: ``main(config)`` of the experiment.
        cls: its configuration.
        description: see :func:`parse`.

    Exit status: see :func:`exit_status`; 2 for invalid flags.
    """
    warnings.formatwarning = lambda message, *_args, **_kwargs: f"warning: {message}\n"
    status = exit_status(lambda: function(parse(cls, description=description)) and None)
    if status:
        raise SystemExit(status)


def exit_status(program: Callable[[], object]) -> int:
    """Calls a program and returns its exit status; an error prints one line.

    With ``JAXDL_TRACEBACK=1`` in the environment errors keep their traceback.

    Args:
        program: function without arguments; an integer that it returns is the exit status.

    Returns:
        0 or the program's own status; 1 after an error; 130 after Ctrl-C, 143 after SIGTERM; 141
        if the reader of standard output (such as ``head``) has ended.

    >>> exit_status(lambda: None), exit_status(lambda: 3)
    (0, 3)
    """
    try:
        try:
            status = program()
        finally:
            sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'stopped'}", file=sys.stderr)
        return getattr(interrupt, "exit_status", 130)
    except BrokenPipeError:
        # Python would complain again when it flushes standard output at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if os.environ.get("JAXDL_TRACEBACK"):
            raise
        print(f"error: {_describe(error)}", file=sys.stderr)
        return 1


def _describe(error: Exception) -> str:
    """The message of an error that was foreseen; the type and first line of any other."""
    text = str(error).strip()
    if text and isinstance(error, ValueError | OSError | FloatingPointError | ImportError):
        return text
    first = ": ".join([type(error).__name__, *text.splitlines()[:1]])
    return f"{first} (unexpected; JAXDL_TRACEBACK=1 shows the traceback)"
