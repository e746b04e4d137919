"""Weights to live torch and back; CI runs it, the test command does not: it needs torch."""

import copy

import flax.linen as linen
import jax
import jax.numpy as jnp
import make_interop_fixtures
import numpy as np
import pytest
import safetensors.torch
import torch
import torch_models as theirs
from helpers.oracle import compare
from test_models_live import NETWORKS

from jaxdl import __main__ as command
from jaxdl import models
from jaxdl.interop import (
    load_state_dict,
    params_from_torch,
    params_to_torch,
    read_weights,
    write_safetensors,
)
from jaxdl.interop.verify import compare_layers, convert, describe
from jaxdl.models.sequence import RecurrentClassifier
from jaxdl.nn.linear import Bilinear
from jaxdl.nn.recurrent import GRU, LSTM


class Recurrent(torch.nn.Module):
    """The counterpart of RecurrentClassifier."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell
        self.add_module(f"{cell}_0", getattr(torch.nn, cell)(28, 64, batch_first=True))
        self.BatchNorm_0 = torch.nn.BatchNorm1d(64)
        self.Dense_0, self.Dense_1 = torch.nn.Linear(64, 32), torch.nn.Linear(32, 10)

    def forward(self, x):
        states = self.get_submodule(f"{self.cell}_0")(x)[1]
        state = (states[0] if self.cell == "LSTM" else states)[-1]
        return self.Dense_1(torch.relu(self.Dense_0(self.BatchNorm_0(state))))


def classifier(cell):
    return RecurrentClassifier(cell=cell.lower()), lambda: Recurrent(cell), (2, 28, 28)


def layers(ours, cell):
    options = {"num_layers": 2, "bidirectional": True}
    return ours(5, **options), lambda: getattr(torch.nn, cell)(4, 5, **options), (2, 3, 4)


ZOO = NETWORKS | {
    "ResNet-18, width 8": (
        models.ResNet18(10, stem="cifar", width=8),
        lambda: theirs.ResNet((2, 2, 2, 2), False, 10, stem="cifar", width=8),
        (2, 32, 32, 3),
    ),
    "BatchNormConvNet": (
        models.BatchNormConvNet(),
        lambda: theirs.BatchNormConvNet(1, (16, 32), 5, 1568, 10),
        (2, 28, 28, 1),
    ),
    "VGG-11, BatchNorm": (
        models.VGG11(10, batch_norm=True, width=4, hidden=8),
        lambda: theirs.VGG((1, 1, 2, 2, 2), 10, True, width=4, hidden=8),
        (2, 64, 64, 3),
    ),
    "LSTM classifier": classifier("LSTM"),
    "GRU classifier": classifier("GRU"),
    "LSTM": layers(LSTM, "LSTM"),
    "GRU": layers(GRU, "GRU"),
}


def shapes_of(model, shape):
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))


def trained(make):
    """A module whose statistics and counters are not those of the start."""
    torch.manual_seed(0)
    module = make()
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
        elif name.endswith("running_mean"):
            tensor.normal_()
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(3)
    return module


@pytest.mark.parametrize("name", ZOO)
def test_there_and_back_is_bitwise(name, tmp_path):
    model, make, shape = ZOO[name]
    module, target = trained(make), shapes_of(model, shape)
    state = module.state_dict()
    variables = params_from_torch(state, target)
    arrays = params_to_torch(variables, state)
    write_safetensors(tmp_path / "model.safetensors", arrays, {"format": "pt"})
    loaded = safetensors.torch.load_file(tmp_path / "model.safetensors")
    other = make()
    other.load_state_dict(loaded)
    assert list(arrays) == list(state)
    for key, tensor in state.items():
        assert torch.equal(other.state_dict()[key], tensor), key
        assert loaded[key].dtype == tensor.dtype
    back = params_from_torch(other.state_dict(), target)
    jax.tree.map(np.testing.assert_array_equal, back, variables)
    # without a template too, if perhaps in another spelling
    ours = params_to_torch(variables)
    jax.tree.map(np.testing.assert_array_equal, params_from_torch(ours, target), variables)


def test_default_names_are_torchvisions_for_resnets_and_vggs():
    for name in ("ResNet-18, width 8", "VGG-11, BatchNorm", "BatchNormConvNet"):
        model, make, shape = ZOO[name]
        state = make().state_dict()
        assert (
            params_to_torch(params_from_torch(state, shapes_of(model, shape))).keys()
            == state.keys()
        )


def test_the_committed_files_are_what_torch_writes_now(tmp_path):
    make_interop_fixtures.main(tmp_path)
    keys = {"two_models.pth": "generator"}
    names = [path.name for path in tmp_path.iterdir()]
    assert sorted(names) == sorted(p.name for p in make_interop_fixtures.FIXTURES.iterdir())
    refused = {"legacy.pth", "whole_model.pth", "torchscript.pt", "conjugate.pth"}
    for name in sorted(set(names) - refused):
        committed = read_weights(make_interop_fixtures.FIXTURES / name, key=keys.get(name))
        now = read_weights(tmp_path / name, key=keys.get(name))
        assert now.keys() == committed.keys()
        for key, array in now.items():
            np.testing.assert_array_equal(array, committed[key], strict=True)


def test_what_we_read_is_what_torch_loads(tmp_path):
    for path in make_interop_fixtures.FIXTURES.glob("*.pth"):
        if path.name not in ("state_dict.pth", "views.pth", "dtypes.pth"):
            continue
        loaded = torch.load(path, weights_only=True)
        for name, array in read_weights(path).items():
            assert str(loaded[name].dtype) == f"torch.{array.dtype}"
            wide = loaded[name].detach().to(torch.complex128)
            np.testing.assert_array_equal(array.astype(np.complex128), wide.numpy())


def test_torch_reads_bfloat16_that_we_wrote(tmp_path):
    module = torch.nn.Linear(3, 2).bfloat16()
    target = {"params": {"kernel": jnp.zeros((3, 2), jnp.bfloat16), "bias": jnp.zeros(2)}}
    variables, _ = load_state_dict(module.state_dict(), target, dtype=jnp.bfloat16)
    write_safetensors(tmp_path / "a.safetensors", params_to_torch(variables))
    loaded = safetensors.torch.load_file(tmp_path / "a.safetensors")
    for name, tensor in module.state_dict().items():
        assert loaded[name].dtype == torch.bfloat16
        assert torch.equal(loaded[name], tensor)


def test_tensors_of_the_running_model_are_copied():
    module = torch.nn.BatchNorm1d(16)
    target = {
        "params": {"scale": jnp.ones(16), "bias": jnp.ones(16)},
        "batch_stats": {"mean": jnp.ones(16), "var": jnp.ones(16)},
    }
    variables = params_from_torch(module.state_dict(), target)
    module(torch.randn(8, 16))
    assert not np.asarray(variables["batch_stats"]["mean"]).any()
    tensors = {k: torch.from_numpy(v) for k, v in params_to_torch(variables).items()}
    module.load_state_dict(tensors)


# Layers of Linen's own


def linen_layer(layer, like_shape, module, inputs, renames=()):
    """The output of a Linen layer, inside a module called x, with the weights of PyTorch's."""
    variables = layer.init(jax.random.key(0), *[jnp.zeros(shape) for shape in like_shape])
    name = type(layer).__name__
    state = {f"{name}.{key}": tensor for key, tensor in module.state_dict().items()}
    loaded, _ = load_state_dict(state, {"params": {name: variables["params"]}}, renames=renames)
    back = params_to_torch(loaded, state, renames=renames)
    for key, tensor in state.items():
        np.testing.assert_array_equal(back[key], tensor.numpy())
    return layer.apply({"params": loaded["params"][name]}, *inputs)


