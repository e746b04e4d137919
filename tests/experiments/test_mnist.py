"""experiments/mnist.py in small."""

import json

import jax
import pytest

import mnist
from jaxdl import data, tree

DIGITS = data.load("digits")
SMALL = DIGITS._replace(
    train={name: array[:64] for name, array in DIGITS.train.items()},
    test={name: array[:32] for name, array in DIGITS.test.items()},
)


def test_the_network_of_the_example():
    variables = jax.eval_shape(mnist.CNN().init, jax.random.key(0), DIGITS.train["image"][:1])
    # 1·9·32 + 32, 32·9·64 + 64, 4·4·64·128 + 128, 128·10 + 10
    assert tree.count(variables["params"]) == 320 + 18_496 + 131_200 + 1_290


@pytest.mark.slow
def test_it_learns_and_names_its_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mnist.data, "load", lambda name, data_dir: SMALL)
    mnist.main(mnist.Config(num_epochs=2, batch_size=16, workdir=tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [4, 8]
    assert rows[1]["train/loss"] < rows[0]["train/loss"]
    accuracy = rows[1]["test/accuracy"]
    assert f"test accuracy {accuracy:.4f}, run folder {tmp_path}" in capsys.readouterr().out
