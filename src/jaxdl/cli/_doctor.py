"""Facts and problems of an installation, for ``python -m jaxdl doctor``.

Functions that end in ``facts`` return (name, value) pairs, those that end in ``problems`` return
problems with a remedy each. No import of another package has to succeed: this module is for broken
installations.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jaxdl._versions import PACKAGES, installed, version

if TYPE_CHECKING:
    import jax
    import numpy as np


Facts = list[tuple[str, str]]


CUDA_PACKAGES = ("jax-cuda12-plugin", "jax-cuda12-pjrt", "jax-cuda13-plugin", "jax-cuda13-pjrt")


MEMORY_VARIABLES = (
    "XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
)  # fmt: skip


VARIABLES = (
    "JAX_PLATFORMS", "XLA_FLAGS", "CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL", "TFDS_DATA_DIR",
)  # fmt: skip


class Problem(NamedTuple):
    """A problem of the installation.

    Attributes:
        what: expected and found, one sentence.
        remedy: a command, if there is one.
    """

    what: str
    remedy: str


class Devices(NamedTuple):
    """The devices that JAX finds.

    Attributes:
        found: devices of the default backend; empty after an error.
        error: of JAX, or "".
        imported: True if ``import jax`` succeeded.
    """

    found: "Sequence[jax.Device]"
    error: str
    imported: bool


def find_devices() -> Devices:
    """Returns JAX's devices, or its error as text."""
    try:
        import jax
    except Exception as error:  # a broken installation raises anything
        return Devices((), _describe_error(error), imported=False)
    try:
        return Devices(jax.local_devices(), "", imported=True)
    except Exception as error:
        return Devices((), _describe_error(error), imported=True)


def _describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().rstrip(":")


