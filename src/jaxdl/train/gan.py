"""Training step of generative adversarial networks, and sampling from them."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxdl import optim
from jaxdl._checks import check_positive, check_shape
from jaxdl.losses.adversarial import AdversarialLoss, Penalty
from jaxdl.metrics import mean
from jaxdl.train.step import apply_gradients, apply_model, init_variables
from jaxdl.types import (
    Array,
    Batch,
    Mean,
    Metrics,
    PyTree,
    Step,
    as_key,
    call_options,
    describe_state,
)

Noise = Callable[[Array, tuple[int, ...]], Array]
"""``(key, shape (B, num_latents)) -> noise``: ``jax.random.normal`` or ``jax.random.uniform``."""


@dataclasses.dataclass(frozen=True, eq=False)
class Players:
    """The two networks of a GAN, their optimizers, and their loss.

    Attributes:
        generator: Linen module, called as ``generator(noise (B, num_latents))``, with an attribute
            ``num_latents``. If it has a ``num_classes`` that is not None, both networks get labels
            (B,) int32 as their second argument. Of ``train``, ``deterministic`` and ``mask`` a
            network's call gets those that it takes. Half precision is an attribute of the networks
            (``dtype``).
        discriminator: Linen module, called as ``discriminator(x (B, ...))``.
        generator_tx, discriminator_tx: Optax transformations, each with its own learning rate.
        loss: one of :mod:`jaxdl.losses.adversarial`; smoothed labels are arguments of it.
        noise: ``(key, shape (B, num_latents)) -> noise``, such as ``jax.random.normal``.
        signed: the generator's examples lie in [-1, 1] (tanh) instead of [0, 1] (sigmoid).
        averaged: generate with the average of the weights that :func:`jaxdl.optim.ema` keeps.

    Raises:
        ValueError: a generator without ``num_latents``, or networks with different
            ``num_classes``.

    >>> from jaxdl import models
    >>> from jaxdl.losses import adversarial
    >>> players = Players(
    ...     models.DenseGenerator((4,), (2, 2, 1), num_latents=3), models.DenseDiscriminator((4,)),
    ...     optim.sgd(0.1), optim.adam(1e-3), adversarial.non_saturating(),
    ... )
    >>> state = init_gan_state(players, jax.random.key(0))
    >>> sample(players, state, jax.random.key(1), 10).shape
    (10, 2, 2, 1)
    """

    generator: nn.Module
    discriminator: nn.Module
    generator_tx: optax.GradientTransformation
    discriminator_tx: optax.GradientTransformation
    loss: AdversarialLoss
    noise: Noise = jax.random.normal
    signed: bool = False
    averaged: bool = False

    def __post_init__(self) -> None:
        if not hasattr(self.generator, "num_latents"):
            raise ValueError(
                f"{type(self.generator).__name__} must have an attribute num_latents, the length "
                "of its noise."
            )
        networks = (self.generator, self.discriminator)
        generator, discriminator = (getattr(each, "num_classes", None) for each in networks)
        if generator != discriminator:
            raise ValueError(
                "generator and discriminator must have the same num_classes, got "
                f"{generator} and {discriminator}."
            )

    @property
    def num_latents(self) -> int:
        """Length of the noise."""
        return int(getattr(self.generator, "num_latents"))  # noqa: B009

    @property
    def num_classes(self) -> int | None:
        """Number of classes of conditional networks, else None."""
        classes: int | None = getattr(self.generator, "num_classes", None)
        return classes

    def to_unit(self, examples: Array) -> Array:
        """Generated examples in [0, 1]."""
        return jnp.clip((examples + 1) / 2 if self.signed else examples, 0, 1)


@flax.struct.dataclass
class PlayerState:
    """Everything that training changes of one network.

    Attributes:
        params: trainable parameters.
        model_state: all other variable collections of the network; may be empty.
        opt_state: state of its Optax transformation.
    """

    params: PyTree
    model_state: PyTree
    opt_state: PyTree

    def __repr__(self) -> str:
        return describe_state(self)


@flax.struct.dataclass
class GANState:
    """Everything that the training of a GAN changes.

    Attributes:
        step: number of steps so far; int32, shape ().
        generator: its :class:`PlayerState`; with :func:`jaxdl.optim.ema` around its optimizer, the
            average of its weights is in ``opt_state``.
        discriminator: its :class:`PlayerState`.
        key: root PRNG key; it never advances. A step's key is ``fold_in(key, step)``.

    See :func:`init_gan_state` for an example.
    """

    step: Array
    generator: PlayerState
    discriminator: PlayerState
    key: Array

    def __repr__(self) -> str:
        return describe_state(self)


def init_gan_state(players: Players, key: Array | int) -> GANState:
    """Initial parameters, model states, and optimizer states of both players.

    Args:
        players: networks and optimizers.
        key: PRNG key, or an integer seed.

    Returns:
        A :class:`GANState` at step 0. The same key on the same machine gives the same weights.

    Raises:
        ValueError: the discriminator cannot be applied to the generator's examples.

    >>> from jaxdl import models, optim
    >>> from jaxdl.losses import adversarial
    >>> nets = models.DenseGenerator((4,), (2, 2, 1), 3), models.DenseDiscriminator((4,))
    >>> players = Players(*nets, optim.sgd(0.1), optim.sgd(0.1), adversarial.hinge())
    >>> state = init_gan_state(players, jax.random.key(0))
    >>> int(state.step), state.generator.params["model_0"]["kernel"].shape
    (0, (3, 4))
    """
    generator_key, discriminator_key, root_key = jax.random.split(as_key(key), 3)
    labels = () if players.num_classes is None else (jnp.zeros(1, jnp.int32),)

    def init(
        model: nn.Module, tx: optax.GradientTransformation, key: Array, x: PyTree
    ) -> tuple[PyTree, PlayerState]:
        """The form of the outputs, which are not computed, and the state."""
        variables = init_variables(model, key, x, *labels)
        apply = functools.partial(model.apply, **call_options(model, train=False))
        outputs = jax.eval_shape(apply, variables, x, *labels)
        params = variables.pop("params", {})
        return outputs, PlayerState(params, variables, tx.init(params))

    noise = jnp.zeros((1, players.num_latents))
    fake, generator = init(players.generator, players.generator_tx, generator_key, noise)
    _, discriminator = init(
        players.discriminator, players.discriminator_tx, discriminator_key, fake
    )
    return GANState(jnp.zeros((), jnp.int32), generator, discriminator, root_key)


def make_gan_step(
    players: Players,
    *,
    penalty: Penalty | None = None,
    preprocess: Callable[[Array], Array] | None = None,
    augment: Callable[[Array, Array], Array] | None = None,
    discriminator_steps: int = 1,
    separate_updates: bool = False,
    fresh_noise: bool = True,
    inputs: str = "image",
) -> Step:
    """Makes a step that updates both players, for ``train.run`` and ``train.fit``.

    Args:
        players: networks, optimizers, and loss.
        penalty: added to the discriminator's loss on real examples: ``losses.adversarial.wgan_gp``
            or ``r1``. Its passes do not change the model states.
        preprocess: applied to real examples on the device, which must get the generator's range.
        augment: ``(key, example) -> example``, differentiable, applied to every real and generated
            example before the discriminator: :func:`jaxdl.transforms.differentiable_augment`.
        discriminator_steps: k; every step updates the discriminator, and every k-th the generator
            too, so that each update of the discriminator sees new real examples.
        separate_updates: update the discriminator on the real examples and then again on the
            generated ones, instead of once on the sum of both losses.
        fresh_noise: draw noise and labels again for the generator's update; otherwise both players
            update on the same generated examples, which costs one pass of the generator less.
        inputs: name of the real examples in the batch.

    Returns:
        A :class:`~jaxdl.types.Step` of a :class:`GANState`, with ``gradients``.

        Conditional players take the ``"label"`` (B,) int32 of real examples from the batch; labels
        to generate are drawn evenly from all classes. If the batch has ``"noise"``
        (B, n, num_latents) and ``"fake_label"`` (B, n), these are used instead, ``[:, 0]`` by the
        discriminator's update and ``[:, -1]`` by the generator's.

        The metrics, each a :class:`~jaxdl.types.Mean`: ``real_loss`` and ``fake_loss`` of the
        discriminator; ``discriminator_loss``, half their sum; ``generator_loss``, of count 0 in
        steps without an update of the generator; ``real_output`` and ``fake_output`` of the
        discriminator; and ``penalty``.

    Raises:
        ValueError: a k below 1. When called: examples that are integers or of another shape than
            the generator's, missing labels, noise of a wrong shape, an optimizer with
            :func:`jaxdl.optim.mixed_precision`.

    Source: Goodfellow et al. 2014, algorithm 1; PyTorch's DCGAN tutorial with
    ``fresh_noise=False``.

    >>> from jaxdl import models, optim
    >>> from jaxdl.losses import adversarial
    >>> nets = models.DenseGenerator((4,), (2, 2, 1), 3), models.DenseDiscriminator((4,))
    >>> players = Players(*nets, optim.sgd(0.1), optim.sgd(0.1), adversarial.hinge())
    >>> step = jax.jit(make_gan_step(players, discriminator_steps=5))
    >>> state = init_gan_state(players, jax.random.key(0))
    >>> state, metrics = step(state, {"image": jnp.zeros((4, 2, 2, 1))})
    >>> int(state.step), float(metrics["generator_loss"].count)
    (1, 0.0)
    """
    check_positive(discriminator_steps=discriminator_steps)
    game = _Game(players, penalty, preprocess, augment, separate_updates, fresh_noise, inputs)

    def update(state: GANState, batch: Batch) -> tuple[GANState, Metrics]:
        _check_precision(state)
        state, metrics, _ = game.update_discriminator(state, batch)
        if discriminator_steps == 1:
            state, more, _ = game.update_generator(state, batch)
        else:
            skipped = {"generator_loss": Mean(jnp.zeros(()), jnp.zeros(()))}
            state, more = jax.lax.cond(
                (state.step + 1) % discriminator_steps == 0,
                lambda state, batch: game.update_generator(state, batch)[:2],
                lambda state, _: (state, skipped),
                state,
                batch,
            )
        return replace(state, step=state.step + 1), {**metrics, **more}

    def gradients(state: GANState, batch: Batch) -> PyTree:
        return {
            "discriminator": game.update_discriminator(state, batch)[2],
            "generator": game.update_generator(state, batch)[2],
        }

    return Step(update, gradients)


class _Examples(NamedTuple):
    """Inputs of a network: (B, ...), labels (B,) or None, mask (B,) or None."""

    x: Array
    label: Array | None
    mask: Array | None


class _Keys(NamedTuple):
    """Keys of one step; the last two are of the generator's update."""

    fake: Array
    on_real: Array
    on_fake: Array
    penalty: Array
    fake_again: Array
    on_fake_again: Array


