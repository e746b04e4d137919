"""experiments/classify.py on 1,500 images, saving at every opportunity; for the kill test."""

import functools

import classify
from jaxdl import config, data

NUM_TRAIN, NUM_TEST = 1500, 500


def load_some(name, data_dir):
    whole = load(name, data_dir)
    return whole._replace(
        train={key: array[:NUM_TRAIN] for key, array in whole.train.items()},
        test={key: array[:NUM_TEST] for key, array in whole.test.items()},
    )


if __name__ == "__main__":
    load, data.load = data.load, load_some
    classify.run = functools.partial(classify.run, save_every_seconds=0.0)
    config.main(classify.main, classify.Config)
