"""Hundreds of forged pickles and a thousand forged safetensors headers, in a separate process.

Nothing is run, nothing outside the file is opened, memory stays bounded, every refusal says why.
"""

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

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

from jaxdl.interop import write_safetensors

READER = Path(__file__).resolve().parents[1] / "helpers" / "hostile_reader.py"
MEBI = 2**20

pytestmark = pytest.mark.slow  # all read what one process made


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """The folder of all files, and what became of each when one process read them."""
    folder = tmp_path_factory.mktemp("hostile")
    for write in (write_pickles, write_archives, write_objects, write_headers):
        inner = folder / write.__name__.removeprefix("write_")
        inner.mkdir()
        write(inner)
    done = subprocess.run(
        [sys.executable, READER, folder],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, json.loads(done.stdout)


@pytest.fixture
def results(everything, request):
    """The results of the files of one kind, by name."""
    kind = f"{request.param}/"
    return {
        name.removeprefix(kind): result
        for name, result in everything[1].items()
        if name.startswith(kind)
    }


def of_kind(kind):
    return pytest.mark.parametrize("results", [kind], indirect=True)


def victim_of(folder):
    return folder / "victim"


def test_nothing_is_run_or_opened_and_memory_is_bounded(everything):
    folder, results = everything
    assert len(results) > 1600
    for name, result in results.items():
        check_harmless(folder, name, result)
    assert not list(folder.rglob("victim"))


def check_harmless(folder, name, result):
    """Nothing was run or opened, and where nothing was read the reason stands in the message."""
    assert result["events"] == [], name
    assert result["peak"] < 32 * MEBI, (name, result["peak"])
    if "bytes" not in result:
        assert str(folder / name) in result["reason"]
        assert len(result["reason"].removeprefix(str(folder / name))) > 20, result["reason"]


# Pickles

NAMES = [
    ("os", "system"),
    ("posix", "system"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "open"),
    ("builtins", "getattr"),
    ("builtins", "__import__"),
    ("subprocess", "Popen"),
    ("pty", "spawn"),
    ("shutil", "rmtree"),
    ("pickle", "loads"),
    ("runpy", "run_path"),
    ("numpy", "load"),
    ("torch", "load"),
    ("torch.hub", "load_state_dict_from_url"),
    ("torch.utils.model_zoo", "load_url"),
    ("torch._utils", "_rebuild_tensor_v2.__globals__"),
    ("collections", "OrderedDict.fromkeys"),
    ("jaxdl.interop._pth", "read_pth"),
]


def calls(victim):
    """Programs that would call a function with the shell's words, by every instruction there is."""
    words = text(f"touch {victim}")
    for module, attribute in NAMES:
        name = name_of(module, attribute)
        yield f"global {module}.{attribute}", name + sequence(words) + b"R"
        stacked = text(module) + text(attribute) + b"\x93"
        yield f"stacked {module}.{attribute}", stacked + words + b"\x85R"
        yield f"newobj {module}.{attribute}", name + sequence(words) + b"\x81"
        yield f"newobj_ex {module}.{attribute}", name + sequence(words) + b"}\x92"
        yield f"obj {module}.{attribute}", MARK + name + words + b"o"
        inst = MARK + words + f"i{module}\n{attribute}\n".encode()
        yield f"inst {module}.{attribute}", inst
        yield f"persistent {module}.{attribute}", sequence(name, words) + b"Q"
        yield f"build {module}.{attribute}", b"}" + name + b"}" + words + b"Nsb"
    # what is allowed, abused
    for number, name in enumerate(
        ["_rebuild_parameter", "_rebuild_tensor_v2", "_rebuild_tensor_v3"]
    ):
        yield f"allowed {number}", name_of("torch._utils", name) + sequence(words) + b"R"
    yield "allowed encode", name_of("_codecs", "encode") + sequence(words, text("hex_codec")) + b"R"
    yield "allowed ordered", name_of("collections", "OrderedDict") + sequence(words) + b"R"
    yield "a label as state", b"}" + name_of("torch", "device") + b"\x85R" + words + b"b"
    for code in (b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"):
        yield f"extension {code[0]}", code + sequence(words) + b"R"
    yield "old persistent id", f"Pos.system:{victim}\n".encode()
    yield "a storage of a class", sequence(text("storage"), name_of("os", "system"), words) + b"Q"
    yield "a nested persistent id", sequence(text("storage"), storage(), words) + b"Q"


def sizes():
    """Programs that would fill the memory or never end."""
    yield "LONG4", b"\x8b" + struct.pack("<i", 2**31 - 1)
    yield "negative LONG4", b"\x8b" + struct.pack("<i", -1)
    yield "BINUNICODE8", b"\x8d" + struct.pack("<Q", 2**63 - 1)
    yield "BINBYTES8", b"\x8e" + struct.pack("<Q", 2**40)
    yield "BYTEARRAY8", b"\x96" + struct.pack("<Q", 2**40)
    yield "FRAME", b"\x95" + struct.pack("<Q", 2**62) + b"N"
    yield "nested FRAME", (b"\x95" + struct.pack("<Q", 9)) * 10_000 + b"N"
    yield "LONG_BINPUT", b"Nr\xff\xff\xff\xff"
    yield "PUT", b"Np99999999999999999999\n"
    yield "INT", b"I" + b"9" * 100_000 + b"\n"
    yield "LONG", b"L" + b"9" * 100_000 + b"L\n"
    yield "marks", MARK * 100_000
    yield "lists", b"]" * 100_000 + b"a" * 99_999
    yield "tuples", b")" + b"\x85" * 100_000
    yield "dictionaries", b"}" * 50_000 + (b"N" * 2 + b"s") * 100
    doubled = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(200))
    yield "doubled", doubled
    yield "doubled key", b"}" + doubled + b"Ns"
    yield "doubled and walked", b"}" + text("x") + doubled + b"s" + b"Q"
    yield "doubled lists", b"]q\x00" + b"(" + b"h\x00" * 100_000 + b"e"
    yield "repeated numbers", tensor(size=(2**20, 2**20), stride=(0, 0))
    yield "many axes", tensor(size=(1,) * 10_000, stride=(1,) * 10_000)
    yield "an odd dictionary", b"}(Nu"
    yield "an empty stack", b"0" * 3
    yield "no mark", b"u"


def wild_tensors(generator, count):
    """Tensors whose size, strides and offset, or whose storage, lead out of the file."""
    extremes = [-(2**63), -1, 0, 1, 2, 3, 4, 5, 7, 2**31, 2**32, 2**61, 2**62, 2**63, 2**64, 2**70]
    for number in range(count):
        rank = int(generator.integers(0, 4))
        size, stride = (tuple(map(int, generator.choice(6, rank))) for _ in range(2))
        place = int(generator.integers(0, 4))
        extreme = extremes[generator.integers(len(extremes))]
        if place < 2 and rank:
            changed = list((size, stride)[place])
            changed[generator.integers(rank)] = extreme
            size, stride = (changed, stride) if place == 0 else (size, changed)
        offset = extreme if place == 2 else int(generator.integers(0, 5))
        stored = None
        if place == 3:
            keys = ["0", "1", "../0", "/etc/passwd", "..\\0", "data/0", "", "0\0", "é" * 100]
            kinds = ["FloatStorage", "DoubleStorage", "ByteStorage", "Size", "device", "float32"]
            key, kind = keys[generator.integers(len(keys))], kinds[generator.integers(len(kinds))]
            stored = storage(key, abs(extreme) % 2**60, kind)
        yield f"tensor {number}", tensor(size=size, stride=stride, offset=offset, stored=stored)


def mutated(generator, count):
    """A good pickle with one or two bytes changed."""
    program = bytearray(PREFIX + b"}" + text("w") + tensor() + b"s" + STOP)
    for number in range(count):
        changed = bytearray(program)
        for place in generator.integers(2, len(program), generator.integers(1, 3)):
            changed[place] = generator.integers(0, 256)
        yield f"mutated {number}", bytes(changed)


def write_pickles(folder):
    generator = np.random.default_rng(0)
    for name, value in (*calls(victim_of(folder)), *sizes(), *wild_tensors(generator, 200)):
        forged(folder / name, value)
    for name, program in mutated(generator, 200):
        archive(folder / name, program, records={"archive/data/0": bytes(16)})


@of_kind("pickles")
def test_every_call_is_refused_by_its_name(results):
    refused = 0
    for name, result in results.items():
        kind, _, function = name.partition(" ")
        if kind in (
            "global",
            "stacked",
            "newobj",
            "newobj_ex",
            "obj",
            "inst",
            "persistent",
            "build",
        ):
            assert "bytes" not in result, name
            assert "nothing was run" in result["reason"]
            assert f"'{function}'" in result["reason"] or "the instruction INST" in result["reason"]
            refused += 1
    assert refused == 8 * len(NAMES)


@of_kind("pickles")
def test_what_is_too_large_or_wild_is_refused(results):
    assert len(results) > 500
    for name, _ in sizes():
        assert "bytes" not in results[name], name
    tensors = {name: result for name, result in results.items() if name.startswith("tensor ")}
    read = [result for result in tensors.values() if "bytes" in result]
    assert len(tensors) == 200
    assert len(read) < 60  # sizes and strides that fit into the four numbers by chance
    for result in read:
        assert result["bytes"] <= 1000
    assert sum("bytes" not in results[name] for name in results if name[:7] == "mutated") > 150


ARCHIVES = {
    "deflated": "compressed or encrypted",
    "bomb": "larger than the file",
    "lzma": "larger than the file",
    "climbing": "not in the archive",
    "climbing root": "not in the archive",
    "two programs": "without data.pkl",
    "a bomb of a program": "exhausted before seeing STOP",
    "big directory": "",
    "lying size": "",
    "lying offset": "",
    "cut": "",
}


def write_archives(folder):
    program = PREFIX + b"}" + text("w") + tensor() + b"s" + STOP
    good = {"archive/data/0": bytes(16)}

    def add(name, *arguments, **options):
        archive(folder / name, *arguments, **options)

    add("deflated", program, records=good, compress=zipfile.ZIP_DEFLATED)
    big = {"archive/data/0": bytes(50 * MEBI)}
    add("bomb", program, records=big, compress=zipfile.ZIP_DEFLATED)
    add("lzma", program, records=big, compress=zipfile.ZIP_LZMA)
    climbing = (
        PREFIX + b"}" + text("w") + tensor(stored=storage("../../../etc/passwd")) + b"s" + STOP
    )
    add("climbing", climbing, records=good)
    add("climbing root", climbing, records=good, root="../..")
    outside = {"../../etc/cron.d/x": b"* * * * * root touch /x", "/etc/passwd": b"root::0:0"} | good
    add("other records", program, records=outside)
    add("two programs", program, records={"b/data.pkl": program, **good})
    add("a bomb of a program", b"N" * MEBI, records=good)
    for name in ("big directory", "lying size", "lying offset", "cut"):
        archive(folder / name, program, records=good)
        content = bytearray((folder / name).read_bytes())
        central, end = content.rindex(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
        if name == "big directory":
            content[end + 12 : end + 20] = struct.pack("<II", 2**31, 0)
        elif name == "lying size":
            content[central + 20 : central + 28] = struct.pack("<II", 2**31, 2**31)
        elif name == "lying offset":
            content[central + 42 : central + 46] = struct.pack("<I", 2**31)
        else:
            del content[end - 5 :]
        (folder / name).write_bytes(content)


@of_kind("archives")
def test_archives_that_climb_or_swell_are_refused(results):
    assert results.pop("other records")["bytes"] == 16
    assert results.keys() == ARCHIVES.keys()
    for name, words in ARCHIVES.items():
        assert "bytes" not in results[name], name
        assert words in results[name]["reason"]


def write_objects(folder):
    """Not hand-made: objects whose pickles call a function, at every protocol."""
    victim = victim_of(folder)

    class Call:
        def __init__(self, function, *arguments):
            self.reduced = function, arguments

        def __reduce__(self):
            return self.reduced

    functions = [(os.system, f"touch {victim}"), (eval, f"open({str(victim)!r}, 'w')")]
    functions += [(exec, "import os"), (subprocess.Popen, ["touch", str(victim)]), (Path, "x")]
    for protocol in range(6):
        for number, call in enumerate(functions):
            for place, content in enumerate(
                ([Call(*call)], {"w": Call(*call)}, (1, {2: Call(*call)}))
            ):
                program = pickle.dumps(content, protocol)
                archive(folder / f"{protocol} {number} {place}", program)


@of_kind("objects")
def test_what_python_itself_pickles_is_refused_at_every_protocol(results):
    assert len(results) == 90
    for name, result in results.items():
        assert "bytes" not in result, name
        assert "nothing was run" in result["reason"]


# safetensors


def wild_headers(generator, arrays):
    """Headers with a field of another kind or size, and lengths of the header that lie."""
    whole = json.dumps(arrays)
    numbers = [-1, 0, 1, 2, 24, 48, 2**31, 2**53, 2**63, 2**64, 2**70, 0.5, True, None, "8", [], {}]
    names = list(arrays)
    data = bytes(range(64))
    for _ in range(300):
        header = json.loads(whole)
        entry = header[names[generator.integers(len(names))]]
        value = numbers[generator.integers(len(numbers))]
        match int(generator.integers(7)):
            case 0:
                entry["shape"] = [value, *entry["shape"][1:]]
            case 1:
                entry["shape"] = [*entry["shape"], value]
            case 2:
                entry["data_offsets"][int(generator.integers(2))] = value
            case 3:
                kinds = ["F64", "F8_E4M3", "I8", "F4", "f32", "", 3, None, "C64", "BOOL", "F6_E2M3"]
                entry["dtype"] = kinds[generator.integers(len(kinds))]
            case 4:
                del entry[list(entry)[generator.integers(3)]]
            case 5:
                header[["__metadata__", "../x", "", "\0"][generator.integers(4)]] = value
            case 6:
                entry["data_offsets"] = [value, value]
        yield json.dumps(header).encode(), data, None
    deep = b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    twice = whole[:-1].encode() + b"," + whole[1:].encode()
    for text_ in (
        deep,
        twice,
        b"{" * 1000,
        b"{}" + b" " * 1000,
        b"[]",
        b"{\xff\xfe}",
        b'{"a":NaN}',
    ):
        yield text_, data, None
    for length in (0, 1, 7, 2**20, 2**31, 2**32, 2**39, 2**62, 2**64 - 1):
        yield whole.encode(), data, length


GOOD = {"a": np.arange(6.0), "b": np.ones((2, 3), np.float16), "empty": np.zeros((0, 3))}


def write_headers(folder):
    generator = np.random.default_rng(0)
    arrays = {
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
        "c": {"dtype": "I64", "shape": [], "data_offsets": [32, 40]},
        "d": {"dtype": "U8", "shape": [24], "data_offsets": [40, 64]},
    }
    for number, (header, data, length) in enumerate(wild_headers(generator, arrays)):
        length = len(header) if length is None else length
        (folder / f"wild {number}").write_bytes(length.to_bytes(8, "little") + header + data)
    source = folder / "good"
    write_safetensors(source, GOOD, {"format": "pt"})
    whole = source.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    for number in range(800):
        content = bytearray(whole)
        for place in generator.integers(0, end, generator.integers(1, 4)):
            content[place] = generator.integers(0, 256)
        (folder / f"mutated {number}").write_bytes(content)


@of_kind("headers")
def test_a_thousand_headers_never_lead_out_of_the_file(results):
    size = results.pop("good")["bytes"]
    assert size == sum(array.nbytes for array in GOOD.values())
    assert len(results) > 1100
    for name, result in results.items():
        # where it is read, it is the data of the file and nothing else
        expected = 64 if name.startswith("wild") else size
        assert result.get("bytes", expected) == expected, name
    assert sum("bytes" not in result for result in results.values()) > 700
