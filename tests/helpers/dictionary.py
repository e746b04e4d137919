"""Inputs of the dictionary's expressions, and the names that both sides may use."""

import importlib
import itertools
import tomllib
from pathlib import Path

import jax
import numpy as np

import jaxdl

PATH = Path(jaxdl.__file__).parent / "pytorch.toml"
ROWS: dict[str, dict[str, str]] = tomllib.loads(PATH.read_text(encoding="utf-8"))

PACKAGES = {
    "jnp": "jax.numpy",
    "linen": "flax.linen",
    "np": "numpy",
    "optax": "optax",
    "itertools": "itertools",
    "numpy": "numpy",
}
OURS = ("checkpoint", "data", "export", "interop", "losses", "metrics", "models", "nn", "optim")
OURS += ("plots", "sweep", "tensorboard", "text", "train", "transforms", "tree")


def inputs() -> dict[str, np.ndarray]:
    """Arrays by name: floats x y (3, 4), m s (4, 4), v w (4,); p in (0, 1); integers n k; …"""
    rng = np.random.default_rng(3)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    m, x = normal(4, 4), normal(3, 4)
    missing = x.copy()
    missing[0, 1] = missing[2, 3] = np.nan
    return {
        "x": x,
        "y": normal(3, 4),
        "m": m,
        "s": m @ m.T + 2 * np.eye(4, dtype=np.float32),  # symmetric, positive definite
        "v": normal(4),
        "w": normal(4),
        "v5": normal(5),
        "nan5": np.array([2.0, np.nan, -1.0, 0.5, np.nan], np.float32),
        "u3": normal(2, 3),
        "w3": normal(2, 3),
        "p": rng.uniform(0.05, 0.95, (3, 4)).astype(np.float32),
        "g": normal(2, 4, 4),
        "pair": normal(3, 2),
        "cplx": normal(3, 4) + 1j * normal(3, 4),
        "nan": missing,
        "sorted": np.sort(normal(6)),
        "n": rng.integers(0, 5, (3, 4)).astype(np.int32),
        "k": np.array([2, 0, 3], np.int32),
        "k2": np.array([2, 0], np.int32),
        "idx": np.array([[0, 2], [1, 3], [3, 0], [2, 1]], np.int32),
        "b": rng.uniform(size=(3, 4)) > 0.4,
        "image": normal(2, 8, 8, 3),
        "kernel": normal(3, 3, 3, 5),
        "heads": normal(2, 6, 2, 4),  # (B, T, heads, features)
    }


def scope() -> dict[str, object]:
    """Names for expressions in JAX."""
    names: dict[str, object] = {"jax": jax, "itertools": itertools}
    names |= {short: importlib.import_module(name) for short, name in PACKAGES.items()}
    names |= {name: importlib.import_module(f"jaxdl.{name}") for name in OURS}
    importlib.import_module("jax.scipy.linalg")
    importlib.import_module("jax.flatten_util")
    importlib.import_module("jax.test_util")
    return names


def resolve(name: str, names: dict[str, object]) -> object:
    """The object of a dotted name; raises AttributeError or KeyError where there is none."""
    first, *rest = name.split(".")
    found = names[first]
    for part in rest:
        found = getattr(found, part)
    return found
