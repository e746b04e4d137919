"""GANs in PyTorch: the loops of the book and of DCGAN, losses, penalties, spectral normalization.

Weights, images and noise are not stored: both sides draw them with NumPy from names. Layers have
the names that jaxdl gives them, with dots. PyTorch computes in float64 here, so that its own
rounding, which grows from step to step, is not in the fixture.
"""

import numpy as np
from cases_models import draw, draw_weight, in_order, summary

NUM_STEPS, NUM_DCGAN_STEPS = 100, 10
FIRST = {"hidden": 200, "pixels": 784, "latents": 100, "classes": 10}


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in (0, 1) that depend on the name only."""
    return (1 / (1 + np.exp(-2 * draw(name, shape)))).astype(np.float32)


def pattern(number: int) -> np.ndarray:
    """(N, 4): high, low, high, low."""
    high = np.array([0.8, 0, 0.8, 0], np.float32)
    return high + np.float32(0.2) * uniform("pattern", (number, 4))


def labels(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return (uniform(name, shape) * FIRST["classes"]).astype(np.int32)


def linear_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A weight or bias of the book's dense nets in PyTorch's layout, of PyTorch's size."""
    if len(shape) == 1:
        return draw_weight("gan", name, shape)
    return (draw(f"gan/{name}", shape) / np.sqrt(shape[-1])).astype(np.float32)


def book_noise(case: str) -> np.ndarray:
    """For the discriminator's update and the generator's.

    With some draws a hidden unit comes within 1e-6 of the corner of its LeakyReLU; rounding then
    decides its slope, and the losses differ in the third digit. With this one none comes nearer
    than 2e-5.
    """
    return draw(f"{case}/noise3", (NUM_STEPS, 2, FIRST["latents"]))


def tensor(x: np.ndarray):
    import torch

    return torch.from_numpy(np.array(x, np.float64))


def nchw(x: np.ndarray):
    return tensor(x.transpose(0, 3, 1, 2))


def nhwc(x) -> np.ndarray:
    return x.detach().numpy().transpose(0, 2, 3, 1)


def sequential(modules: dict):
    """A ``torch.nn.Sequential`` with chosen numbers for its layers: activations count too."""
    from torch import nn

    network = nn.Sequential()
    for name, module in modules.items():
        network.add_module(name, module)
    return network


def set_weights(network, case: str) -> None:
    import torch

    with torch.no_grad():
        for name, parameter in network.named_parameters():
            value = linear_weight(f"{case}/{name}", tuple(parameter.shape))
            parameter.copy_(tensor(value))


def numbers(network) -> np.ndarray:
    """(leaves, 35): a summary of every parameter, in the order of the names."""
    named = {name: p.detach().numpy() for name, p in network.named_parameters()}
    return np.stack([summary(*item) for item in in_order(named)])


def book_nets(case: str):
    """Generator and discriminator of G02, G07 or G16 with drawn weights."""
    from torch import nn

    joined = FIRST["classes"] if case == "conditional" else 0
    if case == "pattern":
        generator = sequential(
            {"0": nn.Linear(1, 3), "1": nn.Sigmoid(), "2": nn.Linear(3, 4), "3": nn.Sigmoid()}
        )
        judge = sequential(
            {"0": nn.Linear(4, 3), "1": nn.Sigmoid(), "2": nn.Linear(3, 1), "3": nn.Sigmoid()}
        )
    else:

        def layers(inputs, outputs):
            return {
                "0": nn.Linear(inputs, FIRST["hidden"]),
                "1": nn.LeakyReLU(0.02),
                "2": nn.LayerNorm(FIRST["hidden"]),
                "3": nn.Linear(FIRST["hidden"], outputs),
                "4": nn.Sigmoid(),
            }

        generator = sequential(layers(FIRST["latents"] + joined, FIRST["pixels"]))
        judge = sequential(layers(FIRST["pixels"] + joined, 1))
    set_weights(generator, f"{case}/generator")
    set_weights(judge, f"{case}/discriminator")
    return generator, judge


