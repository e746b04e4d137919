"""experiments/classify.py on 3,000 images, saving at every opportunity; for the kill test."""

import functools

import classify
from jaxdl import config, data

NUM_EXAMPLES = 3000


def load_some(name, data_dir):
    whole = load(name, data_dir)
    return whole._replace(train={key: array[:NUM_EXAMPLES] for key, array in whole.train.items()})


if __name__ == "__main__":
    load, data.load = data.load, load_some
    classify.run = functools.partial(classify.run, save_every_seconds=0.0)
    config.main(classify.main, classify.Config)
