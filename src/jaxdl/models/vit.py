"""Vision Transformer.

Names are torchvision's up to dots and underscores: ``conv_proj``, ``class_token``,
``encoder/pos_embedding``, ``encoder/layers_encoder_layer_0/self_attention/in_proj``,
``heads_head``; :func:`jaxdl.interop.params_from_torch` reads its weights.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike
from jaxtyping import Float, Num

from jaxdl._checks import check_count, check_fraction, check_shape
from jaxdl.nn import Dense
from jaxdl.nn.initializers import xavier_uniform
from jaxdl.types import Array


class PatchEmbedding(nn.Module):
    """Patch embedding: a convolution whose stride is its kernel size, as one product.

    Attributes:
        features: number of outputs per patch.
        patch_size: p, side of a patch in pixels.
        dtype: dtype of the computation; None infers it.

    Source: ``conv_proj`` of ``torchvision.models.VisionTransformer``.
    """

    features: int
    patch_size: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Num[Array, "B H W C"]) -> Float[Array, "B T E"]:
        """Embeds the patches.

        Args:
            x: (B, H, W, C).

        Returns:
            (B, H·W/p², features), row by row.
        """
        size = self.patch_size
        batch, height, width, channels = x.shape
        init = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")
        kernel = self.param("kernel", init, (size, size, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        rows, columns = height // size, width // size
        patches = x.reshape(batch, rows, size, columns, size, channels).swapaxes(2, 3)
        patches = patches.reshape(batch, rows * columns, size * size * channels)
        return patches @ kernel.reshape(-1, self.features) + bias.reshape(1, 1, -1)


class SelfAttention(nn.Module):
    """Multi-head self-attention: softmax(Q K' / √d) V for each head, and a dense layer.

    Attributes:
        num_heads: number of heads; E must be a multiple.
        dtype: dtype of the computation; None infers it. The softmax is computed in float32.

    Source: ``torch.nn.MultiheadAttention`` without dropout; ``in_proj`` holds queries, keys and
    values in one kernel (E, 3E).
    """

    num_heads: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Num[Array, "B T E"]) -> Float[Array, "B T E"]:
        """Mixes the tokens of each example.

        Args:
            x: (B, T, E).

        Returns:
            (B, T, E).
        """
        batch, length, width = x.shape
        zeros = nn.initializers.zeros
        in_proj = Dense(
            3 * width,
            dtype=self.dtype,
            kernel_init=xavier_uniform(),
            bias_init=zeros,
            name="in_proj",
        )
        parts = in_proj(x)
        dtype = parts.dtype
        if dtype == jnp.float16:  # XLA sums its products in float32 on GPU only
            parts = parts.astype(jnp.float32)
        shape = (batch, length, self.num_heads, width // self.num_heads)
        query, key, value = (part.reshape(shape) for part in jnp.split(parts, 3, axis=-1))
        mixed = jax.nn.dot_product_attention(query, key, value).astype(dtype)
        mixed = mixed.reshape(batch, length, width)
        return Dense(width, dtype=self.dtype, bias_init=zeros, name="out_proj")(mixed)


class EncoderLayer(nn.Module):
    """Transformer layer: self-attention and a two-layer perceptron, each after a LayerNorm.

    Both are residual. Attributes as :class:`VisionTransformer`.

    Source: ``torchvision.models.vision_transformer.EncoderBlock``.
    """

    num_heads: int
    mlp_size: int
    dropout_rate: float = 0.0
    dtype: DTypeLike | None = None
    eps: float = 1e-6

    @nn.compact
    def __call__(self, x: Num[Array, "B T E"], train: bool) -> Float[Array, "B T E"]:
        """Applies the layer.

        Args:
            x: (B, T, E).
            train: turn dropout on.

        Returns:
            (B, T, E).
        """

        def dropout(x: Array) -> Array:
            return nn.Dropout(self.dropout_rate, deterministic=not train)(x)

        dense = functools.partial(
            Dense,
            dtype=self.dtype,
            kernel_init=xavier_uniform(),
            bias_init=nn.initializers.normal(1e-6),
        )
        y = _layer_norm(self.dtype, self.eps, "ln_1")(x)
        y = SelfAttention(self.num_heads, dtype=self.dtype, name="self_attention")(y)
        x = x + dropout(y)
        y = _layer_norm(self.dtype, self.eps, "ln_2")(x)
        y = dropout(nn.gelu(dense(self.mlp_size, name="mlp_0")(y), approximate=False))
        return x + dropout(dense(x.shape[-1], name="mlp_3")(y))


class Encoder(nn.Module):
    """Transformer encoder: learned positions, the layers, and a LayerNorm.

    Attributes as :class:`VisionTransformer`.

    Source: ``torchvision.models.vision_transformer.Encoder``.
    """

    num_layers: int
    num_heads: int
    mlp_size: int
    dropout_rate: float = 0.0
    remat: bool = False
    dtype: DTypeLike | None = None
    eps: float = 1e-6

    @nn.compact
    def __call__(self, x: Num[Array, "B T E"], train: bool) -> Float[Array, "B T E"]:
        """Applies the layers.

        Args:
            x: (B, T, E).
            train: turn dropout on.

        Returns:
            (B, T, E).
        """
        positions = self.param("pos_embedding", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        x = x + positions.astype(x.dtype)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        # `train` is the second argument after the module itself
        layer = nn.remat(EncoderLayer, static_argnums=(2,)) if self.remat else EncoderLayer
        for index in range(self.num_layers):
            x = layer(
                self.num_heads,
                self.mlp_size,
                dropout_rate=self.dropout_rate,
                dtype=self.dtype,
                eps=self.eps,
                name=f"layers_encoder_layer_{index}",
            )(x, train)
        return _layer_norm(self.dtype, self.eps, "ln")(x)


class VisionTransformer(nn.Module):
    """Vision Transformer: patches as tokens, a class token, and a dense layer on the class token.

    ViT-B/16 is the default: 86,567,656 parameters at 224x224x3 with 1,000 classes. The image size
    is fixed by the first call, since every place has a learned position.

    Intermediates: ``embed``, the class token before the last layer.

    Attributes:
        num_classes: number of outputs.
        patch_size: side of a patch in pixels; H and W must be multiples.
        hidden_size: E, the length of a token.
        num_layers: number of Transformer layers.
        num_heads: number of attention heads of each; E must be a multiple.
        mlp_size: hidden units of each layer's perceptron.
        dropout_rate: fraction dropped in training after the positions, each attention and each
            dense layer; attention weights are not dropped.
        remat: gradient checkpointing: each layer is computed again in the backward pass, which
            keeps only the layers' inputs in memory. The numbers stay the same.
        dtype: dtype of the computation; None infers it. Parameters stay float32.
        eps: ε of every LayerNorm; torchvision's is the default, transformers has 1e-12.

    Raises:
        ValueError: another rank, or sizes that are not multiples.

    Source: ``torchvision.models.VisionTransformer``; Dosovitskiy et al. 2021. LayerNorm ε 1e-6,
    exact GELU, a last layer that starts from zero.

    >>> import jax
    >>> from jaxdl import tree
    >>> x = jax.ShapeDtypeStruct((2, 224, 224, 3), "float32")
    >>> model = VisionTransformer()
    >>> logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    >>> logits.shape, tree.count(variables["params"])
    ((2, 1000), 86567656)
    """

    num_classes: int = 1000
    patch_size: int = 16
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_size: int = 3072
    dropout_rate: float = 0.0
    remat: bool = False
    dtype: DTypeLike | None = None
    eps: float = 1e-6

    @nn.compact
    def __call__(
        self, x: Num[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B num_classes"]:
        """Computes logits.

        Args:
            x: (B, H, W, C), normalized.
            train: turn dropout on.

        Returns:
            (B, num_classes).
        """
        check_fraction(dropout_rate=self.dropout_rate)
        check_count(patch_size=self.patch_size, num_heads=self.num_heads)
        check_shape("x", x, ("B", "H", "W", "C"))
        batch, height, width, _ = x.shape
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"height and width must be multiples of patch_size {self.patch_size}, got "
                f"{height}x{width}; resize or pad the images."
            )
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_heads, got {self.hidden_size} and "
                f"{self.num_heads}."
            )
        zeros = nn.initializers.zeros
        embedding = PatchEmbedding(
            self.hidden_size, self.patch_size, dtype=self.dtype, name="conv_proj"
        )
        x = embedding(x)
        token = self.param("class_token", zeros, (1, 1, self.hidden_size)).astype(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(token, (batch, 1, self.hidden_size)), x], axis=1)
        encoder = Encoder(
            self.num_layers,
            self.num_heads,
            self.mlp_size,
            dropout_rate=self.dropout_rate,
            remat=self.remat,
            dtype=self.dtype,
            eps=self.eps,
            name="encoder",
        )
        x = encoder(x, train)[:, 0]
        self.sow("intermediates", "embed", x)
        head = Dense(
            self.num_classes,
            dtype=self.dtype,
            kernel_init=zeros,
            bias_init=zeros,
            name="heads_head",
        )
        return head(x)


def _layer_norm(dtype: DTypeLike | None, eps: float, name: str) -> nn.LayerNorm:
    # the variance by two passes, as PyTorch: E[x²] − E[x]² loses digits
    return nn.LayerNorm(epsilon=eps, dtype=dtype, use_fast_variance=False, name=name)
