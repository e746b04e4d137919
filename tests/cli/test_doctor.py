"""``python -m jaxdl doctor``: what it reports and what it finds wrong."""

import importlib.metadata
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxdl import __main__ as command
from jaxdl.cli import _doctor

CPU = SimpleNamespace(platform="cpu", device_kind="cpu", memory_stats=lambda: None)


GPU = SimpleNamespace(
    platform="gpu",
    device_kind="NVIDIA A100",
    memory_stats=lambda: {"bytes_limit": 30 * 2**30, "bytes_in_use": 2**29},
)


def fake_version(monkeypatch, **versions):
    """Makes packages look as if they had another version, or, with None, were not there."""
    real = importlib.metadata.version

    def version(name):
        if name not in versions:
            return real(name)
        if versions[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)


def run(*arguments, program=("-m", "jaxdl"), **environ):
    return subprocess.run(
        [sys.executable, *program, *arguments],
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_doctor_finds_nothing_wrong_here():
    done = run("doctor", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "no problems found"
    assert f"jax                  {jax.__version__}" in done.stdout
    assert re.search(r"JAX_PLATFORMS +cpu\n", done.stdout)
    assert "PROBLEM" not in done.stdout


@pytest.mark.slow
def test_the_doctor_names_a_platform_that_is_not_there():
    done = run("doctor", JAX_PLATFORMS="abacus")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "1 problem"
    assert "PROBLEM: JAX_PLATFORMS=abacus names a platform that is not available" in done.stdout
    assert "remedy: unset JAX_PLATFORMS" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_the_doctor_survives_when_nothing_can_be_imported():
    code = """
import runpy, sys
for name in "jax jaxlib numpy flax optax orbax matplotlib packaging tqdm tyro".split():
    sys.modules[name] = None
sys.argv = ["jaxdl", "doctor"]
runpy.run_module("jaxdl", run_name="__main__")
"""
    done = run(program=("-c", code))
    assert done.returncode == 1, done.stderr
    assert "PROBLEM: jax is installed and cannot be imported: ModuleNotFoundError" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 problem"


def test_the_doctor_counts_problems_and_fails(monkeypatch, capsys):
    fake_version(monkeypatch, optax="0.1.0", tyro=None)
    assert command.main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "PROBLEM: optax 0.1.0 is incompatible; jaxdl needs optax>=0.2.8.\n" in shown
    assert "  remedy: pip install --upgrade 'optax>=0.2.8'\n" in shown
    assert "PROBLEM: tyro is missing; jaxdl needs tyro>=1.0.\n" in shown
    assert shown.endswith("2 problems\n")


def test_the_doctor_does_not_preallocate_but_reports_what_the_user_set(monkeypatch, capsys):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    command.main(["doctor"])
    assert os.environ.pop("XLA_PYTHON_CLIENT_PREALLOCATE") == "false"
    assert "XLA_PYTHON_CLIENT_PREALLOCATE   not set" in capsys.readouterr().out


def test_the_installed_packages_fit():
    assert _doctor.package_problems() == []


def test_a_jaxlib_that_does_not_fit_jax_is_named(monkeypatch):
    fake_version(monkeypatch, jaxlib="0.4.1")
    (problem,) = _doctor.package_problems()
    assert problem.what.startswith("jaxlib 0.4.1 is incompatible; jax needs jaxlib")
    assert problem.remedy.startswith("pip install --upgrade 'jaxlib")


def test_a_cuda_plugin_that_does_not_fit_jax_is_named(monkeypatch):
    fake_version(monkeypatch, **{"jax-cuda12-plugin": "0.4.1"})
    assert _doctor.package_problems()[0].what.startswith("jax-cuda12-plugin 0.4.1 is incompatible")


def test_a_checkout_that_was_never_installed_is_named(monkeypatch):
    fake_version(monkeypatch, jaxdl=None)
    (problem,) = _doctor.package_problems()
    assert "pip install -e ." in problem.remedy


def test_extras_are_no_requirements(monkeypatch):
    fake_version(monkeypatch, torch=None, ruff=None)
    assert _doctor.unmet_requirements("jaxdl") == []


def test_requirements_are_read_without_packaging_too(monkeypatch):
    for name in ("packaging", "packaging.requirements", "packaging.specifiers"):
        monkeypatch.setitem(sys.modules, name, None)
    assert _doctor._parse("jax[cuda12]>=0.10", "") == ("jax", ">=0.10", True)
    assert _doctor._parse("ruff>=0.15; extra == 'dev'", "")[2] is False
    assert _doctor._satisfies("0.10.2", "<=0.10.2,>=0.10.1")
    assert not _doctor._satisfies("0.9.7", ">=0.10")
    fake_version(monkeypatch, optax="0.1.0")
    assert [problem.what for problem in _doctor.package_problems()] == [
        "optax 0.1.0 is incompatible; jaxdl needs optax>=0.2.8."
    ]


def test_two_versions_of_one_package_are_named_with_their_folders():
    installed = [("jax", "0.10.2", "/a"), ("Jax", "0.9.0", "/b"), ("other", "1", "/a")]
    (problem,) = _doctor.version_problems([*installed, ("other", "2", "/b")])
    assert problem.what == "jax is installed in two versions: 0.10.2 in /a and 0.9.0 in /b."
    assert _doctor.version_problems([("flax", "1", "/a"), ("flax", "1", "/b")]) == []


def test_two_cuda_plugins_are_one_too_many():
    installed = [("jax-cuda12-plugin", "1", "/a"), ("jax_cuda13_plugin", "1", "/a")]
    (problem,) = _doctor.version_problems(installed)
    assert "CUDA 12 and the CUDA 13" in problem.what


def answer(*devices, error="", imported=True):
    return _doctor.Devices(devices, error, imported)


def test_an_overlooked_gpu_is_a_problem_unless_it_is_hidden_on_purpose():
    (problem,) = _doctor.device_problems(answer(CPU), {}, nvidia=True)
    assert "finds only the CPU" in problem.what
    assert "pip install 'jaxdl[cuda12]'" in problem.remedy
    assert _doctor.device_problems(answer(CPU), {}, nvidia=False) == []
    assert _doctor.device_problems(answer(GPU), {}, nvidia=True) == []
    for hidden in ({"JAX_PLATFORMS": "cpu"}, {"CUDA_VISIBLE_DEVICES": ""}):
        assert _doctor.device_problems(answer(CPU), hidden, nvidia=True) == []


def test_an_overlooked_gpu_with_the_plugin_there_points_to_the_driver(monkeypatch):
    fake_version(monkeypatch, **{"jax-cuda12-plugin": jax.__version__})
    (problem,) = _doctor.device_problems(answer(CPU), {}, nvidia=True)
    assert "driver is too old" in problem.remedy


def test_a_failing_backend_is_told_from_a_wrong_platform():
    broken = answer(error="RuntimeError: no")
    (problem,) = _doctor.device_problems(broken, {"JAX_PLATFORMS": "cuda"}, nvidia=False)
    assert "JAX_PLATFORMS=cuda names a platform" in problem.what
    assert "jaxdl[cuda12]" in problem.remedy
    (problem,) = _doctor.device_problems(broken, {}, nvidia=False)
    assert problem.what == "JAX finds no device: RuntimeError: no"


def test_a_missing_jax_is_one_problem_not_two(monkeypatch):
    fake_version(monkeypatch, jax=None)
    absent = answer(error="ModuleNotFoundError: jax", imported=False)
    assert _doctor.device_problems(absent, {}, nvidia=True) == []
    assert [problem.what.split()[0] for problem in _doctor.package_problems()] == ["jax"]


def test_devices_are_described_with_their_memory():
    facts = _doctor.device_facts(answer(GPU))
    assert facts[:2] == [("backend", "gpu"), ("count", "1")]
    assert facts[2][1] == "NVIDIA A100, 30.00 GiB limit, 0.50 GiB in use"
    assert _doctor.device_facts(answer(CPU))[2][1] == "cpu, memory not reported"
    assert _doctor.device_facts(answer(error="RuntimeError: x")) == [("devices", "RuntimeError: x")]


@pytest.mark.parametrize(
    ("environ", "meaning"),
    [
        ({}, "75 % of each GPU's memory is allocated at the start"),
        ({"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5"}, "a fraction of 0.5 of each GPU's memory"),
        ({"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}, "as needed, at most 75 %"),
        ({"XLA_PYTHON_CLIENT_ALLOCATOR": "platform"}, "freed for each array"),
    ],
)
def test_memory_preallocation_is_put_in_words(environ, meaning):
    assert meaning in dict(_doctor.memory_facts(environ))["effect"]


@pytest.mark.parametrize(
    ("flags", "meaning"),
    [
        ("", "may differ by rounding; XLA_FLAGS=--xla_gpu_deterministic_ops=true prevents it"),
        ("--xla_gpu_deterministic_ops=false", "may differ"),
        ("--xla_cpu_x=1 --xla_gpu_deterministic_ops=true", "give the same bits"),
        ("--xla_gpu_deterministic_ops", "give the same bits"),
    ],
)
def test_it_tells_whether_runs_on_a_gpu_are_reproducible(flags, meaning):
    facts = dict(_doctor.reproducibility_facts({"XLA_FLAGS": flags}))
    assert meaning in facts["two equal runs"]


def test_the_environment_shows_what_matters_and_nothing_else():
    facts = dict(_doctor.environment_facts({"JAX_ENABLE_X64": "1", "TOKEN": "secret"}))
    assert facts["JAX_ENABLE_X64"] == "1"
    assert facts["XLA_FLAGS"] == "not set"
    assert "TOKEN" not in facts


def test_the_arithmetic_of_this_machine_is_right():
    assert _doctor.arithmetic_problems(jax.local_devices()) == []


def test_a_wrong_product_and_a_wrong_gradient_are_told_apart():
    def wrong_gradient(_, x, w):
        return x @ w, x.T @ (x @ w) + np.eye(8)

    (problem,) = _doctor.arithmetic_problems(["gpu:0"], wrong_gradient)
    assert problem.what == "the matrix gradient on gpu:0 is wrong by up to 1."
    nan = _doctor.arithmetic_problems(["gpu:0"], lambda _, x, w: (x * np.nan, x.T @ (x @ w)))
    assert [problem.what[:18] for problem in nan] == ["the matrix product"]


def test_a_device_that_cannot_compute_is_named():
    def fail(*_):
        raise RuntimeError("out of memory")

    (problem,) = _doctor.arithmetic_problems(["gpu:0"], fail)
    assert problem.what.startswith("gpu:0 cannot compile and run a matrix product: RuntimeError")


def test_an_unwritable_folder_is_a_problem(tmp_path):
    assert _doctor.folder_problems(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    (problem,) = _doctor.folder_problems(tmp_path / "absent")
    assert "cannot be written: No such file or directory" in problem.what
