"""Every row of the dictionary: the PyTorch name exists, and both expressions agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from helpers.dictionary import ROWS, inputs, resolve, scope

EXECUTED = {name: row for name, row in ROWS.items() if "code" in row}
NAMES = scope()
ARRAYS = inputs()
LONG = ("k", "k2", "idx")  # PyTorch indexes with int64


def torch_scope():
    arrays = {
        name: torch.from_numpy(array.astype(np.int64) if name in LONG else array.copy())
        for name, array in ARRAYS.items()
    }
    nchw = arrays["image"].permute(0, 3, 1, 2)
    return {"torch": torch, "F": torch.nn.functional, "nchw": nchw, **arrays}


def leaves(result):
    """The arrays of a result, as NumPy."""
    if isinstance(result, torch.Tensor):
        return [result.detach().resolve_conj().numpy()]
    if isinstance(result, list | tuple):
        return [leaf for part in result for leaf in leaves(part)]
    return [np.asarray(result)]


@pytest.mark.parametrize("name", [name for name in ROWS if name.startswith("torch.")])
def test_the_name_exists_in_pytorch(name):
    if name.startswith("torch.utils.tensorboard."):
        pytest.importorskip("torch.utils.tensorboard")
    resolve(name, {"torch": torch})


@pytest.mark.parametrize("name", EXECUTED)
def test_both_expressions_agree(name):
    row = ROWS[name]
    with torch.random.fork_rng():
        theirs = leaves(eval(row["pytorch"], torch_scope()))
    with jax.numpy_rank_promotion("allow"):
        ours = leaves(
            eval(row["code"], {**NAMES, **{k: jnp.asarray(v) for k, v in ARRAYS.items()}})
        )
    assert len(ours) == len(theirs), (len(ours), len(theirs))
    for mine, expected in zip(ours, theirs, strict=True):
        assert mine.shape == expected.shape
        if expected.dtype.kind in "biu":
            np.testing.assert_array_equal(mine, expected)
            continue
        assert mine.dtype.kind == expected.dtype.kind
        finite = np.abs(expected[np.isfinite(expected)])
        largest = finite.max(initial=1e-30)
        tolerance = float(row.get("tolerance", 1e-5))
        np.testing.assert_allclose(mine, expected, rtol=tolerance, atol=tolerance * largest)


def test_all_optimizers_and_schedulers_have_a_row():
    for module in (torch.optim, torch.optim.lr_scheduler):
        classes = {
            f"{module.__name__}.{name}"
            for name in module.__all__
            if name[0].isupper() and isinstance(getattr(module, name), type)
        }
        assert classes <= ROWS.keys(), sorted(classes - ROWS.keys())


def test_the_dictionary_is_large():
    assert len(ROWS) >= 600
    assert len(EXECUTED) >= 300
