"""The small facts about GANs: the numbers of the book."""

import gan_game
import gan_ideal_loss
import gan_pixels
import gan_ring
import jax
import numpy as np
import pytest

from jaxdl import optim
from jaxdl.train import init_gan_state, make_gan_step


@pytest.mark.slow
def test_the_game_goes_the_way_of_the_book():
    """Appendix D: the first three steps, the radius, its growth, and the last point."""
    path = gan_game.train(gan_game.Config(), *gan_game.with_optax(optim.sgd(0.1)))
    np.testing.assert_allclose(path[0], [0.6, 0.7])
    expected = [[0.67, 0.64], [0.734, 0.573], [0.7913, 0.4996]]
    np.testing.assert_allclose(path[1:4], expected, atol=1e-5)
    np.testing.assert_allclose(path[-1], [1.95226, 10.86403], rtol=1e-4)
    radius = np.linalg.norm(path, axis=1)
    assert radius[0] == pytest.approx(0.921954, abs=1e-6)
    assert radius[-1] == pytest.approx(11.038047, rel=1e-4)
    np.testing.assert_allclose(radius[1:] / radius[:-1], 1.00498756, rtol=1e-5)


@pytest.mark.slow
def test_other_updates_circle_or_reach_the_equilibrium(tmp_path):
    radius = gan_game.main(gan_game.Config(workdir=tmp_path))
    assert radius["momentum 0.5"] > 1e3  # momentum makes it worse
    assert radius["alternating"] == pytest.approx(0.92, abs=0.1)  # neither in nor out
    assert radius["alternating, momentum -0.5"] < 0.6
    # |1 + i·r - r²|^499 of the start: sqrt(1 - r² + r⁴) a step
    expected = 0.921954 * (1 - 0.01 + 0.0001) ** 249.5
    assert radius["extragradient"] == pytest.approx(expected, rel=1e-3)
    assert radius["optimistic"] < 0.1
    assert (tmp_path / "game.png").is_file()


@pytest.mark.slow
def test_pixels_are_drawn_with_their_probabilities(tmp_path):
    row = gan_pixels.main(gan_pixels.Config(workdir=tmp_path))
    assert 0 < row["largest difference"] < 0.3
    expected = [[0.75, 0, 0.125], [0, 0.875, 0], [0.25, 0, 0.125]]
    np.testing.assert_array_equal(gan_pixels.COUNTS / 8, expected)
    assert (tmp_path / "distribution.png").is_file()


@pytest.mark.slow
def test_a_discriminator_that_cannot_distinguish_has_the_ideal_loss(tmp_path):
    losses = gan_ideal_loss.main(gan_ideal_loss.Config(num_epochs=30, workdir=tmp_path))
    assert losses["squared error"] == pytest.approx(0.25, abs=2e-3)
    assert losses["cross entropy"] == pytest.approx(np.log(2), abs=2e-3)
    assert (tmp_path / "ideal.png").is_file()


@pytest.mark.slow
def test_modes_are_counted():
    centers = gan_ring.CENTERS
    np.testing.assert_allclose(np.linalg.norm(centers, axis=1), 2.0)
    points = np.concatenate([np.repeat(centers[:3], 30, axis=0), np.zeros((10, 2))])
    assert gan_ring.count_modes(points) == (3, pytest.approx(0.9))
    assert gan_ring.count_modes(np.zeros((5, 2))) == (0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", gan_ring.make_players())
def test_every_way_to_the_ring_can_be_taken(name):
    players, options = gan_ring.make_players()[name]
    step, batch = make_gan_step(players, **options), {"image": np.zeros((4, 2), np.float32)}
    state = init_gan_state(players, jax.random.key(0))
    _, values = jax.eval_shape(step, state, batch)
    assert {"generator_loss", "discriminator_loss"} <= values.keys()


@pytest.mark.slow
def test_the_ring_is_drawn(tmp_path, monkeypatch):
    plain = {"plain": gan_ring.make_players()["squared error, SGD"]}
    monkeypatch.setattr(gan_ring, "make_players", lambda: plain)
    found = gan_ring.main(gan_ring.Config(num_steps=100, workdir=tmp_path))
    assert 0 <= found["plain"] <= 8
    assert (tmp_path / "ring.png").is_file()
