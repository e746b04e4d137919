"""Layers in PyTorch: convolution and its transpose, pooling, batch normalization."""

import numpy as np

TRANSPOSED = {
    "k3s1p0": (3, 1, 0, 0),
    "k4s2p1": (4, 2, 1, 0),
    "k8s2p0": (8, 2, 0, 0),
    "k3s2p1o1": (3, 2, 1, 1),
    "k2s3p0": (2, 3, 0, 0),
    "k5s3p2o2": (5, 3, 2, 2),
}
SPREAD = {
    "d2": {"dilation": 2},
    "s2p2d2g2": {"stride": 2, "padding": 2, "dilation": 2, "groups": 2},
    "p1g4": {"padding": 1, "groups": 4},
}
SPREAD_TRANSPOSED = {
    "p1d2": {"padding": 1, "dilation": 2},
    "s2p1o1g4": {"stride": 2, "padding": 1, "output_padding": 1, "groups": 4},
    "s2p2o2d3g2": {"stride": 2, "padding": 2, "output_padding": 2, "dilation": 3, "groups": 2},
}
PAIRS = {
    "s2x1p1x0": {"stride": (2, 1), "padding": (1, 0)},
    "s1x2p0x1": {"stride": (1, 2), "padding": (0, 1)},
    "p1x2d2x1": {"padding": (1, 2), "dilation": (2, 1)},
}
PAIRS_TRANSPOSED = {
    "k3x2s2x1p1x0o1x0": {"stride": (2, 1), "padding": (1, 0), "output_padding": (1, 0)},
    "k3x2s1x3p0x1o0x2": {"stride": (1, 3), "padding": (0, 1), "output_padding": (0, 2)},
}
ADAPTIVE = {"7x5to3x2": (3, 2), "7x5to1x1": (1, 1), "7x5to4x5": (4, 5)}


def nhwc(x) -> np.ndarray:
    return x.detach().numpy().transpose(0, 2, 3, 1)


def cases() -> dict[str, dict[str, np.ndarray]]:
    import torch

    functional = torch.nn.functional
    generator = np.random.default_rng(0)
    results = {}

    def draw(*shape):
        return torch.from_numpy(generator.normal(size=shape).astype(np.float32))

    def add_convolution(name, function, weight_shape, axes, **options):
        x, w = draw(2, 4, 5, 6).requires_grad_(), draw(*weight_shape).requires_grad_()
        y = function(x, w, **options)
        (y**2).sum().backward()
        results[name] = {
            "inputs": nhwc(x),
            "kernel": w.detach().numpy().transpose(axes),
            "outputs": nhwc(y),
            "inputs_gradient": nhwc(x.grad),
            "kernel_gradient": w.grad.numpy().transpose(axes),
        }

    transposed, axes = functional.conv_transpose2d, (2, 3, 0, 1)
    for name, (size, stride, padding, output_padding) in TRANSPOSED.items():
        options = {"stride": stride, "padding": padding, "output_padding": output_padding}
        shape = (4, 3, size, size)
        add_convolution(f"conv_transpose {name}", transposed, shape, axes, **options)
    images = torch.from_numpy(generator.integers(0, 9, (2, 3, 7, 5)).astype(np.float32))
    pools = {
        "max_pool 3s2p1": lambda x: functional.max_pool2d(x, 3, 2, 1),
        "max_pool 2s1": lambda x: functional.max_pool2d(x, 2, 1),
        "max_pool 3x2": lambda x: functional.max_pool2d(x, (3, 2)),
        "max_pool 3x2s1x2p1x0": lambda x: functional.max_pool2d(x, (3, 2), (1, 2), (1, 0)),
        "avg_pool 2": lambda x: functional.avg_pool2d(x, 2),
        "avg_pool 3x2": lambda x: functional.avg_pool2d(x, (3, 2)),
        "avg_pool 3s2p1": lambda x: functional.avg_pool2d(x, 3, 2, 1),
        "avg_pool 3x2s1x2p1x0": lambda x: functional.avg_pool2d(x, (3, 2), (1, 2), (1, 0)),
        "avg_pool 2p1": lambda x: functional.avg_pool2d(x, 2, padding=1),
    }
    for name, size in ADAPTIVE.items():
        pools[f"adaptive_avg_pool {name}"] = lambda x, s=size: functional.adaptive_avg_pool2d(x, s)
        pools[f"adaptive_max_pool {name}"] = lambda x, s=size: functional.adaptive_max_pool2d(x, s)
    for name, pool in pools.items():
        x = images.clone().requires_grad_()
        y = pool(x)
        (y**2).sum().backward()
        results[name] = {"inputs": nhwc(x), "outputs": nhwc(y), "inputs_gradient": nhwc(x.grad)}
    norm = torch.nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(draw(3))
        norm.bias.copy_(draw(3))
    weights = {"scale": norm.weight.detach().numpy(), "bias": norm.bias.detach().numpy()}
    arrays = {name: array.copy() for name, array in weights.items()}
    for index in range(3):
        x = (2 + 3 * draw(2, 3, 4, 5)).requires_grad_()
        y = norm(x)
        norm.zero_grad()
        (y**3).sum().backward()
        arrays |= {
            f"inputs{index}": nhwc(x),
            f"outputs{index}": nhwc(y),
            f"inputs_gradient{index}": nhwc(x.grad),
            f"scale_gradient{index}": norm.weight.grad.numpy().copy(),
            f"bias_gradient{index}": norm.bias.grad.numpy().copy(),
        }
    norm.eval()
    arrays |= {
        "mean": norm.running_mean.numpy().copy(),
        "var": norm.running_var.numpy().copy(),
        "evaluated": nhwc(norm(x)),
    }
    results["batch_norm"] = arrays
    for name, options in SPREAD.items():
        shape = (8, 4 // options.get("groups", 1), 3, 2)
        add_convolution(f"conv {name}", functional.conv2d, shape, (2, 3, 1, 0), **options)
    for name, options in SPREAD_TRANSPOSED.items():
        add_convolution(f"spread conv_transpose {name}", transposed, (4, 2, 3, 2), axes, **options)
    for name, options in PAIRS.items():
        shape = (8, 4, 3, 2)
        add_convolution(f"pairs conv {name}", functional.conv2d, shape, (2, 3, 1, 0), **options)
    for name, options in PAIRS_TRANSPOSED.items():
        add_convolution(f"pairs conv_transpose {name}", transposed, (4, 3, 3, 2), axes, **options)
    return results
