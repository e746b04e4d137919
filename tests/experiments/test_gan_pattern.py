"""experiments/gan_pattern.py and gan_theory.py: the numbers of the book."""

import numpy as np
import pytest
from PIL import Image

import gan_pattern
import gan_theory


def test_the_discriminator_tells_and_the_generator_learns_1010(tmp_path):
    cfg = gan_pattern.Config(num_steps=2000, learning_rate=0.05, workdir=tmp_path / "run")
    history = gan_pattern.main(cfg)
    assert len(history) == 10
    assert history[-1]["alone/real_output"] > 0.7 > 0.3 > history[-1]["alone/noise_output"]
    frames = np.load(tmp_path / "run" / "frames.npy")
    assert frames.shape == (11, 1, 4)
    np.testing.assert_allclose(frames[-1, 0], [0.94, 0.05, 0.94, 0.05], atol=0.15)
    assert abs(frames[0] - frames[-1]).max() > 0.3
    # both end near the ideal loss
    assert history[-1]["train/discriminator_loss"] == pytest.approx(0.25, abs=0.03)
    pictures = {path.name for path in (tmp_path / "run").glob("*.png")}
    assert pictures == {"losses.png", "evolution.png"}
    assert (tmp_path / "run" / "alone" / "losses.png").is_file()
    pixels = np.asarray(Image.open(tmp_path / "run" / "evolution.png").convert("L"))
    assert pixels.std() > 20


def test_the_game_goes_the_way_of_the_book(tmp_path):
    """Appendix D: the first three steps, the radius, the growth and the last point."""
    path = gan_theory.with_optax(gan_theory.optim.sgd(0.1))
    np.testing.assert_allclose(path[0], [0.6, 0.7])
    np.testing.assert_allclose(
        path[1:4], [[0.67, 0.64], [0.734, 0.573], [0.7913, 0.4996]], atol=1e-5
    )
    np.testing.assert_allclose(path[-1], [1.95226, 10.86403], rtol=1e-4)
    radius = np.linalg.norm(path, axis=1)
    assert radius[0] == pytest.approx(0.921954, abs=1e-6)
    assert radius[-1] == pytest.approx(11.038047, rel=1e-4)
    np.testing.assert_allclose(radius[1:] / radius[:-1], 1.00498756, rtol=1e-5)
    row = gan_theory.game(gan_theory.Config(), tmp_path)
    assert row["momentum 0.5"] > 1e3  # momentum makes it worse
    assert row["alternating"] == pytest.approx(0.92, abs=0.1)  # neither in nor out
    assert row["alternating, momentum -0.5"] < 0.6
    # |1 + i·r - r²|^499 of the start: sqrt(1 - r² + r⁴) a step
    assert row["extragradient"] == pytest.approx(0.921954 * (1 - 0.01 + 0.0001) ** 249.5, rel=1e-3)
    assert row["optimistic"] < 0.1
    assert (tmp_path / "game.png").is_file()


def test_pixels_are_drawn_with_their_probabilities(tmp_path):
    row = gan_theory.distribution(gan_theory.Config(), tmp_path)
    assert 0 < row["largest difference of 24 images"] < 0.3
    np.testing.assert_array_equal(
        gan_theory.COUNTS / 8, [[0.75, 0, 0.125], [0, 0.875, 0], [0.25, 0, 0.125]]
    )


def test_a_discriminator_that_has_nothing_to_tell_ends_at_its_ideal_loss(tmp_path):
    row = gan_theory.ideal(gan_theory.Config(num_steps=1500), tmp_path)
    assert row["squared error"] == pytest.approx(0.25, abs=2e-3)
    assert row["cross entropy"] == pytest.approx(np.log(2), abs=2e-3)


def test_modes_are_counted(tmp_path, monkeypatch):
    middles = gan_theory.modes()
    np.testing.assert_allclose(np.linalg.norm(middles, axis=1), 2.0)
    points = np.concatenate([np.repeat(middles[:3], 30, axis=0), np.zeros((10, 2))])
    assert gan_theory.count_modes(points) == (3, pytest.approx(0.9))
    assert gan_theory.count_modes(np.zeros((5, 2))) == (0, 0.0)
    plain = {"plain": gan_theory.remedies()["squared error, SGD"]}
    monkeypatch.setattr(gan_theory, "remedies", lambda: plain)
    rows = gan_theory.main(
        gan_theory.Config(parts=("ring",), num_steps=100, workdir=tmp_path / "run")
    )
    assert rows[0]["part"] == "ring"
    assert 0 <= rows[0]["plain"] <= 8
    assert (tmp_path / "run" / "ring.png").is_file()
