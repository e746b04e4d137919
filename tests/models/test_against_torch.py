"""Models against the fixtures from PyTorch: outputs, gradients, running statistics."""

import cases_models
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases_models import INPUTS, draw, draw_constant, draw_weight, in_order, summary
from helpers.oracle import compare, read_cases

from jaxdl import models
from jaxdl.interop import params_from_torch, params_to_torch
from jaxdl.models import tutorial
from jaxdl.models.convnet import StridedConvNet

CASES = read_cases("models")


MODELS = {
    "mlp": models.MLP((7, 6, 3)),
    "mlp_tanh": models.MLP((8, 8, 4), jnp.tanh),
    "mlp_sigmoid": models.MLP((3, 1), linen.sigmoid, output_activation=linen.sigmoid),
    "fixed_weight_mlp": tutorial.FixedWeightMLP(6),
    "nested_mlp": tutorial.NestedMLP((8, 7, 4), 6),
    "lenet5": models.LeNet5(hidden=(9, 8)),
    "lenet_max_pool": models.LeNetMaxPool(hidden=(9, 8)),
    "convnet": models.ConvNet(dropout_rate=0.0),
    "cnn": models.CNN(3, (4, 5), dropout_rate=0.0),
    "mnist_cnn": models.MnistCNN(dropout_rates=(0.0, 0.0), features=(3, 4), hidden=5),
    "batch_norm_convnet": models.BatchNormConvNet(features=(3, 4)),
    "strided_convnet": StridedConvNet(),
    "functional_cnn": None,
    "autoencoder": models.Autoencoder((8, 6), 3, (4, 3, 2)),
    "vae": models.VAE(8, 3, (4, 3, 2)),
    "conv_vae": models.ConvVAE((3, 4), 2, (8, 12, 2)),
    "resnet_basic": models.ResNet((1, 2), models.resnet.BasicBlock, 5, width=4),
    "resnet_bottleneck": models.ResNet((2, 1), models.resnet.Bottleneck, 5, width=4),
    "resnet_cifar": models.ResNet((1, 1), models.resnet.BasicBlock, 5, stem="cifar", width=4),
    "vgg": models.VGG((1, 1, 2), 5, width=4, hidden=8, dropout_rate=0.0),
    "vgg_batch_norm": models.VGG((1, 2), 5, True, width=4, hidden=8, dropout_rate=0.0),
    "vit": models.VisionTransformer(5, 4, 12, 2, 3, 16),
}
CONSTANTS = {
    "fixed_weight_mlp": {"weight": draw_constant(6)},
    "nested_mlp": {"fixed": {"weight": draw_constant(6)}},
}


def init(case, x):
    if case == "functional_cnn":
        options = {"features": (3, 4), "num_features": 16}
        return {"params": tutorial.init_functional_cnn(jax.random.key(0), **options)}
    return MODELS[case].init(jax.random.key(0), x)


def apply(case, variables, x, train):
    """Outputs as a list, and the new statistics."""
    if case == "functional_cnn":
        return [tutorial.functional_cnn(variables["params"], x)], {}
    options = {"sample": False} if "vae" in case else {}
    outputs, new = MODELS[case].apply(variables, x, train=train, mutable="batch_stats", **options)
    return jax.tree.leaves(outputs), new.get("batch_stats", {})


def in_torch(variables):
    """By PyTorch's names and in its layouts, in the fixture's order."""
    state = params_to_torch(variables)
    return in_order({name: a for name, a in state.items() if "num_batches" not in name})


def draw_variables(case, x):
    target = dict(jax.eval_shape(lambda: init(case, x)))
    constants = {"constants": CONSTANTS[case]} if target.pop("constants", None) else {}
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), target)
    state = {name: draw_weight(case, name, array.shape) for name, array in in_torch(zeros)}
    return params_from_torch(state, target) | constants


@pytest.mark.slow
@pytest.mark.parametrize("case", MODELS)
def test_outputs_gradients_and_statistics(case):
    expected, x = CASES[case], draw(f"{case}/inputs", INPUTS[case])
    variables = draw_variables(case, x)

    @jax.jit
    def compute(variables):
        def objective(params):
            outputs, new = apply(case, {**variables, "params": params}, x, True)
            weights = [draw(f"{case}/output{i}", y.shape) for i, y in enumerate(outputs)]
            total = sum((y * w).sum() for y, w in zip(outputs, weights, strict=True))
            return total, (outputs, new)

        gradients, (outputs, new) = jax.grad(objective, has_aux=True)(variables["params"])
        return outputs, apply(case, variables, x, False)[0], gradients, new

    trained, evaluated, gradients, statistics = compute(variables)
    for index, (train_outputs, eval_outputs) in enumerate(zip(trained, evaluated, strict=True)):
        compare(f"model {case}", train_outputs, expected[f"trained{index}"])
        compare(f"model {case}", eval_outputs, expected[f"evaluated{index}"])

    rows = np.stack([summary(*item) for item in in_torch({"params": gradients})])
    assert rows.shape == expected["gradients"].shape
    norm, largest = expected["gradients"][:, -2:].T
    # A bias before a BatchNorm has no influence: its gradient is rounding on both sides, and is
    # measured by the largest gradient of the model.
    idle = largest < 1e-5 * largest.max()
    assert idle.sum() == {"batch_norm_convnet": 2, "vgg_batch_norm": 3}.get(case, 0)
    norm, largest = np.where(idle, norm.max(), norm), np.where(idle, largest.max(), largest)
    scale = np.stack([*[largest] * cases_models.NUM_VALUES, norm, norm, largest], axis=1)
    for ours, theirs in zip(rows / scale, expected["gradients"] / scale, strict=True):
        compare(f"model {case}, gradients", np.append(ours, 1.0), np.append(theirs, 1.0))

    place = 0
    for _, leaf in in_torch({"batch_stats": statistics}):
        theirs = expected["statistics"][place : place + leaf.size]
        compare(f"model {case}, statistics", leaf, theirs)
        place += leaf.size
    assert place == len(expected.get("statistics", ()))
