"""ResNet-18 weights of torchvision, from a state_dict. 7 lines of code.

Source: ``model.load_state_dict(torch.load("resnet18.pth"))`` and ``model.eval()(images)``.
"""

import jax
import numpy as np
import pytest

from jaxdl import interop, models


def load_resnet18(weights, **options):
    model = models.ResNet18(**options)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    variables, _ = interop.load_state_dict(weights, shapes)
    return jax.jit(lambda images: model.apply(variables, images))  # NHWC


# The port ends here

RNG = np.random.default_rng(0)


def make_weights(width=8, num_classes=5):
    """A state_dict with torchvision's names and layouts, and statistics as after training."""
    weights = {}

    def conv(name, features, channels, size):
        scale = (channels * size**2) ** -0.5
        weights[f"{name}.weight"] = scale * RNG.normal(size=(features, channels, size, size))

    def norm(name, features):
        weights[f"{name}.weight"] = RNG.uniform(0.5, 1.5, features)
        weights[f"{name}.bias"] = RNG.normal(size=features)
        weights[f"{name}.running_mean"] = RNG.normal(size=features)
        weights[f"{name}.running_var"] = RNG.uniform(0.5, 1.5, features)
        weights[f"{name}.num_batches_tracked"] = np.array(9)

    conv("conv1", width, 3, 7)
    norm("bn1", width)
    channels = width
    for stage in range(4):
        features = width * 2**stage
        for block in range(2):
            name = f"layer{stage + 1}.{block}"
            conv(f"{name}.conv1", features, channels, 3)
            norm(f"{name}.bn1", features)
            conv(f"{name}.conv2", features, features, 3)
            norm(f"{name}.bn2", features)
            if features != channels:
                conv(f"{name}.downsample.0", features, channels, 1)
                norm(f"{name}.downsample.1", features)
            channels = features
    weights["fc.weight"] = RNG.normal(size=(num_classes, channels))
    weights["fc.bias"] = RNG.normal(size=num_classes)
    return {
        name: array if array.ndim == 0 else array.astype(np.float32)
        for name, array in weights.items()
    }


def forward(weights, x):
    """torchvision's forward pass in NumPy and float64: (B, 3, H, W) to (B, num_classes)."""
    w = {name: np.asarray(array, np.float64) for name, array in weights.items()}

    def windows(x, size, stride, padding, fill=0.0):
        edges = [(0, 0), (0, 0), (padding, padding), (padding, padding)]
        x = np.pad(x, edges, constant_values=fill)
        view = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
        return view[:, :, ::stride, ::stride]

    def conv(name, x, stride=1):
        kernel = w[f"{name}.weight"]
        patches = windows(x, kernel.shape[2], stride, kernel.shape[2] // 2)
        return np.einsum("bchwij,fcij->bfhw", patches, kernel, optimize=True)

    def norm(name, x):
        mean, var, scale, bias = (
            w[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias

    x = np.maximum(norm("bn1", conv("conv1", x, 2)), 0)
    x = windows(x, 3, 2, 1, -np.inf).max((4, 5))
    for stage in range(4):
        for block in range(2):
            name, stride = f"layer{stage + 1}.{block}", 2 if stage and not block else 1
            y = np.maximum(norm(f"{name}.bn1", conv(f"{name}.conv1", x, stride)), 0)
            y = norm(f"{name}.bn2", conv(f"{name}.conv2", y))
            if stride == 2:
                x = norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", x, 2))
            x = np.maximum(x + y, 0)
    return x.mean((2, 3)) @ w["fc.weight"].T + w["fc.bias"]


@pytest.mark.slow
def test_the_outputs_are_those_of_the_original():
    weights = make_weights()
    images = RNG.normal(size=(3, 64, 64, 3)).astype(np.float32)
    expected = forward(weights, images.astype(np.float64).transpose(0, 3, 1, 2))
    outputs = load_resnet18(weights, num_classes=5, width=8)(images)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_weights_that_lack_a_layer_are_refused_by_name():
    weights = make_weights()
    del weights["layer3.1.bn2.running_var"]
    with pytest.raises(ValueError, match=r"layer3[._]1.bn2.*var"):
        load_resnet18(weights, num_classes=5, width=8)
