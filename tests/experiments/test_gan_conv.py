"""experiments/gan_conv.py in small."""

import pytest
from helpers.gan_runs import LATENT_PICTURES, PICTURES, files

import gan_conv


@pytest.mark.slow
def test_color_images_from_a_folder(tmp_path, folder):
    cfg = gan_conv.Config(
        images=str(folder), size=8, features=2, batch_size=4, num_epochs=2, augment=True,
        workdir=tmp_path / "run",
    )  # fmt: skip
    history = gan_conv.main(cfg)
    assert history[-1]["step"] == 6
    assert files(tmp_path / "run") == PICTURES | LATENT_PICTURES | {"real.png", "metrics.jsonl"}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"images": "nothing/here"}, FileNotFoundError, "nothing/here"),
        ({"images": "EMPTY"}, FileNotFoundError, "empty holds neither images"),
        ({"size": 4}, ValueError, "images must be at least 5 pixels .* for DCGAN, got 4x4"),
        ({"size": 1000}, ValueError, "size must be at most 214, got 1000"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path, options, error, message):
    (tmp_path / "empty").mkdir()
    if options.get("images") == "EMPTY":
        options = {"images": str(tmp_path / "empty")}
    cfg = gan_conv.Config(num_train=8, workdir=tmp_path / "run", **options)
    with pytest.raises(error, match=message):
        gan_conv.main(cfg)
