"""A notebook: look at the data, train with one updating line, stop, go on. 18 lines of code.

The cells run as IPython runs them, the last expression of each is shown; IPython's display is
recorded.
"""

import ast
import signal
import sys
import types

import numpy as np
import pytest

from jaxdl.train import _progress

CELLS = """
from jaxdl import data, losses, models, optim, train, transforms
digits = data.load("digits")
digits
# %%
loader = data.Loader(data.ArraySource(digits.train), batch_size=64, shuffle=True)
loader
# %%
loss_fn = train.supervised(
    models.MLP((32, 10)), losses.cross_entropy, preprocess=transforms.to_float
)
tx = optim.adam(1e-2)
step = train.make_step(loss_fn, tx)
state = train.init_state(loss_fn, tx, 0, digits.train)
state
# %%
state, history = train.run(
    step, state, digits.train, num_epochs=6, batch_size=64, key=1, hooks=[stop]
)
len(history)
# %%
state, history = train.run(step, state, digits.train, num_epochs=6, batch_size=64, key=1)
history[-1]["train/loss"]
"""


# The port ends here


@pytest.fixture
def shown(monkeypatch):
    """A notebook, and the texts that its output cells show, one list per display."""
    displays = []

    def display(content, *, raw, display_id):
        texts = [content["text/plain"]]
        displays.append(texts)
        return types.SimpleNamespace(
            update=lambda content, *, raw: texts.append(content["text/plain"])
        )

    module = types.ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    monkeypatch.setattr(_progress, "NOTEBOOK_SECONDS", -1)
    return displays


def run_cell(source, names):
    """Executes a cell; the value of its last line."""
    *body, last = ast.parse(source).body
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def stop(end):
    """Ctrl-C during the second epoch."""
    if end.row["epoch"] == 2:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_a_notebook_shows_trains_stops_and_goes_on(shown, capsys):
    names = {"stop": stop}
    cells = [run_cell(cell, names) for cell in CELLS.split("# %%")[:3]]
    for value in cells:
        assert 1 <= len(repr(value).splitlines()) <= 6
    assert "1,437 examples, image (8, 8, 1) uint8" in repr(cells[0])
    assert repr(cells[1]).startswith("Loader: 23 batches of 64 shuffled")
    assert repr(cells[2]).splitlines()[:2] == [
        "TrainState: step 0",
        "  params: 2,410 values in 4 arrays",
    ]

    assert run_cell(CELLS.split("# %%")[3], names) == 2
    assert int(names["state"].step) == 46  # what was trained is returned
    assert "stopped at step 46 of 138: this is the state so far" in capsys.readouterr().out
    assert len(shown) == 1
    assert any(text.endswith("left") for text in shown[0])
    assert shown[0][-1].startswith("epoch 2/6  train/loss ")

    loss = run_cell(CELLS.split("# %%")[4], names)
    assert loss < 0.3
    assert capsys.readouterr() == ("", "")  # one updating line, nothing else
    assert len(shown) == 2
    assert shown[1][-1].startswith(f"epoch 6/6  train/loss {loss:.4f}")
    assert np.isfinite(loss)
    assert int(names["state"].step) == 138
