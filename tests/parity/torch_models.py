"""The networks of jaxdl.models in PyTorch, with the names that their sources give the layers.

Dropout is left out: no two libraries draw it alike. Images are NCHW, as PyTorch's.
"""

import itertools
import math

import torch
from cases_models import draw_constant
from torch import nn
from torch.nn import functional


class MLP(nn.Module):
    def __init__(self, sizes, activation=torch.relu, output_activation=None):
        super().__init__()
        self.activation, self.output_activation = activation, output_activation
        for index, (before, after) in enumerate(itertools.pairwise(sizes)):
            self.add_module(f"Dense_{index}", nn.Linear(before, after))

    def forward(self, x):
        x = x.flatten(1)
        for index, layer in enumerate(self.children()):
            x = layer(x if index == 0 else self.activation(x))
        return x if self.output_activation is None else self.output_activation(x)


class FixedWeightMLP(nn.Module):
    def __init__(self, features, constant):
        super().__init__()
        self.Dense_0 = nn.Linear(features, features)
        self.register_buffer("constant", torch.from_numpy(constant), persistent=False)

    def forward(self, x):
        x = torch.relu(self.Dense_0(x) @ self.constant + 1)
        x = self.Dense_0(x)
        while x.abs().sum() > 1:
            x = x / 2
        return x.sum()


class NestedMLP(nn.Module):
    def __init__(self, inputs, features, fixed_features, constant):
        super().__init__()
        self.net = MLP((inputs, *features))
        self.linear = nn.Linear(features[-1], fixed_features)
        self.fixed = FixedWeightMLP(fixed_features, constant)

    def forward(self, x):
        return self.fixed(self.linear(self.net(x)))


class ConvNet(nn.Module):
    def __init__(self, channels, inputs, num_classes):
        super().__init__()
        self.Conv_0, self.Conv_1 = nn.Conv2d(channels, 16, 3), nn.Conv2d(16, 32, 3)
        self.Dense_0, self.Dense_1 = nn.Linear(inputs, 32), nn.Linear(32, num_classes)

    def forward(self, x):
        for conv in (self.Conv_0, self.Conv_1):
            x = functional.max_pool2d(torch.relu(conv(x)), 2)
        return self.Dense_1(torch.relu(self.Dense_0(x.flatten(1))))


class CNN(nn.Module):
    def __init__(self, channels, features, inputs, num_classes):
        super().__init__()
        self.depth = len(features)
        for index, width in enumerate(features):
            self.add_module(f"Conv_{index}", nn.Conv2d(channels, width, 3, padding=1, bias=False))
            self.add_module(f"BatchNorm_{index}", nn.BatchNorm2d(width))
            channels = width
        self.Dense_0 = nn.Linear(inputs, num_classes)

    def forward(self, x):
        for index in range(self.depth):
            maps = functional.max_pool2d(self.get_submodule(f"Conv_{index}")(x), 2)
            x = torch.relu(self.get_submodule(f"BatchNorm_{index}")(maps))
        return self.Dense_0(x.flatten(1))


class MnistCNN(nn.Module):
    def __init__(self, channels, features, inputs, hidden, num_classes):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, features[0], 3), nn.Conv2d(*features, 3)
        self.fc1, self.fc2 = nn.Linear(inputs, hidden), nn.Linear(hidden, num_classes)

    def forward(self, x):
        x = functional.max_pool2d(torch.relu(self.conv2(torch.relu(self.conv1(x)))), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


class BatchNormConvNet(nn.Module):
    def __init__(self, channels, features, kernel_size, inputs, num_classes):
        super().__init__()
        for index, width in enumerate(features, 1):
            block = nn.Sequential(
                nn.Conv2d(channels, width, kernel_size, padding=kernel_size // 2),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            self.add_module(f"layer{index}", block)
            channels = width
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x):
        *blocks, fc = self.children()
        for block in blocks:
            x = block(x)
        return fc(x.flatten(1))


class StridedConvNet(nn.Module):
    def __init__(self, channels, features, inputs, num_classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, features[0], 5, 2), nn.BatchNorm2d(features[0])
        self.conv2, self.bn2 = nn.Conv2d(*features, 3, 2), nn.BatchNorm2d(features[1])
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x):
        x = self.bn1(functional.leaky_relu(self.conv1(x), 0.02))
        x = self.bn2(functional.leaky_relu(self.conv2(x), 0.02))
        return self.fc(x.flatten(1))


class FunctionalCNN(nn.Module):
    """Modules hold the weights; what is computed is written with functions."""

    def __init__(self, channels, features, inputs, num_classes):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, features[0], 5), nn.Conv2d(*features, 5)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x):
        for layer in (self.conv1, self.conv2):
            x = functional.conv2d(x, layer.weight, layer.bias)
            x = functional.max_pool2d(functional.relu(x), 2)
        return functional.linear(x.flatten(1), self.fc.weight, self.fc.bias)


