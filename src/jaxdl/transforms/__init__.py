"""Transforms of images, on the device: pure functions of (image) or (key, image)."""

from typing import TYPE_CHECKING

from jaxdl._pytorch_names import explain_names
from jaxdl.transforms._image import to_float, to_uint8
from jaxdl.transforms.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    autocontrast,
    color_jitter,
    equalize,
    grayscale,
    invert,
    posterize,
    solarize,
)
from jaxdl.transforms.composition import compose, fixed, random_apply, random_choice
from jaxdl.transforms.cropping import (
    center_crop,
    crop,
    erase,
    flip,
    pad,
    random_crop,
    random_erase,
    random_flip,
)
from jaxdl.transforms.filters import adjust_sharpness, gaussian_blur, random_blur
from jaxdl.transforms.geometry import affine, random_affine, random_rotation, rotate, translate
from jaxdl.transforms.mixing import cutmix, differentiable_augment, mixup
from jaxdl.transforms.pixels import denormalize, from_pil, normalize, to_pil
from jaxdl.transforms.policies import (
    imagenet_eval,
    imagenet_train,
    rand_augment,
    trivial_augment,
)
from jaxdl.transforms.resizing import random_resized_crop, resize, resized_crop

__all__ = [
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "affine",
    "autocontrast",
    "center_crop",
    "color_jitter",
    "compose",
    "crop",
    "cutmix",
    "denormalize",
    "differentiable_augment",
    "equalize",
    "erase",
    "fixed",
    "flip",
    "from_pil",
    "gaussian_blur",
    "grayscale",
    "imagenet_eval",
    "imagenet_train",
    "invert",
    "mixup",
    "normalize",
    "pad",
    "posterize",
    "rand_augment",
    "random_affine",
    "random_apply",
    "random_blur",
    "random_choice",
    "random_crop",
    "random_erase",
    "random_flip",
    "random_resized_crop",
    "random_rotation",
    "resize",
    "resized_crop",
    "rotate",
    "solarize",
    "to_float",
    "to_pil",
    "to_uint8",
    "translate",
    "trivial_augment",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = explain_names(__name__, __all__)
