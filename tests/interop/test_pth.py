"""Files of torch.save, read without torch: what PyTorch wrote, and what others forge."""

import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from helpers.forged_files import (
    MARK,
    PREFIX,
    STOP,
    archive,
    forged,
    name_of,
    sequence,
    storage,
    tensor,
    text,
)

from jaxdl.interop import read_weights
from jaxdl.interop._pth import read_pth

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "interop"


def numbers(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 8


def attempt(path):
    """The arrays, or None and the reason."""
    try:
        return read_weights(path), ""
    except ValueError as error:
        return None, str(error)


# What PyTorch wrote


def test_a_state_dict_is_read():
    found = read_weights(FIXTURES / "state_dict.pth")
    np.testing.assert_array_equal(found["conv.weight"], numbers(3, 2, 2, 1), strict=True)
    np.testing.assert_array_equal(found["fc.weight"], numbers(2, 3), strict=True)
    assert found["bn.num_batches_tracked"] == np.int64(7)
    assert len(found) == 9


def test_a_checkpoint_is_searched_for_its_weights():
    path = FIXTURES / "checkpoint.pth"
    found = read_weights(path)
    np.testing.assert_array_equal(found["module.fc.weight"], numbers(2, 3))
    assert read_weights(path, key="model").keys() == found.keys()
    with pytest.raises(ValueError, match=r"no state_dict under 'ema'; it has 'model' \(9 arrays"):
        read_weights(path, key="ema")


def test_everything_else_in_a_checkpoint_is_plain():
    content = read_pth(FIXTURES / "checkpoint.pth")
    assert content["epoch"] == 3
    assert content["best"] == 0
    assert content["nothing"] is None
    assert content["size"] == (2, 3)
    assert content["nested"][0] == (1, -(2**40), True, 0.5)
    np.testing.assert_array_equal(content["nested"][1]["ema"]["a"], numbers(2))
    assert content["scheduler"]["milestones"] == {2: 2, 5: 1}
    group = content["optimizer"]["param_groups"][0]
    assert (group["betas"], group["params"]) == ((0.9, 0.999), list(range(6)))
    assert content["optimizer"]["state"][0]["exp_avg"].shape == (3, 2, 2, 1)


def test_the_format_from_before_1_6_is_read():
    found = read_weights(FIXTURES / "legacy.pth")
    expected = read_weights(FIXTURES / "state_dict.pth")
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert not found[name].flags.writeable


def test_of_several_state_dicts_one_must_be_chosen():
    path = FIXTURES / "two_models.pth"
    with pytest.raises(ValueError, match=r"'generator' \(1 arrays\), 'discriminator' \(1 arrays\)"):
        read_weights(path)
    np.testing.assert_array_equal(read_weights(path, key="discriminator")["w"], numbers(3))


@pytest.mark.parametrize("name", ["dtypes.pth", "dtypes_protocol_4.pth"])
def test_every_dtype_is_read(name):
    found = read_weights(FIXTURES / name)
    assert len(found) == 17
    for dtype, array in found.items():
        assert array.dtype == getattr(ml_dtypes, dtype, dtype)
        np.testing.assert_array_equal(array, np.arange(6).astype(array.dtype).reshape(2, 3))


def test_views_share_their_storage_and_have_its_strides():
    found = read_weights(FIXTURES / "views.pth")
    whole = numbers(4, 6)
    expected = {
        "whole": whole,
        "row": whole[1],
        "transposed": whole.T,
        "every_second": whole[1:, ::2],
        "tied": whole,
        "parameter": whole[2:, 3:],
        "expanded": np.tile(numbers(3), (2, 1)),
        "scalar": whole[3, 5],
        "empty": whole[:0],
        "nothing": np.zeros((0, 3)),
    }
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape
        assert not found[name].flags.writeable
    for name in ("row", "transposed", "tied", "parameter"):
        assert np.shares_memory(found["whole"], found[name])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torchscript.pt", r"TorchScript.*torch.jit.load\(file\).state_dict"),
        ("whole_model.pth", r"'torch.nn.modules.container.Sequential'.*save its weights alone"),
        ("conjugate.pth", r"x.resolve_conj\(\)"),
    ],
)
def test_what_holds_no_plain_weights_says_what_to_do(name, words):
    with pytest.raises(ValueError, match=f"{FIXTURES / name} cannot be read: .*{words}"):
        read_weights(FIXTURES / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["state_dict.pth", "views.pth"])