class LeNet5(nn.Module):
    def __init__(self, channels, inputs, hidden, num_classes, pool, padding):
        super().__init__()
        self.pool = pool
        self.conv1, self.conv2 = nn.Conv2d(channels, 6, 5, padding=padding), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2 = nn.Linear(inputs, hidden[0]), nn.Linear(*hidden)
        self.fc3 = nn.Linear(hidden[1], num_classes)

    def forward(self, x):
        for conv in (self.conv1, self.conv2):
            x = self.pool(torch.relu(conv(x)), 2)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x.flatten(1))))))


class Autoencoder(nn.Module):
    """``shape`` is (C, H, W)."""

    def __init__(self, hidden, num_latents, shape):
        super().__init__()
        self.shape, size = shape, math.prod(shape)
        self.encoder = MLP((size, *hidden, num_latents))
        self.decoder = MLP((num_latents, *reversed(hidden), size))

    def forward(self, x):
        return self.decoder(self.encoder(x)).unflatten(1, self.shape)


class VAE(nn.Module):
    """With the mean as the code; ``shape`` is (C, H, W)."""

    def __init__(self, hidden, num_latents, shape):
        super().__init__()
        self.shape, size = shape, math.prod(shape)
        self.fc1 = nn.Linear(size, hidden)
        self.fc21, self.fc22 = nn.Linear(hidden, num_latents), nn.Linear(hidden, num_latents)
        self.fc3, self.fc4 = nn.Linear(num_latents, hidden), nn.Linear(hidden, size)

    def forward(self, x):
        hidden = torch.relu(self.fc1(x.flatten(1)))
        mean, log_variance = self.fc21(hidden), self.fc22(hidden)
        logits = self.fc4(torch.relu(self.fc3(mean))).unflatten(1, self.shape)
        return logits, mean, log_variance


class ConvVAE(nn.Module):
    """With the mean as the code; ``shape`` is (C, H, W)."""

    def __init__(self, features, num_latents, shape):
        super().__init__()
        first, second = features
        self.small = (second, shape[1] // 4, shape[2] // 4)
        size = math.prod(self.small)
        self.conv1 = nn.Conv2d(shape[0], first, 3, 2, 1)
        self.conv2 = nn.Conv2d(first, second, 3, 2, 1)
        self.fc_mean, self.fc_log_variance = (
            nn.Linear(size, num_latents),
            nn.Linear(size, num_latents),
        )
        self.fc_code = nn.Linear(num_latents, size)
        self.deconv1 = nn.ConvTranspose2d(second, first, 4, 2, 1)
        self.deconv2 = nn.ConvTranspose2d(first, shape[0], 4, 2, 1)

    def forward(self, x):
        hidden = torch.relu(self.conv2(torch.relu(self.conv1(x)))).flatten(1)
        mean, log_variance = self.fc_mean(hidden), self.fc_log_variance(hidden)
        maps = torch.relu(self.fc_code(mean)).unflatten(1, self.small)
        return self.deconv2(torch.relu(self.deconv1(maps))), mean, log_variance


class Residual(nn.Module):
    """A block of torchvision's ResNet: kernels (3, 3) or (1, 3, 1), the stride in the first 3x3."""

    def __init__(self, channels, features, stride, bottleneck):
        super().__init__()
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        widths = (features, features, 4 * features) if bottleneck else (features, features)
        self.depth, before = len(kernels), channels
        for index, (kernel, width) in enumerate(zip(kernels, widths, strict=True), 1):
            step = stride if index == kernels.index(3) + 1 else 1
            conv = nn.Conv2d(before, width, kernel, step, kernel // 2, bias=False)
            self.add_module(f"conv{index}", conv)
            self.add_module(f"bn{index}", nn.BatchNorm2d(width))
            before = width
        self.downsample = None
        if stride != 1 or channels != before:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, before, 1, stride, bias=False), nn.BatchNorm2d(before)
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        for index in range(1, self.depth + 1):
            x = self.get_submodule(f"bn{index}")(self.get_submodule(f"conv{index}")(x))
            x = torch.relu(x if index < self.depth else x + shortcut)
        return x


class ResNet(nn.Module):
    def __init__(self, stage_sizes, bottleneck, num_classes, stem="imagenet", width=64):
        super().__init__()
        large = stem == "imagenet"
        self.conv1 = nn.Conv2d(
            3, width, 7 if large else 3, 2 if large else 1, 3 if large else 1, bias=False
        )
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        channels = width
        for stage, size in enumerate(stage_sizes):
            blocks = []
            for index in range(size):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(Residual(channels, width * 2**stage, stride, bottleneck))
                channels = width * 2**stage * (4 if bottleneck else 1)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.depth = len(stage_sizes)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        for stage in range(self.depth):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


class VGG(nn.Module):
    def __init__(self, stage_sizes, num_classes, batch_norm=False, width=64, hidden=4096):
        super().__init__()
        layers, channels = [], 3
        for stage, size in enumerate(stage_sizes):
            for _ in range(size):
                after = width * min(2**stage, 8)
                layers.append(nn.Conv2d(channels, after, 3, padding=1))
                layers += [nn.BatchNorm2d(after)] if batch_norm else []
                layers.append(nn.ReLU())
                channels = after
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(channels * 49, hidden),
            nn.ReLU(),
            nn.Identity(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Identity(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class EncoderLayer(nn.Module):
    def __init__(self, width, heads, mlp_size):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_size), nn.GELU(), nn.Identity(), nn.Linear(mlp_size, width)
        )

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.self_attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    def __init__(self, length, num_layers, width, heads, mlp_size):
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, length, width))
        self.layers = nn.Sequential()
        for index in range(num_layers):
            self.layers.add_module(f"encoder_layer_{index}", EncoderLayer(width, heads, mlp_size))
        self.ln = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x):
        return self.ln(self.layers(x + self.pos_embedding))


