"""A character GPT with own blocks, as in nanoGPT, that writes. 52 lines of code.

Source: https://github.com/karpathy/nanoGPT/blob/master/model.py
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import data, losses, metrics, optim, train
from jaxdl.nn import Dense


class Block(nn.Module):
    num_heads: int

    @nn.compact
    def __call__(self, x):
        batch, length, width = x.shape
        qkv = Dense(3 * width)(nn.LayerNorm(epsilon=1e-5)(x))
        q, k, v = jnp.moveaxis(qkv.reshape(batch, length, 3, self.num_heads, -1), 2, 0)
        y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        x = x + Dense(width)(y.reshape(x.shape))
        y = nn.gelu(Dense(4 * width)(nn.LayerNorm(epsilon=1e-5)(x)))
        return x + Dense(width)(y)


class GPT(nn.Module):
    vocab_size: int
    block_size: int = 16
    width: int = 32
    num_layers: int = 2

    @nn.compact
    def __call__(self, tokens):
        positions = jnp.arange(tokens.shape[1])
        x = nn.Embed(self.vocab_size, self.width)(tokens)
        x = x + nn.Embed(self.block_size, self.width)(positions)[None]
        for _ in range(self.num_layers):
            x = Block(num_heads=2)(x)
        return Dense(self.vocab_size)(nn.LayerNorm(epsilon=1e-5)(x))


def train_gpt(path, num_epochs):
    tokens, vocabulary = data.sources.character_corpus(path)
    model = GPT(len(vocabulary))
    windows = data.sources.Windows(tokens, model.block_size)
    loss_fn = train.supervised(
        model,
        losses.cross_entropy,
        metrics={"accuracy": metrics.accuracy},
        inputs="input",
        targets="target",
    )
    tx = optim.adamw(3e-3)
    loader = data.Loader(windows, batch_size=64, shuffle=True)
    state = train.init_state(loss_fn, tx, 0, loader)
    state, history = train.run(train.make_step(loss_fn, tx), state, loader, num_epochs=num_epochs)
    return model, state, history, vocabulary


def generate(model, state, vocabulary, prompt, num_tokens):
    names, apply = list(vocabulary), jax.jit(model.apply)
    tokens = [vocabulary[character] for character in prompt]
    for _ in range(num_tokens):
        logits = apply({"params": state.params}, jnp.array([tokens[-model.block_size :]]))
        tokens.append(int(logits[0, -1].argmax()))
    return "".join(names[token] for token in tokens)


# The port ends here

LINE = "the quick brown fox jumps over the lazy dog; "


@pytest.mark.slow
def test_it_learns_a_line_and_writes_it_and_sees_no_future(tmp_path):
    (tmp_path / "text.txt").write_text(LINE * 20)
    model, state, history, vocabulary = train_gpt(tmp_path / "text.txt", 40)
    assert history[-1]["train/accuracy"] > 0.9 > 0.5 > history[0]["train/accuracy"]
    assert generate(model, state, vocabulary, LINE[:16], 60) == (LINE * 2)[:76]
    tokens = jnp.arange(16)[None] % len(vocabulary)
    changed = tokens.at[0, 9].set(0)
    before, after = (model.apply({"params": state.params}, x)[0] for x in (tokens, changed))
    np.testing.assert_array_equal(before[:9], after[:9])
    assert (before[9:] != after[9:]).any(axis=1).all()
