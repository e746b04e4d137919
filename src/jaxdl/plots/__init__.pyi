"""Public names of ``jaxdl.plots``; the only list of them."""

from jaxdl.plots.curves import learning_curves as learning_curves
from jaxdl.plots.images import histogram as histogram
from jaxdl.plots.images import image_grid as image_grid
from jaxdl.plots.images import predictions as predictions
from jaxdl.plots.images import samples as samples
from jaxdl.plots.matrices import confusion_matrix as confusion_matrix
from jaxdl.plots.matrices import heat_map as heat_map
from jaxdl.plots.plane import class_map as class_map
from jaxdl.plots.plane import decision_regions as decision_regions
from jaxdl.plots.plane import points_and_curves as points_and_curves
from jaxdl.plots.style import save as save
