"""The classifier that measures generated images, on scikit-learn's digits."""

import numpy as np
import pytest

from jaxdl import tree
from jaxdl.generative.classifier import classify


@pytest.mark.slow
def test_a_trained_classifier_is_loaded_from_its_cache(classifier, reference):
    again = reference.classifier
    assert max(tree.max_difference(classifier.variables, again.variables).values()) == 0
    # three epochs of 1,437 digits give about 0.9, chance is 0.1
    assert classifier.accuracy == again.accuracy > 0.85


def test_features_do_not_depend_on_the_batch_size(digits, classifier):
    images = digits.test["image"][:23]
    few, many = (classify(classifier, images, batch_size=size) for size in (5, 250))
    assert few[0].shape == (23, 128)
    for a, b in zip(few, many, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_images_of_another_shape_and_no_images_are_refused(classifier):
    with pytest.raises(ValueError, match=r"images must have shape \(any, 8, 8, 1\)"):
        classify(classifier, np.zeros((10, 28, 28, 1)))
    with pytest.raises(ValueError, match="at least one image, got none"):
        classify(classifier, np.zeros((0, 8, 8, 1)))
