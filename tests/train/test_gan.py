"""GANs: the book's loops and DCGAN's against PyTorch, masks, keys, averages, resume, bad input."""

import dataclasses
import functools
import math
import os
import signal

import cases_gan
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases_gan import DCGAN, NUM_DCGAN_STEPS, NUM_STEPS
from helpers.oracle import compare, read_cases
from helpers.same import assert_same, largest_difference
from helpers.small_gans import drawn, numbers

from jaxdl import losses, models, nn, optim, train, transforms, tree
from jaxdl.losses import adversarial
from jaxdl.train import Players, gan
from jaxdl.train.gan import PlayerState

CASES = read_cases("gan")


@functools.cache
def init_cached(nets, optimizers):
    players = Players(*nets, *optimizers, adversarial.wasserstein())  # the loss does not matter
    return jax.jit(functools.partial(train.init_gan_state, players))(jax.random.key(0))


def init(players):
    """The initial state, computed once for equal networks and optimizers."""
    return init_cached(
        (players.generator, players.discriminator),
        (players.generator_tx, players.discriminator_tx),
    )


# PyTorch's loops


def book_nets(case, output_activation):
    if case == "pattern":
        options = {"activation": linen.sigmoid, "layer_norm": False}
        generator = models.DenseGenerator((3,), (4,), 1, **options)
        return generator, models.DenseDiscriminator(
            (3,), output_activation=output_activation, **options
        )
    num_classes = 10 if case == "conditional" else None
    return (
        models.DenseGenerator(num_classes=num_classes),
        models.DenseDiscriminator(num_classes=num_classes, output_activation=output_activation),
    )


def book_batches(case):
    """NUM_STEPS batches of one example each."""
    if case == "pattern":
        return {
            "image": cases_gan.pattern(NUM_STEPS)[:, None],
            "noise": np.full((NUM_STEPS, 1, 2, 1), 0.5, np.float32),
        }
    images = cases_gan.uniform(f"{case}/images", (NUM_STEPS, 784))
    noise = cases_gan.book_noise(case)[:, None]
    batches = {"image": images.reshape(-1, 1, 28, 28, 1), "noise": noise}
    if case == "conditional":
        real, *fake = (cases_gan.labels(f"{case}/labels{i}", (NUM_STEPS,)) for i in range(3))
        batches |= {"label": real[:, None], "fake_label": np.stack(fake, 1)[:, None]}
    return batches


def play(players, state, batches, **options):
    """The final state, and (steps, 3) losses on real, on fake, of the generator."""
    step = train.make_gan_step(players, **options)
    state, found = jax.jit(lambda state: jax.lax.scan(step, state, batches))(state)
    names = ("real_loss", "fake_loss", "generator_loss")
    return state, np.stack([found[name].total / found[name].count for name in names], axis=1)


def with_weights(state, case, draw):
    def player(name):
        old = getattr(state, name)
        return PlayerState(
            drawn(old.params, f"{case}/{name}", draw), old.model_state, old.opt_state
        )

    return state.replace(generator=player("generator"), discriminator=player("discriminator"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "loss", "output_activation"),
    [
        ("pattern", adversarial.least_squares(), linen.sigmoid),
        ("improved", adversarial.on_probabilities(), linen.sigmoid),
        ("improved", adversarial.non_saturating(), None),
        ("conditional", adversarial.on_probabilities(), linen.sigmoid),
    ],
)
def test_a_hundred_steps_of_the_books_loop_equal_pytorch(case, loss, output_activation):
    make = (lambda: optim.sgd(0.01)) if case == "pattern" else (lambda: optim.adam(1e-4))
    players = Players(*book_nets(case, output_activation), make(), make(), loss)
    state = with_weights(init(players), case, cases_gan.linear_weight)
    state, found = play(players, state, book_batches(case), separate_updates=True)
    name = f"GAN {case}, 100 steps" + ("" if output_activation else " (logits)")
    compare(f"{name}, losses", found, CASES[case]["losses"], 1e-4)
    for player in ("generator", "discriminator"):
        ours, theirs = numbers(getattr(state, player).params), CASES[case][player]
        compare(f"{name}, weights", ours, theirs, 1e-4)
    # the players moved: the losses at the end are not those of the beginning
    assert abs(found[-1] - found[0]).max() > 0.005


