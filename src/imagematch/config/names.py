"""The names that a configuration can select: one tuple for each key that takes a name."""

from __future__ import annotations

DATASETS = ("tiny_imagenet", "digits", "folder", "csv", "celeba", "omniglot", "flowers")
SPLITS_BY = ("image", "class", "predefined")
FACE_CROPS = ("none", "haar")
FACES_MISSING = ("whole", "skip", "error")
"""What becomes of a picture in which no face is found."""

EXTRACTORS = (
    *("efficientnet", "efficientnet_v2_b0", "efficientnet_v2_b1", "efficientnet_v2_b2", "efficientnet_v2_b3"),
    *("efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l", "efficientnet_b0", "efficientnet_b1"),
    *("efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "efficientnet_b5", "efficientnet_b6"),
    *("efficientnet_b7",),
    *("mobilenet", "mobilenet_025", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *("convnext_tiny", "convnext_small", "convnext_base", "convnext_large", "convnext_xlarge"),
    *("resnet50", "resnet101", "resnet152", "resnet50_v2", "resnet101_v2", "resnet152_v2"),
    *("densenet121", "densenet169", "densenet201"),
    *("inception_v3", "inception_resnet_v2", "xception"),
    *("nasnet_mobile", "nasnet_large"),
    *("vgg16", "vgg19"),
    *("pixels", "small_cnn", "bit_m_r50x1"),
)
FROM_SCRATCH = ("small_cnn",)
"""Extractors without published weights: all of one is trained, unless `weights` is a path."""
KERASHUB = "kerashub:"
"""A KerasHub preset is an extractor, too: this, then its name or folder."""
ENGINES = ("auto", "openvino", "tensorflow")
PRECISIONS = ("auto", "float32", "bfloat16")

TRIPLET_LOSSES = ("triplet_semihard", "triplet_hard", "triplet_all")
PAIR_LOSSES = (
    *TRIPLET_LOSSES,
    "contrastive",
    "lifted_structure",
    "n_pairs",
    "nt_xent",
    "multi_similarity",
    "circle",
    "soft_nearest_neighbour",
)
"""Losses that compare the images of a batch with each other: they need two images of a class in it."""
OFFLINE_LOSSES = ("triplet_offline",)
"""Losses over triplets that are drawn from the whole training set before an epoch."""
PROXY_LOSSES = ("normalised_softmax", "cosface", "arcface", "proxy_nca", "proxy_anchor")
"""Losses that compare each image with one learnt vector for each training class."""
LOSSES = (*PAIR_LOSSES, *OFFLINE_LOSSES, *PROXY_LOSSES)
LOSS_DISTANCES = ("euclidean", "squared_euclidean")
TRIPLET_HINGES = ("hinge", "softplus")

OPTIMIZERS = ("adam", "adamw", "sgd")
LR_SCHEDULES = ("constant", "cosine", "ramp_sustain_decay", "bit_hyperrule")
TRAINING_PRECISIONS = ("float32", "bfloat16")

CRITERIA = ("balanced_accuracy", "accuracy", "f1", "eer")
"""Thresholds that are chosen by a name alone; `far`, `frr` and `cost` take a value."""

SAMPLERS = ("tpe", "random", "grid", "qmc", "cmaes")
PRUNERS = ("median", "asha", "hyperband", "none")
