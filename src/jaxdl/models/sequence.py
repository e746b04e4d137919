"""Sequence classifiers: recurrent networks and bags of embeddings."""

from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float, Int, Num, Shaped

from jaxdl._checks import check_fraction, check_shape
from jaxdl.nn import GRU, LSTM, BatchNorm, Dense, Embed
from jaxdl.types import Array


class RecurrentClassifier(nn.Module):
    """Recurrent classifier of sequences, or of images row by row, by the last output.

    With the default sizes and 28x28 images: LSTM 28 → 64 over 28 steps, BatchNorm, dropout 0.25,
    dense 32, ReLU, dropout 0.5, dense 10; 26,602 parameters, 24,064 of them the LSTM's with two
    biases per gate. With ``cell="gru"`` 20,586.

    Intermediates: ``embed``, the features before the last layer.

    Attributes:
        num_classes: number of outputs.
        cell: "lstm" or "gru".
        hidden_size: hidden size of the cell.
        hidden: units of the dense layer after it.
        dropout_rates: fractions dropped in training before that dense layer and after it.
        dtype: dtype of the computation; None infers it. Statistics stay float32.

    Raises:
        ValueError: inputs of another rank, an unknown cell, a dropout rate outside [0, 1].

    Source: the common LSTM over MNIST's rows in PyTorch (``torch.nn.LSTM``, ``BatchNorm1d``, two
    ``Linear``), without its log-softmax, which is part of the loss here.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    >>> model = RecurrentClassifier()
    >>> logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 10), 26602)
    """

    num_classes: int = 10
    cell: Literal["lstm", "gru"] = "lstm"
    hidden_size: int = 64
    hidden: int = 32
    dropout_rates: Sequence[float] = (0.25, 0.5)
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        x: Num[Array, "B T ..."],
        *,
        mask: Shaped[Array, " B"] | None = None,
        train: bool = False,
    ) -> Float[Array, "B num_classes"]:
        """Computes logits.

        Args:
            x: (B, T, F), or (B, H, W, C), whose H rows are the steps.
            mask: (B,), 0 for padded examples, which the batch statistics leave out.
            train: turn dropout on; use and update the batch statistics (collection
                ``batch_stats``).

        Returns:
            (B, num_classes).
        """
        if x.ndim not in (3, 4):
            raise ValueError(f"expected images (B, H, W, C) or (B, T, F), got shape {x.shape}.")
        if self.cell not in ("lstm", "gru"):
            raise ValueError(f"cell must be 'lstm' or 'gru', got {self.cell!r}.")
        first, second = self.dropout_rates
        check_fraction(first_dropout_rate=first, second_dropout_rate=second)
        rows = x.reshape(*x.shape[:2], -1)
        if self.cell == "lstm":
            _, (states, _) = LSTM(self.hidden_size, dtype=self.dtype)(rows)
        else:
            _, states = GRU(self.hidden_size, dtype=self.dtype)(rows)
        x = BatchNorm(dtype=self.dtype)(states[-1], mask=mask, train=train)
        x = nn.Dropout(first, deterministic=not train)(x)
        x = nn.relu(Dense(self.hidden, dtype=self.dtype)(x))
        self.sow("intermediates", "embed", x)
        x = nn.Dropout(second, deterministic=not train)(x)
        return Dense(self.num_classes, dtype=self.dtype)(x)


class EmbeddingClassifier(nn.Module):
    """Classifier of texts: the mean of the word embeddings, then dense layers.

    Token 0 is padding and does not count. With a vocabulary of V words, F features and no hidden
    layer: V·F + (F + 1)·num_classes parameters. A text without words has the mean 0.

    Intermediates: ``embed``, the features before the last layer.

    Attributes:
        vocabulary_size: V, padding included.
        num_classes: number of outputs.
        features: F, length of an embedding.
        hidden: units of dense layers with ReLU before the last one.
        word_dropout_rate: fraction of a text's words left out in training.
        dropout_rate: fraction of the features dropped in training before every dense layer.
        embedding_scale: standard deviation of the initial embeddings; PyTorch's ``Embedding`` has
            1. Rare words hardly move from where they start: small is better on small data sets.
        dtype: dtype of the computation; None infers it.

    Raises:
        ValueError: tokens of another rank or not integers, a dropout rate outside [0, 1].

    Source: Joulin et al. 2016, Bag of tricks for efficient text classification. In PyTorch
    ``EmbeddingBag(V, F, mode="mean", padding_idx=0)`` and ``Linear``; word dropout is from Iyyer et
    al. 2015, Deep unordered composition rivals syntactic methods.

    >>> model, tokens = EmbeddingClassifier(100), jnp.array([[5, 7, 0, 0], [1, 2, 3, 4]])
    >>> logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), tokens)
    >>> logits.shape, variables["params"]["Embed_0"]["embedding"].shape
    ((2, 2), (100, 64))
    """

    vocabulary_size: int
    num_classes: int = 2
    features: int = 64
    hidden: Sequence[int] = ()
    word_dropout_rate: float = 0.0
    dropout_rate: float = 0.0
    embedding_scale: float = 1.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "B T"], *, train: bool = False
    ) -> Float[Array, "B num_classes"]:
        """Computes logits.

        Args:
            tokens: (B, T) integers in [0, V), 0 for padding.
            train: turn dropout on.

        Returns:
            (B, num_classes).
        """
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