@pytest.mark.slow
def test_ten_steps_of_dcgan_equal_pytorch():
    shape = (DCGAN["size"], DCGAN["size"], DCGAN["channels"])
    generator = models.DCGANGenerator(shape, DCGAN["latents"], DCGAN["features"])
    discriminator = models.DCGANDiscriminator(DCGAN["features"])
    optimizers = (optim.adam(2e-4, b1=0.5), optim.adam(2e-4, b1=0.5))
    loss = adversarial.non_saturating(real_target=0.9)
    players = Players(generator, discriminator, *optimizers, loss)
    state = with_weights(init(players), "dcgan", lambda n, s: cases_gan.draw_weight("gan", n, s))
    steps = range(NUM_DCGAN_STEPS)
    batches = {
        "image": np.stack([cases_gan.dcgan_images(i) for i in steps]),
        "noise": np.stack([cases_gan.dcgan_noise(i)[:, None] for i in steps]),
    }
    state, found = play(players, state, batches, fresh_noise=False)
    expected = CASES["dcgan"]
    compare("DCGAN, 10 steps, losses", found, expected["losses"], 1e-4)
    compare("DCGAN, 10 steps, weights", numbers(state.generator.params), expected["generator"])
    ours = numbers(state.discriminator.params)
    compare("DCGAN, 10 steps, weights", ours, expected["discriminator"])
    statistics = [
        leaf[name]
        for player in (state.generator, state.discriminator)
        for _, leaf in sorted(player.model_state["batch_stats"].items())
        for name in ("mean", "var")
    ]
    compare("DCGAN, 10 steps, statistics", np.concatenate(statistics), expected["statistics"])


# Small players for everything else


class Generator(linen.Module):
    """With BatchNorm and dropout, so that nothing is left out; no biases that a norm removes."""

    num_latents: int = 3
    num_classes: int | None = None
    dropout_rate: float = 0.0

    @linen.compact
    def __call__(self, noise, label=None, *, mask=None, train=False):
        x = nn.Dense(6, use_bias=False)(noise)
        if label is not None:
            x = x + nn.Dense(6, use_bias=False)(jax.nn.one_hot(label, self.num_classes))
        x = nn.BatchNorm()(x, mask=mask, train=train)
        x = linen.Dropout(self.dropout_rate, deterministic=not train)(jnp.tanh(x))
        return linen.sigmoid(nn.Dense(4)(x)).reshape(-1, 2, 2, 1)


class Discriminator(linen.Module):
    num_classes: int | None = None
    dropout_rate: float = 0.0

    @linen.compact
    def __call__(self, x, label=None, *, mask=None, train=False):
        x = nn.SpectralNorm(nn.Dense(5, use_bias=False))(nn.flatten(x), train=train)
        if label is not None:
            x = x + nn.Dense(5, use_bias=False)(jax.nn.one_hot(label, self.num_classes))
        x = jnp.tanh(nn.BatchNorm()(x, mask=mask, train=train))
        x = linen.Dropout(self.dropout_rate, deterministic=not train)(x)
        return nn.Dense(1)(x)


def setup(
    num_classes=None,
    dropout_rate=0.0,
    optimizers=(optax.sgd(0.5), optax.sgd(0.25)),
    loss=adversarial.non_saturating(),
    noise=jax.random.normal,
    **options,
):
    nets = (
        Generator(num_classes=num_classes, dropout_rate=dropout_rate),
        Discriminator(num_classes=num_classes, dropout_rate=dropout_rate),
    )
    players = Players(*nets, *optimizers, loss, noise)
    return train.make_gan_step(players, **options), init(players), players


def make_data(number, seed=0):
    generator = np.random.default_rng(seed)
    return {
        "image": generator.uniform(size=(number, 2, 2, 1)).astype(np.float32),
        "label": generator.integers(0, 3, number).astype(np.int32),
        "noise": generator.normal(size=(number, 2, 3)).astype(np.float32),
        "fake_label": generator.integers(0, 3, (number, 2)).astype(np.int32),
    }


def test_a_seed_is_the_key_of_that_seed():
    players = setup()[2]
    states = [train.init_gan_state(players, key) for key in (3, jax.random.key(3))]
    assert_same(*states)
    made = [gan.sample(players, states[0], key, 2) for key in (5, jax.random.key(5))]
    assert jnp.array_equal(*made)