def book(case: str) -> dict[str, np.ndarray]:
    """The book's loop: the discriminator on one real and one generated example, the generator."""
    import torch

    generator, judge = book_nets(case)
    if case == "pattern":
        loss_function = torch.nn.MSELoss()
        optimizers = [torch.optim.SGD(net.parameters(), lr=0.01) for net in (generator, judge)]
        real, noise = pattern(NUM_STEPS), np.full((NUM_STEPS, 2, 1), 0.5, np.float32)
    else:
        loss_function = torch.nn.BCELoss()
        optimizers = [torch.optim.Adam(net.parameters(), lr=1e-4) for net in (generator, judge)]
        real = uniform(f"{case}/images", (NUM_STEPS, FIRST["pixels"]))
        noise = book_noise(case)
    hot = np.zeros((3, NUM_STEPS, 0), np.float32)
    if case == "conditional":
        names = [labels(f"{case}/labels{i}", (NUM_STEPS,)) for i in range(3)]
        hot = np.eye(FIRST["classes"], dtype=np.float32)[np.stack(names)]
    real, noise, hot = (tensor(array) for array in (real, noise, hot))

    def update(optimizer, outputs, target):
        loss = loss_function(outputs, torch.full_like(outputs, target))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    losses = []
    for i in range(NUM_STEPS):
        row = [update(optimizers[1], judge(torch.cat([real[i], hot[0, i]])), 1.0)]
        fake = generator(torch.cat([noise[i, 0], hot[1, i]])).detach()
        row.append(update(optimizers[1], judge(torch.cat([fake, hot[1, i]])), 0.0))
        fake = generator(torch.cat([noise[i, 1], hot[2, i]]))
        row.append(update(optimizers[0], judge(torch.cat([fake, hot[2, i]])), 1.0))
        losses.append(row)
    return {
        "losses": np.array(losses),
        "generator": numbers(generator),
        "discriminator": numbers(judge),
    }


DCGAN = {"size": 16, "channels": 2, "latents": 5, "features": 4, "batch": 4}


def dcgan_nets():
    from torch import nn

    c, z, f = DCGAN["channels"], DCGAN["latents"], DCGAN["features"]
    generator = sequential(
        {
            "0": nn.ConvTranspose2d(z, 2 * f, 4, 1, 0, bias=False),
            "1": nn.BatchNorm2d(2 * f),
            "2": nn.ReLU(),
            "3": nn.ConvTranspose2d(2 * f, f, 4, 2, 1, bias=False),
            "4": nn.BatchNorm2d(f),
            "5": nn.ReLU(),
            "6": nn.ConvTranspose2d(f, c, 4, 2, 1, bias=False),
            "7": nn.Tanh(),
        }
    )
    judge = sequential(
        {
            "0": nn.Conv2d(c, f, 4, 2, 1, bias=False),
            "1": nn.LeakyReLU(0.2),
            "2": nn.Conv2d(f, 2 * f, 4, 2, 1, bias=False),
            "3": nn.BatchNorm2d(2 * f),
            "4": nn.LeakyReLU(0.2),
            "5": nn.Conv2d(2 * f, 1, 4, 1, 0, bias=False),
            "6": nn.Flatten(),
        }
    )
    return generator, judge


def set_conv_weights(network, case: str) -> None:
    import torch

    with torch.no_grad():
        for name, parameter in network.named_parameters():
            value = draw_weight("gan", f"{case}/{name}", tuple(parameter.shape))
            parameter.copy_(tensor(value))


