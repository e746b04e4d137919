"""The command that shows the counterpart of a PyTorch name."""

import pytest

from jaxdl.__main__ import main


def test_a_row_has_counterpart_difference_and_code(capsys):
    assert main(["torch", "torch.nn.functional.gelu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "torch.nn.functional.gelu"
    assert lines[1].split() == ["jaxdl", "jax.nn.gelu"]
    assert "approximate=False" in lines[2]
    assert lines[3].split(maxsplit=1) == ["PyTorch", "F.gelu(x)"]
    assert lines[4].split(maxsplit=1) == ["JAX", "jax.nn.gelu(x, approximate=False)"]


@pytest.mark.parametrize("name", ["Linear", "linear", "nn.Linear", "torch.nn.Linear"])
def test_a_name_may_be_short(capsys, name):
    assert main(["torch", name]) == 0
    assert "nn.Dense" in capsys.readouterr().out


def test_several_names_and_several_rows(capsys):
    assert main(["torch", "Adam", "sum"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert {"torch.optim.Adam", "torch.sum", "torch.Tensor.sum"} <= set(out)


def test_a_misspelling_names_similar_ones(capsys):
    assert main(["torch", "CrossEntropyLos"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "similar names: torch.nn.CrossEntropyLoss" in captured.err


def test_an_unlike_name_says_so(capsys):
    assert main(["torch", "qqqqqq"]) == 1
    assert capsys.readouterr().err == "qqqqqq is not in the dictionary.\n"