def test_linens_convolutions_of_one_and_three_axes():
    torch.manual_seed(0)
    for axes, make in ((1, torch.nn.Conv1d), (3, torch.nn.Conv3d)):
        module, x = make(2, 3, 2), torch.randn(1, 2, *(4, 5, 6)[:axes])
        expected = module(x).detach().movedim(1, -1).numpy()
        layer, inputs = linen.Conv(3, (2,) * axes, padding="VALID"), x.movedim(1, -1).numpy()
        ours = linen_layer(layer, [inputs.shape], module, [inputs])
        compare("linen.Conv", ours, expected)


def test_linens_transposed_convolution():
    torch.manual_seed(0)
    module, x = torch.nn.ConvTranspose2d(2, 3, (3, 2), stride=2), torch.randn(1, 2, 4, 5)
    expected = module(x).detach().movedim(1, -1).numpy()
    layer = linen.ConvTranspose(3, (3, 2), strides=(2, 2), padding="VALID")
    inputs = x.movedim(1, -1).numpy()
    ours = linen_layer(layer, [inputs.shape], module, [inputs])
    compare("linen.ConvTranspose", ours, expected)


def test_bilinear():
    torch.manual_seed(0)
    module, x, y = torch.nn.Bilinear(3, 3, 4), torch.randn(2, 3), torch.randn(2, 3)
    ours = linen_layer(Bilinear(4), [(2, 3), (2, 3)], module, [x.numpy(), y.numpy()])
    compare("Bilinear", ours, module(x, y).detach().numpy())


