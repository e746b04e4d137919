"""Classify sentences as negative or positive (SST-2) with a bag of word and bigram embeddings.

    python experiments/text_classification.py --data_dir DIR

Reads DIR/sst2/train.tsv and DIR/sst2/dev.tsv: a sentence, a tab and 0 or 1 in every line (GLUE's
SST-2.zip, with its first line or without). The 6,920 whole sentences give 80 to 81 % of the dev set
right after five epochs, in ten seconds on two CPU cores. The run folder gets config.json,
metrics.jsonl, TensorBoard events, checkpoints, pictures, sentences.txt (dev sentences with their
probabilities) and model.json, vocabulary included, with which

    python -m jaxdl predict RUN "a fine film"

and ``python -m jaxdl export`` find the model again.

Source: Joulin et al. 2016, Bag of tricks for efficient text classification; the recipe of the
PyTorch text tutorials, ``EmbeddingBag`` and ``Linear``.
"""

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import _files, config, data, export, losses, metrics, optim, plots, text, train
from jaxdl._checks import check_positive
from jaxdl.data import num_batches
from jaxdl.models.sequence import EmbeddingClassifier

CLASS_NAMES = ("negative", "positive")


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    data_dir: Path | None = None
    """Folder with sst2/train.tsv and sst2/dev.tsv."""
    min_count: int = 2
    """Words and bigrams that are rarer in the training set are unknown."""
    bigrams: bool = True
    """Pairs of neighbouring words count as words, too."""
    max_tokens: int = 128
    """Of longer sentences the rest is cut; a sentence of n words has 2n - 1 with bigrams."""
    features: int = 64
    """Length of an embedding."""
    word_dropout_rate: float = 0.3
    """Fraction of a sentence's words left out in training."""
    dropout_rate: float = 0.0
    """Fraction of the mean embedding dropped in training."""
    embedding_scale: float = 0.1
    """Deviation of the initial embeddings."""
    learning_rate: float = 3e-3
    """Peak of the cosine."""
    weight_decay: float = 1e-2
    """AdamW's, of embeddings and kernels, not of biases."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over both classes."""
    batch_size: int = 64
    """Sentences a step."""
    num_epochs: int = 5
    """Passes over the training set."""
    seed: int = 0
    """Of weights, order and dropout."""
    workdir: Path | None = None
    """Run folder; runs/sst2_TIME by default."""
    resume: bool = False
    """Go on with the run in workdir."""


def main(cfg: Config) -> list[dict[str, Any]]:
    """Trains, evaluates, draws; returns the history, one row an epoch."""
    if cfg.data_dir is None:
        raise ValueError(
            "SST-2 is not part of the installation: pass --data_dir DIR with DIR/sst2/train.tsv "
            "and DIR/sst2/dev.tsv, from SST-2.zip at gluebenchmark.com/tasks."
        )
    check_positive(max_tokens=cfg.max_tokens)
    splits = {
        split: data.source_to_arrays(data.open(cfg.data_dir / "sst2", split=split))
        for split in ("train", "dev")
    }
    words = [text.tokenize(sentence) for sentence in splits["train"]["text"]]
    words = [text.add_bigrams(each) for each in words] if cfg.bigrams else words
    vocabulary = tuple(text.build_vocabulary(words, min_count=cfg.min_count))
    preprocess = export.Preprocessing(
        (cfg.max_tokens,), "int32", vocabulary=vocabulary, bigrams=cfg.bigrams
    )
    arrays = {
        split: {"tokens": preprocess.check(list(each["text"])), "label": each["label"]}
        for split, each in splits.items()
    }
    model = EmbeddingClassifier(
        len(vocabulary),
        features=cfg.features,
        word_dropout_rate=cfg.word_dropout_rate,
        dropout_rate=cfg.dropout_rate,
        embedding_scale=cfg.embedding_scale,
    )
    num_steps = cfg.num_epochs * num_batches(len(arrays["train"]["label"]), cfg.batch_size)
    tx = optim.recipe(
        optim.adamw,
        optim.warmup_cosine(cfg.learning_rate, num_steps),
        weight_decay=cfg.weight_decay,
        decay_vectors=False,
    )
    init_key, order_key = jax.random.split(jax.random.key(cfg.seed))
    state = train.init_state(model, tx, init_key, jnp.asarray(arrays["train"]["tokens"][:1]))
    smoothed = functools.partial(losses.cross_entropy, label_smoothing=cfg.label_smoothing)
    common: dict[str, Any] = {"metrics": {"accuracy": metrics.accuracy}, "inputs": "tokens"}
    workdir = cfg.workdir or Path("runs") / f"sst2_{time.strftime('%Y%m%d-%H%M%S')}"
    about = {
        "name": "sst2",
        "data_dir": str(cfg.data_dir.absolute()),
        "training sentences": len(words),
        "dev sentences": len(splits["dev"]["text"]),
    }
    description = export.describe_run(model, preprocess, CLASS_NAMES, data=about)
    print(f"{len(vocabulary):,} words and bigrams, {model.features} features")
    state, history = train.run(
        train.make_step(train.supervised(model, smoothed, **common), tx),
        state,
        arrays["train"],
        num_epochs=cfg.num_epochs,
        batch_size=cfg.batch_size,
        key=order_key,
        eval_fn=train.make_eval(train.supervised(model, losses.cross_entropy, **common)),
        eval_data=arrays["dev"],
        workdir=workdir,
        resume=cfg.resume,
        config=cfg,
        hooks=[export.keep_description(description)],
    )
    logits = train.predict(
        lambda state, tokens: model.apply({"params": state.params}, tokens),
        state,
        arrays["dev"]["tokens"],
    )
    sentences, labels = splits["dev"]["text"], splits["dev"]["label"]
    matrix = metrics.confusion_matrix(logits, jnp.asarray(labels))
    export.write_evaluation(workdir, int(state.step), matrix)
    plots.save(plots.learning_curves(history), workdir / "learning_curves.png")
    plots.save(plots.confusion_matrix(matrix, CLASS_NAMES), workdir / "confusion_matrix.png")
    positive = np.asarray(jax.nn.softmax(logits))[:, 1]
    lines = [
        f"{'right' if (p > 0.5) == label else 'WRONG'}  {p:6.1%} positive  {sentence}"
        for p, label, sentence in zip(positive, labels, sentences, strict=True)
    ]
    _files.write_text(workdir / "sentences.txt", "\n".join(lines) + "\n")
    last = history[-1]
    print(
        *lines[:8],
        f"{len(labels):,} dev sentences after {last['epoch']} epochs: accuracy "
        f"{last['test/accuracy']:.4f}, loss {last['test/loss']:.4f}",
        f"run folder: {workdir}",
        sep="\n",
    )
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
