"""Options of watching, checked before the run."""

import pytest
from helpers.watched_run import TEST, TRAIN, run

from jaxdl import train
from jaxdl.train.watch.options import resolve


def test_true_takes_all_layers_that_there_are(parts):
    step, _, state = parts
    watch = resolve(train.Watch.all(), step, state, TRAIN, TEST)
    assert watch.activations == ("", "Dropout_0", "conv", "embed", "hidden", "maps", "out")
    assert watch.feature_maps == ("conv", "maps")
    assert watch.filters == ("conv",)


@pytest.mark.parametrize(
    ("watch", "message"),
    [
        (
            {"activations": ("conv", "conv9")},
            "'conv9'.* no such layer; expected one of '', 'Dropout_0'",
        ),
        ({"feature_maps": ("hidden",)}, "no such layer with maps; expected one of 'conv', 'maps'"),
        ({"filters": ("hidden",)}, "no such convolution; expected one of 'conv'"),
        ({"embeddings": "penultimate"}, "names 'penultimate'"),
    ],
)
def test_a_layer_that_is_not_there_is_named_beside_those_that_are(parts, tmp_path, watch, message):
    with pytest.raises(ValueError, match=message):
        run(parts, workdir=tmp_path, watch=train.Watch(**watch))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"every": 0}, "every must be at least 1"),
        ({"num_embeddings": 0}, "num_embeddings must be at least 1"),
        ({"worst": -1}, "worst must be at least 0"),
        ({"activations": "feat1"}, "activations must be a tuple of names, .'feat1',."),
        ({"projections": ("umap",)}, "got 'umap'"),
    ],
)
def test_a_watch_that_makes_no_sense_is_refused_at_once(fields, message):
    with pytest.raises(ValueError, match=message):
        train.Watch(**fields)


def test_what_a_watch_needs_of_the_run_is_said_before_the_first_step(parts, tmp_path):
    step, _, state = parts
    with pytest.raises(ValueError, match="pass workdir to run"):
        run(parts, watch=train.Watch())
    options = {"eval_fn": None, "eval_data": None, "workdir": tmp_path / "a"}
    with pytest.raises(ValueError, match="pass eval_fn and eval_data to run"):
        run(parts, watch=train.Watch(confusion=True), **options)
    with pytest.raises(ValueError, match="class_names must be 3, one per logit, got 2"):
        run(parts, watch=train.Watch(worst=1, class_names=("a", "b")), workdir=tmp_path / "d")
    watch = train.Watch(embeddings="embed", class_names=("a", "b"))
    with pytest.raises(ValueError, match="labels must lie in 0 to 1, got 2"):
        run(parts, watch=watch, workdir=tmp_path / "e")
    bare = lambda state, batch: step(state, batch)  # noqa: E731
    with pytest.raises(ValueError, match=r"types.Loss\(loss_fn, types.Network\(model, inputs\)\)"):
        run((bare, parts[1], state), workdir=tmp_path / "b", watch=train.Watch(graph=True))
    with pytest.raises(ValueError, match=r"types.Step\(update, gradients\)"):
        run((bare, parts[1], state), workdir=tmp_path / "c", watch=train.Watch(gradients=True))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written"):
        run(parts, workdir=tmp_path / "file" / "run", watch=train.Watch())
