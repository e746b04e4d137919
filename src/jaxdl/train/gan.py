"""Training steps of generative adversarial networks, and sampling from them."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxdl import optim, transforms
from jaxdl._checks import check_positive, check_shape
from jaxdl.losses.adversarial import AdversarialLoss, Penalty
from jaxdl.metrics import mean
from jaxdl.train.step import apply_gradients, apply_model, init_variables
from jaxdl.types import Array, Batch, Mean, Metrics, PyTree, Step

Noise = Callable[[Array, tuple[int, ...]], Array]
"""``(key, shape (B, num_latents)) -> noise``: ``jax.random.normal`` or ``jax.random.uniform``."""


@flax.struct.dataclass
class Player:
    """What training changes of one network.

    Attributes:
        params: trainable parameters.
        model_state: every other variable collection of the network, perhaps {}.
        opt_state: the state of its Optax transformation.
    """

    params: PyTree
    model_state: PyTree
    opt_state: PyTree


@flax.struct.dataclass
class GANState:
    """Everything that the training of a GAN changes.

    Attributes:
        step: number of steps made so far; int32, shape ().
        generator: its :class:`Player`; with :func:`jaxdl.optim.ema` around its optimizer, the
            average of its weights is in ``opt_state``.
        discriminator: its :class:`Player`.
        key: root PRNG key; it never advances. A step's key is ``fold_in(key, step)``.
    """

    step: Array
    generator: Player
    discriminator: Player
    key: Array


class _Examples(NamedTuple):
    """What a discriminator judges: (B, ...), labels (B,) or None, mask (B,) or None."""

    x: Array
    label: Array | None
    mask: Array | None


def init_gan_state(
    generator: nn.Module,
    discriminator: nn.Module,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    key: Array,
) -> GANState:
    """Initial parameters, model states and optimizer states of both players.

    Args:
        generator: Linen module, called as ``generator(noise (B, num_latents), train=...)``, with an
            attribute ``num_latents``. Where it has a ``num_classes`` that is not None, both
            networks get labels (B,) int32 as their second argument. A network whose call has a
            ``mask`` parameter also gets the batch's mask.
        discriminator: Linen module, called as ``discriminator(x (B, ...), train=...)``.
        generator_tx, discriminator_tx: Optax transformations, each with its own learning rate.
        key: PRNG key.

    Returns:
        a :class:`GANState` at step 0. Same key, same machine: same weights.

    Raises:
        ValueError: a generator that does not say ``num_latents``; players that are conditional for
            different numbers of classes; images that the discriminator cannot read.
    """
    num_latents, num_classes = _sizes(generator, discriminator)
    generator_key, discriminator_key, root_key = jax.random.split(key, 3)
    labels = () if num_classes is None else (jnp.zeros(1, jnp.int32),)

    def init(
        model: nn.Module, tx: optax.GradientTransformation, key: Array, x: Any
    ) -> tuple[Any, Player]:
        """The form of the outputs, which are not computed, and the player."""
        variables = init_variables(model, key, x, *labels)
        apply = functools.partial(model.apply, train=False)
        outputs = jax.eval_shape(apply, variables, x, *labels)
        params = variables.pop("params", {})
        return outputs, Player(params, variables, tx.init(params))

    noise = jnp.zeros((1, num_latents))
    fake, first = init(generator, generator_tx, generator_key, noise)
    _, second = init(discriminator, discriminator_tx, discriminator_key, fake)
    return GANState(jnp.zeros((), jnp.int32), first, second, root_key)


def make_gan_step(
    generator: nn.Module,
    discriminator: nn.Module,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    loss: AdversarialLoss,
    *,
    penalty: Penalty | None = None,
    preprocess: Callable[[Array], Array] | None = None,
    augment: transforms._image.Augment | None = None,
    noise: Noise = jax.random.normal,
    discriminator_steps: int = 1,
    separate_updates: bool = False,
    fresh_noise: bool = True,
    inputs: str = "image",
) -> Step:
    """A step of both players, for ``train.run`` and ``train.fit``.

    Args:
        generator, discriminator, generator_tx, discriminator_tx: as of :func:`init_gan_state`.
            Half precision is an attribute of the networks (``dtype``).
        loss: one of :mod:`jaxdl.losses.adversarial`; smoothed labels are arguments of it.
        penalty: added to the discriminator's loss on real examples: ``losses.adversarial.wgan_gp``
            or ``r1``. Its passes leave the model states as they are.
        preprocess: applied to real examples on the device. They must get the generator's range:
            [0, 1] of a sigmoid, [-1, 1] of a tanh.
        augment: ``(key, example) -> example``, differentiable, applied to every real and generated
            example before the discriminator: :func:`differentiable_augment`.
        noise: see :data:`Noise`.
        discriminator_steps: k; every step updates the discriminator and every k-th the generator
            too, so that each update of the discriminator sees new real examples.
        separate_updates: update the discriminator on the real examples and then again on the
            generated ones, not once on the sum of both losses.
        fresh_noise: draw noise and labels again for the generator's update; else both players
            update on the same generated examples, which costs a pass of the generator less.
        inputs: name of the real examples in the batch.

    Returns:
        a :class:`~jaxdl.types.Step` of a :class:`GANState`, with ``gradients``.

        Conditional players take the ``"label"`` (B,) int32 of real examples from the batch; labels
        to generate are drawn evenly from all classes. Where the batch has ``"noise"``
        (B, n, num_latents) and ``"fake_label"`` (B, n), these are used instead of drawn ones,
        ``[:, 0]`` by the discriminator's update and ``[:, -1]`` by the generator's.

        The metrics, each a :class:`~jaxdl.types.Mean`: ``real_loss`` and ``fake_loss`` of the
        discriminator, ``discriminator_loss``, half their sum (ideally ¼ for squared errors, ln 2
        for cross entropies), ``generator_loss`` (of count 0 where the generator rests),
        ``real_output`` and ``fake_output``, what the discriminator gives, and ``penalty``.

    Raises:
        ValueError: as :func:`init_gan_state`; a k below 1. When called: examples that are integers
            or of another shape than the generator's, missing labels, noise of a wrong shape, an
            optimizer with :func:`jaxdl.optim.mixed_precision`.
    """
    num_latents, num_classes = _sizes(generator, discriminator)
    check_positive(discriminator_steps=discriminator_steps)

    def real_examples(batch: Batch) -> _Examples:
        if inputs not in batch:
            raise ValueError(f"the batch has no {inputs!r}, only {sorted(batch)}: set inputs=.")
        x = batch[inputs]
        x = x if preprocess is None else preprocess(x)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(
                f"{inputs} must be floating point in the generator's range, got {x.dtype}: give "
                "preprocess=, transforms.to_float say."
            )
        if num_classes is None:
            return _Examples(x, None, batch.get("mask"))
        if "label" not in batch:
            raise ValueError(
                f"the networks are conditional ({num_classes} classes) but the batch has no "
                f"'label', only {sorted(batch)}."
            )
        return _Examples(x, batch["label"], batch.get("mask"))

    def make_fakes(
        params: PyTree, model_state: PyTree, batch: Batch, like: Array, key: Array, place: int
    ) -> tuple[_Examples, PyTree]:
        """Generated examples, and the generator's new model state."""
        noise_key, label_key, dropout_key = jax.random.split(key, 3)
        mask, shape = batch.get("mask"), (like.shape[0], num_latents)
        z = batch["noise"][:, place] if "noise" in batch else noise(noise_key, shape)
        check_shape("noise", z, shape)
        label = None
        if num_classes is not None and "fake_label" in batch:
            label = batch["fake_label"][:, place]
        elif num_classes is not None:
            label = jax.random.randint(label_key, shape[:1], 0, num_classes)
        seed = _Examples(z, label, mask)
        x, model_state = _apply(generator, params, model_state, seed, dropout_key)
        if x.shape != like.shape:
            raise ValueError(
                f"the generator makes examples of shape {x.shape[1:]}, the real ones have "
                f"{like.shape[1:]}: they must be equal."
            )
        return _Examples(x, label, mask), model_state

    def judge(
        params: PyTree, model_state: PyTree, examples: _Examples, key: Array
    ) -> tuple[Array, PyTree]:
        """The discriminator's outputs, and its new model state."""
        augment_key, dropout_key = jax.random.split(key)
        if augment is not None:
            keys = jax.random.split(augment_key, examples.x.shape[0])
            examples = examples._replace(x=jax.vmap(augment)(keys, examples.x))
        return _apply(discriminator, params, model_state, examples, dropout_key)

    def discriminator_turn(state: GANState, batch: Batch) -> tuple[GANState, Metrics, PyTree]:
        make_key, real_key, fake_key, penalty_key, _, _ = _keys(state)
        player, real = state.generator, real_examples(batch)
        fake, generator_state = make_fakes(
            player.params, player.model_state, batch, real.x, make_key, 0
        )

        def on_real(params: PyTree, model_state: PyTree) -> tuple[Array, tuple[PyTree, Metrics]]:
            outputs, new = judge(params, model_state, real, real_key)
            metrics = {
                "real_loss": mean(loss.real(outputs), real.mask),
                "real_output": mean(_per_example(outputs), real.mask),
            }
            value = _divide(metrics["real_loss"])
            if penalty is not None:
                draw_key, judge_key = jax.random.split(penalty_key)

                def critic(x: Array) -> Array:
                    scores = _per_example(
                        judge(params, model_state, real._replace(x=x), judge_key)[0]
                    )
                    # statistics of the batch carry real rows into the outputs for padding
                    return scores if real.mask is None else jnp.where(real.mask > 0, scores, 0.0)

                metrics["penalty"] = mean(penalty(critic, real.x, fake.x, draw_key), real.mask)
                value = value + _divide(metrics["penalty"])
            return value, (new, metrics)

        def on_fake(params: PyTree, model_state: PyTree) -> tuple[Array, tuple[PyTree, Metrics]]:
            outputs, new = judge(params, model_state, fake, fake_key)
            metrics = {
                "fake_loss": mean(loss.fake(outputs), fake.mask),
                "fake_output": mean(_per_example(outputs), fake.mask),
            }
            return _divide(metrics["fake_loss"]), (new, metrics)

        def on_both(params: PyTree, model_state: PyTree) -> tuple[Array, tuple[PyTree, Metrics]]:
            real_value, (model_state, metrics) = on_real(params, model_state)
            fake_value, (model_state, more) = on_fake(params, model_state)
            return real_value + fake_value, (model_state, {**metrics, **more})

        player = state.discriminator
        metrics: dict[str, Mean] = {}
        for objective in (on_real, on_fake) if separate_updates else (on_both,):
            gradients, (model_state, more) = jax.grad(objective, has_aux=True)(
                player.params, player.model_state
            )
            player = _update(discriminator_tx, player, gradients, model_state)
            metrics |= more
        total = metrics["real_loss"].total + metrics["fake_loss"].total
        metrics["discriminator_loss"] = Mean(total / 2, metrics["real_loss"].count)
        generator_player = replace(state.generator, model_state=generator_state)
        state = replace(state, generator=generator_player, discriminator=player)
        return state, metrics, gradients

    def generator_turn(state: GANState, batch: Batch) -> tuple[GANState, Metrics, PyTree]:
        make_key, *_, make_again_key, judge_key = _keys(state)
        judges, like = state.discriminator, real_examples(batch).x
        place = -1 if fresh_noise else 0
        key = make_again_key if fresh_noise else make_key

        def objective(params: PyTree) -> tuple[Array, tuple[PyTree, PyTree, Mean]]:
            fake, generator_state = make_fakes(
                params, state.generator.model_state, batch, like, key, place
            )
            outputs, judges_state = judge(judges.params, judges.model_state, fake, judge_key)
            value = mean(loss.generator(outputs), fake.mask)
            return _divide(value), (generator_state, judges_state, value)

        gradients, (generator_state, judges_state, value) = jax.grad(objective, has_aux=True)(
            state.generator.params
        )
        if not fresh_noise:  # the statistics of these examples were counted in the other turn
            generator_state = state.generator.model_state
        player = _update(generator_tx, state.generator, gradients, generator_state)
        judges = replace(judges, model_state=judges_state)
        state = replace(state, generator=player, discriminator=judges)
        return state, {"generator_loss": value}, gradients

    def update(state: GANState, batch: Batch) -> tuple[GANState, Metrics]:
        _check_precision(state)
        state, metrics, _ = discriminator_turn(state, batch)
        if discriminator_steps == 1:
            state, more, _ = generator_turn(state, batch)
        else:
            rest = {"generator_loss": Mean(jnp.zeros(()), jnp.zeros(()))}
            state, more = jax.lax.cond(
                (state.step + 1) % discriminator_steps == 0,
                lambda state, batch: generator_turn(state, batch)[:2],
                lambda state, _: (state, rest),
                state,
                batch,
            )
        return replace(state, step=state.step + 1), {**metrics, **more}

    def gradients(state: GANState, batch: Batch) -> PyTree:
        return {
            "discriminator": discriminator_turn(state, batch)[2],
            "generator": generator_turn(state, batch)[2],
        }

    return Step(update, gradients)