def dcgan() -> dict[str, np.ndarray]:
    """The loop of PyTorch's DCGAN tutorial: one update on both losses, the same fakes for both."""
    import torch

    generator, judge = dcgan_nets()
    set_conv_weights(generator, "dcgan/generator")
    set_conv_weights(judge, "dcgan/discriminator")
    adam = {"lr": 2e-4, "betas": (0.5, 0.999)}
    optimizers = [torch.optim.Adam(net.parameters(), **adam) for net in (generator, judge)]
    loss_function = torch.nn.BCEWithLogitsLoss()
    losses = []
    for i in range(NUM_DCGAN_STEPS):
        real, z = nchw(dcgan_images(i)), tensor(dcgan_noise(i))
        judge.zero_grad()
        outputs = judge(real)
        real_loss = loss_function(outputs, torch.full_like(outputs, 0.9))
        real_loss.backward()
        fake = generator(z[:, :, None, None])
        outputs = judge(fake.detach())
        fake_loss = loss_function(outputs, torch.zeros_like(outputs))
        fake_loss.backward()
        optimizers[1].step()
        generator.zero_grad()
        outputs = judge(fake)
        generator_loss = loss_function(outputs, torch.ones_like(outputs))
        generator_loss.backward()
        optimizers[0].step()
        losses.append([real_loss.item(), fake_loss.item(), generator_loss.item()])
    statistics = [
        buffer.numpy().ravel()
        for net in (generator, judge)
        for name, buffer in in_order(dict(net.named_buffers()))
        if "running" in name
    ]
    return {
        "losses": np.array(losses),
        "generator": numbers(generator),
        "discriminator": numbers(judge),
        "statistics": np.concatenate(statistics),
    }


def dcgan_images(step: int) -> np.ndarray:
    shape = (DCGAN["batch"], DCGAN["size"], DCGAN["size"], DCGAN["channels"])
    return np.tanh(draw(f"dcgan/images{step}", shape))


def dcgan_noise(step: int) -> np.ndarray:
    return draw(f"dcgan/noise{step}", (DCGAN["batch"], DCGAN["latents"]))


def losses() -> dict[str, dict[str, np.ndarray]]:
    """Values and gradients of every loss at the same outputs."""
    import torch
    from torch.nn import functional

    outputs = 2 * draw("gan losses", (6, 2))
    outputs[0] = [1.0, -1.0]  # the corners of the hinge

    def towards(function, target):
        return lambda d: function(d, torch.full_like(d, target), reduction="none")

    square, probability, logits = (
        functional.mse_loss,
        functional.binary_cross_entropy,
        functional.binary_cross_entropy_with_logits,
    )
    table = {
        "least_squares": [towards(square, t) for t in (1.0, 0.0, 1.0)],
        "least_squares smoothed": [towards(square, t) for t in (0.9, 0.1, 1.0)],
        "on_probabilities": [towards(probability, t) for t in (1.0, 0.0, 1.0)],
        "on_probabilities smoothed": [towards(probability, t) for t in (0.9, 0.1, 1.0)],
        "non_saturating": [towards(logits, t) for t in (1.0, 0.0, 1.0)],
        "non_saturating smoothed": [towards(logits, t) for t in (0.9, 0.0, 1.0)],
        "saturating": [
            towards(logits, 1.0),
            towards(logits, 0.0),
            lambda d: functional.logsigmoid(-d),
        ],
        "hinge": [lambda d: torch.relu(1 - d), lambda d: torch.relu(1 + d), lambda d: -d],
        "wasserstein": [lambda d: -d, lambda d: d, lambda d: -d],
    }
    results = {}
    for name, functions in table.items():
        values = outputs if "probabilities" not in name else 1 / (1 + np.exp(-outputs))
        arrays = {"outputs": values.astype(np.float32)}
        for player, function in zip(("real", "fake", "generator"), functions, strict=True):
            d = tensor(arrays["outputs"]).requires_grad_()
            per_example = function(d).mean(dim=1)
            per_example.sum().backward()
            arrays[player] = per_example.detach().numpy()
            arrays[f"{player}_gradient"] = d.grad.numpy()
        results[f"loss {name}"] = arrays
    return results


