"""Small runs of the GAN experiments."""

from jaxdl import data

PICTURES = {"losses.png", "samples.png", "training.gif", "neighbors.png"}
DIGITS = data.load("digits")  # before a test replaces the function
LATENT_PICTURES = {"interpolation.png", "arithmetic.png", "walk.gif"}


def few_digits(number):
    """The digits with few training images."""
    train = {name: x[:number] for name, x in DIGITS.train.items()}
    return DIGITS._replace(train=train)


def files(folder):
    """The pictures and tables in a run folder."""
    return {path.name for path in folder.glob("*.*") if path.suffix in (".png", ".gif", ".jsonl")}