def test_linens_attention():
    torch.manual_seed(0)
    module = torch.nn.MultiheadAttention(6, 2, batch_first=True)
    torch.nn.init.normal_(module.in_proj_bias)
    torch.nn.init.normal_(module.out_proj.bias)
    x, y = torch.randn(2, 5, 6), torch.randn(2, 4, 6)
    expected = module(x, y, y, need_weights=False)[0].detach().numpy()
    layer = linen.MultiHeadDotProductAttention(num_heads=2)
    with jax.numpy_rank_promotion("allow"):  # Linen adds its biases so
        ours = linen_layer(layer, [(2, 5, 6), (2, 4, 6)], module, [x.numpy(), y.numpy()])
    compare("linen.MultiHeadDotProductAttention", ours, expected)


# The comparison layer by layer


def first_difference(model, variables, module, shape, layers):
    inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    text, agrees = describe(compare_layers(model, variables, module, inputs, layers), 1e-4)
    assert not agrees
    return text.splitlines()[-1]


class Plain(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3, name="fc")(x)


class Deterministic(linen.Module):
    @linen.compact
    def __call__(self, x, deterministic):
        return linen.Dropout(0.9)(linen.Dense(3, name="fc")(x), deterministic=deterministic)


@pytest.mark.parametrize("model", [Plain(), Deterministic()])
def test_models_whose_call_has_no_train_are_compared(model, tmp_path):
    def make():
        module = torch.nn.Sequential()
        module.add_module("fc", torch.nn.Linear(4, 3))
        return module

    safetensors.torch.save_file(make().state_dict(), tmp_path / "a.safetensors")
    report = convert(tmp_path / "a.safetensors", model, (4,), torch_module=make)
    assert report.agrees
    assert [difference.layer for difference in report.differences] == ["fc", "output"]


def test_the_first_layer_that_differs_is_found():
    model, make, shape = ZOO["ConvVAE"]
    module = trained(make)
    variables = params_from_torch(module.state_dict(), shapes_of(model, shape))
    layers = {name: name for name in ("conv1", "conv2", "fc_mean", "fc_code", "deconv1", "deconv2")}
    layers["output"] = ""

    padded = copy.deepcopy(module)
    padded.conv2.padding_mode = "reflect"
    words = first_difference(model, variables, padded, shape, layers)
    assert "differs is conv2. The usual cause: padding" in words
    flipped = copy.deepcopy(variables)
    kernel = flipped["params"]["deconv1"]["transposed_kernel"]
    flipped["params"]["deconv1"]["transposed_kernel"] = kernel[::-1, ::-1]
    words = first_difference(model, flipped, module, shape, layers)
    assert "differs is deconv1" in words
    assert "a kernel that is flipped" in words


