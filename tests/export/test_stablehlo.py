"""StableHLO files: the same outputs at any batch size; damaged files are refused."""

import contextlib
import hashlib
import json
import subprocess
import sys

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_models import draw_variables

from jaxdl import models
from jaxdl._program import pack, read_header
from jaxdl.export import Preprocessing, load_exported, stablehlo, write_onnx, write_stablehlo
from jaxdl.export import onnx as onnx_export

DAMAGED = r"is damaged|is not a StableHLO file of jaxdl, or it is truncated"
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 1)).astype(np.uint8)


def classifier(model, shape=(12, 12, 1)):
    """Raw images to logits, with small random weights and the preprocessing inside."""
    rule = Preprocessing(shape, mean=(0.3,), std=(0.4,))
    variables = draw_variables(model, jnp.zeros((1, *shape)))
    return lambda images: model.apply(variables, rule(images), train=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A convolutional network with BatchNorm, with gradients; and its function."""
    function = classifier(models.BatchNormConvNet(4, (3,)))
    path = tmp_path_factory.mktemp("export") / "model.stablehlo"
    write_stablehlo(path, function, (12, 12, 1), "float32", gradients=True, info={"name": "Ada"})
    return path, function


@pytest.mark.slow
def test_a_recurrent_network_takes_raw_images_of_any_batch(tmp_path):
    function = classifier(models.RecurrentClassifier(4, "gru", 6, 5))
    difference = write_stablehlo(tmp_path / "a", function, (12, 12, 1), info={"classes": ["x"]})
    assert difference < 1e-6
    exported = load_exported(tmp_path / "a")
    assert exported.info["input"] == {"shape": ["batch", 12, 12, 1], "dtype": "uint8"}
    assert exported.info["classes"] == ["x"]
    assert exported.module.platforms == ("cpu", "cuda")
    expected = function(IMAGES)
    np.testing.assert_allclose(exported.call(IMAGES), expected, atol=1e-6)
    np.testing.assert_allclose(exported.call(IMAGES[:1]), expected[:1], atol=1e-6)
    with pytest.raises(ValueError, match="uint8"):
        exported.call(IMAGES.astype(np.float32))


@pytest.mark.slow
def test_gradients_of_the_pixels_are_kept(written):
    path, function = written
    call, pixels = load_exported(path).module.call, jnp.asarray(IMAGES / np.float32(255))
    np.testing.assert_allclose(call(pixels), function(pixels), atol=1e-5)
    ours = jax.grad(lambda x: function(x)[:, 1].sum())(pixels)
    np.testing.assert_allclose(
        jax.grad(lambda x: call(x)[:, 1].sum())(pixels), ours, atol=1e-5 * abs(ours).max()
    )
    with pytest.raises(ValueError, match="uint8 inputs have no gradients"):
        write_stablehlo(path, function, (12, 12, 1), gradients=True)


@pytest.mark.slow
def test_jax_alone_reads_the_file(written):
    """Three lines of the module's docstring, in a process that cannot import jaxdl."""
    path, function = written
    program = f"""
import sys
sys.modules["jaxdl"] = sys.modules["flax"] = None
import jax, jax.export, json
content = open({str(path)!r}, "rb").read()
start = 8 + int.from_bytes(content[:8], "little")
exported = jax.export.deserialize(bytearray(content[start:]))
print(json.dumps(exported.call(jax.numpy.full((2, 12, 12, 1), 0.5)).tolist()))
"""
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=300
    ).stdout
    expected = function(jnp.full((2, 12, 12, 1), 0.5))
    np.testing.assert_allclose(json.loads(output), expected, atol=1e-5)


def test_what_differs_is_not_written(tmp_path, monkeypatch):
    calls = []

    def unsteady(x):
        """Another function each time it is traced."""
        calls.append(x)
        return x * (1.0 + 1e-4 * len(calls))

    path = tmp_path / "model.stablehlo"
    with pytest.raises(
        ValueError, match=r"differs by \d\.\de-04 of the largest output at batch 1,"
    ):
        write_stablehlo(path, unsteady, (3,), "float32")
    assert list(tmp_path.iterdir()) == []
    assert write_stablehlo(path, unsteady, (3,), "float32", tolerance=1e-3) > 1e-5
    with pytest.raises(ValueError, match="differs by nan"):
        write_stablehlo(tmp_path / "b", lambda x: x / 0.0 * 0.0, (3,), "float32")
    with pytest.raises(ValueError, match="cannot be checked on this machine, which has cpu"):
        write_stablehlo(tmp_path / "b", lambda x: x, (3,), "float32", platforms=["cuda"])
    assert [each.name for each in tmp_path.iterdir()] == ["model.stablehlo"]