Objective = Callable[[PyTree, PyTree], tuple[Array, tuple[PyTree, Metrics]]]
"""``(params, model_state) -> (loss, (model_state, metrics))``."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Game:
    """The two updates of a step; see :func:`make_gan_step` for the attributes."""

    players: Players
    penalty: Penalty | None
    preprocess: Callable[[Array], Array] | None
    augment: Callable[[Array, Array], Array] | None
    separate_updates: bool
    fresh_noise: bool
    inputs: str

    def update_discriminator(
        self, state: GANState, batch: Batch
    ) -> tuple[GANState, Metrics, PyTree]:
        """New state, metrics, and gradients, of generated examples if the updates are separate."""
        keys, real = _keys(state), self.real_examples(batch)
        fake, generator_state = self.fake_examples(
            state.generator.params, state.generator.model_state, batch, real.x, keys.fake, 0
        )
        on_real = functools.partial(self.loss_on_real, real, fake, keys)
        on_fake = functools.partial(self.loss_on_fake, fake, keys.on_fake)
        player = state.discriminator
        metrics: dict[str, Mean | Array] = {}
        for objective in (on_real, on_fake) if self.separate_updates else (_add(on_real, on_fake),):
            gradients, (model_state, more) = jax.grad(objective, has_aux=True)(
                player.params, player.model_state
            )
            player = _update(self.players.discriminator_tx, player, gradients, model_state)
            metrics |= more
        (real_total, count), (fake_total, _) = metrics["real_loss"], metrics["fake_loss"]
        metrics["discriminator_loss"] = Mean((real_total + fake_total) / 2, count)
        generator = replace(state.generator, model_state=generator_state)
        return replace(state, generator=generator, discriminator=player), metrics, gradients

    def update_generator(self, state: GANState, batch: Batch) -> tuple[GANState, Metrics, PyTree]:
        """New state, metrics, and gradients."""
        keys, discriminator = _keys(state), state.discriminator
        target = self.real_examples(batch).x
        key, place = (keys.fake_again, -1) if self.fresh_noise else (keys.fake, 0)

        def objective(params: PyTree) -> tuple[Array, tuple[PyTree, PyTree, Mean]]:
            fake, generator_state = self.fake_examples(
                params, state.generator.model_state, batch, target, key, place
            )
            outputs, discriminator_state = self.discriminate(
                discriminator.params, discriminator.model_state, fake, keys.on_fake_again
            )
            loss = mean(self.players.loss.generator(outputs), fake.mask)
            return _divide(loss), (generator_state, discriminator_state, loss)

        gradients, (generator_state, discriminator_state, loss) = jax.grad(objective, has_aux=True)(
            state.generator.params
        )
        if not self.fresh_noise:  # the discriminator's update has counted these examples
            generator_state = state.generator.model_state
        generator = _update(self.players.generator_tx, state.generator, gradients, generator_state)
        discriminator = replace(discriminator, model_state=discriminator_state)
        state = replace(state, generator=generator, discriminator=discriminator)
        return state, {"generator_loss": loss}, gradients

    def loss_on_real(
        self, real: _Examples, fake: _Examples, keys: _Keys, params: PyTree, model_state: PyTree
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """The discriminator's loss on real examples, with the penalty."""
        outputs, new_state = self.discriminate(params, model_state, real, keys.on_real)
        metrics = {
            "real_loss": mean(self.players.loss.real(outputs), real.mask),
            "real_output": mean(_per_example(outputs), real.mask),
        }
        value = _divide(metrics["real_loss"])
        if self.penalty is None:
            return value, (new_state, metrics)
        draw_key, critic_key = jax.random.split(keys.penalty)

        def critic(x: Array) -> Array:
            examples = real._replace(x=x)
            scores = _per_example(self.discriminate(params, model_state, examples, critic_key)[0])
            # statistics of the batch carry real rows into the outputs for padding
            return scores if real.mask is None else jnp.where(real.mask > 0, scores, 0.0)

        metrics["penalty"] = mean(self.penalty(critic, real.x, fake.x, draw_key), real.mask)
        return value + _divide(metrics["penalty"]), (new_state, metrics)

    def loss_on_fake(
        self, fake: _Examples, key: Array, params: PyTree, model_state: PyTree
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """The discriminator's loss on generated examples."""
        outputs, new_state = self.discriminate(params, model_state, fake, key)
        metrics = {
            "fake_loss": mean(self.players.loss.fake(outputs), fake.mask),
            "fake_output": mean(_per_example(outputs), fake.mask),
        }
        return _divide(metrics["fake_loss"]), (new_state, metrics)

    def real_examples(self, batch: Batch) -> _Examples:
        """The real examples of a batch, preprocessed and checked."""
        if self.inputs not in batch:
            raise ValueError(
                f"the batch has no {self.inputs!r}, only {sorted(batch)}: set inputs=."
            )
        x = batch[self.inputs]
        x = x if self.preprocess is None else self.preprocess(x)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(
                f"{self.inputs} must be floating point in the generator's range, got {x.dtype}: "
                "pass preprocess=, e.g. transforms.to_float."
            )
        num_classes = self.players.num_classes
        if num_classes is None:
            return _Examples(x, None, batch.get("mask"))
        if "label" not in batch:
            raise ValueError(
                f"the networks are conditional ({num_classes} classes) but the batch has no "
                f"'label', only {sorted(batch)}."
            )
        return _Examples(x, batch["label"], batch.get("mask"))

    def fake_examples(
        self,
        params: PyTree,
        model_state: PyTree,
        batch: Batch,
        target: Array,
        key: Array,
        place: int,
    ) -> tuple[_Examples, PyTree]:
        """Generated examples of the shape of ``target``, and the generator's new model state."""
        noise_key, label_key, dropout_key = jax.random.split(key, 3)
        mask, shape = batch.get("mask"), (target.shape[0], self.players.num_latents)
        z = batch["noise"][:, place] if "noise" in batch else self.players.noise(noise_key, shape)
        check_shape("noise", z, shape)
        label = None
        num_classes = self.players.num_classes
        if num_classes is not None and "fake_label" in batch:
            label = batch["fake_label"][:, place]
        elif num_classes is not None:
            label = jax.random.randint(label_key, shape[:1], 0, num_classes)
        inputs = _Examples(z, label, mask)
        x, model_state = _apply(self.players.generator, params, model_state, inputs, dropout_key)
        if x.shape != target.shape:
            raise ValueError(
                f"the generator makes examples of shape {x.shape[1:]}, the real ones have "
                f"{target.shape[1:]}: they must be equal."
            )
        return _Examples(x, label, mask), model_state

    def discriminate(
        self, params: PyTree, model_state: PyTree, examples: _Examples, key: Array
    ) -> tuple[Array, PyTree]:
        """The discriminator's outputs, and its new model state."""
        augment_key, dropout_key = jax.random.split(key)
        if self.augment is not None:
            keys = jax.random.split(augment_key, examples.x.shape[0])
            examples = examples._replace(x=jax.vmap(self.augment)(keys, examples.x))
        return _apply(self.players.discriminator, params, model_state, examples, dropout_key)


def _add(first: Objective, second: Objective) -> Objective:
    """Sums two losses, passing the model state returned by the first to the second."""

    def both(params: PyTree, model_state: PyTree) -> tuple[Array, tuple[PyTree, Metrics]]:
        first_value, (model_state, metrics) = first(params, model_state)
        second_value, (model_state, more) = second(params, model_state)
        return first_value + second_value, (model_state, {**metrics, **more})

    return both


def _apply(
    model: nn.Module, params: PyTree, model_state: PyTree, examples: _Examples, key: Array
) -> tuple[Array, PyTree]:
    """A pass in training mode: outputs and new model state."""
    labels = () if examples.label is None else (examples.label,)
    return apply_model(
        model, params, model_state, examples.x, *labels, mask=examples.mask, key=key, train=True
    )


def _update(
    tx: optax.GradientTransformation, player: PlayerState, gradients: PyTree, model_state: PyTree
) -> PlayerState:
    params, opt_state = apply_gradients(tx, gradients, player.opt_state, player.params)
    return PlayerState(params, model_state, opt_state)


def _keys(state: GANState) -> _Keys:
    return _Keys(*jax.random.split(jax.random.fold_in(state.key, state.step), 6))


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
    players: Players,
    state: GANState,
    noise: Array,
    label: Array | None = None,
    *,
    train: bool = False,
) -> Array:
    """Generates examples from given noise; pure, to be jitted or differentiated.

    Args:
        players: networks; ``averaged`` decides which weights generate.
        state: state of both players.
        noise: (B, num_latents).
        label: (B,) int32 for a conditional generator.
        train: normalize by the statistics of this batch instead of the running ones, as networks
            without an evaluation mode do.

    Returns:
        (B, ...) examples.

    Raises:
        ValueError: noise or label that do not fit, or no average.

    >>> from jaxdl import models, optim
    >>> from jaxdl.losses import adversarial
    >>> nets = models.DenseGenerator((4,), (2, 2, 1), 3), models.DenseDiscriminator((4,))
    >>> players = Players(*nets, optim.sgd(0.1), optim.sgd(0.1), adversarial.hinge())
    >>> state = init_gan_state(players, jax.random.key(0))
    >>> generate(players, state, jnp.zeros((10, 3))).shape
    (10, 2, 2, 1)
    """
    player = state.generator
    params = optim.averaged_params(player.opt_state) if players.averaged else player.params
    labels = () if label is None else (label,)
    variables = {"params": params, **player.model_state}
    mutable = list(player.model_state)
    options = call_options(players.generator, train=train)
    result: tuple[Array, PyTree] = players.generator.apply(
        variables, noise, *labels, mutable=mutable, **options
    )
    return result[0]


