"""Networks, one family a file, without losses. Each says its source and its sizes."""

from typing import TYPE_CHECKING

from jaxdl.lazy import attributes

if TYPE_CHECKING:
    from jaxdl.models.autoencoder import VAE, Autoencoder, ConvVAE, VAEOutput
    from jaxdl.models.convnet import (
        CNN,
        BatchNormConvNet,
        ConvNet,
        MnistCNN,
        StridedConvNet,
        functional_cnn,
        init_functional_cnn,
    )
    from jaxdl.models.gan import (
        ConvDiscriminator,
        ConvGenerator,
        DCGANDiscriminator,
        DCGANGenerator,
        DenseDiscriminator,
        DenseGenerator,
        NoiseSource,
    )
    from jaxdl.models.lenet import LeNet5, LeNetMaxPool
    from jaxdl.models.linear import (
        PolynomialRegressor,
        init_linear_regression,
        init_logistic_regression,
        linear_regression,
        logistic_regression,
    )
    from jaxdl.models.mlp import MLP, FixedWeightMLP, NestedMLP
    from jaxdl.models.recurrent import RecurrentClassifier
    from jaxdl.models.resnet import (
        BasicBlock,
        Bottleneck,
        ResNet,
        ResNet18,
        ResNet34,
        ResNet50,
        ResNet152,
    )
    from jaxdl.models.text import EmbeddingClassifier
    from jaxdl.models.vgg import VGG, VGG11, VGG16
    from jaxdl.models.vit import VisionTransformer

__all__ = [
    "CNN",
    "MLP",
    "VAE",
    "VGG",
    "VGG11",
    "VGG16",
    "Autoencoder",
    "BasicBlock",
    "BatchNormConvNet",
    "Bottleneck",
    "ConvDiscriminator",
    "ConvGenerator",
    "ConvNet",
    "ConvVAE",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DenseDiscriminator",
    "DenseGenerator",
    "EmbeddingClassifier",
    "FixedWeightMLP",
    "LeNet5",
    "LeNetMaxPool",
    "MnistCNN",
    "NestedMLP",
    "NoiseSource",
    "PolynomialRegressor",
    "RecurrentClassifier",
    "ResNet",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet152",
    "StridedConvNet",
    "VAEOutput",
    "VisionTransformer",
    "functional_cnn",
    "init_functional_cnn",
    "init_linear_regression",
    "init_logistic_regression",
    "linear_regression",
    "logistic_regression",
]

__getattr__ = attributes(
    __name__,
    {
        "autoencoder": (
            "VAE",
            "Autoencoder",
            "ConvVAE",
            "VAEOutput",
        ),
        "convnet": (
            "CNN",
            "BatchNormConvNet",
            "ConvNet",
            "MnistCNN",
            "StridedConvNet",
            "functional_cnn",
            "init_functional_cnn",
        ),
        "gan": (
            "ConvDiscriminator",
            "ConvGenerator",
            "DCGANDiscriminator",
            "DCGANGenerator",
            "DenseDiscriminator",
            "DenseGenerator",
            "NoiseSource",
        ),
        "lenet": (
            "LeNet5",
            "LeNetMaxPool",
        ),
        "linear": (
            "PolynomialRegressor",
            "init_linear_regression",
            "init_logistic_regression",
            "linear_regression",
            "logistic_regression",
        ),
        "mlp": (
            "MLP",
            "FixedWeightMLP",
            "NestedMLP",
        ),
        "recurrent": ("RecurrentClassifier",),
        "resnet": (
            "BasicBlock",
            "Bottleneck",
            "ResNet",
            "ResNet18",
            "ResNet34",
            "ResNet50",
            "ResNet152",
        ),
        "text": ("EmbeddingClassifier",),
        "vgg": (
            "VGG",
            "VGG11",
            "VGG16",
        ),
        "vit": ("VisionTransformer",),
    },
)


def __dir__() -> list[str]:
    return __all__
