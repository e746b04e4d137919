"""Embeddings, the bag of embeddings, the bilinear layer and bilinear pooling in PyTorch."""

import numpy as np

INDICES = [[1, 4, 0, 4, 2], [6, 0, 4, 1, 5]]
OPTIONS = {
    "plain": {},
    "padding": {"padding_idx": 0},
    "max_norm": {"max_norm": 1.2},
    "max_norm p1": {"max_norm": 1.5, "norm_type": 1.0},
    "max_norm infinite p": {"max_norm": 0.8, "norm_type": float("inf")},
    "frequency": {"scale_grad_by_freq": True},
    "all": {"padding_idx": 4, "max_norm": 1.0, "norm_type": 3.0, "scale_grad_by_freq": True},
}


def cases() -> dict[str, dict[str, np.ndarray]]:
    import torch

    functional = torch.nn.functional
    generator = np.random.default_rng(0)
    results = {}

    def draw(*shape):
        return torch.from_numpy(generator.normal(size=shape).astype(np.float32)).requires_grad_()

    indices = torch.tensor(INDICES)
    for name, options in OPTIONS.items():
        table, weight = draw(7, 3), draw(2, 5, 3)
        layer = torch.nn.Embedding(7, 3, **options)
        with torch.no_grad():
            layer.weight.copy_(table)
        rows = layer(indices)
        (rows * weight).sum().backward()  # a gradient that does not depend on the rows
        results[f"embedding {name}"] = {
            "table": table.detach().numpy(),
            "weight": weight.detach().numpy(),
            "outputs": rows.detach().numpy(),
            "gradient": layer.weight.grad.numpy(),
        }

    for name in ("max_norm", "max_norm p1"):
        layer = torch.nn.Embedding(7, 3, **OPTIONS[name])
        with torch.no_grad():
            layer.weight.copy_(2 * draw(7, 3))
        start, target = layer.weight.detach().numpy().copy(), draw(5, 3)
        optimizer, outputs = torch.optim.SGD(layer.parameters(), 0.3), []
        for step in range(10):
            rows = layer(indices[step % 2])
            optimizer.zero_grad()
            ((rows - target.detach()) ** 2).sum().backward()
            optimizer.step()
            outputs.append(rows.detach().numpy().copy())
        results[f"training with {name}"] = {
            "table": start,
            "target": target.detach().numpy(),
            "outputs": np.stack(outputs),
        }

    table, kernel, bias = draw(7, 3), draw(2, 3), draw(2)
    tokens = torch.tensor([[3, 2, 3, 0, 0], [1, 2, 4, 5, 6], [0, 0, 0, 0, 0]])
    means = functional.embedding_bag(tokens, table, mode="mean", padding_idx=0)
    y = functional.linear(means, kernel, bias)
    (y**2).sum().backward()
    results["bag of embeddings"] = {
        "tokens": tokens.numpy().astype(np.int32),
        "table": table.detach().numpy(),
        "kernel": kernel.detach().numpy().T,
        "bias": bias.detach().numpy(),
        "outputs": y.detach().numpy(),
        "table_gradient": table.grad.numpy(),
        "kernel_gradient": kernel.grad.numpy().T,
        "bias_gradient": bias.grad.numpy(),
    }

    x1, x2, weight, bias = draw(2, 5, 3), draw(2, 5, 4), draw(6, 3, 4), draw(6)
    y = functional.bilinear(x1, x2, weight, bias)
    (y**2).sum().backward()
    results["bilinear"] = {
        "x1": x1.detach().numpy(),
        "x2": x2.detach().numpy(),
        "kernel": weight.detach().permute(1, 2, 0).numpy(),
        "bias": bias.detach().numpy(),
        "outputs": y.detach().numpy(),
        "x1_gradient": x1.grad.numpy(),
        "x2_gradient": x2.grad.numpy(),
        "kernel_gradient": weight.grad.permute(1, 2, 0).numpy(),
        "bias_gradient": bias.grad.numpy(),
    }

    maps, weight = draw(2, 3, 4, 5), draw(2, 9)
    flat = maps.flatten(2)
    products = torch.bmm(flat, flat.transpose(1, 2)) / flat.shape[2]
    roots = torch.sign(products) * torch.sqrt(torch.abs(products) + 1e-5)
    pooled = functional.normalize(roots.flatten(1))
    (pooled * weight).sum().backward()
    results["bilinear pooling"] = {
        "maps": maps.detach().numpy().transpose(0, 2, 3, 1),
        "weight": weight.detach().numpy(),
        "outputs": pooled.detach().numpy(),
        "gradient": maps.grad.numpy().transpose(0, 2, 3, 1),
    }
    return results
