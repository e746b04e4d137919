"""What :func:`jaxdl.train.fit` is called with, for a sweep that writes its best member's folder."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import NamedTuple

from jaxdl.types import Array


class FitCall(NamedTuple):
    """The arguments of ``fit`` that say which example comes when."""

    batch_size: int
    num_examples: int
    key: Array


_calls: contextvars.ContextVar[list[FitCall] | None] = contextvars.ContextVar(
    "calls of fit", default=None
)


@contextlib.contextmanager
def noted_calls() -> Iterator[list[FitCall]]:
    """Collects the calls of ``fit`` inside it; under a trace, their keys are tracers."""
    calls: list[FitCall] = []
    token = _calls.set(calls)
    try:
        yield calls
    finally:
        _calls.reset(token)


def note_call(batch_size: int, num_examples: int, key: Array) -> None:
    """Called by ``fit``."""
    calls = _calls.get()
    if calls is not None:
        calls.append(FitCall(batch_size, num_examples, key))