def penalties() -> dict[str, dict[str, np.ndarray]]:
    """Gradient penalty and R1 of a small critic, with gradients of the weights."""
    import torch

    first, second = draw("penalty/first", (5, 7)) / 2, draw("penalty/second", (7, 1))
    real, fake = draw("penalty/real", (4, 5)), draw("penalty/fake", (4, 5))
    share = uniform("penalty/share", (4, 1))
    results = {}
    for name in ("gradient_penalty", "squared_gradient_norm"):
        w1, w2 = (tensor(w).requires_grad_() for w in (first, second))
        x = tensor(real if "squared" in name else share * real + (1 - share) * fake)
        x.requires_grad_()
        outputs = torch.tanh(x @ w1) @ w2
        (slope,) = torch.autograd.grad(outputs.sum(), x, create_graph=True)
        squared = slope.pow(2).sum(dim=1)
        values = squared if "squared" in name else (slope.norm(2, dim=1) - 1).pow(2)
        values.sum().backward()
        results[name] = {
            "values": values.detach().numpy(),
            "first": w1.grad.numpy(),
            "second": w2.grad.numpy(),
        }
    return results


def spectral() -> dict[str, dict[str, np.ndarray]]:
    """Layers with spectral normalization: three passes in training, one in evaluation."""
    import torch
    from torch import nn
    from torch.nn.utils.parametrizations import spectral_norm

    layers = {
        "dense": (lambda: nn.Linear(5, 3), (4, 5)),
        "conv": (lambda: nn.Conv2d(2, 4, 3), (2, 6, 5, 2)),
        "transposed": (lambda: nn.ConvTranspose2d(2, 3, 4, 2, 1), (2, 4, 3, 2)),
        "embed": (lambda: nn.Embedding(6, 3), None),
        "twice": (lambda: nn.Linear(5, 3), (4, 5)),
    }
    results = {}
    for name, (make, shape) in layers.items():
        layer = make()
        set_conv_weights(layer, f"spectral/{name}")
        torch.manual_seed(0)
        layer = spectral_norm(layer, n_power_iterations=2 if name == "twice" else 1)
        part = layer.parametrizations.weight
        with torch.no_grad():  # away from the solution, so that an iteration matters
            for vector in (part[0]._u, part[0]._v):
                start = tensor(draw(f"spectral/{name}/{vector.numel()}", vector.shape))
                vector.copy_(start / start.norm())
        arrays = {"u": part[0]._u.numpy().copy(), "v": part[0]._v.numpy().copy()}
        for i in range(3):
            if shape is None:
                outputs = layer(torch.tensor([1, 4, 1]))
            else:
                x = draw(f"spectral/{name}/x{i}", shape)
                outputs = layer(nchw(x) if len(shape) == 4 else tensor(x))
            layer.zero_grad()
            (outputs**3).sum().backward()
            outputs = nhwc(outputs) if outputs.ndim == 4 else outputs.detach().numpy()
            arrays |= {
                f"outputs{i}": outputs,
                f"gradient{i}": part.original.grad.numpy().copy(),
                f"u{i}": part[0]._u.numpy().copy(),
                f"v{i}": part[0]._v.numpy().copy(),
            }
        layer.eval()
        if shape is not None:
            outputs = layer(nchw(x) if len(shape) == 4 else tensor(x)).detach()
            arrays["evaluated"] = nhwc(outputs) if outputs.ndim == 4 else outputs.numpy()
        results[f"spectral {name}"] = arrays
    return results


