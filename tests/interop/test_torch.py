"""Names and layouts of PyTorch's state_dict."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.interop import from_state_dict

LIKE = {
    "params": {
        "layer1_0": {"conv1": {"kernel": jnp.zeros((3, 5, 2, 4)), "bias": jnp.zeros(4)}},
        "bn": {"scale": jnp.zeros(4), "bias": jnp.zeros(4)},
        "fc": {"kernel": jnp.zeros((6, 7))},
        "up": {"transposed_kernel": jnp.zeros((3, 5, 2, 4))},
        "lstm": {"kernel_ih_l0": jnp.zeros((2, 8))},
        "embed": {"embedding": jnp.zeros((9, 3))},
    },
    "batch_stats": {"bn": {"mean": jnp.zeros(4), "var": jnp.zeros(4)}},
}
SHAPES = {
    "layer1.0.conv1.weight": (4, 2, 3, 5),
    "layer1.0.conv1.bias": (4,),
    "bn.weight": (4,),
    "bn.bias": (4,),
    "bn.running_mean": (4,),
    "bn.running_var": (4,),
    "bn.num_batches_tracked": (),
    "fc.weight": (7, 6),
    "up.weight": (2, 4, 3, 5),
    "lstm.weight_ih_l0": (8, 2),
    "embed.weight": (9, 3),
}


def state_dict():
    generator = np.random.default_rng(0)
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def test_every_layout_goes_where_it_belongs():
    arrays = state_dict()
    variables = from_state_dict(arrays, LIKE)
    params = variables["params"]
    conv = params["layer1_0"]["conv1"]["kernel"]
    assert conv[2, 4, 1, 3] == arrays["layer1.0.conv1.weight"][3, 1, 2, 4]
    assert params["up"]["transposed_kernel"][2, 4, 1, 3] == arrays["up.weight"][1, 3, 2, 4]
    np.testing.assert_array_equal(params["fc"]["kernel"], arrays["fc.weight"].T)
    np.testing.assert_array_equal(params["lstm"]["kernel_ih_l0"], arrays["lstm.weight_ih_l0"].T)
    np.testing.assert_array_equal(params["embed"]["embedding"], arrays["embed.weight"])
    np.testing.assert_array_equal(params["bn"]["scale"], arrays["bn.weight"])
    np.testing.assert_array_equal(variables["batch_stats"]["bn"]["var"], arrays["bn.running_var"])


def test_all_that_does_not_fit_is_named_at_once():
    arrays = state_dict()
    del arrays["bn.weight"]
    arrays["fc.weight"] = arrays["fc.weight"].T
    arrays["head.weight"] = np.zeros(3)
    with pytest.raises(ValueError) as error:
        from_state_dict(arrays, LIKE)
    message = str(error.value)
    assert "missing: bn.weight (for params/bn/scale (4,))" in message
    assert "shape: fc.weight gives (6, 7)" not in message
    assert "shape: fc.weight gives (7, 6), params/fc/kernel expects (6, 7)" in message
    assert "unexpected: head.weight" in message
