"""Files of weights: safetensors and shards, read and written."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxdl.interop import read_variables, read_weights, write_safetensors, write_variables
from jaxdl.interop.weight_files import read_metadata

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "interop"


def arrays():
    return {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.arange(3).astype(ml_dtypes.bfloat16),
        "scalar": np.array(7),
        "empty": np.zeros((0, 3), np.float16),
    }


def write(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def attempt(path):
    """The arrays, or None and the reason."""
    try:
        return read_weights(path), ""
    except ValueError as error:
        return None, str(error)


# Reading


def test_every_dtype_that_pytorch_writes_is_read():
    found = read_weights(FIXTURES / "dtypes.safetensors")
    assert len(found) == 16
    for name, array in found.items():
        assert array.dtype == getattr(ml_dtypes, name, name)
        expected = np.arange(6).astype(array.dtype).reshape(2, 3)
        np.testing.assert_array_equal(array, expected)
        assert not array.flags.writeable
    assert read_metadata(FIXTURES / "dtypes.safetensors") == {"format": "pt"}


def test_content_decides_and_not_the_name(tmp_path):
    for source, name in (("dtypes.safetensors", "a.pth"), ("state_dict.pth", "b.safetensors")):
        (tmp_path / name).write_bytes((FIXTURES / source).read_bytes())
        assert read_weights(tmp_path / name).keys() == read_weights(FIXTURES / source).keys()


def test_a_header_whose_length_looks_like_json_is_still_safetensors(tmp_path):
    header = b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'
    path = write(tmp_path / "a", header.ljust(ord("{")), b"\x01\x02")
    assert path.read_bytes().startswith(b"{\0")
    assert read_weights(path)["a"].tolist() == [1, 2]


FOREIGN = {
    "nothing": (b"", "it is empty"),
    "noise": (b"\x07" * 100, r"begins with b'\\x07"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "page": (b"<!DOCTYPE html>", "a failed download"),
    "keras": (b"\x89HDF\r\n", "HDF5"),
    "pickle": (b"\x80\x04]\x94.", "a bare pickle"),
    "array": (b"\x93NUMPY", "numpy.load"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_kinds_of_files_are_named(name, tmp_path):
    content, words = FOREIGN[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} cannot be read: .*{words}"):
        read_weights(path)


def test_a_missing_file_and_a_key_out_of_place(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="so it has no key 'model'"):
        read_weights(FIXTURES / "dtypes.safetensors", key="model")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        read_metadata(FIXTURES / "state_dict.pth")


DAMAGED = {
    "past the end": ({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, b"0" * 8),
    "a gap": ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"0" * 8),
    "wrong size": ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, b"0" * 8),
    "overflow": ({"a": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 8]}}, b"0" * 8),
    "overlap": (
        {
            "a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]},
            "b": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]},
        },
        b"0" * 8,
    ),
    "no json": (b"{oh no}", b""),
    "no dtype": ({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 1]}}, b"0"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_headers_are_refused(name, tmp_path):
    path = write(tmp_path / "a.safetensors", *DAMAGED[name])
    with pytest.raises(ValueError, match=f"{path} is a damaged safetensors file: .+"):
        read_weights(path)


def test_a_long_header_and_a_truncated_file_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, arrays())
    whole = path.read_bytes()
    for length in range(0, len(whole), max(len(whole) // 20, 1)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=str(path)):
            read_weights(path)
    path.write_bytes((2**39).to_bytes(8, "little") + b"{")
    with pytest.raises(ValueError, match="damaged safetensors"):
        read_weights(path)


# Shards


def write_shards(folder, **changes):
    write_safetensors(folder / "model-1.safetensors", {"a": np.zeros(2)})
    write_safetensors(folder / "model-2.safetensors", {"b": np.ones(3), "c": np.ones(4)})
    places = {
        name: f"model-{number}.safetensors" for name, number in zip("abc", "122", strict=True)
    }
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 72}, "weight_map": places | changes}))
    return index


def test_shards_are_read_by_their_index_and_by_their_folder(tmp_path):
    index = write_shards(tmp_path)
    for path in (index, tmp_path):
        found = read_weights(path)
        assert {name: array.shape for name, array in found.items()} == {
            "a": (2,),
            "b": (3,),
            "c": (4,),
        }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"d": "model-2.safetensors"}, "'d' is not in 'model-2.safetensors'"),
        ({"d": "model-3.safetensors"}, "shard not found: 'model-3.safetensors'"),
        ({"b": "model-1.safetensors"}, "'b' is in 'model-2.safetensors', not where"),
        ({"d": "../model-1.safetensors"}, "outside its folder: .'../model-1"),
        ({"d": "/etc/passwd"}, "outside its folder"),
        ({"d": ""}, "outside its folder"),
        ({"d": 3}, "is not an index of shards: .*'weight_map/d' must be text, got 3"),
        ({"d": "model.safetensors.index.json"}, "cannot be read: it begins with"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(changes, words, tmp_path):
    index = write_shards(tmp_path, **changes)
    with pytest.raises(ValueError, match=words):
        read_weights(index)


def test_an_index_without_a_map_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds none of model.safetensors.index.json"):
        read_weights(tmp_path)
    index = tmp_path / "a.json"
    for text in ('{"metadata": {}}', '{"weight_map": 3}', "{", "[" * 10 + "{"):
        index.write_text(text)
        with pytest.raises(ValueError, match=f"{index}"):
            read_weights(index)


# Writing


def test_what_is_written_is_read_again_bitwise(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, arrays(), {"format": "pt", "note": "ü"})
    found = read_weights(path)
    assert found.keys() == arrays().keys()
    for name, array in arrays().items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    assert read_metadata(path) == {"format": "pt", "note": "ü"}
    (tmp_path / "b").touch()
    assert path.stat().st_mode == (tmp_path / "b").stat().st_mode


def test_transposed_and_big_endian_arrays_and_jaxs_are_written_as_they_read(tmp_path):
    path = tmp_path / "a.safetensors"
    a = np.arange(6.0).reshape(2, 3)
    b = jnp.arange(3, dtype=jnp.bfloat16)
    write_safetensors(path, {"t": a.T, "half": a[:, ::2], "big": a.astype(">f8"), "b": b})
    found = read_weights(path)
    np.testing.assert_array_equal(found["t"], a.T)
    np.testing.assert_array_equal(found["half"], a[:, ::2])
    np.testing.assert_array_equal(found["big"], a)
    np.testing.assert_array_equal(found["b"], np.asarray(b), strict=True)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": np.zeros(2)})
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_safetensors(path, {"a": np.ones(2)})
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("bad", [{"a": np.array(["x"])}, {"a": np.array([{}])}, {3: np.zeros(2)}])
def test_what_safetensors_cannot_hold_is_named(bad, tmp_path):
    with pytest.raises(ValueError, match="safetensors holds arrays by name, got"):
        write_safetensors(tmp_path / "a.safetensors", bad)
    with pytest.raises(ValueError, match="metadata must be text"):
        write_safetensors(tmp_path / "a.safetensors", {}, {"epoch": 3})
    assert list(tmp_path.iterdir()) == []


def test_variables_come_back_as_a_tree(tmp_path):
    variables = {
        "params": {"fc": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3, jnp.bfloat16)}},
        "batch_stats": {"bn": {"mean": jnp.arange(3.0)}},
    }
    write_variables(tmp_path / "v", variables)
    found = read_variables(tmp_path / "v")
    jax.tree.map(np.testing.assert_array_equal, found, jax.tree.map(np.asarray, variables))


@pytest.mark.parametrize(
    "variables",
    [{"a": [jnp.ones(1)]}, {"a/b": jnp.ones(1)}, {1: jnp.ones(1)}],
    ids=["list", "slash", "number"],
)
def test_variables_that_would_come_back_as_another_tree_are_refused(variables, tmp_path):
    with pytest.raises(ValueError, match="variables must be nested dictionaries whose keys"):
        write_variables(tmp_path / "v", variables)
    assert not list(tmp_path.iterdir())


def test_names_that_are_not_those_of_variables_are_refused(tmp_path):
    for names in (("a", "a/b"), ("a/b", "a")):
        write_safetensors(tmp_path / "v", dict.fromkeys(names, np.ones(1)))
        with pytest.raises(ValueError, match="'a/b' lies below 'a', a leaf"):
            read_variables(tmp_path / "v")


def test_arrays_that_are_not_numbers_are_named(tmp_path):
    for value in (jax.random.key(0), 3.0, None):
        with pytest.raises(ValueError, match="w must be an array or a tensor, got"):
            write_safetensors(tmp_path / "a", {"w": value})