def test_an_epsilon_a_flattening_order_and_a_softmax_are_found():
    model, make, shape = ZOO["BatchNormConvNet"]
    module = trained(make)
    variables = params_from_torch(module.state_dict(), shapes_of(model, shape))
    layers = {"layer1_0": "layer1.0", "layer1_1": "layer1.1", "fc": "fc", "output": ""}
    other = copy.deepcopy(module)
    other.layer1[1].eps = 1e-2
    words = first_difference(model, variables, other, shape, layers)
    assert "differs is layer1_1. The usual cause: epsilon (1e-5" in words
    rows = copy.deepcopy(variables)
    kernel = rows["params"]["fc"]["kernel"].reshape(32, 7, 7, 10).transpose(1, 2, 0, 3)
    rows["params"]["fc"]["kernel"] = kernel.reshape(1568, 10)
    words = first_difference(model, rows, module, shape, layers)
    assert "differs is fc. The usual cause: what is before it: the order of flattening" in words

    class WithSoftmax(type(module)):
        def forward(self, x):
            return super().forward(x).softmax(-1)

    module.__class__ = WithSoftmax
    words = first_difference(model, variables, module, shape, layers)
    assert "differs is output. The layers agree" in words


MODULES = """
import torch_models

def network():
    return torch_models.BatchNormConvNet(1, (16, 32), 5, 1568, 10)

def other():
    module = network()
    module.layer2[1].eps = 0.1
    return module
"""


def test_the_command_compares_with_the_users_module(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_torch_modules.py").write_text(MODULES)
    monkeypatch.syspath_prepend(tmp_path)
    module = trained(ZOO["BatchNormConvNet"][1])
    saved = {"epoch": 3, "state_dict": torch.nn.DataParallel(module).state_dict()}
    torch.save(saved, tmp_path / "checkpoint.pth")

    def convert(function, *flags):
        arguments = [str(tmp_path / "checkpoint.pth"), "--model", "batch_norm_convnet", *flags]
        status = command.main(["convert", *arguments, "--torch_module", function])
        return status, *capsys.readouterr()

    status, shown, _ = convert("my_torch_modules:network")
    assert status == 0
    assert "loaded 14 of 14 leaves" in shown
    *table, last = shown.split("largest output:\n")[1].splitlines()
    assert [line.split()[0] for line in table] == [
        "layer1_0",
        "layer1_1",
        "layer2_0",
        "layer2_1",
        "fc",
        "output",
    ]
    assert last == "All layers agree to 1e-04 of their largest output."
    out = tmp_path / "out.safetensors"
    status, shown, _ = convert("my_torch_modules:other", "--out", str(out))
    assert status == 1
    assert "out.safetensors is not written: the models differ" in shown
    assert not out.exists()
    assert "The first layer that differs is layer2_1. The usual cause: epsilon" in shown
    # a new head is not compared; bfloat16 has 8 bits
    flags = (
        "--num_classes",
        "7",
        "--leave_out",
        "fc",
        "--dtype",
        "bfloat16",
        "--tolerance",
        "0.05",
    )
    status, shown, _ = convert("my_torch_modules:network", *flags)
    assert status == 0
    table = shown.split("largest output:\n")[1].splitlines()[:-1]
    assert [line.split()[0] for line in table] == ["layer1_0", "layer1_1", "layer2_0", "layer2_1"]
    status, _, message = convert("my_torch_modules:absent")
    assert status == 1
    assert "my_torch_modules:absent cannot be imported: module" in message
    status, _, message = convert("my_torch_modules")
    assert status == 1
    assert "must be package.module:function, got 'my_torch_modules'" in message
