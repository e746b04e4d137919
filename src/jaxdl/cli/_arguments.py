"""Types of command-line arguments; an invalid value ends with status 2 and a sentence."""

import argparse
import re
from collections.abc import Callable


def count(minimum: int = 1) -> Callable[[str], int]:
    """Parses an integer of at least ``minimum``.

    >>> count()("3")
    3
    """

    def integer(text: str) -> int:
        value = int(text)
        if not minimum <= value < 2**31:
            raise argparse.ArgumentTypeError(
                f"expected an integer from {minimum} to 2**31 - 1, got {text[:30]}"
            )
        return value

    return integer


def tolerance(text: str) -> float:
    """Parses a number of at least 0."""
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text}")
    return value


def pattern(text: str) -> str:
    """Checks a regular expression."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"invalid regular expression {text!r}: {error}") from error
    return text


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Adds ``--checkpoint``."""
    parser.add_argument(
        "--checkpoint",
        choices=["best", "last"],
        help="checkpoint of a run; default: best, if there is one",
    )
