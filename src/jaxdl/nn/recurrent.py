r"""LSTM, GRU and tanh RNN with PyTorch's gates, biases and parameter names.

The input projection of all time steps is one product outside the loop. The backward pass is written
out: the derivatives of the gates are computed for all steps at once, the loop only carries the
gradient back through time, and the gradient of the hidden kernel is one product after it, instead
of one per step (on CPU a quarter of the training step's time). These layers therefore support
reverse mode (``jax.grad``, also twice) and not ``jax.jvp``.
"""

import functools
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike
from jaxtyping import Float, Int, Num

from jaxdl._checks import check_count, check_fraction, check_shape
from jaxdl.nn.initializers import uniform_fan_in_bias
from jaxdl.types import Array, PyTree

Carry = tuple[Array, ...]


class _Cell(NamedTuple):
    """The elementwise part of one time step and its derivative; the loop does the products.

    Attributes:
        num_gates: G, the width of the projections in hidden sizes.
        num_states: number of arrays (B, H) in the carry; the first is the output h.
        separate: True if the input and hidden parts of a gate are not simply added. Then the hidden
            bias stays with the hidden part, and x is a tuple with one array per gate: on CPU
            several slices of one x within the loop cost more than all the rest, as XLA does not
            vectorize them.
        step: (carry, x (B, G·H), p (B, G·H)) → (carry, residuals), with x the projected input and
            p the projected state.
        derivatives: residuals of all steps, (T, B, ...) → coefficients, (T, B, ...).
        pull_back: (coefficients of a step, gradient of its carry) → (gradient of the carry before,
            without the path through p; gradient of p; what ``input_gradient`` needs besides).
        input_gradient: (gradient of p, third result of pull_back), all steps → gradient of x.
    """

    num_gates: int
    num_states: int
    separate: bool
    step: Callable[[Carry, PyTree, Array], tuple[Carry, PyTree]]
    derivatives: Callable[[PyTree], PyTree]
    pull_back: Callable[[PyTree, Carry], tuple[Carry, Array, PyTree]]
    input_gradient: Callable[[Array, PyTree], PyTree] = lambda dp, _: dp


def _lstm_step(carry: Carry, x: Array, p: Array) -> tuple[Carry, PyTree]:
    c = carry[1]
    # σ(z) = (1 + tanh(z/2)) / 2: all four gates are one tanh, which halves the time of the step
    half = jnp.asarray(np.repeat([0.5, 0.5, 1.0, 0.5], c.shape[-1])[None], x.dtype)
    t = jnp.tanh(half * (x + p))
    i, f, g, o = jnp.split(t, 4, axis=-1)
    new = 0.5 * ((f + 1) * c + (i + 1) * g)
    return (0.5 * (o + 1) * jnp.tanh(new), new), (c, new, t)


def _lstm_derivatives(residuals: PyTree) -> PyTree:
    c, new, t = residuals
    i, f, g, o = jnp.split(t, 4, axis=-1)
    tanh_c = jnp.tanh(new)
    gates = 0.25 * jnp.concatenate([g, c, 2 * (i + 1), tanh_c], axis=-1) * (1 - t * t)
    return gates, 0.5 * (o + 1) * (1 - tanh_c * tanh_c), 0.5 * (f + 1)


def _lstm_pull_back(coefficients: PyTree, gradient: Carry) -> tuple[Carry, Array, None]:
    gates, through_h, forget = coefficients
    dh, dc = gradient
    dc = dc + dh * through_h
    dp = gates * jnp.concatenate([dc, dc, dc, dh], axis=-1)
    return (jnp.zeros_like(dh), dc * forget), dp, None


def _gru_step(carry: Carry, x: PyTree, p: Array) -> tuple[Carry, PyTree]:
    (h,) = carry
    hidden_r, hidden_z, hidden_n = jnp.split(p, 3, axis=-1)
    r = jax.nn.sigmoid(x[0] + hidden_r)
    z = jax.nn.sigmoid(x[1] + hidden_z)
    n = jnp.tanh(x[2] + r * hidden_n)
    return ((1 - z) * n + z * h,), (h, hidden_n, r, z, n)


def _gru_derivatives(residuals: PyTree) -> PyTree:
    h, hidden_n, r, z, n = residuals
    dn = (1 - z) * (1 - n * n)
    gates = [dn * hidden_n * r * (1 - r), (h - n) * z * (1 - z), dn * r]
    return jnp.concatenate(gates, axis=-1), dn, z


