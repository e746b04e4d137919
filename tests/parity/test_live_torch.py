"""Live comparison with torch==2.13.0; CI runs it, the test command does not: it needs torch."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import torch

from jaxdl import losses, models, optim, train
from jaxdl import nn as jnn
from jaxdl.nn.conv_ops import prefer_implementation


def to_torch(image):
    return torch.from_numpy(np.asarray(image).transpose(0, 3, 1, 2).copy())


def linear_params(module):
    return {"kernel": module.weight.detach().numpy().T, "bias": module.bias.detach().numpy()}


def conv_params(module):
    kernel = module.weight.detach().numpy().transpose(2, 3, 1, 0)
    return {"kernel": kernel, "bias": module.bias.detach().numpy()}


def assert_close(ours, theirs, tolerance=1e-5):
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    largest = max(np.abs(theirs).max(), 1e-30)
    np.testing.assert_allclose(np.asarray(ours) / largest, theirs / largest, rtol=0, atol=tolerance)


def test_fixtures_are_what_torch_gives_now(reference_set):
    name, dataset, fixture = reference_set
    now = reference.torch_losses(name, dataset.train["image"], dataset.train["label"])
    np.testing.assert_allclose(fixture["losses"], now, rtol=0, atol=1e-5)


class TorchConvNet(torch.nn.Module):
    """M12 in PyTorch, without dropout, which no two libraries draw alike."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(1, 16, 3), torch.nn.Conv2d(16, 32, 3)
        self.fc1, self.fc2 = torch.nn.Linear(800, 32), torch.nn.Linear(32, 10)

    def forward(self, x):
        for conv in (self.conv1, self.conv2):
            x = torch.nn.functional.max_pool2d(torch.relu(conv(x)), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))

    def params(self):
        return jax.tree.map(
            jnp.array,
            {
                "Conv_0": conv_params(self.conv1),
                "Conv_1": conv_params(self.conv2),
                "Dense_0": linear_params(self.fc1),
                "Dense_1": linear_params(self.fc2),
            },
        )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (optim.sgd(0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
        (
            optim.sgd(0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
            lambda p: torch.optim.SGD(p, 0.05, 0.9, weight_decay=1e-3, nesterov=True),
        ),
        # with the default eps Adam blows the last bits of a gradient that is almost zero up to a
        # whole step; the default is tested below, on given gradients
        (
            optim.adam(1e-3, weight_decay=1e-2, eps=1e-2),
            lambda p: torch.optim.Adam(p, weight_decay=1e-2, eps=1e-2),
        ),
        (optim.adamw(1e-3, eps=1e-2), lambda p: torch.optim.AdamW(p, eps=1e-2)),
    ],
    ids=["sgd", "nesterov", "adam", "adamw"],
)
def test_ten_steps_of_the_convnet(ours, theirs):
    torch.manual_seed(0)
    network = TorchConvNet()
    model = models.ConvNet(dropout_rate=0.0)
    generator = np.random.default_rng(0)
    images = generator.random((64, 28, 28, 1), np.float32)
    labels = generator.integers(0, 10, 64).astype(np.int32)
    state = train.init_state(model, ours, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    params = network.params()
    state = state.replace(params=params, opt_state=ours.init(params))
    step = jax.jit(train.make_step(train.supervised(model, losses.cross_entropy), ours))
    optimizer = theirs(network.parameters())
    for _ in range(10):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(
            network(to_torch(images)), torch.from_numpy(labels).long()
        )
        loss.backward()
        optimizer.step()
        state, metrics = step(state, {"image": images, "label": labels})
        assert float(metrics["loss"].total / 64) == pytest.approx(loss.item(), abs=1e-5)
    jax.tree.map(lambda a, b: assert_close(a, b, 2e-5), state.params, network.params())


def test_ten_adam_steps_on_given_gradients():
    """Without a network, whose gradients differ in their last bits, Adam is equal to 1e-6."""
    generator = np.random.default_rng(0)
    start = generator.normal(size=50).astype(np.float32)
    gradients = generator.normal(size=(10, 50)).astype(np.float32)
    for ours, theirs in (
        (optim.adam(1e-2, weight_decay=1e-2), torch.optim.Adam),
        (optim.adamw(1e-2, weight_decay=1e-2), torch.optim.AdamW),
    ):
        weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
        optimizer = theirs([weight], lr=1e-2, weight_decay=1e-2)
        params, state = jnp.array(start), ours.init(jnp.array(start))
        for gradient in gradients:
            weight.grad = torch.from_numpy(gradient)
            optimizer.step()
            updates, state = ours.update(jnp.array(gradient), state, params)
            params = params + updates
        assert_close(params, weight, 1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_and_its_gradient(smoothing):
    logits = np.random.default_rng(0).normal(size=(16, 10)).astype(np.float32) * 5
    labels = np.arange(16) % 10
    x = torch.tensor(logits, requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(
        x, torch.from_numpy(labels), reduction="none", label_smoothing=smoothing
    )
    theirs.sum().backward()

    def ours(logits):
        return losses.cross_entropy(logits, jnp.array(labels), label_smoothing=smoothing)

    assert_close(ours(logits), theirs)
    assert_close(jax.grad(lambda z: ours(z).sum())(logits), x.grad)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("implementation", ["matmul", "lax"])
def test_convolution_and_its_gradients(stride, padding, implementation):
    generator = np.random.default_rng(0)
    images = generator.normal(size=(4, 9, 11, 3)).astype(np.float32)
    kernel = generator.normal(size=(3, 3, 3, 5)).astype(np.float32)
    x = to_torch(images).requires_grad_()
    w = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()).requires_grad_()
    theirs = torch.nn.functional.conv2d(x, w, stride=stride, padding=padding)
    (theirs**2).sum().backward()

    def ours(images, kernel):
        with prefer_implementation(implementation):
            return jnn.convolution(images, kernel, stride=stride, padding=padding)

    gradients = jax.grad(lambda *args: (ours(*args) ** 2).sum(), (0, 1))(images, kernel)
    assert_close(ours(images, kernel), theirs.permute(0, 2, 3, 1))
    assert_close(gradients[0], x.grad.permute(0, 2, 3, 1))
    assert_close(gradients[1], w.grad.permute(2, 3, 1, 0))


def test_max_pool_gradient_goes_where_torch_sends_it():
    images = np.random.default_rng(0).integers(0, 3, (4, 6, 7, 2)).astype(np.float32)  # many ties
    x = to_torch(images).requires_grad_()
    theirs = torch.nn.functional.max_pool2d(x, 2)
    (theirs * torch.arange(theirs.numel()).reshape(theirs.shape)).sum().backward()
    weights = np.arange(theirs.numel()).reshape(theirs.shape).transpose(0, 2, 3, 1)
    gradient = jax.grad(lambda z: (jnn.max_pool(z) * weights).sum())(images)
    np.testing.assert_array_equal(gradient, x.grad.permute(0, 2, 3, 1).numpy())


def test_initial_weights_have_torchs_distribution():
    torch.manual_seed(0)
    theirs = {
        "Dense": linear_params(torch.nn.Linear(400, 300)),
        "Conv": conv_params(torch.nn.Conv2d(40, 80, 5)),
    }
    modules = {
        "Dense": (jnn.Dense(300), jnp.zeros((1, 400))),
        "Conv": (jnn.Conv(80, (5, 5)), jnp.zeros((1, 8, 8, 40))),
    }
    for name, (module, example) in modules.items():
        ours = module.init(jax.random.key(0), example)["params"]
        for leaf in ("kernel", "bias"):
            a, b = np.asarray(ours[leaf]), theirs[name][leaf]
            assert a.shape == b.shape
            # the bounds are those of U(-k, k); the deviation of n draws is within 5/sqrt(n)
            assert np.abs(a).max() == pytest.approx(np.abs(b).max(), rel=0.05)
            assert a.std() == pytest.approx(b.std(), rel=5 / np.sqrt(a.size))


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_kaiming_and_xavier_have_torchs_distribution(mode, slope):
    torch.manual_seed(0)
    init = torch.nn.init
    options = {"a": slope, "mode": mode}
    pairs = {
        "kaiming_uniform": (
            jnn.initializers.kaiming_uniform(mode, negative_slope=slope),
            lambda weight: init.kaiming_uniform_(weight, **options),
        ),
        "kaiming_normal": (
            jnn.initializers.kaiming_normal(mode, negative_slope=slope),
            lambda weight: init.kaiming_normal_(weight, **options),
        ),
        "xavier_uniform": (
            jnn.initializers.xavier_uniform(1 + slope),
            lambda weight: init.xavier_uniform_(weight, 1 + slope),
        ),
        "xavier_normal": (
            jnn.initializers.xavier_normal(1 + slope),
            lambda weight: init.xavier_normal_(weight, 1 + slope),
        ),
    }
    for name, (ours, theirs) in pairs.items():
        a = np.asarray(ours(jax.random.key(0), (3, 3, 40, 90)))
        b = theirs(torch.empty(90, 40, 3, 3)).numpy()
        assert a.std() == pytest.approx(b.std(), rel=5 / np.sqrt(a.size))
        if "uniform" in name:
            assert np.abs(a).max() == pytest.approx(np.abs(b).max(), rel=0.01)


def test_batchnorm_uses_torchs_momentum_for_the_mean():
    x = np.random.default_rng(0).normal(2.0, 3.0, (16, 5, 5, 4)).astype(np.float32)
    theirs = torch.nn.BatchNorm2d(4)
    out = theirs(to_torch(x))
    norm = flax.linen.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-5)
    ours, variables = norm.init_with_output(jax.random.key(0), x)
    assert_close(ours, out.permute(0, 2, 3, 1))
    _, new = norm.apply(variables, x, mutable=["batch_stats"])
    assert_close(new["batch_stats"]["mean"], theirs.running_mean)