@pytest.mark.slow
def test_the_initial_state_is_a_function_of_the_key():
    _, state, _ = setup(3)
    _, again, _ = setup(3)
    assert_same(state, again)
    assert int(state.step) == 0
    assert state.step.dtype == jnp.int32
    assert set(state.discriminator.model_state) == {"batch_stats", "spectral_norm"}
    # the root key is none of those that drew the weights
    drawn_from = jax.random.key_data(jax.random.split(jax.random.key(0), 3))
    np.testing.assert_array_equal(jax.random.key_data(state.key), drawn_from[2])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"penalty": adversarial.r1(3.0)}, {"separate_updates": True, "fresh_noise": False}],
    ids=["once", "twice"],
)
def test_a_masked_step_equals_the_step_on_the_slice(options):
    step, state, _ = setup(3, **options)
    batch = make_data(8)
    sliced = {name: array[:5] for name, array in batch.items()}
    garbage = {name: np.array(array) for name, array in batch.items()}
    garbage["image"][5:], garbage["noise"][5:] = 50.0, -50.0
    garbage["mask"] = (np.arange(8) < 5).astype(np.float32)
    step = jax.jit(step)
    masked, values = step(state, garbage)
    expected, expected_values = step(state, sliced)
    assert largest_difference(masked, expected) < 2e-6
    # the step did something, to every part of both players
    moved = tree.max_difference(expected, state)
    still = {name for name, by in moved.items() if by < 1e-6}
    assert still == {"key"}
    assert set(values) == set(expected_values)
    for name, value in values.items():
        assert float(value.count) == 5
        np.testing.assert_allclose(value, expected_values[name], rtol=1e-5, atol=1e-6)


class Constant(linen.Module):
    """A discriminator that says the same of everything."""

    @linen.compact
    def __call__(self, x, *, train=False):
        return jnp.broadcast_to(self.param("output", linen.initializers.zeros, ()), (len(x), 1))


@pytest.mark.slow
def test_a_constant_discriminator_has_the_ideal_losses():
    nets, still = (models.DenseGenerator((), (2, 2, 1), 3), Constant()), (optax.sgd(0.0),) * 2
    state = init(Players(*nets, *still, adversarial.hinge()))

    def means(loss, output):
        step = train.make_gan_step(Players(*nets, *still, loss))
        constant = state.discriminator.replace(params={"output": output})
        values = step(state.replace(discriminator=constant), make_data(4))[1]
        return {name: value.total / value.count for name, value in values.items()}

    for loss, output, ideal in (
        (adversarial.non_saturating(), 0.0, math.log(2)),
        (adversarial.saturating(), 0.0, math.log(2)),
        (adversarial.on_probabilities(), 0.5, math.log(2)),
        (adversarial.least_squares(), 0.5, 0.25),
        (adversarial.hinge(), 0.0, 1.0),
        (adversarial.wasserstein(), 0.0, 0.0),
    ):
        found = jax.jit(means, static_argnums=0)(loss, output)
        assert found["real_output"] == found["fake_output"] == output
        np.testing.assert_allclose(found["discriminator_loss"], ideal, rtol=1e-6)
        np.testing.assert_allclose((found["real_loss"] + found["fake_loss"]) / 2, ideal, rtol=1e-6)


@pytest.mark.slow
def test_one_update_on_both_losses_adds_their_gradients():
    """Of a discriminator without statistics that the first pass would change for the second."""
    generator, discriminator = (
        models.DenseGenerator((5,), (2, 2, 1), 3),
        models.DenseDiscriminator((4,)),
    )
    optimizers = (optax.sgd(0.5), optax.sgd(0.25))
    loss = adversarial.non_saturating(real_target=0.9)
    players = Players(generator, discriminator, *optimizers, loss)
    state, batch = init(players), make_data(6)
    step = train.make_gan_step(players)
    new, _ = jax.jit(step)(state, batch)

    def discriminate(params, x):
        return discriminator.apply({"params": params}, x)

    def objective(params):
        fake = generator.apply({"params": state.generator.params}, batch["noise"][:, 0])
        real_loss = losses.binary_cross_entropy(
            discriminate(params, batch["image"]), jnp.full((6, 1), 0.9)
        )
        fake_loss = losses.binary_cross_entropy(discriminate(params, fake), jnp.zeros((6, 1)))
        return (real_loss + fake_loss).mean()

    discriminator_gradients = jax.jit(jax.grad(objective))(state.discriminator.params)
    expected = jax.tree.map(
        lambda p, g: p - 0.25 * g, state.discriminator.params, discriminator_gradients
    )
    # a LayerNorm of four units divides by a small deviation: up to 2.3e-6 without AVX-512
    assert largest_difference(new.discriminator.params, expected) < 1e-5

    def deceive(params):
        fake = generator.apply({"params": params}, batch["noise"][:, 1])
        return losses.binary_cross_entropy(discriminate(expected, fake), jnp.ones((6, 1))).mean()

    gradients = jax.jit(jax.grad(deceive))(state.generator.params)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, state.generator.params, gradients)
    assert largest_difference(new.generator.params, expected) < 1e-5

    both = jax.jit(step.gradients)(state, batch)
    assert set(both) == {"discriminator", "generator"}
    assert largest_difference(both["discriminator"], discriminator_gradients) < 1e-5


