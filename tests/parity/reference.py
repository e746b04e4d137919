"""The reference run in PyTorch, its quick start: its first steps, from weights that NumPy draws.

The fixtures and the live comparison share this file, so they cannot drift apart.
"""

import numpy as np

NUM_STEPS, BATCH_SIZE, LEARNING_RATE = 200, 32, 1e-3
MEAN_STD = {"fashion_mnist": (0.28604, 0.35302), "digits": (0.3053, 0.3763)}


def sizes(num_inputs: int) -> tuple[int, ...]:
    return (num_inputs, 512, 512, 10)


def draw_weights(num_inputs: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """(in, out) kernels and (out,) biases from PyTorch's default distribution."""
    generator = np.random.default_rng(seed)
    layers = []
    for fan_in, fan_out in zip(sizes(num_inputs)[:-1], sizes(num_inputs)[1:], strict=True):
        bound = fan_in**-0.5
        kernel = generator.uniform(-bound, bound, (fan_in, fan_out)).astype(np.float32)
        layers.append((kernel, generator.uniform(-bound, bound, fan_out).astype(np.float32)))
    return layers


def draw_order(num_examples: int, seed: int = 0) -> np.ndarray:
    """(NUM_STEPS, BATCH_SIZE) indices of shuffled epochs, one after the other."""
    generator = np.random.default_rng(seed)
    epochs = -(-NUM_STEPS * BATCH_SIZE // num_examples)
    order = np.concatenate([generator.permutation(num_examples) for _ in range(epochs)])
    return order[: NUM_STEPS * BATCH_SIZE].reshape(NUM_STEPS, BATCH_SIZE)


def torch_losses(name: str, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The losses of the first steps in PyTorch, float32 (NUM_STEPS,)."""
    import torch

    torch.use_deterministic_algorithms(True)
    modules: list[torch.nn.Module] = []
    for kernel, bias in draw_weights(images[0].size):
        linear = torch.nn.Linear(*kernel.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(kernel.T.copy()))
            linear.bias.copy_(torch.from_numpy(bias))
        modules += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(torch.nn.Flatten(), *modules[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    mean, std = MEAN_STD[name]
    losses = []
    for indices in draw_order(len(images)):
        x = (torch.from_numpy(images[indices]).float().div(255) - mean) / std
        y = torch.from_numpy(labels[indices]).long()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses, np.float32)
