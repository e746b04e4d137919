"""Optimizers, schedules, plateaus and averages in PyTorch."""

from unittest import mock

import numpy as np

EPOCHS = 40
PLATEAU_VALUES = [
    1.0, 0.9, 0.95, 0.9, 0.91, 0.89995, 0.92, 0.93, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.49, 0.7,
    0.7, 0.7, 0.7, 0.7, 0.7,
]  # fmt: skip


def optimizers(torch):
    optim = torch.optim
    return {
        "sgd": lambda p: optim.SGD(p, 0.1),
        "sgd momentum decay": lambda p: optim.SGD(p, 0.1, 0.9, weight_decay=1e-2),
        "sgd nesterov": lambda p: optim.SGD(p, 0.1, 0.9, nesterov=True, weight_decay=1e-2),
        "adam": lambda p: optim.Adam(p, 1e-2),
        "adam decay": lambda p: optim.Adam(p, 1e-2, weight_decay=1e-2),
        "adamw": lambda p: optim.AdamW(p, 1e-2, weight_decay=0.1),
        "rmsprop": lambda p: optim.RMSprop(p, 1e-2),
        "rmsprop centered momentum": lambda p: optim.RMSprop(
            p, 1e-2, momentum=0.9, centered=True, weight_decay=1e-2
        ),
        "adagrad": lambda p: optim.Adagrad(p, 1e-1, weight_decay=1e-2),
        "adadelta": lambda p: optim.Adadelta(p, 1.0, weight_decay=1e-2),
    }


def muon(torch, start, gradients):
    """PyTorch's Muon, its iteration in float64 in place of bfloat16."""
    weight, path = torch.nn.Parameter(torch.from_numpy(start.astype(np.float64))), []
    optimizer = torch.optim.Muon([weight], 0.02, weight_decay=0.1)
    with mock.patch.object(torch.Tensor, "bfloat16", torch.Tensor.double):
        for gradient in gradients:
            weight.grad = torch.from_numpy(gradient.astype(np.float64))
            optimizer.step()
            path.append(weight.detach().numpy().astype(np.float32))
    return np.stack(path)


def schedulers(torch):
    s = torch.optim.lr_scheduler
    return {
        "step_decay": (1e-3, lambda o: s.StepLR(o, 5, 0.5)),
        "multi_step": (1.0, lambda o: s.MultiStepLR(o, [7, 20, 20], 0.1)),
        "exponential": (0.1, lambda o: s.ExponentialLR(o, 0.9)),
        "cosine": (1.0, lambda o: s.CosineAnnealingLR(o, EPOCHS, eta_min=0.1)),
        "cosine_restarts": (1.0, lambda o: s.CosineAnnealingWarmRestarts(o, 10)),
        "cosine_restarts growing": (
            1.0,
            lambda o: s.CosineAnnealingWarmRestarts(o, 5, 2, eta_min=0.05),
        ),
        "warmup": (0.5, lambda o: s.LinearLR(o, 0.1, 1.0, 10)),
        "polynomial": (0.5, lambda o: s.PolynomialLR(o, 30, 2.0)),
        "one_cycle": (0.1, lambda o: s.OneCycleLR(o, 0.1, total_steps=EPOCHS)),
        "one_cycle linear": (
            0.1,
            lambda o: s.OneCycleLR(
                o, 0.1, EPOCHS, pct_start=0.55, anneal_strategy="linear", div_factor=10.0
            ),
        ),
        "one_cycle three_phase": (
            0.1,
            lambda o: s.OneCycleLR(
                o, 0.1, EPOCHS, pct_start=0.33, final_div_factor=50.0, three_phase=True
            ),
        ),
        "one_cycle three_phase short": (
            0.1,
            lambda o: s.OneCycleLR(
                o, 0.1, EPOCHS, pct_start=0.7, anneal_strategy="linear", three_phase=True
            ),
        ),
        "lambda": (0.2, lambda o: s.LambdaLR(o, lambda epoch: 0.95**epoch / (1 + epoch))),
        "chained": (
            0.1,
            lambda o: s.ChainedScheduler([s.ExponentialLR(o, 0.9), s.StepLR(o, 3, 0.1)]),
        ),
    }


PLATEAUS = {
    "min": {"patience": 2},
    "max": {"mode": "max", "patience": 2, "factor": 0.5},
    "absolute cooldown": {
        "patience": 1,
        "threshold": 1e-2,
        "threshold_mode": "abs",
        "cooldown": 2,
        "factor": 0.5,
    },
}


def cases() -> dict[str, dict[str, np.ndarray]]:
    import torch

    generator = np.random.default_rng(0)
    start = generator.normal(size=(6, 4)).astype(np.float32)
    gradients = generator.normal(size=(10, 6, 4)).astype(np.float32)
    results = {"start": {"weights": start, "gradients": gradients}}
    for name, make in optimizers(torch).items():
        weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
        optimizer = make([weight])
        path = []
        for gradient in gradients:
            weight.grad = torch.from_numpy(gradient)
            optimizer.step()
            path.append(weight.detach().numpy().copy())
        results[name] = {"path": np.stack(path)}
    results["muon"] = {"path": muon(torch, start, gradients)}
    turned = (start.T.copy(), gradients.swapaxes(1, 2).copy())
    results["muon transposed"] = {"path": muon(torch, *turned)}
    for name, (rate, make) in schedulers(torch).items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], rate)
        scheduler = make(optimizer)
        rates = []
        for _ in range(EPOCHS):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        results[f"schedule {name}"] = {"rates": np.array(rates, np.float32)}
    for name, options in PLATEAUS.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options, min_lr=0.01)
        rates = []
        for value in PLATEAU_VALUES:
            scheduler.step(value)
            rates.append(optimizer.param_groups[0]["lr"])
        results[f"plateau {name}"] = {
            "values": np.array(PLATEAU_VALUES, np.float32),
            "rates": np.array(rates, np.float32),
        }
    for name, average in {
        "ema": {"multi_avg_fn": torch.optim.swa_utils.get_ema_multi_avg_fn(0.8)},
        "swa": {},
    }.items():
        module = torch.nn.Linear(4, 6, bias=False)
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(start))
        averaged = torch.optim.swa_utils.AveragedModel(module, **average)
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        path = []
        for gradient in gradients:
            module.weight.grad = torch.from_numpy(gradient)
            optimizer.step()
            averaged.update_parameters(module)
            path.append(averaged.module.weight.detach().numpy().copy())
        results[f"average {name}"] = {"path": np.stack(path)}
    weights = {"bias": start[0], "weight": start}
    for name, call in {
        "norm": lambda p: torch.nn.utils.clip_grad_norm_(p, 1.5),
        "value": lambda p: torch.nn.utils.clip_grad_value_(p, 0.5),
    }.items():
        parameters = {
            key: torch.nn.Parameter(torch.from_numpy(array.copy()))
            for key, array in weights.items()
        }
        optimizer = torch.optim.SGD(parameters.values(), 0.1, 0.9)
        for gradient in gradients:
            parameters["weight"].grad = torch.from_numpy(gradient.copy())
            parameters["bias"].grad = torch.from_numpy(gradient[1].copy())
            call(list(parameters.values()))
            optimizer.step()
        results[f"clip {name}"] = {key: p.detach().numpy() for key, p in parameters.items()}
    return results
