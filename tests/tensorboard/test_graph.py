"""The graph of a model: its layers by name, shapes on the edges, and nothing loose."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from google.protobuf import text_format
from helpers.event_files import accumulate
from jax.ad_checkpoint import checkpoint_name

from jaxdl import tensorboard
from jaxdl.models.autoencoder import VAE
from jaxdl.models.convnet import ConvNet
from jaxdl.models.resnet import BasicBlock, ResNet
from jaxdl.models.sequence import RecurrentClassifier


class Cell(nn.Module):
    @nn.compact
    def __call__(self, carry, x):
        carry = nn.tanh(nn.Dense(4)(x) + nn.Dense(4, use_bias=False, name="back")(carry))
        return carry, carry


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.silu(nn.Dense(4)(x))


class Lifted(nn.Module):
    """Every way in which Linen wraps a module, and JAX's own loops and branches."""

    @nn.compact
    def __call__(self, x):
        cells = nn.scan(
            Cell,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
        )
        _, x = cells(name="cells")(jnp.zeros((x.shape[0], 4)), x)
        x = nn.remat(Block)(name="remat_block")(x)
        x = nn.jit(Block)(name="jit_block")(x)
        x = nn.vmap(
            Block, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=1, out_axes=1
        )(name="vmap_block")(x)
        x = jax.lax.cond(x.sum() > 0, lambda x: 2 * x + 1, lambda x: x, x)
        _, x = jax.lax.scan(lambda total, y: (total + y, total * y), x[:, 0], x.swapaxes(0, 1))
        x = jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x * 2, x)
        return {"first": x + jnp.arange(4.0)[None, None], "top": jax.lax.top_k(x, 2)}


def graph_of(model, *shapes, **options):
    inputs = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
    variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return tensorboard.graph.model_graph(model, variables, *inputs, **options)


@pytest.fixture(scope="module")
def graphs():
    return {
        "convnet": graph_of(ConvNet(), (1, 28, 28, 1)),
        "resnet": graph_of(ResNet((1, 2), BasicBlock, num_classes=10), (1, 32, 32, 3)),
        "lstm": graph_of(RecurrentClassifier(), (1, 28, 28, 1)),
        "vae": graph_of(VAE(), (1, 28, 28, 1)),
        "lifted": graph_of(Lifted(), (1, 5, 3)),
    }


def nodes(graph):
    return {node.name: node for node in graph.node}


def shape(node, index=0):
    return tuple(dim.size for dim in node.attr["_output_shapes"].list.shape[index].dim)


def box_edges(graph):
    """(box, box) → shapes that run between them; a box is what stands before the first slash."""
    found = {}
    by_name = nodes(graph)
    for node in graph.node:
        for source in node.input:
            source, _, index = source.partition(":")
            ends = source.split("/")[0], node.name.split("/")[0]
            if ends[0] != ends[1]:
                found.setdefault(ends, set()).add(shape(by_name[source], int(index or 0)))
    return found


