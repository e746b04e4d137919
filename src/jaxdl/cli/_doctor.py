"""What is installed, what JAX sees, and what is wrong with it: ``python -m jaxdl doctor``.

The functions that end in ``facts`` collect (name, value) pairs, those that end in ``problems`` what
is wrong with a remedy each. Nothing here needs an import to succeed: a broken installation is what
this module is for.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxdl._versions import PACKAGES, installed, version

if TYPE_CHECKING:
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
    """Something that is wrong with the installation.

    Attributes:
        what: what was expected and what was found, one sentence.
        remedy: what to do, a command where there is one.
    """

    what: str
    remedy: str


class Devices(NamedTuple):
    """JAX's answer to the question which devices there are.

    Attributes:
        found: the devices of the default backend; empty where JAX could not tell.
        error: why it could not; empty where it could.
        imported: whether ``import jax`` succeeded.
    """

    found: Sequence[Any]
    error: str
    imported: bool


def find_devices() -> Devices:
    """Asks JAX for its devices and turns any failure into text."""
    try:
        import jax
    except Exception as error:  # whatever a broken installation raises is the answer
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
    """The versions of jaxdl, of what it stands on, and of JAX's CUDA plugins."""
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
    """The backend and every device with its memory, where the device tells."""
    if not devices.found:
        return [("devices", devices.error or "none")]
    first = devices.found[0]
    facts = [("backend", first.platform), ("count", str(len(devices.found)))]
    return facts + [(str(device), _describe_device(device)) for device in devices.found]


def _describe_device(device: Any) -> str:
    try:
        stats = device.memory_stats() or {}
    except Exception:  # some backends have none and raise
        stats = {}
    memory = [
        f"{stats[key] / 2**30:.2f} GiB {meaning}"
        for key, meaning in (("bytes_limit", "limit"), ("bytes_in_use", "in use"))
        if key in stats
    ]
    return f"{device.device_kind}, {', '.join(memory) or 'memory not reported'}"


def memory_facts(environ: Mapping[str, str]) -> Facts:
    """How JAX takes GPU memory under these environment variables, in words."""
    preallocate = environ.get("XLA_PYTHON_CLIENT_PREALLOCATE") or "true"
    fraction = environ.get("XLA_CLIENT_MEM_FRACTION") or environ.get(
        "XLA_PYTHON_CLIENT_MEM_FRACTION"
    )
    allocator = (environ.get("XLA_PYTHON_CLIENT_ALLOCATOR") or "default").lower()
    share = "75 %" if not fraction else f"a share of {fraction}"
    if allocator == "platform":
        meaning = "memory is taken and given back for every array: least memory, slow"
    elif preallocate in ("false", "False", "0"):
        meaning = f"memory is taken as it is needed, at most {share}; it may fragment"
    else:
        meaning = f"{share} of every GPU's memory is taken at the start; CPUs take none"
    return [
        *((name, environ.get(name, "not set")) for name in MEMORY_VARIABLES),
        ("which means", meaning),
    ]


def environment_facts(environ: Mapping[str, str]) -> Facts:
    """The environment variables that change what JAX, XLA and TFDS do."""
    others = sorted(
        name
        for name in environ
        if name.startswith(("JAX_", "XLA_", "TF_CPP_"))
        and name not in VARIABLES
        and name not in MEMORY_VARIABLES
    )
    return [(name, environ.get(name, "not set")) for name in (*VARIABLES, *others)]


def all_problems(devices: Devices, environ: Mapping[str, str]) -> list[Problem]:
    """Everything that is wrong, the cause before what follows from it."""
    return [
        *package_problems(),
        *version_problems(_distributions()),
        *device_problems(devices, environ, nvidia=has_nvidia_driver()),
        *arithmetic_problems(devices.found),
        *folder_problems(Path()),
    ]