def _gru_pull_back(coefficients: PyTree, gradient: Carry) -> tuple[Carry, Array, Array]:
    gates, dn, z = coefficients
    (dh,) = gradient
    return (z * dh,), gates * jnp.concatenate([dh, dh, dh], axis=-1), dn * dh


def _gru_input_gradient(dp: Array, dn: Array) -> tuple[Array, ...]:
    dr, dz, _ = jnp.split(dp, 3, axis=-1)
    return dr, dz, dn


def _rnn_step(carry: Carry, x: Array, p: Array) -> tuple[Carry, PyTree]:
    h = jnp.tanh(x + p)
    return (h,), h


def _rnn_pull_back(slope: PyTree, gradient: Carry) -> tuple[Carry, Array, None]:
    return (jnp.zeros_like(gradient[0]),), slope * gradient[0], None


_LSTM = _Cell(4, 2, False, _lstm_step, _lstm_derivatives, _lstm_pull_back)
_GRU = _Cell(3, 1, True, _gru_step, _gru_derivatives, _gru_pull_back, _gru_input_gradient)
_RNN = _Cell(1, 1, False, _rnn_step, lambda h: 1 - h * h, _rnn_pull_back)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _through_time(
    cell: _Cell,
    reverse: bool,
    x: PyTree,
    kernel: Array,
    bias: Array | None,
    carry: Carry,
    mask: Array | None,
) -> tuple[Array, Carry]:
    """One layer in one direction.

    Args:
        cell: the gates.
        reverse: run from the last step to the first.
        x: (T, B, G·H) projected inputs, or a tuple with one array per gate.
        kernel: (H, G·H) of the hidden state.
        bias: (G·H,) of the hidden state, or None where it is in ``x`` already.
        carry: initial states (B, H).
        mask: (T, B, 1), False where a sequence has ended: the state stays, the output is 0.

    Returns:
        outputs (T, B, H) and the final carry.
    """
    return _forward(cell, reverse, x, kernel, bias, carry, mask)[0]


def _forward(
    cell: _Cell,
    reverse: bool,
    x: PyTree,
    kernel: Array,
    bias: Array | None,
    carry: Carry,
    mask: Array | None,
) -> tuple[tuple[Array, Carry], PyTree]:
    def step(carry: Carry, inputs: PyTree) -> tuple[Carry, PyTree]:
        x, real = inputs
        p = carry[0] @ kernel
        new, residuals = cell.step(carry, x, p if bias is None else p + bias.reshape(1, -1))
        output = new[0]
        if real is not None:
            new = tuple(jnp.where(real, a, b) for a, b in zip(new, carry, strict=True))
            output = jnp.where(real, output, 0)
        return new, (output, carry[0], residuals)

    last, (outputs, before, residuals) = jax.lax.scan(step, carry, (x, mask), reverse=reverse)
    return (outputs, last), (kernel, bias, mask, before, residuals)


def _backward(
    cell: _Cell, reverse: bool, saved: PyTree, gradients: tuple[Array, Carry]
) -> tuple[PyTree, Array, Array | None, Carry, None]:
    kernel, bias, mask, before, residuals = saved
    d_outputs, d_last = gradients
    transposed = kernel.T

    def step(gradient: Carry, inputs: PyTree) -> tuple[Carry, PyTree]:
        d_output, coefficients, real = inputs
        after = (gradient[0] + d_output, *gradient[1:])
        direct, dp, extra = cell.pull_back(coefficients, after)
        if real is not None:
            dp, extra = jax.tree.map(lambda a: jnp.where(real, a, 0), (dp, extra))
        new: Carry = (direct[0] + dp @ transposed, *direct[1:])
        if real is not None:
            new = tuple(jnp.where(real, a, b) for a, b in zip(new, gradient, strict=True))
        return new, (dp, extra)

    inputs = (d_outputs, cell.derivatives(residuals), mask)
    d_carry, (dp, extra) = jax.lax.scan(step, d_last, inputs, reverse=not reverse)
    size, width = kernel.shape
    d_kernel = before.reshape(-1, size).T @ dp.reshape(-1, width)
    d_bias = None if bias is None else dp.sum(axis=(0, 1))
    return cell.input_gradient(dp, extra), d_kernel, d_bias, d_carry, None


_through_time.defvjp(_forward, _backward)