def test_truncated_and_flipped_files_give_an_error_and_never_other_weights(name, tmp_path):
    whole, path = (FIXTURES / name).read_bytes(), tmp_path / name
    expected = read_weights(FIXTURES / name)
    for length in np.linspace(0, len(whole) - 1, 20, dtype=int):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=str(path)):
            read_weights(path)
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        found, reason = attempt(path)
        if found is None:
            assert str(path) in reason
            continue
        # padding, times, or a checksum's neighbor that nobody reads
        for key, array in expected.items():
            np.testing.assert_array_equal(found[key], array)


# Entries that are not tensors


def save(path, content, protocol=2):
    """Writes content without tensors as ``torch.save`` does."""
    return archive(path, pickle.dumps(content, protocol))


PLAIN = {
    "set": {1, "a", (2, 3)},
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"\x00\xff"),
    "complex": 1.5 - 2j,
    ("tuple", 1): None,
    None: [1.5, 2**100, -1, True],
    2.5: (),
}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_values_of_every_kind_are_read(protocol, tmp_path):
    found = read_pth(save(tmp_path / "a.pth", PLAIN, protocol))
    assert found == PLAIN
    assert [type(value) for value in found.values()] == [type(value) for value in PLAIN.values()]


def weights(path, **entries):
    """A state_dict of one tensor, w, and entries as they are pickled."""
    program = PREFIX + b"}" + text("w") + tensor() + b"s"
    for name, value in entries.items():
        program += text(name) + value + b"s"
    return archive(path, program + STOP, records={"archive/data/0": bytes(16)})


def test_entries_that_are_not_tensors_are_left_out(tmp_path):
    path = weights(
        tmp_path / "a.pth",
        **{"fc._extra_state": b"N", "bn._extra_state": b"}" + text("a") + b"]s", "epoch": b"K\x03"},
    )
    assert list(read_weights(path)) == ["w"]
    # a container means a whole checkpoint, whose weights lie deeper
    with pytest.raises(
        ValueError, match=r"no dictionary of arrays by name; it holds \['w', 'args'"
    ):
        read_weights(weights(path, args=b"}"))


def test_a_part_with_an_extra_state_is_not_passed_over(tmp_path):
    """Of two models the one without such an entry would be taken silently."""
    inner = b"}" + text("w") + tensor() + b"s"
    program = PREFIX + b"}" + text("first") + inner + text("x._extra_state") + b"Nss"
    program += text("second") + inner + b"s" + STOP
    path = archive(tmp_path / "a.pth", program, records={"archive/data/0": bytes(16)})
    with pytest.raises(ValueError, match=r"several state_dicts: 'first' \(1 .* 'second' \(1"):
        read_weights(path)


def rebuilt(function, *arguments, module="torch._utils"):
    return name_of(module, function) + sequence(*arguments) + b"R"


