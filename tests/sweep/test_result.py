"""Results of a sweep: text, tables, heat maps, and histories of different lengths."""

import functools
import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import sweep
from jaxdl.sweep.result import Criterion, Member, as_json, extend, stack


def member(number, losses, diverged=None, accuracy=0.5):
    history = {
        "train/loss": np.ones(len(losses), np.float32),
        "test/accuracy": np.full(len(losses), accuracy, np.float32),
        "test/loss": np.asarray(losses, np.float32),
        "test/matrix": np.zeros((len(losses), 2, 2)),
    }
    return Member(number, str(number), {"rate": 0.1, "f": jnp.tanh}, 3, history, 8, diverged, None)


def make_result(members, settings, seeds, **fields):
    fields = {"best": 1, "monitor": "test/loss", "mode": "min"} | fields
    return sweep.SweepResult(
        hparams=[setting for setting in settings for _ in seeds],
        seeds=np.array([*seeds] * len(settings)),
        history=stack([one.history for one in members]),
        num_epochs=np.array([one.num_epochs for one in members]),
        num_steps=np.array([one.num_steps for one in members]),
        diverged={one.number: one.diverged for one in members if one.diverged},
        state=None, states=None, method="vmap", chunk_size=4, num_programs=1, program_bytes=None,
        seconds=1.25, **fields,
    )  # fmt: skip


SETTINGS = [{"rate": 0.1, "f": jnp.tanh}, {"rate": 1e-05, "f": jnp.tanh}]
MEMBERS = [
    member(0, [4.0, 3.0]), member(1, [4.0, 1.0]),
    member(2, [0.5], accuracy=0.25), member(3, [0.25]),
]  # fmt: skip


def test_a_result_prints_a_few_lines():
    result = make_result(MEMBERS, SETTINGS, [5, 7])
    assert str(result).splitlines() == [
        "SweepResult: 4 members = 2 settings of rate, f × 2 seeds, 2 epochs",
        "best: member 1, rate=0.1, f=tanh, seed=7, test/loss=1",
        "trained by vmap, up to 4 members per program, in 1.2 s",
    ]
    failed = make_result([member(0, [1.0], 1)], SETTINGS[:1], [0], best=None)
    assert str(failed).splitlines()[1:3] == [
        "best: none, all members diverged",
        "diverged: 1 member",
    ]


def test_the_table_lists_settings_trained_to_the_end_first():
    result = make_result(MEMBERS, SETTINGS, [5, 7])
    assert result.table() == (
        " rate     f  epochs     test/loss  test/accuracy\n"
        "  0.1  tanh       2         2 ± 1        0.5 ± 0\n"
        "1e-05  tanh       1  0.375 ± 0.12   0.375 ± 0.12"
    )
    assert len(result.table(1).splitlines()) == 2


def test_the_table_follows_the_mode_and_marks_what_diverged():
    members = [member(0, [1.0]), member(1, [2.0]), member(2, [3.0], diverged=1)]
    settings = [{"width": 3}, {"width": 4}, {"width": 5}]
    result = make_result(members, settings, [0], mode="max")
    assert [line.split()[0] for line in result.table().splitlines()] == ["width", "4", "3", "5"]
    assert result.table().splitlines()[-1].split()[2] == "nan"


def test_a_notebook_shows_the_summary_and_a_table():
    settings = [{"rate": "<b>"}] * 2
    html = make_result(MEMBERS, settings, [5, 7])._repr_html_()
    assert html.count("<tr>") == 3
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "best: member 1" in html


def shade(image, row, column):
    return image.get_array()[row, column]


def test_the_heat_map_shows_means_over_seeds_and_the_best_of_the_rest():
    settings = sweep.grid(rate=[0.1, 0.01], decay=[0.0, 1.0], kind=["a", "b"])
    losses = np.arange(16.0).reshape(8, 2)
    members = [member(i, [loss]) for i, loss in enumerate(losses.reshape(-1))]
    members[15] = members[15]._replace(diverged=1)
    result = make_result(members, settings, [0, 1])
    image = result.heat_map().axes[0].get_images()[0]
    # means of two seeds are 2 i + 0.5; each cell is the less of kinds a and b
    np.testing.assert_allclose(image.get_array()[::1].data, [[8.5, 0.5], [12.5, 4.5]])
    assert result.heat_map("kind").axes[0].get_images()[0].get_array().shape == (1, 2)
    with pytest.raises(ValueError, match=r"'width' is not a hyperparameter; there are \['rate'"):
        result.heat_map("width")
    assert make_result(members[:2], settings[:1], [0, 1]).heat_map() is None


def test_a_random_search_has_a_map_of_points():
    settings = [{"a": float(i), "b": float(i**2)} for i in range(5)]
    figure = make_result([member(i, [1.0 + i]) for i in range(5)], settings, [0]).heat_map()
    assert figure.axes[0].collections


def test_the_criterion_ranks_by_the_last_finite_value():
    less, more = Criterion("test/loss", "min"), Criterion("test/loss", "max")
    members = [member(0, [0.0, 3.0]), member(1, [9.0, 1.0]), member(2, [0.0], 1), member(3, [1.0])]
    assert less.best(members).number == 1  # the first of two equal ones
    assert more.best(members).number == 0
    assert less.loss(member(4, [math.nan])) == math.inf
    assert less.best([members[2]]) is None


def test_parts_of_a_member_are_joined():
    whole = functools.reduce(extend, [member(0, [3.0, 2.0]), member(0, [1.0]), member(0, [0.5], 1)])
    assert whole.history["test/loss"].tolist() == [3.0, 2.0, 1.0, 0.5]
    assert (whole.num_epochs, whole.diverged) == (4, 4)
    assert extend(member(0, [1.0], 1), member(0, [1.0], 1)).diverged == 1


def test_shorter_histories_are_filled_with_nan():
    stacked = stack(
        [{"x": np.arange(3), "y": np.ones((3, 2))}, {"x": np.arange(1), "y": np.ones((1, 2))}]
    )
    np.testing.assert_array_equal(stacked["x"], [[0, 1, 2], [0, np.nan, np.nan]])
    assert stacked["y"].shape == (2, 3, 2)
    assert stack([{"x": np.arange(3)}])["x"].dtype == np.arange(3).dtype


def test_settings_become_json():
    setting = {"f": jnp.tanh, "n": np.float32(0.5), "k": [1, (2, None)], "a": jnp.int32(3)}
    assert as_json(setting) == {"f": "tanh", "n": 0.5, "k": [1, [2, None]], "a": 3}