def system_facts() -> Facts:
    """Python, the platform, processor cores and free disk space."""
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        usable = os.cpu_count() or 1
    try:
        folder = str(Path.cwd())
        free = f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB free in {folder}"
    except OSError as error:
        free = f"unknown ({error})"
    return [
        ("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("platform", platform.platform()),
        ("CPU cores", f"{usable} usable of {os.cpu_count()}"),
        ("disk", free),
    ]


def package_facts() -> Facts:
    """The versions of jaxdl, its dependencies, and JAX's CUDA plugins."""
    facts = [(name, version(name) or "not installed") for name in jaxdl_packages()]
    plugins = [f"{name} {found}" for name, found in installed(CUDA_PACKAGES).items()]
    return [*facts, ("CUDA plugin", ", ".join(plugins) or "not installed")]


def jaxdl_packages() -> list[str]:
    """The packages that jaxdl requires, and those of its extras that are installed."""
    names = list(PACKAGES)
    for line in importlib.metadata.requires("jaxdl") or [] if version("jaxdl") else []:
        name, _, required = _parse(line, "")
        if required or version(name):
            names.append(name)
    return list(dict.fromkeys(names))


def device_facts(devices: Devices) -> Facts:
    """The backend, and each device with its memory if the device reports it."""
    if not devices.found:
        return [("devices", devices.error or "none")]
    first = devices.found[0]
    facts = [("backend", first.platform), ("count", str(len(devices.found)))]
    return facts + [(str(device), _describe_device(device)) for device in devices.found]


def _describe_device(device: "jax.Device") -> str:
    try:
        stats = device.memory_stats() or {}
    except Exception:  # some backends raise
        stats = {}
    memory = [
        f"{stats[key] / 2**30:.2f} GiB {meaning}"
        for key, meaning in (("bytes_limit", "limit"), ("bytes_in_use", "in use"))
        if key in stats
    ]
    return f"{device.device_kind}, {', '.join(memory) or 'memory not reported'}"


def memory_facts(environ: Mapping[str, str]) -> Facts:
    """The environment variables of JAX's GPU memory, and their effect."""
    preallocate = environ.get("XLA_PYTHON_CLIENT_PREALLOCATE") or "true"
    fraction = environ.get("XLA_CLIENT_MEM_FRACTION") or environ.get(
        "XLA_PYTHON_CLIENT_MEM_FRACTION"
    )
    allocator = (environ.get("XLA_PYTHON_CLIENT_ALLOCATOR") or "default").lower()
    share = "75 %" if not fraction else f"a fraction of {fraction}"
    if allocator == "platform":
        effect = "memory is allocated and freed for each array: least memory, slow"
    elif preallocate in ("false", "False", "0"):
        effect = f"memory is allocated as needed, at most {share}; it may fragment"
    else:
        effect = f"{share} of each GPU's memory is allocated at the start"
    return [
        *((name, environ.get(name, "not set")) for name in MEMORY_VARIABLES),
        ("effect", effect),
    ]


def reproducibility_facts(environ: Mapping[str, str]) -> Facts:
    """The reproducibility of two equal runs on a GPU, by ``XLA_FLAGS``."""
    flag = "--xla_gpu_deterministic_ops"
    given = {word.partition("=")[::2] for word in environ.get("XLA_FLAGS", "").split()}
    if {(flag, ""), (flag, "true"), (flag, "1")} & given:
        return [("two equal runs", f"give the same bits ({flag} is set); some kernels are slower")]
    return [("two equal runs", f"may differ by rounding; XLA_FLAGS={flag}=true prevents it")]


def environment_facts(environ: Mapping[str, str]) -> Facts:
    """The environment variables of JAX, XLA and TFDS."""
    others = sorted(
        name
        for name in environ
        if name.startswith(("JAX_", "XLA_", "TF_CPP_"))
        and name not in VARIABLES
        and name not in MEMORY_VARIABLES
    )
    return [(name, environ.get(name, "not set")) for name in (*VARIABLES, *others)]


def all_problems(devices: Devices, environ: Mapping[str, str]) -> list[Problem]:
    """All problems, causes before their consequences."""
    return [
        *package_problems(),
        *version_problems(_distributions()),
        *device_problems(devices, environ, nvidia=has_nvidia_driver()),
        *arithmetic_problems(devices.found),
        *folder_problems(Path()),
    ]


def package_problems() -> list[Problem]:
    """Packages that are missing, too old for jaxdl, or incompatible with the installed JAX."""
    if version("jaxdl") is None:
        return [
            Problem(
                "jaxdl is not installed, so its requirements are not known.",
                "run 'pip install -e .' in the checkout",
            )
        ]
    problems = unmet_requirements("jaxdl")
    if version("jax"):
        problems += unmet_requirements("jax")
        for cuda in ("cuda12", "cuda13"):
            if version(f"jax-{cuda}-plugin"):
                problems += unmet_requirements("jax", extra=cuda)
    return list(dict.fromkeys(problems))


def unmet_requirements(package: str, *, extra: str = "") -> list[Problem]:
    """The requirements of an installed package that are not met.

    Args:
        package: name of an installed package.
        extra: of the package, whose requirements count too.
    """
    problems = []
    for line in importlib.metadata.requires(package) or []:
        name, specifier, applies = _parse(line, extra)
        if not applies:
            continue
        remedy = f"pip install --upgrade '{name}{specifier}'"
        found = version(name)
        if found is None:
            problems.append(
                Problem(f"{name} is missing; {package} needs {name}{specifier}.", remedy)
            )
        elif not _satisfies(found, specifier):
            what = f"{name} {found} is incompatible; {package} needs {name}{specifier}."
            problems.append(Problem(what, remedy))
    return problems


def _parse(requirement: str, extra: str) -> tuple[str, str, bool]:
    """Splits ``name[extras]specifier; marker`` into name, specifier and whether it applies."""
    try:
        from packaging.requirements import Requirement
    except ImportError:  # then requirements with a marker are left out
        text, _, marker = requirement.partition(";")
        match = re.match(r"\s*([\w.-]+)\s*(?:\[[^]]*])?\s*\(?([^)]*)", text)
        if match is None:
            return requirement, "", False
        return match[1], match[2].strip(), not marker.strip()
    parsed = Requirement(requirement)
    applies = parsed.marker is None or parsed.marker.evaluate({"extra": extra})
    return parsed.name, str(parsed.specifier), applies


def _satisfies(version: str, specifier: str) -> bool:
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # then only lower bounds are compared
        bounds = re.findall(r">=\s*([\d.]+)", specifier)
        return all(_numbers(version) >= _numbers(bound) for bound in bounds)
    return SpecifierSet(specifier).contains(version, prereleases=True)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _distributions() -> list[tuple[str, str, str]]:
    """(name, version, folder) of every installed distribution, on the whole search path."""
    return [
        (found.metadata["Name"] or "", found.version or "", str(found.locate_file("")))
        for found in importlib.metadata.distributions()
    ]


def version_problems(distributions: Iterable[tuple[str, str, str]]) -> list[Problem]:
    """Packages that are installed in two versions, of which Python imports only one.

    Args:
        distributions: (name, version, folder) of every distribution.
    """
    watched = {_normalize(name) for name in [*jaxdl_packages(), *CUDA_PACKAGES]}
    places: dict[str, dict[str, str]] = {}
    for name, number, folder in distributions:
        if _normalize(name) in watched:
            places.setdefault(_normalize(name), {}).setdefault(number, folder)
    problems = []
    for name, versions in places.items():
        if len(versions) > 1:
            listed = " and ".join(f"{number} in {folder}" for number, folder in versions.items())
            remedy = f"repeat 'pip uninstall {name}' until none is left, then reinstall jaxdl"
            problems.append(Problem(f"{name} is installed in two versions: {listed}.", remedy))
    if {"jax-cuda12-plugin", "jax-cuda13-plugin"} <= places.keys():
        problems.append(
            Problem(
                "The CUDA 12 and the CUDA 13 plugin of JAX are both installed.",
                "pip uninstall jax-cuda13-plugin jax-cuda13-pjrt (or those of CUDA 12)",
            )
        )
    return problems


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def has_nvidia_driver() -> bool:
    """Returns True if this machine has an NVIDIA driver or ``nvidia-smi``."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def device_problems(devices: Devices, environ: Mapping[str, str], *, nvidia: bool) -> list[Problem]:
    """A JAX that cannot be imported, finds no device, or does not use the GPU.

    A GPU that the environment hides (``JAX_PLATFORMS=cpu``, an empty ``CUDA_VISIBLE_DEVICES``) is
    not a problem.

    Args:
        devices: see :func:`find_devices`.
        environ: environment variables.
        nvidia: True if the machine has an NVIDIA driver.
    """
    wanted = environ.get("JAX_PLATFORMS", "")
    if not devices.imported:
        if version("jax") is None:
            return []  # reported as missing
        what = f"jax is installed and cannot be imported: {devices.error}"
        return [Problem(what, "pip install --force-reinstall jax jaxlib")]
    if devices.error and wanted:
        what = f"JAX_PLATFORMS={wanted} names a platform that is not available: {devices.error}"
        remedy = "unset JAX_PLATFORMS, or set it to cpu"
        if "cuda" in wanted or "gpu" in wanted:
            remedy += "; for an NVIDIA GPU: pip install 'jaxdl[cuda12]'"
        return [Problem(what, remedy)]
    if devices.error:
        what = f"JAX finds no device: {devices.error}"
        return [Problem(what, "set JAX_PLATFORMS=cpu to continue without the accelerator")]
    hidden = wanted == "cpu" or environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
    if nvidia and not hidden and all(device.platform == "cpu" for device in devices.found):
        if any(version(name) for name in CUDA_PACKAGES):
            remedy = (
                "see the warning that JAX prints at import; most often the driver is too old (CUDA "
                "12 needs 525 or newer, CUDA 13 needs 580 or newer)"
            )
        else:
            remedy = "pip install 'jaxdl[cuda12]' (or 'jaxdl[cuda13]' with driver 580 or newer)"
        what = "This machine has an NVIDIA driver, but JAX finds only the CPU."
        return [Problem(what, remedy)]
    return []


def arithmetic_problems(
    devices: "Sequence[jax.Device]",
    compute: "Callable[[jax.Device, np.ndarray, np.ndarray], Sequence[np.ndarray]] | None" = None,
) -> list[Problem]:
    """Devices on which a compiled matrix product or its gradient fails or is wrong.

    The operands are small integers, so that the result is exact in bfloat16 and TF32 too.

    Args:
        devices: JAX devices.
        compute: (device, x, w) -> (x @ w, gradient of sum((x @ w)²) / 2 with respect to w); by
            default compiled by JAX.
    """
    if not devices:
        return []
    import numpy as np

    x = (np.arange(64).reshape(8, 8) % 5 - 2).astype(np.float32)
    w = (np.arange(64).reshape(8, 8) % 7 - 3).astype(np.float32)
    expected = (x @ w, x.T @ (x @ w))
    problems = []
    for device in devices:
        try:
            results = (compute or _compute)(device, x, w)
        except Exception as error:
            what = f"{device} cannot compile and run a matrix product: {_describe_error(error)}"
            remedy = (
                "free its memory (other processes?), update its driver, or set JAX_PLATFORMS=cpu"
            )
            problems.append(Problem(what, remedy))
            continue
        for name, want, got in zip(("product", "gradient"), expected, results, strict=True):
            largest = float(np.max(np.abs(want - np.asarray(got))))
            if not largest < 1e-3:
                what = f"the matrix {name} on {device} is wrong by up to {largest:.3g}."
                remedy = "pip install --force-reinstall jax jaxlib, or replace the device"
                problems.append(Problem(what, remedy))
    return problems


def _compute(device: "jax.Device", x: "np.ndarray", w: "np.ndarray") -> "Sequence[np.ndarray]":
    import jax
    import numpy as np

    x, w = jax.device_put((x, w), device)
    product = jax.jit(lambda x, w: x @ w)(x, w)
    gradient = jax.jit(jax.grad(lambda w, x: ((x @ w) ** 2).sum() / 2))(w, x)
    return np.asarray(product), np.asarray(gradient)


def folder_problems(folder: Path) -> list[Problem]:
    """A folder into which a run cannot write."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return []
    except OSError as error:
        what = f"the current folder cannot be written: {error.strerror or error}."
        return [Problem(what, "change to a writable folder, or pass --workdir")]