class _Recurrent(nn.Module):
    """Layers and directions, which are the same for every cell."""

    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    dropout_rate: float = 0.0
    dtype: DTypeLike | None = None

    cell: ClassVar[_Cell]

    @nn.compact
    def _run(
        self, inputs: Array, lengths: Array | None, initial: Carry | None, train: bool
    ) -> tuple[Array, Carry]:
        check_count(hidden_size=self.hidden_size, num_layers=self.num_layers)
        check_fraction(dropout_rate=self.dropout_rate)
        check_shape("inputs", inputs, ("B", "T", "F"))
        batch, steps, features = inputs.shape
        check_count(time_steps=steps, features=features)
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        shape = (self.num_layers * len(suffixes), batch, self.hidden_size)
        for state in initial or ():
            check_shape("initial_state", state, shape)
        mask = None if lengths is None else _mask(lengths, batch, steps)
        x = inputs.swapaxes(0, 1)
        finals: list[Carry] = []
        for layer in range(self.num_layers):
            outputs = []
            for suffix in suffixes:
                carry = None if initial is None else tuple(s[len(finals)] for s in initial)
                output, final = self._direction(x, carry, mask, f"l{layer}{suffix}")
                outputs.append(output)
                finals.append(final)
            x = jnp.concatenate(outputs, axis=-1) if len(outputs) > 1 else outputs[0]
            if layer + 1 < self.num_layers:
                x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return x.swapaxes(0, 1), tuple(jnp.stack(states) for states in zip(*finals, strict=True))

    def _direction(
        self, x: Array, carry: Carry | None, mask: Array | None, name: str
    ) -> tuple[Array, Carry]:
        size, width = self.hidden_size, self.cell.num_gates * self.hidden_size
        init = uniform_fan_in_bias(size)
        params = [
            self.param(f"kernel_ih_{name}", init, (x.shape[-1], width)),
            self.param(f"kernel_hh_{name}", init, (size, width)),
            self.param(f"bias_ih_{name}", init, (width,)),
            self.param(f"bias_hh_{name}", init, (width,)),
        ]
        if carry is None:
            carry = (jnp.zeros((x.shape[1], size), x.dtype),) * self.cell.num_states
        arrays = promote_dtype(x, *params, *carry, dtype=self.dtype)
        x, kernel_ih, kernel_hh, bias_ih, bias_hh, *states = arrays
        reverse = name.endswith("reverse")
        bias = bias_ih if self.cell.separate else bias_ih + bias_hh
        # over flat rows: the gradient of the 3-d product would transpose a large array
        flat = x.reshape(-1, x.shape[-1]) @ kernel_ih + bias.reshape(1, width)
        projected = flat.reshape(*x.shape[:2], width)
        if self.cell.separate:
            gates = tuple(jnp.split(projected, self.cell.num_gates, axis=-1))
            return _through_time(self.cell, reverse, gates, kernel_hh, bias_hh, tuple(states), mask)
        return _through_time(self.cell, reverse, projected, kernel_hh, None, tuple(states), mask)


def _mask(lengths: Array, batch: int, steps: int) -> Array:
    """(T, B, 1), True on the real steps."""
    check_shape("lengths", lengths, (batch,))
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(f"lengths must be integers (time steps), got dtype {lengths.dtype}.")
    return jnp.arange(steps).reshape(-1, 1, 1) < lengths.reshape(1, -1, 1)


