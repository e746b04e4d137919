"""Makes tests/fixtures/interop/*, the files of weights that the interop tests read.

Needs torch==2.13.0 and safetensors. Values are :func:`numbers`, so that the tests can name them.
The files are small and committed; the tests need no torch to read them.
"""

from pathlib import Path

import safetensors.torch
import torch

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "interop"
DTYPES = (
    "float64", "float32", "float16", "bfloat16", "complex64", "complex128", "int64", "int32",
    "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool", "float8_e4m3fn", "float8_e5m2",
)  # fmt: skip


def numbers(*shape):
    """0, 1/8, 2/8, …, which every floating-point format of two bytes holds exactly."""
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape) / 8


def network():
    module = torch.nn.Sequential()
    module.add_module("conv", torch.nn.Conv2d(2, 3, (2, 1)))
    module.add_module("bn", torch.nn.BatchNorm2d(3))
    module.add_module("fc", torch.nn.Linear(3, 2))
    for tensor in module.state_dict().values():
        tensor.copy_(numbers(*tensor.shape) if tensor.is_floating_point() else 7)
    return module


def views():
    whole = numbers(4, 6)
    return {
        "whole": whole,
        "row": whole[1],
        "transposed": whole.T,
        "every_second": whole[1:, ::2],
        "tied": whole,
        "parameter": torch.nn.Parameter(whole[2:, 3:]),
        "expanded": numbers(1, 3).expand(2, 3),
        "scalar": whole[3, 5],
        "empty": whole[:0],
        "nothing": torch.zeros(0, 3),
    }


def main(folder=FIXTURES):
    folder.mkdir(exist_ok=True)
    module = network()
    torch.save(module.state_dict(), folder / "state_dict.pth")
    optimizer = torch.optim.Adam(module.parameters())
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 2, 5])
    checkpoint = {
        "epoch": 3,
        "name": "network",
        "best": numbers(1)[0],
        "model": {f"module.{name}": tensor for name, tensor in module.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "device": torch.device("cpu"),
        "size": torch.Size([2, 3]),
        "dtype": torch.float16,
        "bytes": b"\x00\xff",
        "nothing": None,
        "nested": [(1, -(2**40), True, 0.5), {"ema": {"a": numbers(2)}}],
    }
    torch.save(checkpoint, folder / "checkpoint.pth")
    two = {"generator": {"w": numbers(2)}, "discriminator": {"w": numbers(3)}}
    torch.save(two, folder / "two_models.pth")
    dtypes = {name: numbers(2, 3).mul(8).to(getattr(torch, name)) for name in DTYPES}
    torch.save(dtypes, folder / "dtypes.pth")
    torch.save(dtypes, folder / "dtypes_protocol_4.pth", pickle_protocol=4)
    torch.save(views(), folder / "views.pth")
    conjugate = numbers(2).to(torch.complex64).conj()
    torch.save({"w": conjugate}, folder / "conjugate.pth")
    old = {"_use_new_zipfile_serialization": False}
    torch.save(module.state_dict(), folder / "legacy.pth", **old)
    torch.save(module, folder / "whole_model.pth")
    torch.jit.script(torch.nn.Linear(2, 2)).save(folder / "torchscript.pt")
    # safetensors has no complex128
    arrays = {name: tensor for name, tensor in dtypes.items() if name != "complex128"}
    safetensors.torch.save_file(arrays, folder / "dtypes.safetensors", {"format": "pt"})


if __name__ == "__main__":
    if torch.__version__.split("+")[0] != "2.13.0":
        raise SystemExit(f"fixtures come from torch==2.13.0, this is {torch.__version__}")
    main()
    for path in sorted(FIXTURES.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1000:.1f} kB")
