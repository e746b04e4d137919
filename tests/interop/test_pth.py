"""Files of torch.save, read without torch: what PyTorch wrote, and what others forge."""

import builtins
import os
import pickle
import struct
import subprocess
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
    with pytest.raises(ValueError, match=r"no state_dict under 'ema'; there is 'model' \(9 arrays"):
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
        ("legacy.pth", r"from before 1.6; convert it once in PyTorch"),
        ("torchscript.pt", r"TorchScript.*torch.jit.load\(file\).state_dict"),
        ("whole_model.pth", r"'torch.nn.modules.container.Sequential'.*save its weights alone"),
        ("conjugate.pth", r"x.resolve_conj\(\)"),
    ],
)
def test_what_holds_no_plain_weights_says_what_to_do(name, words):
    with pytest.raises(ValueError, match=f"{FIXTURES / name} cannot be read: .*{words}"):
        read_weights(FIXTURES / name)


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
        # padding, times, or a checksum's neighbour that nobody reads
        for key, array in expected.items():
            np.testing.assert_array_equal(found[key], array)


# What others forge


def test_the_forger_can_forge(tmp_path):
    found = read_weights(forged(tmp_path / "a.pth", tensor()))
    np.testing.assert_array_equal(found["w"], np.zeros((2, 2), np.float32), strict=True)


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


CALLS = [
    (os.system, "touch {victim}"),
    (subprocess.Popen, ["touch", "{victim}"]),
    (builtins.eval, "open('{victim}', 'w')"),
    (builtins.exec, "open('{victim}', 'w')"),
    (builtins.open, "{victim}", "w"),
    (builtins.getattr, "x", "__class__"),
    (builtins.__import__, "os"),
    (builtins.compile, "1", "x", "eval"),
    (Path, "{victim}"),
    (np.zeros, 10**12),
    (bytearray, 10**12),
]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[0].__name__)
def test_a_call_is_refused_by_name_and_never_made(call, protocol, tmp_path):
    victim = tmp_path / "victim"
    function, *arguments = call
    arguments = [a.format(victim=victim) if isinstance(a, str) else a for a in arguments]
    program = pickle.dumps({"state_dict": Call(function, *arguments)}, protocol)
    path = archive(tmp_path / "a.pth", program)
    with pytest.raises(ValueError, match="nothing was run") as error:
        read_weights(path)
    if protocol > 1:
        assert f".{function.__name__}'" in str(error.value)
    assert str(path) in str(error.value)
    assert not victim.exists()


GLOBALS = [
    ("torch", "load"),
    ("torch.hub", "load"),
    ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch._utils", "_rebuild_qtensor"),
    ("torch._utils", "_rebuild_tensor.__globals__"),
    ("torch.serialization", "_legacy_load"),
    ("torch.utils.data", "DataLoader"),
    ("collections.OrderedDict", "fromkeys"),
    ("numpy", "load"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("runpy", "run_path"),
    ("importlib", "import_module"),
    ("pickle", "loads"),
    ("shutil", "rmtree"),
    ("socket", "socket"),
    ("webbrowser", "open"),
    ("jaxdl.interop._pth", "read_pth"),
    ("__main__", "Net"),
    ("argparse", "Namespace"),
]


@pytest.mark.parametrize(("module", "attribute"), GLOBALS)
@pytest.mark.parametrize("stacked", [False, True])
def test_other_names_are_refused_by_name(module, attribute, stacked, tmp_path):
    value = text(module) + text(attribute) + b"\x93" if stacked else name_of(module, attribute)
    path = forged(tmp_path / "a.pth", value + b")R")
    with pytest.raises(ValueError, match=f"'{module}.{attribute}'.*nothing was run"):
        read_weights(path)


INSTRUCTIONS = {
    "INST": MARK + text("x") + b"ios\nsystem\n",
    "OBJ": MARK + name_of("collections", "OrderedDict") + b"o",
    "NEWOBJ": name_of("collections", "OrderedDict") + b")\x81",
    "EXT1": b"\x82\x01",
    "PERSID": b"P0\n",
    "POP": b"N0",
    "NEXT_BUFFER": b"\x97",
    "BYTEARRAY8": b"\x96" + struct.pack("<Q", 4) + b"aaaa",
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_other_instructions_are_refused_by_name(name, tmp_path):
    path = forged(tmp_path / "a.pth", INSTRUCTIONS[name])
    with pytest.raises(ValueError, match=f"the instruction {name}; nothing was run"):
        read_weights(path)


ordered = name_of("collections", "OrderedDict")
FORGED = {
    "an offset past the end": (tensor(offset=1), "reaches to element 4 of a storage of 4"),
    "a wild offset": (tensor(offset=2**63), "reaches to element"),
    "a negative offset": (tensor(offset=-1), "not negative"),
    "a negative stride": (tensor(stride=(-2, 1)), "not negative"),
    "a negative size": (tensor(size=(-2, 2)), "not negative"),
    "a wild stride": (tensor(stride=(2**40, 1)), "reaches to element"),
    "strides of another rank": (tensor(stride=(1,)), "not negative"),
    "a repeated number": (tensor(size=(10**9, 10**9), stride=(0, 0)), "repeats few numbers"),
    "a hundred axes": (tensor(size=(1,) * 100, stride=(1,) * 100), "maximum supported dim"),
    "an absent storage": (tensor(stored=storage("1")), "'archive/data/1' is not in the archive"),
    "a climbing storage": (tensor(stored=storage("../../etc/passwd")), "is not in the archive"),
    "a storage's wrong size": (tensor(stored=storage(count=10**12)), "has not the size"),
    "a function as storage": (tensor(stored=storage(kind="Size")), "torch.Size is no storage"),
    "no storage": (tensor(stored=text("0")), "unknown arguments"),
    "a bare persistent id": (text("0") + b"Q", "names no storage"),
    "text that is called": (text("x") + b")R", "a str in place of a Label"),
    "a call of a dtype": (name_of("torch", "float32") + b")R", "calls torch.float32 with unknown"),
    "an ordered dict of pairs": (ordered + b"(]tR", "OrderedDict with unknown"),
    "attributes of a number": (b"K\x01}b", "a int in place of a dict"),
    "a key that is a tuple": (b"})Ns", "a key of a dictionary is a tuple"),
    "an unknown memo": (b"h\x05", "KeyError"),
    "an empty stack": (b"0" * 3, "instruction POP"),
    "a text without end": (b"X\xff\xff\xff\x7fabc", "expected 2147483647 bytes"),
    "no mark": (b"t", "IndexError"),
    "an odd dictionary": (b"}(Nu", "ValueError|argument 2 is shorter"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_pickles_are_refused(name, tmp_path):
    value, words = FORGED[name]
    path = forged(tmp_path / "a.pth", value)
    with pytest.raises(ValueError, match=words) as error:
        read_weights(path)
    assert str(path) in str(error.value)


def doubling(count):
    """A tuple of two times a tuple of two times …, in a few bytes."""
    steps = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(count))
    return b")" + steps


def test_memory_and_time_stay_bounded(tmp_path):
    bombs = [
        doubling(200),  # 2**200 tuples if anybody walked them
        b"}" + doubling(200) + b"Ns",  # whose hash would take as long
        b"Nr\xff\xff\xff\xff",  # the memo's place 2**32 - 1
        b"\x8e" + struct.pack("<Q", 2**62),  # bytes without end
        MARK * 100_000,
        b"]" * 100_000 + b"a" * 99_999,  # a list in a list in a list …
        tensor(size=(2**20, 2**20), stride=(0, 0)),
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