@pytest.mark.slow
def test_the_generator_is_updated_every_kth_step():
    tx = (optim.adam(0.1), optim.adam(0.01))
    step, state, _ = setup(optimizers=tx, discriminator_steps=3)
    step, batch = jax.jit(step), make_data(4)
    del batch["noise"]
    moved, counts = [], []
    for _ in range(6):
        new, values = step(state, batch)
        moved.append(largest_difference(new.generator.params, state.generator.params) > 0)
        assert largest_difference(new.discriminator.params, state.discriminator.params) > 0
        counts.append(float(values["generator_loss"].count))
        state = new
    assert moved == [False, False, True, False, False, True]
    assert counts == [0, 0, 4, 0, 0, 4]
    assert optim.learning_rates(state) == {
        "learning_rate/generator": 0.1,
        "learning_rate/discriminator": 0.01,
    }


@pytest.mark.slow
def test_noise_depends_on_the_step_and_differs_between_the_players():
    seen = []

    def noise(key, shape):
        values = jax.random.normal(key, shape)
        jax.debug.callback(lambda z: seen.append(np.array(z)), values)
        return values

    step, state, _ = setup(noise=noise)
    batch = {"image": make_data(4)["image"]}
    step = jax.jit(step)
    first, _ = step(state, batch)
    again, _ = step(state, batch)
    step(first, batch)
    jax.effects_barrier()
    assert_same(first, again)
    sets = {array.tobytes() for array in seen}
    assert len(seen) == 6
    assert len(sets) == 4  # two players, two steps; the repeated one drew the same


@pytest.mark.slow
def test_labels_condition_both_players_and_are_drawn_evenly():
    class Teller(Generator):
        """Puts the label into its images."""

        @linen.compact
        def __call__(self, noise, label=None, *, mask=None, train=False):
            scale = self.param("scale", linen.initializers.ones, ())
            return scale * jnp.broadcast_to(
                label.astype(jnp.float32).reshape(-1, 1, 1, 1), (*noise.shape[:1], 2, 2, 1)
            )

    class Mean(linen.Module):
        num_classes: int = 4

        @linen.compact
        def __call__(self, x, label, *, train=False):
            scale = self.param("scale", linen.initializers.ones, ())
            return scale * (x.mean(axis=(1, 2, 3)) - label)

    nets, still = (Teller(num_classes=4), Mean()), (optax.sgd(0.0), optax.sgd(0.0))
    players = Players(*nets, *still, adversarial.least_squares())
    state, step = init(players), train.make_gan_step(players)
    number = 4000
    label = np.arange(number, dtype=np.int32) % 4
    batch = {"image": np.full((number, 2, 2, 1), 3.0, np.float32), "label": label}
    _, values = jax.jit(step)(state, batch)
    # a generated image is its label, so the discriminator that was told the same label says 0;
    # of the real ones, all 3, it says 3 minus their own labels
    assert float(values["fake_output"].total) == 0.0
    assert float(values["real_output"].total / number) == 1.5
    found = gan.sample(players, state, jax.random.key(1), number, batch_size=1000)[:, 0, 0, 0]
    shares = np.bincount(np.asarray(found, int), minlength=4) / number
    np.testing.assert_allclose(shares, 0.25, atol=0.03)
    asked = gan.sample(players, state, jax.random.key(1), 7, label=jnp.arange(7) % 4)
    assert asked[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 0, 1, 2]


