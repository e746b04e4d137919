"""Names and layouts of PyTorch's state_dict, there and back."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from helpers.state_dicts import draw

from jaxdl import tree
from jaxdl.interop import load_state_dict, params_from_torch, params_to_torch
from jaxdl.interop._layouts import torch_name

SHAPES = {
    "layer1.0.conv1.weight": (4, 2, 3, 5),
    "layer1.0.conv1.bias": (4,),
    "conv1d.weight": (4, 2, 3),
    "conv3d.weight": (4, 2, 3, 5, 6),
    "bn.weight": (4,),
    "bn.bias": (4,),
    "bn.running_mean": (4,),
    "bn.running_var": (4,),
    "fc.weight": (7, 6),
    "up.weight": (2, 4, 3, 5),
    "lstm.weight_ih_l0": (8, 2),
    "lstm.bias_ih_l0": (8,),
    "embed.weight": (9, 3),
    "attention.in_proj_weight": (9, 3),
}
TARGET = {
    "params": {
        "layer1_0": {"conv1": {"kernel": jnp.zeros((3, 5, 2, 4)), "bias": jnp.zeros(4)}},
        "conv1d": {"kernel": jnp.zeros((3, 2, 4))},
        "conv3d": {"kernel": jnp.zeros((3, 5, 6, 2, 4))},
        "bn": {"scale": jnp.zeros(4), "bias": jnp.zeros(4)},
        "fc": {"kernel": jnp.zeros((6, 7))},
        "up": {"transposed_kernel": jnp.zeros((3, 5, 2, 4))},
        "lstm": {"kernel_ih_l0": jnp.zeros((2, 8)), "bias_ih_l0": jnp.zeros(8)},
        "embed": {"embedding": jnp.zeros((9, 3))},
        "attention": {"in_proj": {"kernel": jnp.zeros((3, 9))}},
    },
    "batch_stats": {"bn": {"mean": jnp.zeros(4), "var": jnp.zeros(4)}},
}
SMALL = {"params": {"fc": {"kernel": jnp.zeros((3, 2)), "bias": jnp.full(2, 5.0)}}}


def state_dict():
    return draw(SHAPES) | {"bn.num_batches_tracked": np.array(7)}


def small(**shapes):
    return draw(shapes or {"fc.weight": (2, 3), "fc.bias": (2,)})


# Layouts


def test_every_layout_goes_where_it_belongs():
    arrays = state_dict()
    variables = params_from_torch(arrays, TARGET)
    params = variables["params"]
    conv = params["layer1_0"]["conv1"]["kernel"]
    assert conv[2, 4, 1, 3] == arrays["layer1.0.conv1.weight"][3, 1, 2, 4]
    assert params["conv1d"]["kernel"][2, 1, 3] == arrays["conv1d.weight"][3, 1, 2]
    assert params["conv3d"]["kernel"][2, 4, 5, 1, 3] == arrays["conv3d.weight"][3, 1, 2, 4, 5]
    assert params["up"]["transposed_kernel"][2, 4, 1, 3] == arrays["up.weight"][1, 3, 2, 4]
    np.testing.assert_array_equal(params["fc"]["kernel"], arrays["fc.weight"].T)
    np.testing.assert_array_equal(params["lstm"]["kernel_ih_l0"], arrays["lstm.weight_ih_l0"].T)
    np.testing.assert_array_equal(params["embed"]["embedding"], arrays["embed.weight"])
    in_proj = params["attention"]["in_proj"]["kernel"]
    np.testing.assert_array_equal(in_proj, arrays["attention.in_proj_weight"].T)
    np.testing.assert_array_equal(params["bn"]["scale"], arrays["bn.weight"])
    np.testing.assert_array_equal(variables["batch_stats"]["bn"]["var"], arrays["bn.running_var"])


def test_the_way_back_is_bitwise_by_our_spelling_and_by_theirs():
    arrays = state_dict()
    variables = params_from_torch(arrays, TARGET)
    ours = params_to_torch(variables)
    assert ours.keys() == arrays.keys()
    assert ours["bn.num_batches_tracked"] == 0
    theirs = params_to_torch(variables, arrays)
    assert list(theirs) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(theirs[name], array, strict=True)
        assert theirs[name].flags.c_contiguous
        assert theirs[name].flags.writeable


# Reports


def test_all_that_does_not_fit_is_named_at_once():
    arrays = state_dict()
    arrays["norm.weight"] = arrays.pop("bn.weight") + 1
    arrays["fc.weight"] = arrays["fc.weight"].T
    arrays["head.weight"] = np.zeros(3)
    with pytest.raises(ValueError) as error:
        params_from_torch(arrays, TARGET)
    assert str(error.value).splitlines()[:9] == [
        "the state_dict does not fit the model:",
        "loaded 12 of 14 leaves (1,078 numbers)",
        "missing in the state_dict, 1:",
        "  params/bn/scale: no bn.weight of shape (4,); the nearest of that shape is norm.weight",
        "unexpected in the state_dict, 2:",
        "  norm.weight: of shape (4,)",
        "  head.weight: of shape (3,)",
        "of another shape, 1:",
        "  params/fc/kernel: fc.weight has shape (6, 7), expected (7, 6)",
    ]
    assert "strict=False" in str(error.value)


def test_partial_loading_takes_what_fits_and_keeps_the_rest():
    arrays = {"fc.weight": np.ones((2, 3), np.float32), "fc.bias": np.ones(9, np.float32)}
    variables, report = load_state_dict(arrays, SMALL, strict=False)
    assert variables["params"]["fc"]["kernel"].tolist() == [[1.0] * 2] * 3
    assert variables["params"]["fc"]["bias"].tolist() == [5.0, 5.0]
    assert report.loaded == {"params/fc/kernel": "fc.weight"}
    assert list(report.mismatched) == ["params/fc/bias"]
    assert report.num_values == 6
    assert not report.fits


def test_partial_loading_of_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"no array of the state_dict fits(.|\n)*loaded 0 of 2"):
        load_state_dict({"a.b": np.zeros(3)}, SMALL, strict=False)
    with pytest.raises(ValueError, match="no array of the state_dict fits"):
        load_state_dict({"x.b": np.zeros(3), "y": np.zeros(3)}, SMALL, strict=False, prefix="x.")


def test_a_new_head_keeps_its_initial_weights():
    target = {"params": {"body": {"bias": jnp.zeros(3)}, **SMALL["params"]}}
    arrays = draw({"body.bias": (3,), "fc.weight": (1000, 3), "fc.bias": (1000,)})
    variables, report = load_state_dict(arrays, target, leave_out="^(params/)?fc")
    assert variables["params"]["fc"]["bias"].tolist() == [5.0, 5.0]
    np.testing.assert_array_equal(variables["params"]["body"]["bias"], arrays["body.bias"])
    assert report.fits
    assert set(report.left_out) == {"params/fc/kernel", "params/fc/bias", "fc.weight", "fc.bias"}
    assert "left out as asked, 4" in str(report)
    with pytest.raises(ValueError, match="leave_out: 'fb' matches no leaf"):
        load_state_dict(arrays, target, leave_out=["fc", "fb"])


def test_what_only_pytorch_has_can_be_left_out():
    arrays = small() | {"aux.weight": np.zeros(2)}
    _, report = load_state_dict(arrays, SMALL, leave_out=r"^aux\.")
    assert report.left_out == ("aux.weight",)


def test_shapes_alone_do_for_everything_and_for_nothing_less():
    target = jax.eval_shape(lambda: SMALL)
    assert params_from_torch(small(), target)["params"]["fc"]["bias"].shape == (2,)
    with pytest.raises(ValueError, match="params/fc/bias is not loaded and has no initial value"):
        load_state_dict(small(), target, leave_out="bias")


# Names


@pytest.mark.parametrize("prefix", ["module.", "module.backbone."])
def test_a_prefix_of_all_names_is_taken_off(prefix):
    arrays = {f"{prefix}{name}": array for name, array in small().items()}
    variables, report = load_state_dict(arrays, SMALL)
    assert report.prefix == prefix
    np.testing.assert_array_equal(variables["params"]["fc"]["kernel"], small()["fc.weight"].T)
    assert list(params_to_torch(variables, arrays)) == list(arrays)
    with pytest.raises(ValueError, match="loaded 0 of 2"):
        load_state_dict(arrays, SMALL, prefix="")


def test_a_prefix_that_is_a_layer_of_ours_stays():
    _, report = load_state_dict(small(), SMALL)
    assert report.prefix == ""


def test_a_part_of_a_larger_model_is_loaded_by_its_prefix():
    arrays = {f"backbone.{name}": array for name, array in small().items()}
    arrays["head.weight"] = np.zeros(3)
    _, report = load_state_dict(arrays, SMALL, prefix="backbone.")
    assert report.fits
    assert report.left_out == ("head.weight",)
    with pytest.raises(ValueError, match=r"no name starts with 'body.'; .* \['backbone', 'head'\]"):
        load_state_dict(arrays, SMALL, prefix="body.")


def test_renames_lead_from_sequential_to_automatic_names_and_back():
    target = {"params": {f"Dense_{i}": {"bias": jnp.zeros(i + 1)} for i in range(2)}}
    arrays = draw({"0.bias": (1,), "2.bias": (2,)})
    renames = [(r"^0\.", "Dense_0."), (r"^2\.", "Dense_1.")]
    variables, _ = load_state_dict(arrays, target, renames=renames)
    np.testing.assert_array_equal(variables["params"]["Dense_1"]["bias"], arrays["2.bias"])
    back = params_to_torch(variables, arrays, renames=renames)
    np.testing.assert_array_equal(back["2.bias"], arrays["2.bias"])
    with pytest.raises(ValueError, match=r"renames: '\^1' matches no name, such as 0.bias, 2.bias"):
        load_state_dict(arrays, target, renames=[*renames, ("^1", "")])
    with pytest.raises(ValueError, match="give names="):
        params_to_torch(variables, renames=renames)


def test_names_that_are_one_here_are_refused():
    arrays = {"a.b": np.zeros(1), "a_b": np.zeros(1)}
    with pytest.raises(ValueError, match=r"a.b and a_b are the same name here"):
        params_from_torch(arrays, {"a_b": jnp.zeros(1)})
    twice = {"params": {"a_0": {"b": jnp.zeros(1)}, "a": {"0": {"b": jnp.zeros(1)}}}}
    with pytest.raises(ValueError, match=r"two leaves would be a.0.b"):
        params_to_torch(twice)


def test_names_for_writing_must_be_the_models():
    with pytest.raises(ValueError) as error:
        params_to_torch(SMALL, ["fc.weight", "fc.scale"])
    assert "no name for params/fc/bias; looked for fc.bias" in str(error.value)
    assert "no leaf for fc.scale" in str(error.value)
    with pytest.raises(ValueError, match=r"fc.weight: the model's has shape \(2, 3\), names says"):
        params_to_torch(SMALL, {"fc.weight": np.zeros((3, 2)), "fc.bias": np.zeros(2)})


def test_default_names_follow_sequential_and_leave_automatic_ones():
    assert torch_name("layer2_0/downsample_1/scale") == "layer2.0.downsample.1.weight"
    assert torch_name("Conv_0/kernel") == "Conv_0.weight"
    assert torch_name("LSTM_0/kernel_hh_l0_reverse") == "LSTM_0.weight_hh_l0_reverse"
    assert torch_name("bn1/var") == "bn1.running_var"


# Values


def test_tied_weights_have_two_names_and_must_be_equal():
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    target = {"params": {"wte": {"embedding": jnp.zeros((3, 2))}}}
    tied = {"lm_head.weight": "wte.weight"}
    both = {"wte.weight": table, "lm_head.weight": table}
    for arrays in (both, {"wte.weight": table}, {"lm_head.weight": table}):
        variables, report = load_state_dict(arrays, target, tied=tied)
        np.testing.assert_array_equal(variables["params"]["wte"]["embedding"], table)
        assert report.fits
    assert list(params_to_torch(variables, reversed(both), tied=tied)) == list(reversed(both))
    np.testing.assert_array_equal(params_to_torch(variables, tied=tied)["lm_head.weight"], table)
    with pytest.raises(ValueError, match=r"lm_head.weight: equal to wte.weight.*tied=\{"):
        params_from_torch(both, target)
    with pytest.raises(ValueError, match="not tied: their numbers differ"):
        load_state_dict(both | {"lm_head.weight": table + 1}, target, tied=tied)
    with pytest.raises(ValueError, match=r"neither lm_head\.weight nor wte\.weight"):
        load_state_dict({"a": table}, target, tied=tied)


def test_dtypes_are_converted_on_request_only():
    half = {name: array.astype(np.float16) for name, array in small().items()}
    for strict in (True, False):
        with pytest.raises(ValueError, match=r"fc.\w+ is float16, params/fc/\w+ is float32"):
            load_state_dict(half, SMALL, strict=strict)
    variables, _ = load_state_dict(half, SMALL, dtype=jnp.float32)
    assert variables["params"]["fc"]["kernel"].dtype == jnp.float32
    np.testing.assert_array_equal(variables["params"]["fc"]["kernel"], half["fc.weight"].T)
    variables, _ = load_state_dict(small(), SMALL, dtype=jnp.bfloat16)
    expected = small()["fc.weight"].T.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(np.asarray(variables["params"]["fc"]["kernel"]), expected)
    with pytest.raises(ValueError, match="JAX does not have float64 unless"):
        load_state_dict(small(), SMALL, dtype=np.float64)


def test_statistics_keep_their_dtype():
    target = {
        "params": {"bn": {"scale": jnp.ones(2)}},
        "batch_stats": {"bn": {"mean": jnp.ones(2)}},
    }
    arrays = {name: np.ones(2, np.float16) for name in ("bn.weight", "bn.running_mean")}
    variables, _ = load_state_dict(arrays, target, dtype=jnp.bfloat16)
    assert tree.describe(variables) == {
        "batch_stats/bn/mean": "float32[2]",
        "params/bn/scale": "bfloat16[2]",
    }


def test_integers_change_their_width_where_they_fit():
    target = {"index": jnp.zeros(2, jnp.int32)}
    loaded = params_from_torch({"index": np.array([1, -(2**31)])}, target)
    assert loaded["index"].tolist() == [1, -(2**31)]
    with pytest.raises(ValueError, match="index is int64, index is int32"):
        params_from_torch({"index": np.array([1, 2**31])}, target)


def test_the_result_shares_no_memory_with_the_state_dict():
    arrays = small()
    variables = params_from_torch(arrays, SMALL)
    before = np.array(variables["params"]["fc"]["bias"])
    arrays["fc.bias"][:] = 100
    np.testing.assert_array_equal(variables["params"]["fc"]["bias"], before)


def test_something_that_is_no_array_is_named():
    with pytest.raises(ValueError, match=r"fc.bias must be an array or a tensor, got list"):
        params_from_torch(small() | {"fc.bias": [1.0, 2.0]}, SMALL)


def test_weights_are_converted_to_floating_point_only():
    for dtype in (jnp.int8, "bool"):
        with pytest.raises(ValueError, match="dtype must be a floating-point dtype, got"):
            load_state_dict(small(), SMALL, dtype=dtype)


def test_invalid_expressions_are_named():
    with pytest.raises(ValueError, match=r"leave_out: '\(fc' is not a regular expression: missing"):
        load_state_dict(small(), SMALL, leave_out="(fc")
    with pytest.raises(ValueError, match=r"renames: '\*' is not a regular expression: nothing to"):
        load_state_dict(small(), SMALL, renames=[("*", "a")])
    with pytest.raises(ValueError, match=r"renames: invalid replacement '\\\\9': invalid group"):
        load_state_dict(small(), SMALL, renames=[("fc", r"\9")])


def test_tied_weights_may_hold_nan():
    table = np.array([[np.nan, 1.0]], np.float32)
    target = {"params": {"wte": {"embedding": jnp.zeros((1, 2))}}}
    arrays = {"wte.weight": table, "lm_head.weight": table}
    variables, _ = load_state_dict(arrays, target, tied={"lm_head.weight": "wte.weight"})
    np.testing.assert_array_equal(variables["params"]["wte"]["embedding"], table)
