"""Types of command-line arguments."""

import argparse

import pytest

from jaxdl.cli._arguments import add_checkpoint, count, pattern, tolerance


def test_valid_arguments_are_parsed():
    assert (count()("3"), count(0)("0"), tolerance("1e-3")) == (3, 0, 1e-3)
    assert pattern("conv_[0-9]+") == "conv_[0-9]+"
    parser = argparse.ArgumentParser()
    add_checkpoint(parser)
    assert parser.parse_args(["--checkpoint", "last"]).checkpoint == "last"
    assert parser.parse_args([]).checkpoint is None


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (count(), "0", r"an integer from 1 to 2\*\*31 - 1, got 0"),
        (count(0), "-1", r"an integer from 0 to 2\*\*31 - 1, got -1"),
        (count(), "9" * 40, f"got {'9' * 30}$"),
        (tolerance, "-0.5", "a number of at least 0, got -0.5"),
        (tolerance, "nan", "a number of at least 0, got nan"),
        (pattern, "(", "invalid regular expression .*unterminated subpattern"),
    ],
)
def test_invalid_arguments_are_a_sentence(kind, text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        kind(text)
