"""A state_dict of random numbers."""

import numpy as np


def draw(shapes):
    generator = np.random.default_rng(0)
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
