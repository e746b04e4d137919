"""Public names of ``jaxdl.generative``; the only list of them."""

from jaxdl.generative.classifier import Classifier as Classifier
from jaxdl.generative.classifier import look as look
from jaxdl.generative.classifier import train_classifier as train_classifier
from jaxdl.generative.figures import loss_curves as loss_curves
from jaxdl.generative.figures import neighbors as neighbors
from jaxdl.generative.figures import rows_over_time as rows_over_time
from jaxdl.generative.figures import save_animation as save_animation
from jaxdl.generative.figures import save_grid as save_grid
from jaxdl.generative.report import Reference as Reference
from jaxdl.generative.report import make_hook as make_hook
from jaxdl.generative.report import make_reference as make_reference
from jaxdl.generative.report import measure as measure
from jaxdl.generative.report import save_row as save_row
from jaxdl.generative.scores import class_histogram as class_histogram
from jaxdl.generative.scores import entropy as entropy
from jaxdl.generative.scores import frechet_distance as frechet_distance
from jaxdl.generative.scores import gaussian as gaussian
from jaxdl.generative.scores import nearest_neighbors as nearest_neighbors
from jaxdl.generative.scores import precision_and_recall as precision_and_recall
from jaxdl.generative.snapshots import Snapshots as Snapshots
from jaxdl.generative.snapshots import curves as curves
from jaxdl.generative.snapshots import make_snapshot_step as make_snapshot_step
from jaxdl.generative.snapshots import start_snapshots as start_snapshots