def test_several_outputs_are_compared_one_by_one(tmp_path):
    write_stablehlo(tmp_path / "a", lambda x: {"sum": x.sum(1), "twice": 2 * x}, (3,), "float32")
    outputs = load_exported(tmp_path / "a").call(jnp.ones((4, 3)))
    assert outputs["sum"].tolist() == [3.0] * 4
    with pytest.raises(ValueError, match=r"returns shapes \[\(1, 2\)\], expected \[\(1, 3\)\]"):
        stablehlo.largest_difference(
            lambda x: x, lambda x: [x[:, :2]], [np.zeros((1, 3), np.float32)], 1e-5
        )


@pytest.mark.slow
def test_damaged_files_are_refused(written, tmp_path):
    content = written[0].read_bytes()
    path = tmp_path / "damaged"
    for position in (12, len(content) // 2, len(content) - 1):
        flipped = bytearray(content)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=DAMAGED):
            load_exported(path)
    for length in (0, 5, 100, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=DAMAGED):
            load_exported(path)
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(ValueError, match="is not a StableHLO file"):
        load_exported(path)


def test_changed_bytes_with_a_right_checksum_are_refused(tmp_path):
    path = tmp_path / "model.stablehlo"
    write_stablehlo(path, lambda x: x @ jnp.ones((3, 2)), (3,), "float32")
    content = path.read_bytes()
    serialized = content[8 + int.from_bytes(content[:8], "little") :]
    # offsets and types of the flatbuffer around the StableHLO, whose own reader may crash
    places = [n for n in range(len(serialized)) if n < 40 or n > len(serialized) - 250]
    refused = 0
    for place in places:
        changed = bytearray(serialized)
        changed[place] ^= 0x7F
        path.write_bytes(pack(bytes(changed), {}))
        with contextlib.suppress(ValueError):
            load_exported(path)
            continue
        refused += 1
    assert refused > 20


@pytest.mark.parametrize("header", [b"[]", b'{"format": "jaxdl stablehlo"}', b'{"format": null}'])
def test_headers_of_another_form_are_refused(tmp_path, header):
    path = tmp_path / "model.stablehlo"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=DAMAGED):
        load_exported(path)


class UsesLen(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(2)(x.reshape(len(x), -1))


class Loops(linen.Module):
    @linen.compact
    def __call__(self, x):
        return jnp.stack([row.sum() for row in x])


class Branches(linen.Module):
    @linen.compact
    def __call__(self, x):
        return x if x.shape[0] > 3 else 2 * x


@pytest.mark.parametrize(
    ("model", "line"),
    [(UsesLen(), "x.reshape(len(x), -1)"), (Loops(), "for row in x"), (Branches(), "> 3 else")],
)
def test_a_model_that_needs_the_batch_size_is_refused_with_its_line(tmp_path, model, line):
    variables = model.init(jax.random.key(0), jnp.ones((5, 4)))
    with pytest.raises(ValueError, match="cannot be exported for every batch size") as raised:
        write_stablehlo(tmp_path / "a", lambda x: model.apply(variables, x), (4,), "float32")
    assert "test_stablehlo.py, line " in str(raised.value)
    assert line in str(raised.value)
    assert "x.shape[0] for len(x)" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_program_holds_no_path_of_this_machine(written):
    assert b"site-packages" not in written[0].read_bytes()


@pytest.mark.slow
def test_exporting_prints_nothing_about_folded_constants(tmp_path):
    """XLA would warn that folding this takes more than a second."""
    code = f"""
import jax, jax.numpy as jnp, numpy as np
from jaxdl.export import write_stablehlo
weights = np.ones((1000, 1000), np.float32)
def function(x):
    sums = jax.lax.reduce_window(jnp.asarray(weights), 0.0, jax.lax.add, (20, 20), (1, 1), "SAME")
    return x + sums.sum()
write_stablehlo({str(tmp_path / "a")!r}, function, (3,), "float32")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_header_keeps_a_checksum_and_what_was_given(written):
    content = written[0].read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    info = read_header(written[0])
    assert info["name"] == "Ada"
    assert info["gradients"] is True
    assert info["sha256"] == hashlib.sha256(content[start:]).hexdigest()


def test_random_inputs_cover_their_type():
    for batch, images in zip((1, 7, 64), stablehlo.random_inputs((9, 9), "uint8"), strict=True):
        assert images.shape == (batch, 9, 9)
    assert (images.min(), images.max()) == (0, 255)
    assert {*np.unique(stablehlo.random_inputs((9,), "int32")[2])} == {0, 1}
    pixels = stablehlo.random_inputs((9,), "float32")[2]
    assert 0 <= pixels.min() < 0.1 < 0.9 < pixels.max() < 1


def test_onnx_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "PACKAGES", ("json", "jaxdl_has_no_such_package"))
    message = r"ONNX needs jaxdl_has_no_such_package: pip install 'jaxdl\[onnx\]'"
    with pytest.raises(ValueError, match=message):
        write_onnx(tmp_path / "model.onnx", lambda x: x, (3,), "float32")
    assert list(tmp_path.iterdir()) == []