def _sizes(generator: nn.Module, discriminator: nn.Module) -> tuple[int, int | None]:
    """Length of the noise, and number of classes or None."""
    num_latents = getattr(generator, "num_latents", None)
    if num_latents is None:
        raise ValueError(
            f"{type(generator).__name__} must have an attribute num_latents, the length of its "
            "noise."
        )
    classes = [getattr(network, "num_classes", None) for network in (generator, discriminator)]
    if classes[0] != classes[1]:
        raise ValueError(
            "generator and discriminator must have the same num_classes, got "
            f"{classes[0]} and {classes[1]}."
        )
    return num_latents, classes[0]


def _apply(
    model: nn.Module, params: PyTree, model_state: PyTree, examples: _Examples, key: Array
) -> tuple[Array, PyTree]:
    """A pass in training mode: outputs and new model state."""
    labels = () if examples.label is None else (examples.label,)
    return apply_model(
        model, params, model_state, examples.x, *labels, mask=examples.mask, key=key, train=True
    )


def _update(
    tx: optax.GradientTransformation, player: Player, gradients: PyTree, model_state: PyTree
) -> Player:
    params, opt_state = apply_gradients(tx, gradients, player.opt_state, player.params)
    return Player(params, model_state, opt_state)


def _keys(state: GANState) -> Array:
    """To make, to judge real and fake, for the penalty; to make and to judge again."""
    return jax.random.split(jax.random.fold_in(state.key, state.step), 6)


