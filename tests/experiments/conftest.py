"""Images for experiments that read a folder."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """Twelve images of two classes."""
    generator = np.random.default_rng(0)
    for index in range(12):
        path = tmp_path / "images" / f"class{index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return tmp_path / "images"
