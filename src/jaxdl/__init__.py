"""PyTorch's recipes as pure functions on JAX, Flax Linen, Optax and Orbax.

State is one pytree and everything else is a function of it. Start with
:func:`jaxdl.train.run`, the training loop, and ``experiments/mnist.py``, which uses it.

Packages load when they are first used, so ``python -m jaxdl doctor`` can report what is wrong with
an installation in which JAX itself cannot be imported.
"""

from jaxdl._lazy import attach_stub
from jaxdl._versions import version

__version__ = version("jaxdl") or "unknown"

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