def _per_example(outputs: Array) -> Array:
    return outputs.astype(jnp.float32).reshape(outputs.shape[0], -1).mean(axis=1)


def _divide(value: Mean) -> Array:
    return value.total / value.count


def _check_precision(state: GANState) -> None:
    for player in (state.generator, state.discriminator):
        if optim.precision.compute_precision(player.opt_state)[0] is not None:
            raise ValueError(
                "optim.mixed_precision does not reach the players of a GAN: give the networks "
                "dtype=jnp.bfloat16 instead."
            )


def generate(
    generator: nn.Module,
    state: GANState,
    noise: Array,
    label: Array | None = None,
    *,
    averaged: bool = False,
    train: bool = False,
) -> Array:
    """Examples from given noise: pure, to be jitted or differentiated.

    Args:
        generator: the module.
        state: whose generator.
        noise: (B, num_latents).
        label: (B,) int32 for a conditional generator.
        averaged: with the average of the weights that :func:`jaxdl.optim.ema` keeps.
        train: normalise by the statistics of this batch, not by the running ones: what a book's
            networks do that know no evaluation mode.

    Returns:
        (B, ...) examples.

    Raises:
        ValueError: noise or label that do not fit; no average.
    """
    player = state.generator
    params = optim.averaged_params(player.opt_state) if averaged else player.params
    labels = () if label is None else (label,)
    variables = {"params": params, **player.model_state}
    mutable = list(player.model_state)
    return generator.apply(variables, noise, *labels, train=train, mutable=mutable)[0]


