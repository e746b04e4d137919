"""Messages that teach: what was expected, what came, where, and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import _checks

IMAGES = np.zeros((4, 2, 2, 1), np.uint8)
LABELS = np.array([0, 1, 2, 3])


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_check_positive_names_the_value(value):
    with pytest.raises(ValueError, match=r"batch_size must be greater than 0, got"):
        _checks.check_positive(num_epochs=3, batch_size=value)


def test_check_positive_accepts_small_floats():
    _checks.check_positive(learning_rate=1e-30)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: _checks.check_fraction(p=1.5), "p must lie in 0 to 1, got 1.5"),
        (lambda: _checks.check_below_one(b1=1.0), "b1 must be at least 0 and less than 1, got 1.0"),
        (lambda: _checks.check_below_one(b1=float("nan")), "b1 must be at least 0 .* got nan"),
        (lambda: _checks.check_not_negative(eps=jnp.float32(-1)), "eps must be at least 0"),
        (lambda: _checks.check_positive(rate="0.1"), "rate must be a number, got '0.1'"),
        (lambda: _checks.check_positive(rate=None), "rate must be a number, got None"),
        (lambda: _checks.check_positive(rate=jnp.ones(2)), "rate must be a number, got Array"),
        (lambda: _checks.check_count(n=0), "n must be at least 1, got 0"),
        (lambda: _checks.check_count(0, n=-1), "n must be at least 0, got -1"),
        (lambda: _checks.check_count(n=1.5), "n must be an integer, got 1.5"),
        (lambda: _checks.check_count(n=2.0), "n must be an integer, got 2.0"),
        (lambda: _checks.check_count(n=True), "n must be an integer, got True"),
        (lambda: _checks.check_count(n="3"), "n must be an integer, got '3'"),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(check, message):
    with pytest.raises(ValueError, match=message):
        check()


def test_numbers_of_every_kind_are_checked_and_traced_ones_are_not():
    for one in (1, np.int64(1), np.uint8(1), jnp.int32(1), np.array(1)):
        _checks.check_count(n=one)
        _checks.check_positive(n=one)
    for half in (0.5, np.float32(0.5), jnp.bfloat16(0.5), np.array(0.5)):
        _checks.check_fraction(p=half)
        _checks.check_below_one(p=half)

    @jax.jit
    def check(value):
        _checks.check_positive(value=value)
        _checks.check_count(value=value)
        return value

    assert check(-1.5) == -1.5


@pytest.mark.parametrize(
    "expected", [(2, 3, 3), ("B", 3, 3), ("B", "C", "C"), (None, None, None), ("B", None, 3)]
)
def test_check_shape_accepts(expected):
    _checks.check_shape("x", np.zeros((2, 3, 3)), expected)


@pytest.mark.parametrize("expected", [(2, 3), (2, 3, 4), ("B", "B", 3), (2, 3, 3, 1), ()])
def test_check_shape_refuses(expected):
    with pytest.raises(ValueError, match=r"x must have shape \(.*\), got \(2, 3, 3\)\."):
        _checks.check_shape("x", np.zeros((2, 3, 3)), expected)


def test_check_shape_writes_what_it_wants():
    with pytest.raises(ValueError, match=r"logits must have shape \(B, any, 10\), got \(3,\)\."):
        _checks.check_shape("logits", np.zeros(3), ("B", None, 10))


def test_a_list_is_not_an_array():
    with pytest.raises(ValueError, match="labels must be an array, got a list"):
        _checks.check_shape("labels", [0, 1], ("B",))


def test_check_not_negative_names_the_value():
    _checks.check_not_negative(padding=0)
    with pytest.raises(ValueError, match="padding must be at least 0, got -1"):
        _checks.check_not_negative(beta=0.0, padding=-1)


def test_check_data_returns_the_number_of_examples():
    assert _checks.check_data({"image": IMAGES, "label": LABELS}, num_classes=4) == 4
    assert _checks.check_data({"image": jnp.asarray(IMAGES)}) == 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "data holds no arrays"),
        ((IMAGES, LABELS), "data must be a mapping of arrays .* got a tuple"),
        ({"label": np.array([0, 2**31])}, r"lie in 0 to 2\*\*31 - 1, got 2147483648 at index 1"),
        ({"label": LABELS.astype(np.float32)}, r"got dtype float32.*supervised\(targets=\)"),
        ({"image": [1, 2]}, r"data\['image'\] must be an array .* got list"),
        ({"image": np.array(1.0)}, r"data\['image'\] must be an array with a leading example axis"),
        ({"image": IMAGES, "label": LABELS[:3]}, "same number of examples, got image: 4, label: 3"),
        ({"image": IMAGES[:0]}, "data holds no examples"),
        ({"x": np.array([[0, 1], [np.inf, 2], [np.nan, 1]])}, "in 2 of 3 examples, .* index 1"),
        ({"x": jnp.array([0, jnp.nan], jnp.bfloat16)}, "in 1 of 2 examples, the first at index 1"),
        ({"label": np.array([0, -1, 3, -2])}, r"lie in 0 to .*, got -1 at index 1 \(2 of 4"),
    ],
)
def test_check_data_names_array_place_and_remedy(data, message):
    with pytest.raises(ValueError, match=message):
        _checks.check_data(data)


def test_labels_that_start_at_1_get_a_hint():
    with pytest.raises(ValueError, match=r"lie in 0 to 3, got 4 at index 3 .*subtract 1"):
        _checks.check_data({"label": LABELS + 1}, num_classes=4)


def test_labels_must_be_integers():
    with pytest.raises(ValueError, match=r"labels must be integers .* got dtype float32"):
        _checks.check_labels(np.zeros(3, np.float32))


def test_labels_of_several_axes_name_the_example():
    with pytest.raises(ValueError, match=r"\[1 7\] at index 1 \(1 of 4"):
        _checks.check_labels(np.array([[0, 1], [1, 7]]), 3)


@pytest.mark.parametrize("batch_size", [0, -3, 11])
def test_check_batch_size_refuses(batch_size):
    with pytest.raises(ValueError, match=f"lie in 1 to 10 .* got {batch_size}"):
        _checks.check_batch_size(batch_size, 10)


@pytest.mark.parametrize("batch_size", [1, 10])
def test_check_batch_size_accepts_the_ends(batch_size):
    _checks.check_batch_size(batch_size, 10)


def test_the_label_that_is_ignored_is_allowed_but_not_everywhere():
    _checks.check_labels(np.array([0, -100, 2]), 3)
    with pytest.raises(ValueError, match="all labels are -100, the ignored label"):
        _checks.check_labels(np.array([-100, -100]), 3)
    with pytest.raises(ValueError, match="got -1 at index 1"):
        _checks.check_labels(np.array([-100, -1]), 3)


def test_another_label_can_be_ignored():
    labels = np.array([0, -1, 2])
    _checks.check_data({"label": labels}, ignore_label=-1)
    _checks.check_labels(np.array([0, 255, 2], np.uint8), 3, ignore_label=255)
    with pytest.raises(ValueError, match="got -100 at index 1"):
        _checks.check_labels(np.array([0, -100]), ignore_label=-1)
    with pytest.raises(ValueError, match="got -100 at index 1"):
        _checks.check_labels(np.array([0, -100]), ignore_label=None)
