"""Cores and memory of this machine."""

import os
import sys
from types import SimpleNamespace

import jax

from jaxdl._machine import device_memory, num_cores, output_kind


def test_the_memory_of_a_cpu_is_the_machines_and_that_of_an_accelerator_its_own(monkeypatch):
    total, used = device_memory()
    assert (total, used) == (os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None)
    gpu = SimpleNamespace(memory_stats=lambda: {"bytes_limit": 100, "bytes_in_use": 7})
    monkeypatch.setattr(jax, "local_devices", lambda: [gpu])
    assert device_memory() == (100, 7)


def test_cores_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3}, raising=False)
    assert num_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert num_cores() == os.cpu_count()


def test_output_is_seen_in_a_notebook_on_a_terminal_or_in_a_file(monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    assert output_kind() == "file"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert output_kind() == "terminal"
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert output_kind() == "terminal"
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    assert output_kind() == "notebook"