def sample(
    generator: nn.Module,
    state: GANState,
    key: Array,
    number: int,
    *,
    label: Array | None = None,
    averaged: bool = False,
    noise: Noise = jax.random.normal,
    batch_size: int = 250,
) -> Array:
    """Any number of new examples, ``batch_size`` at a time.

    Args:
        generator, state, averaged: as of :func:`generate`.
        key: PRNG key.
        number: N, of the examples.
        label: (N,) int32 for a conditional generator; None draws evenly from all classes.
        noise: as the generator was trained with; see :data:`Noise`.
        batch_size: examples at a time; the result does not depend on it.

    Returns:
        (N, ...) examples. To know the labels, give them.

    Raises:
        ValueError: no examples asked for; labels of another number.
    """
    check_positive(number=number, batch_size=batch_size)
    num_classes = getattr(generator, "num_classes", None)
    noise_key, label_key = jax.random.split(key)
    vectors = noise(noise_key, (number, generator.num_latents))
    if num_classes is not None and label is None:
        label = jax.random.randint(label_key, (number,), 0, num_classes)
    if label is not None:
        check_shape("label", label, (number,))

    def one(inputs: tuple[Array, Array | None]) -> Array:
        z, y = jax.tree.map(lambda leaf: leaf[None], inputs)
        return generate(generator, state, z, y, averaged=averaged)[0]

    return jax.lax.map(one, (vectors, label), batch_size=min(batch_size, number))
