"""Neural networks, one family per module; each names its source and its number of parameters.

Classifiers: ``MLP``; ``LeNet5``, ``ConvNet``, ``CNN``, ``MnistCNN`` and ``BatchNormConvNet`` for
small images; ``ResNet``, ``VGG`` and ``VisionTransformer`` for large ones; ``RecurrentClassifier``
and ``EmbeddingClassifier`` for sequences and texts. Autoencoders: ``Autoencoder``, ``VAE``,
``ConvVAE``. GANs: ``DenseGenerator``, ``ConvGenerator``, ``DCGANGenerator`` and their
discriminators. :mod:`jaxdl.models.tutorial` has the models of single tutorials.

A model is called as ``model.apply(variables, x, train=False)`` and returns logits: softmax and
sigmoid are part of the losses.
"""

from jaxdl._lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