class VisionTransformer(nn.Module):
    def __init__(self, image, num_classes, patch, width, num_layers, heads, mlp_size):
        super().__init__()
        self.conv_proj = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        length = 1 + (image[0] // patch) * (image[1] // patch)
        self.encoder = Encoder(length, num_layers, width, heads, mlp_size)
        self.heads = nn.Sequential()
        self.heads.add_module("head", nn.Linear(width, num_classes))

    def forward(self, x):
        patches = self.conv_proj(x).flatten(2).mT
        x = torch.cat([self.class_token.expand(len(x), -1, -1), patches], dim=1)
        return self.heads(self.encoder(x)[:, 0])


def small():
    """The networks of the fixture, by case."""
    tanh, sigmoid, relu = torch.tanh, torch.sigmoid, torch.relu
    return {
        "mlp": MLP((12, 7, 6, 3), relu),
        "mlp_tanh": MLP((5, 8, 8, 4), tanh),
        "mlp_sigmoid": MLP((5, 3, 1), sigmoid, sigmoid),
        "fixed_weight_mlp": FixedWeightMLP(6, draw_constant(6)),
        "nested_mlp": NestedMLP(5, (8, 7, 4), 6, draw_constant(6)),
        "lenet5": LeNet5(1, 64, (9, 8), 10, functional.avg_pool2d, 2),
        "lenet_max_pool": LeNet5(3, 64, (9, 8), 10, functional.max_pool2d, 0),
        "convnet": ConvNet(2, 128, 10),
        "cnn": CNN(2, (4, 5), 20, 3),
        "mnist_cnn": MnistCNN(1, (3, 4), 36, 5, 10),
        "batch_norm_convnet": BatchNormConvNet(1, (3, 4), 5, 16, 10),
        "strided_convnet": StridedConvNet(1, (10, 10), 40, 10),
        "functional_cnn": FunctionalCNN(1, (3, 4), 16, 10),
        "autoencoder": Autoencoder((8, 6), 3, (2, 4, 3)),
        "vae": VAE(8, 3, (2, 4, 3)),
        "conv_vae": ConvVAE((3, 4), 2, (2, 8, 12)),
        "resnet_basic": ResNet((1, 2), False, 5, width=4),
        "resnet_bottleneck": ResNet((2, 1), True, 5, width=4),
        "resnet_cifar": ResNet((1, 1), False, 5, stem="cifar", width=4),
        "vgg": VGG((1, 1, 2), 5, width=4, hidden=8),
        "vgg_batch_norm": VGG((1, 2), 5, True, width=4, hidden=8),
        "vit": VisionTransformer((12, 8), 5, 4, 12, 2, 3, 16),
    }