@pytest.mark.slow
def test_the_generators_average_is_the_mean_of_its_weights():
    ema = optim.ema(optim.adam(0.05), 0.75)
    step, state, players = setup(optimizers=(ema, optim.adam(0.05)))
    step = jax.jit(step)
    average = state.generator.params
    for index in range(4):
        state, _ = step(state, make_data(6, seed=index))
        decay = 0.75 if index else 0.0
        average = jax.tree.map(
            lambda a, p, d=decay: d * a + (1 - d) * p, average, state.generator.params
        )
    assert largest_difference(optim.averaged_params(state.generator.opt_state), average) < 1e-6
    noise = jnp.asarray(make_data(5)["noise"][:, 0])
    expected = state.replace(generator=state.generator.replace(params=average))
    averaged = gan.generate(dataclasses.replace(players, averaged=True), state, noise)
    np.testing.assert_allclose(averaged, gan.generate(players, expected, noise), atol=1e-6)
    assert abs(averaged - gan.generate(players, state, noise)).max() > 1e-3


@pytest.mark.slow
def test_samples_do_not_depend_on_the_batch_size_but_batch_statistics_do():
    step, state, players = setup()
    state, _ = jax.jit(step)(state, make_data(6))
    many, once = (
        gan.sample(players, state, jax.random.key(3), 11, batch_size=size) for size in (4, 250)
    )
    np.testing.assert_allclose(many, once, atol=1e-6)
    assert len(np.unique(np.asarray(many[:, 0, 0, 0]))) == 11
    noise = jax.random.normal(jax.random.split(jax.random.key(3))[0], (11, 3))
    np.testing.assert_allclose(many, gan.generate(players, state, noise), atol=1e-6)
    normalized = gan.generate(players, state, noise, train=True)
    assert abs(normalized - many).max() > 1e-3


# Augmentation


@pytest.mark.slow
def test_augmentation_moves_cuts_and_colors_and_passes_gradients():
    image = np.random.default_rng(0).uniform(0.2, 1.0, (8, 8, 3)).astype(np.float32)

    def apply(image, **options):
        settings = {"translation": 0.0, "cutout": 0.0, "color": False} | options
        augment = transforms.differentiable_augment(**settings)
        keys = jax.random.split(jax.random.key(1), 20)
        return jax.vmap(augment, (0, None))(keys, image)

    @jax.jit
    def compute(image):
        return (
            apply(image),
            apply(image, cutout=0.5),
            apply(image, translation=0.25),
            apply(image, color=True),
            jax.grad(lambda image: apply(image, cutout=0.5).sum())(image),
        )

    same, cut, moved, colored, gradient = map(np.asarray, compute(image))
    np.testing.assert_array_equal(same, np.stack([image] * 20))
    assert ((cut == 0).sum(axis=(1, 2, 3)) == 4 * 4 * 3).all()
    shifts = {
        (down, right)
        for one in moved
        for down in range(-2, 3)
        for right in range(-2, 3)
        if np.array_equal(
            one[max(down, 0) : 8 + min(down, 0), max(right, 0) : 8 + min(right, 0)],
            image[max(-down, 0) : 8 + min(-down, 0), max(-right, 0) : 8 + min(-right, 0)],
        )
    }
    assert len(shifts) > 8
    # the brightness is added; differences of channels and of pixels are scaled
    shift = colored.mean(axis=(1, 2, 3)) - image.mean()
    assert (abs(shift) <= 0.5).all()
    assert shift.max() - shift.min() > 0.4

    def spread(x):
        return x.mean(axis=-1).std(axis=(-2, -1))

    contrast = spread(colored) / spread(image)
    assert ((contrast >= 0.5) & (contrast <= 1.5)).all()
    saturation = (colored.max(-1) - colored.min(-1)).mean((1, 2)) / contrast
    saturation = saturation / (image.max(-1) - image.min(-1)).mean()
    assert ((saturation >= 0) & (saturation <= 2)).all()
    assert saturation.max() > 1.3
    assert gradient.min() > 0  # every pixel is seen in some of the twenty
    np.testing.assert_allclose(gradient.sum(), 20 * 8 * 8 * 3 * 0.75, rtol=1e-5)