def package_problems() -> list[Problem]:
    """Packages that are missing or too old for jaxdl, or that do not fit the installed JAX."""
    if version("jaxdl") is None:
        return [
            Problem(
                "jaxdl is not installed, so its requirements are unknown.",
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
        extra: an extra of the package whose requirements count too.
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
            what = f"{name} {found} does not fit; {package} needs {name}{specifier}."
            problems.append(Problem(what, remedy))
    return problems


def _parse(requirement: str, extra: str) -> tuple[str, str, bool]:
    """Splits ``name[extras]specifier; marker`` into name, specifier and whether it applies."""
    try:
        from packaging.requirements import Requirement
    except ImportError:  # then what carries a marker is left out
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
    """Packages that are there in two versions, of which Python imports only one.

    Args:
        distributions: (name, version, folder) of every distribution.
    """
    watched = {_normalise(name) for name in [*jaxdl_packages(), *CUDA_PACKAGES]}
    places: dict[str, dict[str, str]] = {}
    for name, number, folder in distributions:
        if _normalise(name) in watched:
            places.setdefault(_normalise(name), {}).setdefault(number, folder)
    problems = []
    for name, versions in places.items():
        if len(versions) > 1:
            listed = " and ".join(f"{number} in {folder}" for number, folder in versions.items())
            remedy = f"pip uninstall {name} until none is left, then install jaxdl again"
            problems.append(Problem(f"{name} is installed in two versions: {listed}.", remedy))
    if {"jax-cuda12-plugin", "jax-cuda13-plugin"} <= places.keys():
        problems.append(
            Problem(
                "The CUDA 12 and the CUDA 13 plugin of JAX are both installed.",
                "pip uninstall jax-cuda13-plugin jax-cuda13-pjrt (or those of CUDA 12)",
            )
        )
    return problems


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def has_nvidia_driver() -> bool:
    """Whether this machine shows an NVIDIA driver or its ``nvidia-smi``."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def device_problems(devices: Devices, environ: Mapping[str, str], *, nvidia: bool) -> list[Problem]:
    """A JAX that cannot be imported, finds no device, or overlooks the GPU.

    A GPU that the environment hides on purpose (``JAX_PLATFORMS=cpu``, an empty
    ``CUDA_VISIBLE_DEVICES``) is no problem.

    Args:
        devices: the answer of :func:`find_devices`.
        environ: environment variables.
        nvidia: whether the machine has an NVIDIA driver.
    """
    wanted = environ.get("JAX_PLATFORMS", "")
    if not devices.imported:
        if version("jax") is None:
            return []  # already named as missing
        what = f"jax is installed and cannot be imported: {devices.error}"
        return [Problem(what, "pip install --force-reinstall jax jaxlib")]
    if devices.error and wanted:
        what = f"JAX_PLATFORMS={wanted} asks for a platform that is not there: {devices.error}"
        remedy = "unset JAX_PLATFORMS, or set it to cpu"
        if "cuda" in wanted or "gpu" in wanted:
            remedy += "; for an NVIDIA GPU: pip install 'jaxdl[cuda12]'"
        return [Problem(what, remedy)]
    if devices.error:
        what = f"JAX finds no device: {devices.error}"
        return [Problem(what, "set JAX_PLATFORMS=cpu to go on without the accelerator")]
    hidden = wanted == "cpu" or environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
    if nvidia and not hidden and all(device.platform == "cpu" for device in devices.found):
        if any(version(name) for name in CUDA_PACKAGES):
            remedy = (
                "look for the reason in the warning that JAX prints at import; most often the "
                "driver is too old (CUDA 12 needs 525 or newer, CUDA 13 needs 580 or newer)"
            )
        else:
            remedy = "pip install 'jaxdl[cuda12]' (or 'jaxdl[cuda13]' with driver 580 or newer)"
        what = "This machine has an NVIDIA driver, but JAX sees only the CPU."
        return [Problem(what, remedy)]
    return []


def arithmetic_problems(
    devices: Sequence[Any],
    compute: "Callable[[Any, np.ndarray, np.ndarray], Sequence[np.ndarray]] | None" = None,
) -> list[Problem]:
    """Devices on which a compiled matrix product or its gradient fails or comes out wrong.

    The operands are small whole numbers, so that the result is exact even in bfloat16 or TF32.

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
                what = f"A matrix {name} on {device} is wrong: it is off by up to {largest:.3g}."
                remedy = "pip install --force-reinstall jax jaxlib; if it stays, suspect the device"
                problems.append(Problem(what, remedy))
    return problems


def _compute(device: Any, x: "np.ndarray", w: "np.ndarray") -> "Sequence[np.ndarray]":
    import jax
    import numpy as np

    x, w = jax.device_put((x, w), device)
    product = jax.jit(lambda x, w: x @ w)(x, w)
    gradient = jax.jit(jax.grad(lambda w, x: ((x @ w) ** 2).sum() / 2))(w, x)
    return np.asarray(product), np.asarray(gradient)


def folder_problems(folder: Path) -> list[Problem]:
    """Whether a run could not write its results into a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return []
    except OSError as error:
        what = f"The current folder cannot be written: {error.strerror or error}."
        return [Problem(what, "change into a folder of your own, or give --workdir")]
