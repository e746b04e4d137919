"""experiments/gan_pattern.py: the numbers of the book."""

import numpy as np
import pytest
from PIL import Image

import gan_pattern
from jaxdl import data


@pytest.mark.slow
def test_the_discriminator_distinguishes_and_the_generator_learns_1010(tmp_path):
    cfg = gan_pattern.Config(num_examples=2000, learning_rate=0.05, workdir=tmp_path / "run")
    outputs = gan_pattern.main(cfg)
    assert outputs["real"] > 0.7 > 0.3 > outputs["noise"]
    np.testing.assert_allclose(outputs["generator"], [0.94, 0.05, 0.94, 0.05], atol=0.15)
    frames = np.load(tmp_path / "run" / "frames.npy")
    assert frames.shape == (11, 1, 4)
    np.testing.assert_allclose(frames[-1, 0], outputs["generator"], atol=1e-3)
    assert abs(frames[0] - frames[-1]).max() > 0.3
    pictures = {path.name for path in (tmp_path / "run").glob("*.png")}
    assert pictures == {"losses.png", "evolution.png", "alone.png"}
    for name in pictures:
        pixels = np.asarray(Image.open(tmp_path / "run" / name).convert("L"))
        assert pixels.std() > 20


@pytest.mark.slow
def test_every_step_has_a_new_example():
    cfg = gan_pattern.Config(num_examples=30)
    examples = data.synthetic.pattern_1010(gan_pattern.jax.random.key(0), 30)["input"]
    seen = []
    original = gan_pattern.run

    def run(step, state, arrays, **options):
        seen.append(arrays["image"])
        return original(step, state, arrays, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan_pattern, "run", run)
        snapshots, history = gan_pattern.train(cfg, examples)
    assert len(np.unique(np.asarray(seen[0]), axis=0)) == int(snapshots.step) == 30
    # ten rows; both losses start near the ideal of an untrained discriminator
    assert len(history) == 10
    assert history[0]["train/discriminator_loss"] == pytest.approx(0.25, abs=0.05)
