"""Pictures: learning curves, images, predictions, a confusion matrix, fits, boundaries, data.

Every function returns a ``matplotlib.figure.Figure`` and touches no global state (no pyplot), so it
works without a display, in notebooks and in threads. :func:`save` writes one as a PNG.
"""

from jaxdl.plots.confusion import confusion_matrix
from jaxdl.plots.curves import learning_curves
from jaxdl.plots.data import augmentations, class_balance, histogram, samples
from jaxdl.plots.figure import DPI, save
from jaxdl.plots.images import image_grid, predictions
from jaxdl.plots.plane import class_map, decision_regions, points_and_curves
from jaxdl.plots.runs import heat_map, run_curves, scattered_values

__all__ = [
    "DPI",
    "augmentations",
    "class_balance",
    "class_map",
    "confusion_matrix",
    "decision_regions",
    "heat_map",
    "histogram",
    "image_grid",
    "learning_curves",
    "points_and_curves",
    "predictions",
    "run_curves",
    "samples",
    "save",
    "scattered_values",
]
