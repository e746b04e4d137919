"""Linear and logistic regression, the sine's quartic and the toy network in PyTorch."""

from collections.abc import Callable

import numpy as np

NUM_STEPS = 10

TOY_BATCHES = [[0, 3], [4, 1], [2], [1, 2], [3, 0], [4], [4, 0], [2, 3], [1], [3, 1]]
"""Three epochs of the five toy points in batches of two, the last one ragged; one step more."""


def cases() -> dict[str, dict[str, np.ndarray]]:
    import torch

    functional, nn = torch.nn.functional, torch.nn
    generator = np.random.default_rng(0)

    def draw(*shape, low=-1.0, high=1.0):
        return torch.from_numpy(generator.uniform(low, high, shape).astype(np.float32))

    def numpy(tensor) -> np.ndarray:
        return tensor.detach().numpy().T.copy()  # a weight (out, in) becomes a kernel (in, out)

    def trained(
        parameters: dict[str, torch.Tensor],
        step_loss: Callable[[int], tuple[torch.Tensor, torch.Tensor]],
        optimizer: torch.optim.Optimizer,
    ) -> dict[str, np.ndarray]:
        """First weights, outputs, loss and gradients, and loss and weights after some steps."""
        result = {f"first {name}": numpy(value) for name, value in parameters.items()}
        losses = []
        for step in range(NUM_STEPS):
            optimizer.zero_grad()
            outputs, loss = step_loss(step)
            loss.backward()
            losses.append(loss.item())
            if step == 0:
                result["outputs"] = outputs.detach().numpy().copy()
                result |= {f"gradient {name}": numpy(p.grad) for name, p in parameters.items()}
            optimizer.step()
        result |= {f"last {name}": numpy(value) for name, value in parameters.items()}
        return result | {"losses": np.array(losses, np.float32)}

    results = {}

    # R10: y = w x + b, gradient descent at 0.05 on half the squared error
    x = draw(20, low=0.0, high=10.0)
    y = 2 * x + 5 + draw(20)
    w, b = nn.Parameter(torch.tensor(0.7)), nn.Parameter(torch.tensor(0.0))

    def line(_: int):
        outputs = torch.add(torch.mul(w, x), b)
        return outputs, (0.5 * (y - outputs) ** 2).mean()

    optimizer = torch.optim.SGD([w, b], lr=0.05)
    results["line"] = {"x": x.numpy(), "y": y.numpy(), **trained({"w": w, "b": b}, line, optimizer)}

    # R11: Linear(2, 1), sigmoid, BCELoss, momentum
    points = torch.cat([draw(30, 2) * 3 + 2.7, draw(30, 2) * 3 - 0.7])
    labels = torch.repeat_interleave(torch.arange(2), 30)
    layer = nn.Linear(2, 1)

    def clouds(_: int):
        probabilities = torch.sigmoid(layer(points)).squeeze(1)
        return probabilities, functional.binary_cross_entropy(probabilities, labels.float())

    def filled(module: nn.Module) -> dict[str, torch.Tensor]:
        """Weights that NumPy draws, by name."""
        with torch.no_grad():
            for value in module.parameters():
                value.copy_(draw(*value.shape) * value.shape[-1] ** -0.5)
        return dict(module.named_parameters())

    parameters = filled(layer)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01, momentum=0.9)
    results["clouds"] = {
        "x": points.numpy(),
        "labels": labels.numpy().astype(np.int32),
        **trained(parameters, clouds, optimizer),
    }

    # R12: a quartic's coefficients from Linear(100, 5) on tanh(x)
    x_sine = torch.linspace(0, 1, 100)
    target = torch.sin(2 * torch.pi * x_sine) + 0.1 * draw(100)
    quartic = nn.Linear(100, 5)
    powers = torch.stack([x_sine**k for k in range(5)])

    def sine(_: int):
        outputs = quartic(torch.tanh(x_sine)) @ powers
        return outputs, functional.mse_loss(outputs, target)

    parameters = filled(quartic)
    optimizer = torch.optim.SGD(quartic.parameters(), lr=1e-3, momentum=0.9)
    results["sine"] = {
        "x": x_sine.numpy(),
        "y": target.numpy(),
        **trained(parameters, sine, optimizer),
    }

    # R26: 2-30-20-2 on the toy points, SGD at 0.5, batches of two
    toy = torch.tensor([[-1.2, 3.1], [-0.9, 2.9], [-0.5, 2.6], [2.3, -1.1], [2.7, -1.5]])
    classes = torch.tensor([0, 0, 0, 1, 1])
    network = nn.Sequential(
        nn.Linear(2, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 2)
    )

    def toy_network(step: int):
        batch = TOY_BATCHES[step]
        outputs = network(toy[batch])
        return outputs, functional.cross_entropy(outputs, classes[batch])

    parameters = filled(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    results["toy"] = {
        # a single point is followed by another one that the mask leaves out
        "order": np.array([(*batch, 4)[:2] for batch in TOY_BATCHES], np.int32),
        "mask": np.array([(1, len(batch) - 1) for batch in TOY_BATCHES], np.float32),
        **trained(parameters, toy_network, optimizer),
    }
    return results
