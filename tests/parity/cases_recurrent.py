"""Recurrent layers in PyTorch, and the classifier of image rows.

Weights and their gradients are one vector a case: the parameters by our names, sorted, flattened.
"""

import numpy as np

BATCH, STEPS, FEATURES, HIDDEN = 3, 5, 4, 3
LENGTHS = (5, 2, 4)
LAYERS = {
    f"{cell} {layers}{' both ways' if both else ''}{' lengths' if lengths else ''}": (
        cell,
        layers,
        both,
        lengths,
    )
    for cell in ("LSTM", "GRU")
    for layers in (1, 2)
    for both in (False, True)
    for lengths in (False, True)
} | {"RNN 2 both ways lengths": ("RNN", 2, True, True)}


def flat(named) -> np.ndarray:
    """Kernels are weights transposed."""
    arrays = {
        name.replace("weight", "kernel"): t.detach().numpy().T.ravel() for name, t in named.items()
    }
    return np.concatenate([arrays[name] for name in sorted(arrays)])


def cases() -> dict[str, dict[str, np.ndarray]]:
    import torch
    from torch.nn.utils import rnn

    generator = np.random.default_rng(0)

    def draw(*shape):
        return torch.from_numpy(generator.normal(size=shape).astype(np.float32)).requires_grad_()

    def set_weights(module):
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(draw(*p.shape) * 0.5)

    results = {}
    for name, (cell, layers, both, with_lengths) in LAYERS.items():
        options = {"num_layers": layers, "bidirectional": both, "batch_first": True}
        module = getattr(torch.nn, cell)(FEATURES, HIDDEN, **options)
        set_weights(module)
        x = draw(BATCH, STEPS, FEATURES)
        num_states = 2 if cell == "LSTM" else 1
        shape = (layers * (1 + both), BATCH, HIDDEN)
        # one layer starts from zeros, two from given states
        initial = [draw(*shape) for _ in range(num_states)] if layers == 2 else []
        inputs = x
        if with_lengths:
            inputs = rnn.pack_padded_sequence(x, torch.tensor(LENGTHS), True, enforce_sorted=False)
        arguments = [tuple(initial) if cell == "LSTM" else initial[0]] if initial else []
        outputs, states = module(inputs, *arguments)
        if with_lengths:
            outputs, _ = rnn.pad_packed_sequence(outputs, True, total_length=STEPS)
        states = torch.cat(states if cell == "LSTM" else (states,))
        ((outputs**2).sum() + (states**3).sum()).backward()
        named = dict(module.named_parameters())
        results[name] = {
            "inputs": x.detach().numpy(),
            "params": flat(named),
            "outputs": outputs.detach().numpy(),
            "states": states.detach().numpy(),
            "inputs_gradient": x.grad.numpy(),
            "params_gradient": flat({name: p.grad for name, p in named.items()}),
        }
        if initial:
            gradients = torch.cat([state.grad for state in initial])
            results[name]["initial"] = torch.cat(initial).detach().numpy()
            results[name]["initial_gradient"] = gradients.numpy()

    for cell in ("lstm", "gru"):
        layer = getattr(torch.nn, cell.upper())(7, 4, batch_first=True)
        norm, first, last = (
            torch.nn.BatchNorm1d(4),
            torch.nn.Linear(4, 5),
            torch.nn.Linear(5, 3),
        )
        modules = {"BatchNorm_0": norm, "Dense_0": first, "Dense_1": last, cell.upper(): layer}
        for module in modules.values():
            set_weights(module)
        x = draw(6, 5, 7)
        y = last(torch.relu(first(norm(layer(x)[0][:, -1]))))
        (y**2).sum().backward()
        named = {
            f"{name}.{key}": p
            for name, module in modules.items()
            for key, p in module.named_parameters()
        }
        norm.eval()
        results[f"row classifier {cell}"] = {
            "inputs": x.detach().numpy(),
            "params": flat(named),
            "outputs": y.detach().numpy(),
            "params_gradient": flat({name: p.grad for name, p in named.items()}),
            "mean": norm.running_mean.numpy(),
            "var": norm.running_var.numpy(),
            "evaluated": last(torch.relu(first(norm(layer(x)[0][:, -1])))).detach().numpy(),
        }
    return results
