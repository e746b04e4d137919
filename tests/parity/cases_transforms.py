"""Affine maps, resizing and blurring in PyTorch's functional form, as torchvision calls it."""

import math

import numpy as np

AFFINES = {
    "rotation": {"degrees": 30.0},
    "everything": {
        "degrees": -20.0,
        "translate": (2.0, -1.0),
        "scale": 1.3,
        "shear": (12.0, -7.0),
    },
    "parts of pixels": {"translate": (0.4, 1.3)},
    "shear from the corner": {"shear": (math.degrees(math.atan(0.3)), 0.0), "center": (0.0, 0.0)},
    "small, in red": {"degrees": 45.0, "scale": 0.5},
}
"""Arguments of :func:`jaxdl.transforms.affine`."""

SIZES = {"smaller": (5, 4), "much smaller": (2, 3), "larger": (19, 23), "one of each": (6, 25)}
"""(height, width) to which 12×15 pixels are resized."""

BOX = (3, 2, 7, 9)
"""Top, left, height and width of a crop."""


def inverse(degrees=0.0, translate=(0.0, 0.0), scale=1.0, shear=(0.0, 0.0), center=(0.0, 0.0)):
    """The rows of the 2×3 matrix from new to old places about a point in centered pixels."""
    turn, x, y = math.radians(degrees), math.radians(shear[0]), math.radians(shear[1])
    # The forward map as a product of the elementary ones, inverted as a whole.
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    shear_y = np.array([[1, 0], [-math.tan(y), 1]])
    shear_x = np.array([[1, -math.tan(x)], [0, 1]])
    matrix = np.linalg.inv(scale * rotation @ shear_y @ shear_x)
    offset = np.array(center) - matrix @ (np.array(center) + np.array(translate))
    return np.concatenate([matrix, offset[:, None]], axis=1)


def cases() -> dict[str, dict[str, np.ndarray]]:
    import torch

    functional = torch.nn.functional
    generator = np.random.default_rng(0)
    image = generator.random((12, 15, 3), np.float32)
    weights = generator.standard_normal(image.shape).astype(np.float32)

    def tensor(array):
        return torch.from_numpy(array.transpose(2, 0, 1)[None].copy())

    def numpy(result):
        return result.detach()[0].numpy().transpose(1, 2, 0).copy()

    results = {"inputs": {"image": image, "weights": weights}}
    height, width, _ = image.shape
    for name, options in AFFINES.items():
        options = dict(options)
        if "center" in options:  # torchvision counts it from the middle
            options["center"] = np.array(options["center"]) - [width / 2, height / 2]
        theta = inverse(**options)
        # affine_grid works in halves of the sides
        scale = np.array([width / 2, height / 2])
        theta = theta / scale[:, None] * np.array([[*scale, 1.0]])
        grid = functional.affine_grid(
            torch.from_numpy(theta[None]).float(), [1, 3, height, width], align_corners=False
        )
        for mode in ("bilinear", "nearest"):
            x = tensor(image).requires_grad_()
            y = functional.grid_sample(x, grid, mode, "zeros", align_corners=False)
            (y * tensor(weights)).sum().backward()
            results[f"affine {mode}, {name}"] = {"y": numpy(y), "gradient": numpy(x.grad)}
    for name, size in SIZES.items():
        for mode in ("bilinear", "bicubic"):
            y = functional.interpolate(
                tensor(image), size, mode=mode, align_corners=False, antialias=True
            )
            results[f"resize {mode}, {name}"] = {"y": numpy(y)}
        y = functional.interpolate(tensor(image), size, mode="nearest-exact")
        results[f"resize nearest, {name}"] = {"y": numpy(y)}
    top, left, rows, columns = BOX
    part = tensor(image)[..., top : top + rows, left : left + columns]
    for mode in ("bilinear", "bicubic"):
        y = functional.interpolate(part, (8, 6), mode=mode, align_corners=False, antialias=True)
        results[f"resized crop {mode}"] = {"y": numpy(y)}
    for size, sigma in (((3, 3), 0.8), ((5, 7), 1.7)):
        kernels = [
            torch.exp(-0.5 * (torch.linspace(-(k - 1) / 2, (k - 1) / 2, k) / sigma) ** 2)
            for k in size
        ]
        kernel = torch.outer(kernels[0] / kernels[0].sum(), kernels[1] / kernels[1].sum())
        padded = functional.pad(
            tensor(image), [size[1] // 2, size[1] // 2, size[0] // 2, size[0] // 2], mode="reflect"
        )
        y = functional.conv2d(padded, kernel.expand(3, 1, *size), groups=3)
        results[f"blur {size} {sigma}"] = {"y": numpy(y)}
    return results