def sample(
    players: Players,
    state: GANState,
    key: Array | int,
    num_examples: int,
    *,
    label: Array | None = None,
    batch_size: int = 250,
) -> Array:
    """Generates any number of new examples, ``batch_size`` at a time.

    Args:
        players, state: see :func:`generate`.
        key: PRNG key, or an integer seed.
        num_examples: N.
        label: (N,) int32 for a conditional generator; None draws evenly from all classes.
        batch_size: examples at a time; the result does not depend on it.

    Returns:
        (N, ...) examples.

    Raises:
        ValueError: no examples, or another number of labels.

    >>> from jaxdl import models, optim
    >>> from jaxdl.losses import adversarial
    >>> nets = models.DenseGenerator((4,), (2, 2, 1), 3), models.DenseDiscriminator((4,))
    >>> players = Players(*nets, optim.sgd(0.1), optim.sgd(0.1), adversarial.hinge())
    >>> state = init_gan_state(players, jax.random.key(0))
    >>> sample(players, state, jax.random.key(1), 10).shape
    (10, 2, 2, 1)
    """
    check_positive(num_examples=num_examples, batch_size=batch_size)
    noise_key, label_key = jax.random.split(as_key(key))
    noise = players.noise(noise_key, (num_examples, players.num_latents))
    if players.num_classes is not None and label is None:
        label = jax.random.randint(label_key, (num_examples,), 0, players.num_classes)
    if label is not None:
        check_shape("label", label, (num_examples,))

    def one(inputs: tuple[Array, Array | None]) -> Array:
        z, y = jax.tree.map(lambda leaf: leaf[None], inputs)
        return generate(players, state, z, y)[0]

    examples: Array = jax.lax.map(one, (noise, label), batch_size=min(batch_size, num_examples))
    return examples
