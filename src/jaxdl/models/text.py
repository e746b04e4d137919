"""Text classification from a bag of word embeddings."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.checks import check_fraction, check_shape
from jaxdl.nn import Dense
from jaxdl.nn.embedding import Embed
from jaxdl.types import Array


class EmbeddingClassifier(nn.Module):
    """The mean of a text's word embeddings, then dense layers; 0 is padding and does not count.

    With a vocabulary of V words, F features and no hidden layer: V·F + (F + 1)·num_classes
    parameters. A text without a word has the mean 0.

    Args of the call: tokens (B, T) integers in [0, V), 0 for padding; train turns dropout on.
    Returns: (B, num_classes) logits.

    Intermediates: ``embed``, the features before the last layer.

    Raises:
        ValueError: tokens of another rank or not integers, a dropout rate outside [0, 1].

    Attributes:
        vocabulary_size: V, padding included.
        num_classes: outputs.
        features: F, length of an embedding.
        hidden: units of dense layers with ReLU before the last one.
        word_dropout_rate: fraction of a text's words left out in training.
        dropout_rate: fraction of the features dropped in training before every dense layer.
        embedding_scale: deviation of the initial embeddings; PyTorch's ``Embedding`` has 1. Rare
            words hardly move from where they start: small is better on small sets.
        dtype: of the computation; None infers it.

    Source: Joulin et al. 2016, Bag of tricks for efficient text classification. In PyTorch
    ``EmbeddingBag(V, F, mode="mean", padding_idx=0)`` and ``Linear``; word dropout is from Iyyer et
    al. 2015, Deep unordered composition rivals syntactic methods.
    """

    vocabulary_size: int
    num_classes: int = 2
    features: int = 64
    hidden: Sequence[int] = ()
    word_dropout_rate: float = 0.0
    dropout_rate: float = 0.0
    embedding_scale: float = 1.0
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, tokens: Array, *, train: bool = False) -> Array:
        check_shape("tokens", tokens, ("B", "T"))
        check_fraction(word_dropout_rate=self.word_dropout_rate, dropout_rate=self.dropout_rate)
        embed = Embed(
            self.vocabulary_size,
            self.features,
            padding_index=0,
            embedding_init=nn.initializers.normal(self.embedding_scale),
            dtype=self.dtype,
        )
        counts = tokens != 0
        if train and self.word_dropout_rate > 0:
            keep = 1 - self.word_dropout_rate
            counts &= jax.random.bernoulli(self.make_rng("dropout"), keep, tokens.shape)
        rows = embed(tokens)
        total = jnp.where(counts[..., None], rows, 0).sum(axis=1)
        x = total / jnp.maximum(counts.sum(axis=1, keepdims=True), 1).astype(total.dtype)
        for features in self.hidden:
            x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
            x = nn.relu(Dense(features, dtype=self.dtype)(x))
        self.sow("intermediates", "embed", x)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return Dense(self.num_classes, dtype=self.dtype)(x)
