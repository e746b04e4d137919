"""Images of every depth, with and without transparency, in all readers."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from jaxdl import data
from jaxdl.data.sources.decode import image_info, read_image
from jaxdl.export import Preprocessing

RAMP = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)


def encode(array, kind="PNG", **options):
    stream = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(stream, kind, **options)
    return stream.getvalue()


def encode_12_bit(values, width, height):
    """A TIFF of packed 12-bit numbers."""
    bits = "".join(f"{value:012b}" for value in values)
    content = int(bits, 2).to_bytes(len(bits) // 8, "big")
    tags = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 0), (277, 1)]
    tags += [(278, height), (279, len(content))]
    tags[5] = (273, 8 + 2 + 12 * len(tags) + 4)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + entries + struct.pack("<I", 0) + content


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_keep_the_8_most_significant(kind):
    image = read_image(encode(RAMP, kind), mode="L")
    np.testing.assert_array_equal(image[..., 0], RAMP >> 8)
    assert abs(image.mean() - 127.5) < 0.5  # clipped to 8 bits it is 254


def test_12_bits_are_scaled_by_their_own_range():
    image = read_image(encode_12_bit([0, 16, 2048, 4095], 2, 2), mode="L")
    assert image.ravel().tolist() == [0, 1, 128, 255]


def test_16_bits_where_0_is_white_are_inverted():
    image = read_image(encode(RAMP, "TIFF", tiffinfo={262: 0}), mode="L")
    np.testing.assert_array_equal(image[..., 0], 255 - (RAMP >> 8))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_numbers_without_a_range_are_refused(dtype):
    with pytest.raises(ValueError, match=r"cat\.tif holds .*, whose range is unknown; convert it"):
        read_image(encode(RAMP.astype(dtype), "TIFF"), name="cat.tif")


@pytest.fixture
def deep(tmp_path):
    """One 16-bit image in every kind of file, and its reader."""
    h5py = pytest.importorskip("h5py")
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    Image.fromarray(RAMP).save(tmp_path / "a.png")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = RAMP[None]
    np.savez(tmp_path / "a.npz", image=RAMP[None])
    row = {"bytes": (tmp_path / "a.png").read_bytes(), "path": "a.png"}
    pq.write_table(pa.table({"image": [row]}), tmp_path / "a.parquet")
    records = data.ArraySource({"image": RAMP[None, ..., None]})
    data.sources.write_array_record(records, tmp_path / "a.array_record")
    return tmp_path


@pytest.mark.parametrize("name", ["a.h5", "a.npz", "a.parquet", "a.array_record", "folder", "run"])
def test_every_reader_scales_16_bits_alike(deep, name):
    if name == "run":
        image, note = Preprocessing((16, 16, 1)).read(deep / "a.png")
        assert note == "16-bit gray to gray"
    elif name == "folder":
        (deep / "only").mkdir()
        (deep / "a.png").rename(deep / "only" / "a.png")
        image = data.open(deep / "only", mode="L")[0]["image"]
    else:
        image = data.open(deep / name)[0]["image"]
    np.testing.assert_array_equal(image, (RAMP >> 8)[..., None].astype(np.uint8))
    assert image.dtype == np.uint8


@pytest.mark.parametrize("suffix", ["h5", "npz"])
def test_arrays_of_unknown_range_are_refused(tmp_path, suffix):
    h5py = pytest.importorskip("h5py")
    image = np.zeros((2, 4, 4), np.int32)
    np.savez(tmp_path / "a.npz", image=image)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = image
    with pytest.raises(ValueError, match=r"a\..*'image'.* got int32, whose range is unknown"):
        data.open(tmp_path / f"a.{suffix}").__getitems__([0])


# Transparency


PIXELS = [((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((255, 255, 255, 255), 255)]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
@pytest.mark.parametrize("target", ["RGB", "L", None])
def test_transparent_pixels_are_white(mode, target):
    colors = np.array([[color for color, _ in PIXELS]], np.uint8)
    image = Image.fromarray(colors)
    if mode == "LA":
        content = encode(image.convert("LA"))
    elif mode == "P":
        palette = Image.new("P", (3, 1))
        palette.putpalette([9, 9, 9, 0, 0, 0, 255, 255, 255])
        palette.putdata([0, 1, 2])
        content = encode(palette, transparency=0)
    else:
        content = encode(image)
    pixels = read_image(content, mode=target)
    assert pixels[0, :, 0].tolist() == [white for _, white in PIXELS]
    assert image_info(content).has_alpha


def test_half_transparent_pixels_are_mixed_with_white():
    content = encode(np.array([[[0, 100, 200, 128]]], np.uint8))
    pixels = read_image(content)[0, 0]
    expected = np.array([0, 100, 200]) * 128 / 255 + 255 * 127 / 255
    assert (abs(pixels - expected) <= 1).all()
    assert read_image(content, mode="RGBA")[0, 0].tolist() == [0, 100, 200, 128]


def test_predict_says_what_it_composed(tmp_path):
    array = np.zeros((8, 8, 4), np.uint8)
    array[2:4, :, 3] = 255  # a black stroke on nothing
    Image.fromarray(array).save(tmp_path / "a.png")
    image, note = Preprocessing((8, 8, 1)).read(tmp_path / "a.png")
    assert note == "RGBA on white to gray"
    assert (image[2:4] == 0).all()
    assert (np.delete(image, [2, 3], axis=0) == 255).all()
    source = data.sources.image_source(tmp_path, labels=None, mode="L")
    np.testing.assert_array_equal(source[0]["image"], image)


# Limits and damage


def test_the_size_is_checked_before_decoding(tmp_path):
    content = encode(Image.new("1", (7000, 8000)))
    assert len(content) < 100_000
    with pytest.raises(ValueError, match=r"7000x8000 pixels, more than max_pixels 50,000,000"):
        read_image(content)
    small = encode(np.zeros((10, 10), np.uint8))
    with pytest.raises(ValueError, match="10x10 pixels, more than max_pixels 99"):
        read_image(small, max_pixels=99)
    with pytest.raises(ValueError, match=r"cannot be resized to \(10000, 10000\)"):
        read_image(small, (10_000, 10_000))
    (tmp_path / "a.png").write_bytes(small)
    source = data.sources.image_source(tmp_path, labels=None, max_pixels=99)
    with pytest.raises(ValueError, match=r"a\.png has 10x10 pixels"):
        source[0]


def test_other_programs_are_not_started():
    """Pillow gives PostScript to Ghostscript."""
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image: cannot identify"):
        read_image(postscript, name="a.png")


def test_orientation_is_an_option():
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    content = encode(upright, exif=exif)
    np.testing.assert_array_equal(read_image(content, mode="L")[..., 0], upright)
    turned = read_image(content, mode="L", apply_exif_orientation=True)
    np.testing.assert_array_equal(turned[..., 0], np.rot90(upright, -1))


@pytest.mark.parametrize("suffix", ["pgm", "pbm", "jfif", "webp", "avif", "JPG"])
def test_suffixes_of_images(tmp_path, suffix):
    from PIL import features

    if suffix == "avif" and not features.check("avif"):
        pytest.skip("Pillow without AVIF")
    image = Image.new("1" if suffix == "pbm" else "L", (8, 8), 0)
    kinds = {"pgm": "PPM", "pbm": "PPM", "jfif": "JPEG", "JPG": "JPEG"}
    (tmp_path / "dark").mkdir()
    image.save(tmp_path / "dark" / f"a.{suffix}", kinds.get(suffix, suffix))
    source = data.open(tmp_path)
    assert source.class_names == ("dark",)
    assert source[0]["image"].max() < 10
