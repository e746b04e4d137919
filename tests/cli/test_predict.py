"""``python -m jaxdl predict``: the table, the picture, and the words for files that do not fit."""

import numpy as np
import pytest
from helpers.small_runs import NAMES, digits, make_bundle
from PIL import Image

from jaxdl import __main__ as command
from jaxdl import export, models
from jaxdl.cli.predict import make_table


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle that is better than chance: each class by its nearest mean image."""
    images, labels = digits().train["image"] / np.float32(255), digits().train["label"]
    means = np.stack([images[labels == label].mean(0).ravel() for label in range(10)])
    kernel, bias = 8 * means.T, -4 * (means**2).sum(1)
    folder = tmp_path_factory.mktemp("bundles") / "digits"
    variables = {"params": {"Dense_0": {"kernel": kernel, "bias": bias}}}
    rule = export.Preprocessing((8, 8, 1))
    export.save_bundle(folder, export.make_bundle(models.MLP((10,)), variables, rule, NAMES))
    return folder


def save(array, path, mode="L", size=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array[..., 0]).convert(mode)
    (image if size is None else image.resize(size)).save(path)


@pytest.mark.slow
def test_a_folder_of_images_becomes_a_table_and_a_picture(bundle, tmp_path, capsys):
    test = digits().test
    for index in range(12):
        save(test["image"][index], tmp_path / "images" / f"{index:02}.png")
    save(test["image"][12], tmp_path / "other.png", "RGB", (40, 30))
    out = tmp_path / "out" / "picture.png"
    arguments = ["predict", str(bundle), str(tmp_path / "images"), str(tmp_path / "other.png")]
    assert command.main([*arguments, "--out", str(out), "--top_k", "2"]) == 0
    header, *rows, last = capsys.readouterr().out.splitlines()
    assert header.split() == ["image", "1.", "2.", "converted"]
    assert last == f"picture: {out}"
    probabilities = export.open_model(bundle).predict(test["image"][:12])
    for index, row in enumerate(probabilities):
        first, second = (-row).argsort()[:2]
        assert f"{index:02}.png  {NAMES[first]} {100 * row[first]:.1f} %" in rows[index]
        assert f"{NAMES[second]} {100 * row[second]:.1f} %" in rows[index]
        assert rows[index].endswith("-")
    assert rows[12].endswith("RGB to gray, 40x30 to 8x8 (stretched)")
    picture = np.asarray(Image.open(out).convert("L"))
    assert picture.std() > 30


def test_folders_named_like_classes_say_how_many_are_right(bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    test = digits().test
    for index in range(10):
        save(test["image"][index], tmp_path / NAMES[test["label"][index]] / f"{index}.png")
    assert command.main(["predict", str(bundle), "."]) == 0
    shown = capsys.readouterr().out
    predicted = export.open_model(bundle).predict(test["image"][:10]).argmax(-1)
    right = int((predicted == test["label"][:10]).sum())
    assert right > 5
    assert f"{right} of 10 images in the folder of their class ({right / 10:.1%})" in shown
    assert "converted" not in shown
    assert (tmp_path / "predictions.png").exists()


def test_the_table_sorts_classes_and_leaves_out_an_empty_column():
    table = make_table("image", ["a.png"], np.array([[0.1, 0.7, 0.2]]), ["x", "y", "z"], 2, [""])
    assert table.splitlines() == ["image  1.        2.", "a.png  y 70.0 %  z 20.0 %"]


def test_texts_and_lines_of_files_are_classified(tmp_path, capsys):
    vocabulary = ("<pad>", "<unk>", "good", "bad", "not bad")
    weights = np.array([[0, 0], [0, 0], [0, 1], [1, 0], [-3, 3]], np.float32)
    dense = {"kernel": np.eye(2, dtype=np.float32), "bias": np.zeros(2)}
    bundle = export.make_bundle(
        models.EmbeddingClassifier(5, features=2),
        {"params": {"Embed_0": {"embedding": weights}, "Dense_0": dense}},
        export.Preprocessing((9,), "int32", vocabulary=vocabulary, bigrams=True),
        ["no", "yes"],
    )
    export.save_bundle(tmp_path / "bundle", bundle)
    (tmp_path / "lines.txt").write_text("bad\n\nunheard of\n")
    arguments = ["predict", str(tmp_path / "bundle"), "Not bad", str(tmp_path / "lines.txt")]
    assert command.main([*arguments, "--top_k", "1"]) == 0
    # the mean of (0, 0), (1, 0) and (-3, 3) differs by 5/3, that of (1, 0) by 1, of (0, 0) by 0
    assert capsys.readouterr().out.splitlines() == [
        "text        1.",
        "Not bad     yes 84.1 %",
        "bad         no 73.1 %",
        "unheard of  no 50.0 %",
    ]
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "into lower-case words and punctuation and pairs of neighboring words" in card
    assert "those outside the vocabulary of 5 are one unknown word" in card
    assert command.main(["predict", str(tmp_path / "bundle"), "absent.txt"]) == 1
    assert "absent.txt" in capsys.readouterr().err
    assert command.main(["predict", str(tmp_path / "bundle"), " "]) == 1
    assert "expected at least one text to classify" in capsys.readouterr().err
    with pytest.raises(ValueError, match="pass \\[text\\]"):
        export.load_bundle(tmp_path / "bundle").predict("good")


def test_a_damaged_image_does_not_stop_the_others(bundle, tmp_path, capsys):
    """As with ``predict FOLDER`` where a download was cut."""
    test = digits().test
    for index in range(3):
        save(test["image"][index], tmp_path / f"{index}.png")
    content = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(content[: len(content) // 2])
    out = tmp_path / "picture.png"
    assert command.main(["predict", str(bundle), str(tmp_path), "--out", str(out)]) == 1
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines()] == [
        "image", str(tmp_path / "0.png"), str(tmp_path / "2.png"), "picture:",
    ]  # fmt: skip
    assert shown.err.startswith(f"error: {tmp_path / '1.png'} cannot be read as an image")
    assert shown.err.count("\n") == 1


def test_what_is_wrong_is_one_line(tmp_path, capsys):
    make_bundle(tmp_path / "bundle")
    (tmp_path / "text.png").write_text("text")
    for arguments, message in (
        (["text.png"], "text.png cannot be read as an image"),
        (["absent"], "file not found: "),
        (["text.png", "--top_k", "4"], "--top_k must be at most 3, the number of classes"),
        (["."], "text.png cannot be read as an image"),
    ):
        path, *flags = arguments
        assert (
            command.main(["predict", str(tmp_path / "bundle"), str(tmp_path / path), *flags]) == 1
        )
        assert message in capsys.readouterr().err
    assert not (tmp_path / "predictions.png").exists()