NAMES = ["convnet", "resnet", "lstm", "vae", "lifted"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_edge_begins_at_an_earlier_node_and_leads_to_an_output(name, graphs):
    seen, used = {}, set()
    for node in graphs[name].node:
        assert node.name not in seen
        for source in node.input:
            source, _, index = source.partition(":")
            assert int(index or 0) < len(seen[source].attr["_output_shapes"].list.shape)
            used.add(source)
        seen[node.name] = node
    ends = {node.op for name, node in seen.items() if name not in used}
    assert ends == {"Output"}  # and so every parameter and input is used


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_is_read_in_its_own_box_only(name, graphs):
    parameters = {node.name for node in graphs[name].node if node.op == "Parameter"}
    for node in graphs[name].node:
        for source in parameters & set(node.input):
            assert node.name.startswith(source.rpartition("/")[0])


def test_the_convnets_layers_and_the_shapes_between_them(graphs):
    graph = graphs["convnet"]
    assert box_edges(graph) == {
        ("x", "Conv_0"): {(1, 28, 28, 1)},
        ("Conv_0", "relu"): {(1, 13, 13, 16)},
        ("relu", "Conv_1"): {(1, 13, 13, 16)},
        ("Conv_1", "relu_1"): {(1, 5, 5, 32)},
        **flattened(graph),
        ("Dense_0", "relu_2"): {(1, 32)},
        ("relu_2", "Dense_1"): {(1, 32)},
        ("Dense_1", "output"): {(1, 10)},
    }
    variables = {n.name: shape(n) for n in graph.node if n.op == "Parameter"}
    assert variables == {
        "Conv_0/bias": (16,),
        "Conv_0/kernel": (3, 3, 1, 16),
        "Conv_1/bias": (32,),
        "Conv_1/kernel": (3, 3, 16, 32),
        "Dense_0/bias": (32,),
        "Dense_0/kernel": (800, 32),
        "Dense_1/bias": (10,),
        "Dense_1/kernel": (32, 10),
    }
    assert {node.attr["dtype"].s for node in graph.node} <= {b"float32", b"bool"}
    assert nodes(graph)["relu"].op == "max"


def flattened(graph):
    """The edges from the second ReLU to the first dense layer, whatever ``flatten`` is made of."""
    edges, found, end = box_edges(graph), {}, "relu_1"
    while end != "Dense_0":
        (pair,) = [pair for pair in edges if pair[0] == end]
        found[pair], end = edges[pair], pair[1]
    assert next(iter(found.values())) == {(1, 5, 5, 32)}
    assert list(found.values())[-1] == {(1, 800)}
    return found


def test_what_a_model_sows_are_outputs():
    graph = graph_of(ConvNet(), (2, 28, 28, 1), mutable=["intermediates"])
    outputs = {node.name: shape(node) for node in graph.node if node.op == "Output"}
    assert outputs == {
        "output": (2, 10),
        "intermediates/feat1": (2, 26, 26, 16),
        "intermediates/feat2": (2, 11, 11, 32),
        "intermediates/feat3": (2, 32),
        "intermediates/embed": (2, 32),
    }


def test_blocks_of_a_resnet_hold_their_layers(graphs):
    edges = box_edges(graphs["resnet"])
    assert edges["layer1_0", "layer2_0"] == {(1, 8, 8, 64)}
    assert edges["layer2_0", "layer2_1"] == {(1, 4, 4, 128)}
    names = nodes(graphs["resnet"])
    assert names["layer2_0/bn1/mean"].op == "batch_stats"
    assert shape(names["layer2_0/conv2/kernel"]) == (3, 3, 128, 128)
    inside = {name.split("/")[1] for name in names if name.startswith("layer2_1/")}
    assert {"conv1", "bn1", "relu", "conv2", "bn2"} <= inside


def test_the_steps_of_an_lstm_stand_there_once(graphs):
    names = nodes(graphs["lstm"])
    step = names["LSTM_0/scan/scan_slice"]
    assert (step.op, shape(step), step.attr["length"].s) == ("scan_slice", (1, 256), b"28")
    products = [name for name in names if names[name].op == "dot_general" and "LSTM" in name]
    assert products == ["LSTM_0/dot_general", "LSTM_0/scan/dot_general"]
    assert box_edges(graphs["lstm"])["BatchNorm_0", "Dense_0"] == {(1, 64)}


def test_methods_of_the_model_are_no_boxes(graphs):
    assert {name.split("/")[0] for name in nodes(graphs["vae"])} >= {"fc1", "fc21", "fc3", "fc4"}
    assert not [name for name in nodes(graphs["vae"]) if "encode" in name or "VAE" in name]
    assert nodes(graphs["vae"])["output/mean"].input[:] == ["fc21/add"]


def test_lifted_modules_loops_and_branches(graphs):
    names = nodes(graphs["lifted"])
    for block in ("remat_block", "jit_block", "vmap_block"):
        dense = names[f"{block}/Dense_0/dot_general"]
        assert f"{block}/Dense_0/kernel" in dense.input
        assert f"{block}/silu/logistic" in names
    assert "cells/Dense_0/bias" in names["cells/Dense_0/reshape_1"].input
    assert names["cells/add"].input[:] == ["cells/Dense_0/add", "cells/back/dot_general"]
    assert {name for name in names if name.startswith("cond")} == {
        "cond/branch_1/mul",
        "cond/branch_1/add",
        "cond/select",
    }
    assert shape(names["scan/scan_slice"]) == (1, 4)
    assert shape(names["scan/scan_stack"]) == (5, 1, 4)
    assert names["while/mul"].input[:] == ["scan/scan_stack"]
    assert names["output/top/1"].input[:] == ["top_k:1"]
    assert names["output/top/1"].attr["dtype"].s == b"int32"


def test_two_calls_of_a_function_are_two_boxes_and_a_shared_module_is_one():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(4)
            for _ in range(2):
                x = dense(x)
                with jax.named_scope("gate"):
                    x = x * jnp.exp(x)
            return x

    graph = graph_of(Twice(), (1, 4))
    assert {name.split("/")[0] for name in nodes(graph)} == {
        "x",
        "Dense_0",
        "gate",
        "gate_1",
        "output",
    }
    assert box_edges(graph)["gate_1", "output"] == {(1, 4)}


def test_a_graph_comes_back_from_the_run_folder(tmp_path):
    model = nn.Sequential([nn.Dense(3), nn.relu])
    x = jnp.ones((2, 4))
    variables = model.init(jax.random.key(0), x)
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_graph(writer, model, variables, x)
    found = accumulate(tmp_path).Graph()
    expected = tensorboard.graph.model_graph(model, variables, x)
    assert text_format.MessageToString(found) == text_format.MessageToString(expected)
    assert [node.name for node in found.node if node.op == "Input"] == ["input"]


def test_an_equation_whose_setting_is_called_name():
    class Marked(nn.Module):
        @nn.compact
        def __call__(self, x):
            return checkpoint_name(nn.Dense(3)(x), "kept")

    found = nodes(graph_of(Marked(), (1, 4)))
    assert found["name"].op == "name"
    assert found["name"].attr["name"].s == b"kept"
    assert list(found["output"].input) == ["name"]
