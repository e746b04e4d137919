"""Small runs of the GAN experiments."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data, models
from jaxdl.generative.classifier import Classifier, classify
from jaxdl.generative.report import Reference
from jaxdl.generative.scores import gaussian

PICTURES = {"losses.png", "samples.png", "training.gif", "neighbors.png"}
DIGITS = data.load("digits")  # before a test replaces the function
LATENT_PICTURES = {"interpolation.png", "arithmetic.png", "walk.gif"}


def few_digits(number):
    """The digits with few training images."""
    train = {name: x[:number] for name, x in DIGITS.train.items()}
    return DIGITS._replace(train=train)


def untrained_reference(num_images):
    """Real digits as a classifier with random weights sees them: to be measured against quickly."""
    images, example = DIGITS.test["image"][:num_images], jnp.zeros((1, 8, 8, 1))
    variables = dict(jax.jit(models.CNN(10).init)(jax.random.key(0), example))
    one = np.ones(1, np.float32)
    classifier = Classifier(variables, one / 2, one, (8, 8, 1), DIGITS.class_names, accuracy=0.1)
    features = np.asarray(classify(classifier, images)[0])
    return Reference(classifier, features, gaussian(features))


def files(folder):
    """The pictures and tables in a run folder."""
    return {path.name for path in folder.glob("*.*") if path.suffix in (".png", ".gif", ".jsonl")}
