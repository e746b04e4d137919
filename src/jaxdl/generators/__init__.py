"""Generators under observation: measures of what they make, a judge, a film, pictures."""

from jaxdl.generators.film import Film, curves, make_film_step, start_film
from jaxdl.generators.judge import Judge, look, train_judge
from jaxdl.generators.measures import (
    Gaussian,
    class_histogram,
    entropy,
    frechet_distance,
    gaussian,
    nearest_neighbours,
    precision_and_recall,
)
from jaxdl.generators.pictures import loss_curves, neighbours, rows_over_time, save_film, save_grid
from jaxdl.generators.report import Reference, make_hook, make_reference, measure, save_row

__all__ = [
    "Film",
    "Gaussian",
    "Judge",
    "Reference",
    "class_histogram",
    "curves",
    "entropy",
    "frechet_distance",
    "gaussian",
    "look",
    "loss_curves",
    "make_film_step",
    "make_hook",
    "make_reference",
    "measure",
    "nearest_neighbours",
    "neighbours",
    "precision_and_recall",
    "rows_over_time",
    "save_film",
    "save_grid",
    "save_row",
    "start_film",
    "train_judge",
]