UNSUPPORTED = {
    "sparse": (rebuilt("_rebuild_sparse_tensor", b"N", b"N"), r"sparse .*save x.to_dense\(\)"),
    "quantized": (rebuilt("_rebuild_qtensor", b"N"), r"quantized tensor; save x.dequantize\(\)"),
    "meta": (rebuilt("_rebuild_meta_tensor_no_storage"), "meta device, without numbers"),
    "nested": (rebuilt("_rebuild_nested_tensor"), "nested tensor"),
    "half of a byte": (
        rebuilt(
            "_rebuild_tensor_v3", storage(kind="ByteStorage", count=16), b"K\x00", b"(K\x02t",
            b"(K\x01t", b"\x89", b"N", name_of("torch", "float4_e2m1fn_x2"),
        ),
        "has the dtype float4_e2m1fn_x2, which NumPy does not have",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_tensor_that_numpy_cannot_hold_is_refused_by_name_where_it_is_asked_for(name, tmp_path):
    value, words = UNSUPPORTED[name]
    with pytest.raises(ValueError, match=f"a.pth cannot be read: 'other' .*{words}"):
        read_weights(weights(tmp_path / "a.pth", other=value))
    # elsewhere in the checkpoint it does not matter
    program = PREFIX + b"}" + text("model") + b"}" + text("w") + tensor() + b"ss"
    program += text("optimizer") + b"}" + text("state") + value + b"ss" + STOP
    path = archive(tmp_path / "a.pth", program, records={"archive/data/0": bytes(16)})
    assert list(read_weights(path, key="model")) == ["w"]


def test_parameters_and_tensors_with_attributes_are_arrays(tmp_path):
    attributes = b"}" + text("note") + b"K\x01s"
    parameter = rebuilt("_rebuild_parameter_with_state", tensor(), b"\x88", b"N", attributes)
    inner = tensor().removeprefix(name_of("torch._utils", "_rebuild_tensor_v2"))[:-1]
    function = name_of("torch._utils", "_rebuild_tensor_v2")
    kind = name_of("torch", "Tensor")
    other = rebuilt(
        "_rebuild_from_type_v2", function, kind, inner, attributes, module="torch._tensor"
    )
    found = read_weights(weights(tmp_path / "a.pth", parameter=parameter, other=other))
    assert {name: array.shape for name, array in found.items()} == dict.fromkeys(
        ("w", "parameter", "other"), (2, 2)
    )


# The format from before 1.6


def legacy(path, content, keys, data, *, magic=0x1950A86A20F9469CFC6C, protocol=2):
    """Five pickles, of which ``content`` is one already, and the bytes of the storages."""
    head = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [pickle.dumps(part, protocol) for part in (magic, 1001, head)]
    path.write_bytes(b"".join([*parts, content, pickle.dumps(keys, protocol), data]))
    return path


def old_storage(key="0", count=4, view=b"N", kind="FloatStorage"):
    parts = (text("storage"), name_of("torch", kind), text(key), text("cpu"), b"K" + bytes([count]))
    return sequence(*parts, view) + b"Q"


DATA = (4).to_bytes(8, "little") + np.arange(4, dtype=np.float32).tobytes()


def old_content(**options):
    return PREFIX + b"}" + text("w") + tensor(stored=old_storage(**options)) + b"s" + STOP


@pytest.mark.parametrize("protocol", [2, 4])
def test_the_older_format_has_five_pickles_and_the_storages(protocol, tmp_path):
    path = legacy(tmp_path / "a", old_content(), ["0"], DATA, protocol=protocol)
    np.testing.assert_array_equal(read_weights(path)["w"], [[0, 1], [2, 3]])


def test_views_of_the_older_format_share_their_storage(tmp_path):
    content = PREFIX + b"}" + text("w") + tensor(stored=old_storage()) + b"s"
    half = old_storage(view=sequence(text("1"), b"K\x02", b"K\x02"))
    content += text("v") + tensor(size=(2,), stride=(1,), stored=half) + b"s" + STOP
    found = read_weights(legacy(tmp_path / "a", content, ["0"], DATA))
    np.testing.assert_array_equal(found["v"], [2, 3])
    assert np.shares_memory(found["v"], found["w"])


DAMAGED = {
    "magic": ({"magic": 5}, "cannot be read"),
    "keys": ({"keys": ["1"]}, "its storages are not those of its tensors"),
    "no keys": ({"keys": 3}, "its storages are not those of its tensors"),
    "count": ({"data": b"\x05" + DATA[1:]}, "storage '0' does not have the size"),
    "end": ({"data": DATA[:-1]}, "ends within a storage"),
    "a large storage": ({"content": old_content(count=255)}, "storages are larger than the file"),
    "a function": ({"content": old_content(kind="Size")}, "torch.Size is not a storage"),
    "a view": (
        {"content": old_content(view=sequence(text("1"), b"J\xff\xff\xff\xff", b"K\x01"))},
        "names no part of a storage",
    ),
    "a short view": (
        {"content": old_content(view=sequence(text("1"), b"K\x03", b"K\x09"))},
        "reaches to element 3 of a storage of 1",
    ),
    "a storage as a key": ({"keys": [[]]}, "its storages are not those"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_of_the_older_format_is_refused(name, tmp_path):
    changes, words = DAMAGED[name]
    path = legacy(
        tmp_path / "a", **{"content": old_content(), "keys": ["0"], "data": DATA} | changes
    )
    with pytest.raises(ValueError, match=f"{path} .*{words}"):
        read_weights(path)


# What others forge


def test_the_forger_can_forge(tmp_path):
    found = read_weights(forged(tmp_path / "a.pth", tensor()))
    np.testing.assert_array_equal(found["w"], np.zeros((2, 2), np.float32), strict=True)


def doubling(count):
    """A tuple of two times a tuple of two times …, in a few bytes."""
    steps = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(count))
    return b")" + steps


def repeated(function, arguments):
    """A list of 10,000 copies of something long, in a few bytes each."""
    call = b"h\x00h\x01R"
    return function + b"q\x00" + arguments + b"q\x01](" + call * 10_000 + b"e"


@pytest.mark.slow
def test_memory_and_time_stay_bounded(tmp_path):
    bombs = [
        doubling(200),  # 2**200 tuples if anybody walked them
        b"}" + doubling(200) + b"Ns",  # whose hash would take as long
        b"Nr\xff\xff\xff\xff",  # the memo's place 2**32 - 1
        b"\x8e" + struct.pack("<Q", 2**62),  # bytes without end
        MARK * 100_000,
        b"]" * 100_000 + b"a" * 99_999,  # a list in a list in a list …
        tensor(size=(2**20, 2**20), stride=(0, 0)),
        b"\x8b\xff\xff\x00\x00" + bytes(65534) + b"\x01",  # an integer of half a million bits
        repeated(name_of("builtins", "set"), b"](" + b"K\x01" * 10_000 + b"e\x85"),
        repeated(name_of("builtins", "bytearray"), b"B\x10\x27\x00\x00" + bytes(10_000) + b"\x85"),
    ]
    tracemalloc.start()
    for number, value in enumerate(bombs):
        path = forged(tmp_path / f"{number}.pth", value)
        with pytest.raises(ValueError, match=str(path)):
            read_weights(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * 2**20


def test_a_container_inside_itself_ends(tmp_path):
    program = PREFIX + b"}q\x00" + text("state_dict") + b"h\x00s" + STOP
    path = archive(tmp_path / "a.pth", program)
    with pytest.raises(ValueError, match=r"holds no dictionary of arrays.*'state_dict'"):
        read_weights(path)


def test_zip_bombs_and_forged_archives_are_refused(tmp_path):
    path = tmp_path / "a.pth"
    program = PREFIX + b"}" + text("w") + tensor() + b"s" + STOP
    archive(path, program, compress=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="is compressed or encrypted"):
        read_weights(path)
    records = {"archive/data/0": bytes(10**7)}
    archive(path, program, compress=zipfile.ZIP_DEFLATED, records=records)
    with pytest.raises(ValueError, match="larger than the file"):
        read_weights(path)
    archive(path, program, records={"other/data.pkl": program})
    with pytest.raises(ValueError, match=r"without data\.pkl"):
        read_weights(path)
    archive(path, program, records={"archive/byteorder": b"big"})
    with pytest.raises(ValueError, match="byte order is b'big'"):
        read_weights(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", program)
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("archive/data.pkl", program)
    with pytest.raises(ValueError, match="two records of one name"):
        read_weights(path)
    np.savez(path.with_suffix(".npz"), a=np.zeros(2))
    with pytest.raises(ValueError, match=r"without data\.pkl, not a file of torch\.save"):
        read_weights(path.with_suffix(".npz"))
    # the same bytes under two names: the directory claims more than there is
    archive(path, program, records={"archive/data/0": bytes(16), "archive/data/1": bytes(5000)})
    content = path.read_bytes()
    place = content.rindex(b"PK\x01\x02")
    forged_size = struct.pack("<II", 10**9, 10**9)
    path.write_bytes(content[: place + 20] + forged_size + content[place + 28 :])
    with pytest.raises(ValueError, match="larger than the file"):
        read_weights(path)


def test_a_flipped_weight_is_noticed_by_its_checksum(tmp_path):
    content = bytearray((FIXTURES / "state_dict.pth").read_bytes())
    place = content.index(numbers(3, 2, 2, 1).tobytes())
    content[place] ^= 1
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="Bad CRC-32"):
        read_weights(path)
