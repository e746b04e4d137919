"""Models in PyTorch: outputs in training and evaluation, gradients, running statistics.

Weights and inputs are not stored: both sides draw them with NumPy from seeds that are their names.
PyTorch computes in float64 here, so that its own rounding is not in the fixture.
"""

import re
import zlib

import numpy as np

INPUTS = {
    "mlp": (4, 2, 3, 2),
    "mlp_tanh": (4, 5),
    "mlp_sigmoid": (4, 5),
    "fixed_weight_mlp": (4, 6),
    "nested_mlp": (4, 5),
    "lenet5": (3, 16, 16, 1),
    "lenet_max_pool": (3, 20, 20, 3),
    "convnet": (3, 14, 14, 2),
    "cnn": (4, 8, 9, 2),
    "mnist_cnn": (3, 10, 10, 1),
    "batch_norm_convnet": (4, 8, 8, 1),
    "strided_convnet": (4, 16, 16, 1),
    "functional_cnn": (3, 20, 20, 1),
    "autoencoder": (4, 4, 3, 2),
    "vae": (4, 4, 3, 2),
    "conv_vae": (3, 8, 12, 2),
    "resnet_basic": (4, 30, 33, 3),
    "resnet_bottleneck": (4, 30, 33, 3),
    "resnet_cifar": (4, 9, 8, 3),
    "vgg": (3, 31, 24, 3),
    "vgg_batch_norm": (4, 14, 13, 3),
    "vit": (3, 12, 8, 3),
}
"""Shape of the inputs by case, NHWC."""

NUM_VALUES = 32


def normal_name(name: str) -> str:
    """A name without the choice between dots, slashes and underscores."""
    return re.sub(r"[._/]+", "_", name)


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers that depend on the name only."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return generator.normal(size=shape).astype(np.float32)


def draw_constant(features: int) -> np.ndarray:
    """The matrix of the fixed-weight network, in [0, 1)."""
    return abs(draw(f"constant {features}", (features, features))) % 1


def draw_weight(case: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An entry of a state_dict, in PyTorch's layout, of a size that keeps signals alive."""
    name = normal_name(name)
    values = draw(f"{case}/{name}", shape)
    if name.endswith("running_var"):
        return np.exp(values / 4)
    if len(shape) == 1:
        return values / 4 + (1 if name.endswith("weight") else 0)
    return values * np.float32(np.sqrt(2 / np.prod(shape[1:])))


def summary(name: str, gradient: np.ndarray) -> np.ndarray:
    """35 numbers of a gradient in PyTorch's layout: 32 values, a projection, norm, maximum."""
    flat = np.asarray(gradient, np.float64).ravel()
    values = np.zeros(NUM_VALUES)
    values[: min(NUM_VALUES, flat.size)] = flat[:NUM_VALUES]
    projection = flat @ draw(f"projection {normal_name(name)}", flat.shape)
    return np.array([*values, projection, np.linalg.norm(flat), np.abs(flat).max()])


def load(network, case: str) -> None:
    """Gives a PyTorch network the drawn weights."""
    import torch

    state = {
        name: torch.from_numpy(np.array(draw_weight(case, name, tuple(tensor.shape))))
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    network.load_state_dict(state, strict=False)


def run(network, case: str, inputs: np.ndarray) -> dict:
    """Outputs, evaluation, gradients and new statistics of a PyTorch network, as NumPy arrays.

    The gradients are those of Σ outputs · weights in training, with drawn weights.
    """
    import torch

    dtype = next(network.parameters()).dtype
    x = torch.from_numpy(inputs).to(dtype)
    x = x.permute(0, 3, 1, 2) if x.ndim == 4 else x

    def outputs():
        result = network(x)
        result = result if isinstance(result, tuple) else (result,)
        return [y.permute(0, 2, 3, 1) if y.ndim == 4 else y for y in result]

    network.eval()
    with torch.no_grad():
        evaluated = [y.numpy().copy() for y in outputs()]
    network.train()
    trained = outputs()
    weights = [draw(f"{case}/output{i}", tuple(y.shape)) for i, y in enumerate(trained)]
    total = [
        (y * torch.asarray(w, dtype=dtype)).sum() for y, w in zip(trained, weights, strict=True)
    ]
    sum(total).backward()
    return {
        "trained": [y.detach().numpy() for y in trained],
        "evaluated": evaluated,
        "gradients": {name: p.grad.numpy() for name, p in network.named_parameters()},
        "statistics": {
            name: buffer.numpy() for name, buffer in network.named_buffers() if "running" in name
        },
    }


def in_order(arrays: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """Sorted by what names have in common in both libraries."""
    return sorted(arrays.items(), key=lambda item: normal_name(item[0]))


def cases() -> dict[str, dict[str, np.ndarray]]:
    import torch_models

    results = {}
    for case, network in torch_models.small().items():
        load(network, case)
        found = run(network.double(), case, draw(f"{case}/inputs", INPUTS[case]))
        arrays = {f"trained{i}": y for i, y in enumerate(found["trained"])}
        arrays |= {f"evaluated{i}": y for i, y in enumerate(found["evaluated"])}
        arrays["gradients"] = np.stack([summary(*item) for item in in_order(found["gradients"])])
        statistics = [array for _, array in in_order(found["statistics"])]
        if statistics:
            arrays["statistics"] = np.concatenate(statistics)
        results[case] = {name: array.astype(np.float32) for name, array in arrays.items()}
    return results