@pytest.mark.slow
def test_real_and_generated_examples_are_augmented():
    def blank(key, image):
        return 0.0 * image

    step, state, _ = setup(augment=blank, optimizers=(optax.sgd(1.0), optax.sgd(0.0)))
    new, values = jax.jit(step)(state, make_data(6))
    outputs = [values[name].total for name in ("real_output", "fake_output")]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-6)
    assert largest_difference(new.generator.params, state.generator.params) == 0


# The loops


def run(step, state, num_epochs=3, number=20, **options):
    arguments = {"num_epochs": num_epochs, "batch_size": 8, "key": jax.random.key(1)}
    arguments |= {"progress": False, **options}
    data = make_data(number)
    del data["noise"], data["fake_label"]
    return train.run(step, state, data, **arguments)


def mirror(key, image):
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


@pytest.mark.slow
def test_killed_in_an_epoch_and_resumed_equals_uninterrupted(tmp_path):
    """Averages, norms, dropout, augmentation, a resting generator; the last batch is ragged."""
    calls, deadly = [], [None]

    def noise(key, shape):
        def count(_):
            calls.append(1)
            if len(calls) == deadly[0]:
                os.kill(os.getpid(), signal.SIGTERM)

        values = jax.random.normal(key, shape)
        jax.debug.callback(count, values[0, 0])
        return values

    tx = (optim.ema(optim.adam(0.01), 0.9), optim.adam(0.02))
    options = {"dropout_rate": 0.3, "augment": mirror, "discriminator_steps": 2, "noise": noise}
    step, state, _ = setup(optimizers=tx, **options)
    sizes = {"num_epochs": 2, "number": 31, "batch_size": 3}  # eleven steps an epoch
    expected, expected_history = run(step, state, **sizes)
    calls.clear()
    deadly[0] = 3  # in the second step, which the device makes together with the next ones
    with pytest.raises(train.Interrupted, match=r"stopped at step [2-9] of 22"):
        run(step, state, workdir=tmp_path, **sizes)
    resumed, history = run(step, state, workdir=tmp_path, resume=True, **sizes)
    assert_same(resumed, expected)
    assert int(resumed.step) == 22

    def without_times(rows):
        return [{n: x for n, x in row.items() if n.startswith("train/")} for row in rows]

    assert without_times(history) == without_times(expected_history)
    assert all(math.isfinite(x) for row in without_times(history) for x in row.values())


@pytest.mark.slow
def test_seeds_train_together_as_each_alone():
    tx = (optim.ema(optim.adam(0.01), 0.9), optim.adam(0.02))
    players = Players(Generator(), Discriminator(), *tx, adversarial.hinge())
    step = train.make_gan_step(players, discriminator_steps=2)
    data = {"image": make_data(20)["image"]}

    def whole(seed):
        state = train.init_gan_state(players, jax.random.key(seed))
        options = {"num_epochs": 1, "batch_size": 8, "key": jax.random.key(5)}
        return train.fit(step, state, data, **options)

    together, alone = jax.jit(lambda: (jax.vmap(whole)(jnp.arange(3)), whole(jnp.int32(2))))()
    third = jax.tree.map(lambda leaf: leaf[2], together)
    assert largest_difference(third, alone) < 1e-5
    first = jax.tree.map(lambda leaf: leaf[0], together)
    assert largest_difference(first[0].generator.params, third[0].generator.params) > 0.1


@pytest.mark.slow
def test_the_step_is_traced_once_for_three_steps():
    traces = []

    def noise(key, shape):
        traces.append(shape)
        return jax.random.normal(key, shape)

    step, state, _ = setup(noise=noise)
    step = jax.jit(step)
    batch = {"image": make_data(4)["image"]}
    for _ in range(3):
        state, _ = step(state, batch)
    assert traces == [(4, 3), (4, 3)]  # once for each player
    assert int(state.step) == 3


@pytest.mark.slow
def test_a_diverged_player_is_named_and_the_state_before_it_saved(tmp_path):
    nets = (models.DenseGenerator((2,), (2, 2, 1), 3), models.DenseDiscriminator((2,)))
    players = Players(*nets, optax.sgd(1e30), optax.sgd(1e30), adversarial.wasserstein())
    step = train.make_gan_step(players)
    with pytest.raises(FloatingPointError, match=r"largest gradient is .* in (gen|discr)"):
        run(step, init(players), num_epochs=20, workdir=tmp_path)
    kept = [path for path in (tmp_path / "checkpoints/last").iterdir() if path.name.isdigit()]
    assert kept


