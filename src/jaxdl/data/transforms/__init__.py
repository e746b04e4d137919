"""Pure image functions on the device: scaling, normalising, and random changes for training.

An image is (H, W, C), uint8 from 0 to 255 or floating point from 0 to 1; what changes its colours
or moves its pixels keeps the dtype. There are three kinds of function:

- functions of images, one (H, W, C) or many (..., H, W, C): ``rotate(image, 30)``,
  ``adjust_hue(image, 0.1)``, ``resize(image, 256)``;
- makers of a function of images: ``normalize(mean, std)``, ``imagenet_eval(224)``;
- makers of an augmentation ``(key, image) -> image`` of ONE image: ``random_flip()``,
  ``color_jitter(0.4)``, ``rand_augment()``, and ``compose``, ``random_apply``, ``random_choice``,
  ``fixed`` (which makes one of a function of images). A batch takes one key an image, so that every
  image is changed in its own way::

      keys = jax.random.split(key, len(images))
      images = jax.vmap(augment)(keys, images)
"""

from jaxdl.data.transforms.basic import (
    compose,
    denormalize,
    fixed,
    normalize,
    random_apply,
    random_choice,
)
from jaxdl.data.transforms.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    color_jitter,
    grayscale,
    invert,
)
from jaxdl.data.transforms.crop import center_crop, crop, flip, pad, random_crop, random_flip
from jaxdl.data.transforms.erase import erase, random_erase
from jaxdl.data.transforms.filters import adjust_sharpness, gaussian_blur, random_blur
from jaxdl.data.transforms.geometry import (
    affine,
    random_affine,
    random_rotation,
    rotate,
    translate,
)
from jaxdl.data.transforms.images import Augment, to_float, to_uint8
from jaxdl.data.transforms.levels import autocontrast, equalize, posterize, solarize
from jaxdl.data.transforms.mixing import Mix, cutmix, mixup
from jaxdl.data.transforms.pil import from_pil, to_pil
from jaxdl.data.transforms.policies import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    imagenet_eval,
    imagenet_train,
    rand_augment,
    trivial_augment,
)
from jaxdl.data.transforms.resize import random_resized_crop, resize, resized_crop

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Augment",
    "Mix",
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
