"""Which fields belong to which loss, with their published defaults."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_TRIPLET = {
    # Tuned margins lie at 0.045 to 0.137 (Musgrave et al. 2020, table 13); FaceNet (Schroff et al. 2015, 3.1) has 0.2.
    "margin": 0.2,
    "loss_distance": "euclidean",
    "triplet_hinge": "hinge",
}
_ONLINE = {**_TRIPLET, "cross_batch_memory": 0}

LOSS_FIELDS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "triplet_semihard": _ONLINE,
        "triplet_hard": _ONLINE,
        "triplet_all": _ONLINE,
        # Hadsell, Chopra and LeCun 2006, eq. 4, leaves m open; 1 is half the diameter of the unit sphere.
        "contrastive": {"margin": 1.0, "cross_batch_memory": 0},
        # Oh Song et al. 2016, eq. 4: alpha = 1 in the authors' code.
        "lifted_structure": {"margin": 1.0, "cross_batch_memory": 0},
        # Sohn 2016, eq. 7, leaves the embeddings' norms free, which on the unit sphere is this scale of the cosine;
        # no value was published, 16 is chosen here.
        "n_pairs": {"scale": 16.0, "cross_batch_memory": 0},
        # Khosla et al. 2020, section 4: tau = 0.1 (SimCLR, Chen et al. 2020, table 5, finds the same).
        "nt_xent": {"temperature": 0.1, "cross_batch_memory": 0},
        # Wang et al. 2019, section 5.1: alpha = 2, beta = 50; lambda = 1 in print, 0.5 in the authors' code.
        "multi_similarity": {"alpha": 2.0, "beta": 50.0, "base": 0.5, "cross_batch_memory": 0},
        # Sun et al. 2020, section 4.1, fine-grained retrieval: gamma = 80, m = 0.4.
        "circle": {"scale": 80.0, "relaxation": 0.4, "cross_batch_memory": 0},
        # Frosst, Papernot and Hinton 2019, eq. 1, learns T; 1 is the plain form (Salakhutdinov and Hinton 2007).
        "soft_nearest_neighbour": {"temperature": 1.0, "cross_batch_memory": 0},
        "triplet_offline": _TRIPLET,
        # Zhai and Wu 2019, section 3.1: sigma = 0.05.
        "normalised_softmax": {"temperature": 0.05},
        # Wang et al. 2018 (CosFace), section 4.1: s = 64, m = 0.35.
        "cosface": {"scale": 64.0, "margin": 0.35},
        # Deng et al. 2019 (ArcFace), section 3.1: s = 64, m = 0.5 radians.
        "arcface": {"scale": 64.0, "angle": 0.5},
        # Teh et al. 2020 (ProxyNCA++), section 4.2: T = 1/9. Movshovitz-Attias et al. 2017 have none (T = 1).
        "proxy_nca": {"temperature": 1 / 9},
        # Kim et al. 2020, section 4.1: alpha = 32, delta = 0.1.
        "proxy_anchor": {"scale": 32.0, "margin": 0.1},
    }
)
"""Loss -> its fields and their defaults."""

OPTION_FIELDS: tuple[str, ...] = tuple(dict.fromkeys(field for fields in LOSS_FIELDS.values() for field in fields))
"""Every field that belongs to some loss only."""

RANDOM_BATCH_MARGIN = 1.0
"""The triplet margin of plain random batches (`batch_size`): TensorFlow Addons' default, whose recipe they are."""


def losses_with(field: str) -> tuple[str, ...]:
    """The losses that have this field."""
    return tuple(loss for loss, fields in LOSS_FIELDS.items() if field in fields)
