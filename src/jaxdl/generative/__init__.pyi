"""Public names of ``jaxdl.generative``; the only list of them."""

from jaxdl.generative import figures as figures
from jaxdl.generative import scores as scores
from jaxdl.generative.report import make_hook as make_hook
from jaxdl.generative.report import make_reference as make_reference
from jaxdl.generative.report import measure as measure
from jaxdl.generative.snapshots import with_snapshots as with_snapshots
