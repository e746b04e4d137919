"""jaxdl → PyTorch → jaxdl for the whole zoo: bitwise weights, the same outputs in between."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch_models as theirs
from cases_gan import conv_nets, dcgan_nets, sequential
from helpers.oracle import compare
from helpers.small_models import draw_variables
from test_interop_live import ZOO, shapes_of
from torch import nn

from jaxdl import models
from jaxdl.interop import params_from_torch, params_to_torch
from jaxdl.interop._layouts import entries


class Player(nn.Module):
    """A network under the name that its source gives it, with what is around it there."""

    def __init__(self, name, network, before=lambda x: x, after=lambda x: x):
        super().__init__()
        self.name, self.before, self.after = name, before, after
        self.add_module(name, network)

    def forward(self, x):
        return self.after(self.get_submodule(self.name)(self.before(x)))


def dense(inputs, hidden, outputs, *last):
    layers = [nn.Linear(inputs, hidden), nn.LeakyReLU(0.02), nn.LayerNorm(hidden)]
    layers += [nn.Linear(hidden, outputs), *last]
    return sequential({str(index): layer for index, layer in enumerate(layers)})


SAME_KIND = ("VGG-11", "VGG-11, BatchNorm", "ResNet-18, CIFAR stem", "ResNet-18, width 8")
"""Of the zoo, what the others stand for here."""

NETWORKS = {name: case for name, case in ZOO.items() if name not in SAME_KIND} | {
    # all convolutions as they are; the two hidden layers of 4,096, half a gigabyte that would be
    # there five times over, are compared by their shapes below
    "VGG-16": (
        models.VGG16(10, hidden=64),
        lambda: theirs.VGG((2, 2, 3, 3, 3), 10, hidden=64),
        (1, 224, 224, 3),
    ),
    "dense generator": (
        models.DenseGenerator(),
        lambda: Player(
            "model",
            dense(100, 200, 784, nn.Sigmoid()),
            after=lambda x: x.reshape(-1, 1, 28, 28),
        ),
        (2, 100),
    ),
    "dense discriminator": (
        models.DenseDiscriminator(),
        lambda: Player("model", dense(784, 200, 1), before=nn.Flatten()),
        (2, 28, 28, 1),
    ),
    "convolutional generator": (
        models.ConvGenerator(),
        lambda: Player("model", conv_nets(lambda: nn.LeakyReLU(0.2), 256, 100)[0]),
        (1, 100),
    ),
    "convolutional discriminator": (
        models.ConvDiscriminator(),
        lambda: Player("model", conv_nets(lambda: nn.LeakyReLU(0.2), 256, 100)[1]),
        (1, 128, 128, 3),
    ),
    "DCGAN generator": (
        models.DCGANGenerator((16, 16, 2), 5, 4),
        lambda: Player("main", dcgan_nets()[0], before=lambda x: x[:, :, None, None]),
        (2, 5),
    ),
    "DCGAN discriminator": (
        models.DCGANDiscriminator(4),
        lambda: Player("main", dcgan_nets()[1]),
        (2, 16, 16, 2),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_come_back_bitwise_and_outputs_agree(name):
    model, make, shape = NETWORKS[name]
    inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    variables = draw_variables(model, jnp.asarray(inputs))
    module = make().float().eval()
    if isinstance(module, nn.RNNBase):
        module.batch_first = True
    arrays = params_to_torch(variables, module.state_dict())
    module.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    with torch.no_grad():
        channels_first = np.moveaxis(inputs, -1, 1) if inputs.ndim == 4 else inputs
        expected = module(torch.from_numpy(channels_first.copy()))
    expected = [leaf.numpy() for leaf in jax.tree.leaves(tuple_of(expected))]
    expected = [np.moveaxis(leaf, 1, -1) if leaf.ndim == 4 else leaf for leaf in expected]
    # without LLVM's optimizations, which take longer than this test
    apply = jax.jit(model.apply, compiler_options={"xla_backend_optimization_level": 0})
    ours = jax.tree.leaves(apply(variables, inputs))
    # unoptimized code adds the 16,384 products of an 8x8 kernel one by one: 1.9e-5 without AVX-512
    tolerance = 3e-5 if name == "convolutional discriminator" else 1e-5
    ours = [a.reshape(b.shape) for a, b in zip(ours, expected, strict=True)]
    compare(f"{name}, there", ours, expected, tolerance)
    back = params_from_torch(module.state_dict(), shapes_of(model, shape))
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def tuple_of(outputs):
    """Lists and dictionaries of tensors as tuples, in their order."""
    if isinstance(outputs, dict):
        return tuple(outputs.values())
    return outputs


def test_a_full_vgg_16_has_the_names_and_shapes_of_pytorchs():
    """138 million parameters that nobody needs to draw: both sides without memory."""
    target = shapes_of(models.VGG16(), (1, 224, 224, 3))
    with torch.device("meta"):
        module = theirs.VGG((2, 2, 3, 3, 3), 1000)
    expected = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    assert {entry.name: entry.shape for entry in entries(target)} == expected
    assert sum(np.prod(shape) for shape in expected.values()) == 138_357_544