class LSTM(_Recurrent):
    r"""Long short-term memory over sequences, with several layers and both directions.

    .. math:: i, f, o = \sigma(W x_t + b + U h_{t-1} + d),\quad
              g = \tanh(W x_t + b + U h_{t-1} + d)
    .. math:: c_t = f c_{t-1} + i g,\quad h_t = o \tanh(c_t)

    Every gate has two biases, b and d, as in PyTorch: an LSTM 28 → 64 has
    4 · 64 · (28 + 64 + 2) = 24,064 parameters, Linen's ``OptimizedLSTMCell`` with one has 23,808.
    Parameters, per layer K, with ``_reverse`` for the backward direction: ``kernel_ih_lK`` (F, 4H),
    ``kernel_hh_lK`` (H, 4H), ``bias_ih_lK`` and ``bias_hh_lK`` (4H,), gates in the order i, f, g,
    o, all from U(±1/√H).

    Attributes:
        hidden_size: H, outputs of each direction.
        num_layers: number of stacked layers.
        bidirectional: add a second direction that reads each sequence from its end.
        dropout_rate: fraction of the outputs of every layer but the last that is dropped in
            training.
        dtype: dtype of the computation; None infers it from input and parameters.

    Raises:
        ValueError: wrong shapes, lengths that are not integers, a dropout rate outside [0, 1].

    Source: ``torch.nn.LSTM(batch_first=True)``; with ``lengths`` it equals PyTorch's between
    ``pack_padded_sequence`` and ``pad_packed_sequence(total_length=T)``. Kernels are its weights
    transposed. Forward mode (``jax.jvp``) is not supported.

    >>> lstm, x = LSTM(64), jnp.zeros((2, 5, 28))
    >>> variables = lstm.init(jax.random.key(0), x)
    >>> outputs, (h, c) = lstm.apply(variables, x, lengths=jnp.array([5, 3]))
    >>> outputs.shape, h.shape, sum(p.size for p in jax.tree.leaves(variables))
    ((2, 5, 64), (1, 2, 64), 24064)
    """

    cell: ClassVar[_Cell] = _LSTM

    def __call__(
        self,
        inputs: Num[Array, "B T F"],
        lengths: Int[Array, " B"] | None = None,
        initial_state: tuple[Float[Array, "L B H"], Float[Array, "L B H"]] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "B T outputs"], tuple[Float[Array, "L B H"], Float[Array, "L B H"]]]:
        """Runs over the sequences.

        Args:
            inputs: (B, T, F).
            lengths: (B,) integers, the real steps of each sequence, in any order; None is T for
                all. Outputs past the length are 0, final states are those of the last real step,
                and the backward direction starts there. Under ``jit`` values cannot be checked:
                more than T counts as T, and 0, which PyTorch refuses, leaves the initial state.
            initial_state: (h, c), each (num_layers · D, B, H) with D directions; None is zeros.
            train: turn dropout on; it draws from the ``dropout`` stream.

        Returns:
            outputs (B, T, D · H), and the final (h, c), each (num_layers · D, B, H): layer 0
            forward, layer 0 backward, layer 1 forward, ….
        """
        if initial_state is not None and (
            not isinstance(initial_state, tuple | list) or len(initial_state) != 2
        ):
            raise ValueError("initial_state of an LSTM must be the pair (h, c).")
        outputs, (h, c) = self._run(inputs, lengths, initial_state, train)
        return outputs, (h, c)


class _OneState(_Recurrent):
    """A cell whose state is h alone."""

    def __call__(
        self,
        inputs: Num[Array, "B T F"],
        lengths: Int[Array, " B"] | None = None,
        initial_state: Float[Array, "L B H"] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "B T outputs"], Float[Array, "L B H"]]:
        """Runs over the sequences.

        Args:
            inputs: (B, T, F).
            lengths: (B,) integers, the real steps of each sequence; see :class:`LSTM`.
            initial_state: h (num_layers · D, B, H) with D directions; None is zeros.
            train: turn dropout on; it draws from the ``dropout`` stream.

        Returns:
            outputs (B, T, D · H), and the final h (num_layers · D, B, H).
        """
        initial = None if initial_state is None else (initial_state,)
        outputs, (h,) = self._run(inputs, lengths, initial, train)
        return outputs, h


class GRU(_OneState):
    r"""Gated recurrent units over sequences, with several layers and both directions.

    .. math:: r, z = \sigma(W x_t + b + U h_{t-1} + d),\quad
              n = \tanh(W_n x_t + b_n + r (U_n h_{t-1} + d_n))
    .. math:: h_t = (1 - z) n + z h_{t-1}

    Parameters as :class:`LSTM`, (…, 3H), gates in the order r, z, n. The reset gate multiplies the
    hidden bias too, as in PyTorch. Attributes and errors as :class:`LSTM`.

    Source: ``torch.nn.GRU(batch_first=True)``, with the notes of :class:`LSTM`.

    >>> gru, x = GRU(64), jnp.zeros((2, 5, 28))
    >>> (outputs, h), variables = jax.eval_shape(gru.init_with_output, jax.random.key(0), x)
    >>> outputs.shape, h.shape, sum(p.size for p in jax.tree.leaves(variables))
    ((2, 5, 64), (1, 2, 64), 18048)
    """

    cell: ClassVar[_Cell] = _GRU


class RNN(_OneState):
    r"""Plain recurrent network :math:`h_t = \tanh(W x_t + b + U h_{t-1} + d)`.

    Parameters, attributes and errors as :class:`LSTM`, with one gate: (…, H).

    Source: ``torch.nn.RNN(batch_first=True)`` without ``nonlinearity="relu"``, with the notes of
    :class:`LSTM`.

    >>> (outputs, h), _ = RNN(3).init_with_output(jax.random.key(0), jnp.zeros((2, 5, 4)))
    >>> bool((outputs[:, -1] == h[0]).all())
    True
    """

    cell: ClassVar[_Cell] = _RNN
