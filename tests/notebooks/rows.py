"""Rows of the inventory of recipes that the notebooks teach, and those that wait for a notebook."""

AREAS = {
    "T": 51,  # arrays
    "A": 27,  # autodiff
    "N": 9,  # framework internals
    "Q": 12,  # exercises
    "G": 24,  # GANs
    "V": 26,  # TensorBoard and pictures
    "D": 45,  # data
    "X": 13,  # augmentation
    "M": 39,  # models
    "L": 25,  # layers and initialization
    "R": 27,  # training and evaluation
}
"""Number of rows by area."""

WAITING = {
    "M": "issue J, text: DistilBERT; issue N, reinforcement learning: actor and critic",
    "L": "issue J, text: attention",
    "H": "issue J: language models",
    "P": "issue K: distribution",
    "F": "issue K and L: precision and performance",
    "E": "issue N: export and serving",
    "Y": "issues of their systems",
}
"""Areas with rows that no notebook has yet, and what they wait for."""

NUM_OUTPUTS = 41
"""The first outputs of the inventory, those of the lessons."""

NUM_MISTAKES = 74
"""Mistakes of the sources, named where a student would meet them."""
