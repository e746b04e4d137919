"""Files of weights as a forger writes them, byte by byte."""

import struct
import zipfile

PREFIX, MARK, STOP = b"\x80\x02", b"(", b"."


def archive(path, program, *, records=None, compress=zipfile.ZIP_STORED, root="archive"):
    with zipfile.ZipFile(path, "w", compress) as file:
        file.writestr(f"{root}/data.pkl", program)
        for name, content in (records or {}).items():
            file.writestr(name, content)
    return path


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value):
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def sequence(*items):
    return MARK + b"".join(items) + b"t"


def name_of(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def storage(key="0", count=4, kind="FloatStorage"):
    parts = (text("storage"), name_of("torch", kind), text(key), text("cpu"), integer(count))
    return sequence(*parts) + b"Q"


def tensor(size=(2, 2), stride=(2, 1), offset=0, stored=None):
    hooks = name_of("collections", "OrderedDict") + b")R"
    arguments = (
        stored or storage(),
        integer(offset),
        sequence(*map(integer, size)),
        sequence(*map(integer, stride)),
        b"\x89",
        hooks,
    )
    return name_of("torch._utils", "_rebuild_tensor_v2") + sequence(*arguments) + b"R"


def forged(path, value, **options):
    program = PREFIX + b"}" + text("w") + value + b"s" + STOP
    return archive(path, program, records={"archive/data/0": bytes(16)}, **options)