def conv_nets(activation, f=4, z=6):
    """The book's convolutional nets, with fewer channels and shorter noise unless told."""
    from torch import nn

    c = 3
    generator = sequential(
        {
            "0": nn.Linear(z, c * 11 * 11),
            "1": activation(),
            "2": nn.Unflatten(1, (c, 11, 11)),
            "3": nn.ConvTranspose2d(c, f, 8, 2),
            "4": nn.BatchNorm2d(f),
            "5": activation(),
            "6": nn.ConvTranspose2d(f, f, 8, 2),
            "7": nn.BatchNorm2d(f),
            "8": activation(),
            "9": nn.ConvTranspose2d(f, c, 8, 2, 1),
            "10": nn.BatchNorm2d(c),
            "11": nn.Sigmoid(),
        }
    )
    judge = sequential(
        {
            "0": nn.Conv2d(c, f, 8, 2),
            "1": nn.BatchNorm2d(f),
            "2": activation(),
            "3": nn.Conv2d(f, f, 8, 2),
            "4": nn.BatchNorm2d(f),
            "5": activation(),
            "6": nn.Conv2d(f, c, 8, 2),
            "7": activation(),
            "8": nn.Flatten(),
            "9": nn.Linear(c * 10 * 10, 1),
        }
    )
    return generator, judge


def conv() -> dict[str, dict[str, np.ndarray]]:
    """The book's convolutional nets one behind the other: outputs, gradients of the generator."""
    from torch import nn

    results = {}
    for name, activation in {
        "leaky": lambda: nn.LeakyReLU(0.2),
        "gelu": nn.GELU,
    }.items():
        generator, judge = conv_nets(activation)
        set_conv_weights(generator, "conv/generator")
        set_conv_weights(judge, "conv/discriminator")
        fake = generator(tensor(draw("conv/noise", (2, 6))))
        outputs = judge(fake)
        outputs.sum().backward()
        gradients = {n: p.grad.numpy() for n, p in generator.named_parameters()}
        results[f"conv {name}"] = {
            "fake": nhwc(fake)[:, ::17, ::13],
            "outputs": outputs.detach().numpy(),
            "gradients": np.stack([summary(*item) for item in in_order(gradients)]),
        }
    return results


def projection() -> dict[str, np.ndarray]:
    """A DCGAN discriminator with spectral norms and a projection, in training, twice."""
    import torch
    from torch import nn
    from torch.nn.utils.parametrizations import spectral_norm

    c, f = DCGAN["channels"], DCGAN["features"]
    layers = {
        "main_0": nn.Conv2d(c, f, 4, 2, 1),
        "main_2": nn.Conv2d(f, 2 * f, 4, 2, 1),
        "main_5": nn.Conv2d(2 * f, 1, 4, 1, 0),
        "embed": nn.Embedding(3, 2 * f),
    }
    arrays = {}
    for name, layer in layers.items():
        set_conv_weights(layer, f"projection/{name}")
        torch.manual_seed(0)
        layers[name] = spectral_norm(layer)
        part = layers[name].parametrizations.weight[0]
        arrays |= {f"{name}/u": part._u.numpy().copy(), f"{name}/v": part._v.numpy().copy()}
    for i in range(2):
        x, label = nchw(dcgan_images(i)), torch.tensor([0, 2, 1, 2])
        maps = nn.functional.leaky_relu(layers["main_0"](x), 0.2)
        maps = nn.functional.leaky_relu(layers["main_2"](maps), 0.2)
        outputs = layers["main_5"](maps).flatten(1)
        outputs = outputs + (layers["embed"](label) * maps.sum(dim=(2, 3))).sum(1, keepdim=True)
        arrays[f"outputs{i}"] = outputs.detach().numpy()
    return arrays


def cases() -> dict[str, dict[str, np.ndarray]]:
    import torch

    torch.set_default_dtype(torch.float64)
    try:
        results = {case: book(case) for case in ("pattern", "improved", "conditional")}
        results |= {"dcgan": dcgan(), "projection": projection()}
        results |= losses() | penalties() | spectral() | conv()
    finally:
        torch.set_default_dtype(torch.float32)
    return {
        case: {name: array.astype(np.float32) for name, array in arrays.items()}
        for case, arrays in results.items()
    }