# Bad input


def test_players_that_do_not_fit_are_refused():
    rest = (optax.sgd(0.1), optax.sgd(0.1), adversarial.hinge())
    with pytest.raises(ValueError, match="same num_classes, got 3 and None"):
        Players(Generator(num_classes=3), Discriminator(), *rest)
    with pytest.raises(ValueError, match="Discriminator must have an attribute num_latents"):
        Players(Discriminator(), Discriminator(), *rest)
    with pytest.raises(ValueError, match="discriminator_steps must be greater than 0, got 0"):
        setup(discriminator_steps=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((4, 3, 3, 1), np.float32)}, r"shape \(2, 2, 1\), the real ones have"),
        ({"image": np.zeros((4, 2, 2, 3), np.float32)}, r"real ones have \(2, 2, 3\)"),
        ({"image": np.zeros((4, 2, 2, 1), np.uint8)}, "floating point .* got uint8: pass prepro"),
        ({"noise": np.zeros((4, 2, 5), np.float32)}, r"noise must have shape \(4, 3\)"),
        ({"image": None}, "the batch has no 'image', only"),
        ({"label": None}, r"conditional \(3 classes\) but the batch has no 'label'"),
    ],
)
def test_batches_that_do_not_fit_are_refused(change, message):
    step, state, _ = setup(3)
    batch = make_data(4) | change
    batch = {name: array for name, array in batch.items() if array is not None}
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(step, state, batch)


@pytest.mark.slow
def test_uint8_examples_are_preprocessed():
    step, state, _ = setup(preprocess=transforms.to_float)
    batch = make_data(4)
    scaled, _ = jax.jit(step)(state, batch | {"image": np.full((4, 2, 2, 1), 51, np.uint8)})
    floats = np.full((4, 2, 2, 1), 51 / 255, np.float32)
    expected, _ = jax.jit(setup()[0])(state, batch | {"image": floats})
    assert largest_difference(scaled, expected) < 1e-6


def test_mixed_precision_around_an_optimizer_is_refused():
    step, state, _ = setup(optimizers=(optim.mixed_precision(optax.sgd(0.1)), optax.sgd(0.1)))
    with pytest.raises(ValueError, match=r"dtype=jnp\.bfloat16 instead"):
        jax.eval_shape(step, state, make_data(4))


def test_sample_checks_its_arguments():
    _, state, players = setup(3)

    def sample(number, averaged=False, **options):
        chosen = dataclasses.replace(players, averaged=averaged)
        gan.sample(chosen, state, jax.random.key(0), number, **options)

    with pytest.raises(ValueError, match=r"label must have shape \(4\), got \(2,\)"):
        sample(4, label=jnp.zeros(2, jnp.int32))
    with pytest.raises(ValueError, match="num_examples must be greater than 0"):
        sample(0)
    with pytest.raises(ValueError, match="found 0"):
        sample(4, averaged=True)


class Plain(linen.Module):
    """A network whose call has no ``train``."""

    num_latents: int = 3
    num_outputs: int = 4

    @linen.compact
    def __call__(self, x):
        return linen.Dense(self.num_outputs)(x)


class Deterministic(Plain):
    @linen.compact
    def __call__(self, x, deterministic):
        x = linen.Dropout(0.5)(x, deterministic=deterministic)
        return linen.Dense(self.num_outputs)(x)


@pytest.mark.slow
@pytest.mark.parametrize("network", [Plain, Deterministic])
def test_networks_whose_call_has_no_train(network):
    tx, loss = optim.sgd(0.1), adversarial.non_saturating()
    players = train.Players(network(), network(num_outputs=1), tx, tx, loss)
    state = train.init_gan_state(players, jax.random.key(0))
    noise = jax.random.normal(jax.random.key(1), (5, 3))
    layer = state.generator.params["Dense_0"]
    images = train.gan.generate(players, state, noise)
    np.testing.assert_allclose(images, noise @ layer["kernel"] + layer["bias"][None], rtol=1e-5)
    after, _ = train.make_gan_step(players)(state, {"image": jnp.ones((5, 4))})
    assert (after.generator.params["Dense_0"]["kernel"] != layer["kernel"]).any()
