"""Forged pickles: nothing is called, every refusal names its reason."""

import builtins
import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.forged_files import (
    MARK,
    archive,
    forged,
    name_of,
    storage,
    tensor,
    text,
)

from jaxdl.interop import read_weights


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
    ("torch._utils", "_import_dotted_name"),
    ("torch._utils", "_flatten_dense_tensors"),
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
    "FROZENSET": MARK + b"\x91",
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
    "a storage's wrong size": (tensor(stored=storage(count=10**12)), "does not have the size"),
    "a function as storage": (tensor(stored=storage(kind="Size")), "torch.Size is not a storage"),
    "no storage": (tensor(stored=text("0")), "unknown arguments"),
    "a bare persistent id": (text("0") + b"Q", "names no storage"),
    "text that is called": (text("x") + b")R", "a str in place of a Label"),
    "a call of a dtype": (
        name_of("torch", "float32") + b")R",
        "calls 'torch.float32' with unknown",
    ),
    "an ordered dict of pairs": (ordered + b"(]tR", "OrderedDict' with unknown"),
    "attributes of a number": (b"K\x01}b", "a int in place of a dict"),
    "a key that is a tuple": (b"})\x85Ns", "a key of a dictionary is a tuple"),
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
