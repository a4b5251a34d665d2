"""Which fields belong to which loss, with their published defaults.

A comment says where a default was seen: in the authors' code, or in pytorch-metric-learning (PML), whose documentation
gives the papers' settings. Numbers of sections are left out where the paper itself was not at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_TRIPLET = {
    # FaceNet (Schroff et al. 2015); 0.2 is the margin in the usual implementation (davidsandberg/facenet).
    "margin": 0.2,
    "loss_distance": "euclidean",
    "triplet_hinge": "hinge",
}
_ONLINE = {**_TRIPLET, "cross_batch_memory": 0}
# Proxies learn at the head's rate: chosen here, since codes differ (that of Proxy-Anchor's authors has 100 times it).
_PROXIES = {"proxy_rate": 1.0}

LOSS_FIELDS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "triplet_semihard": _ONLINE,
        "triplet_hard": _ONLINE,
        "triplet_all": _ONLINE,
        # Hadsell, Chopra and LeCun 2006; 1, half the diameter of the unit sphere, is PML's default.
        "contrastive": {"margin": 1.0, "cross_batch_memory": 0},
        # Oh Song et al. 2016; 1 is the default of tf.contrib and of PML.
        "lifted_structure": {"margin": 1.0, "cross_batch_memory": 0},
        # Sohn 2016 leaves the embeddings' norms free, which on the unit sphere is this scale of the cosine; no
        # published value was found, 16 is chosen here.
        "n_pairs": {"scale": 16.0, "cross_batch_memory": 0},
        # Khosla et al. 2020: 0.1 in the commands of the authors' code, and the paper's according to PML.
        "nt_xent": {"temperature": 0.1, "cross_batch_memory": 0},
        # Wang et al. 2019: alpha = 2 and lambda = 0.5 in the authors' code, whose beta is 40; beta = 50 is PML's, and
        # Proxy-Anchor's authors compare with it. The paper has lambda = 1, according to PML.
        "multi_similarity": {"alpha": 2.0, "beta": 50.0, "base": 0.5, "cross_batch_memory": 0},
        # Sun et al. 2020: the paper's for fine-grained retrieval, according to PML.
        "circle": {"scale": 80.0, "relaxation": 0.4, "cross_batch_memory": 0},
        # Frosst, Papernot and Hinton 2019; 1 is the default of TensorFlow Similarity.
        "soft_nearest_neighbour": {"temperature": 1.0, "cross_batch_memory": 0},
        "triplet_offline": _TRIPLET,
        # Zhai and Wu 2019: 0.05 in the authors' code.
        "normalised_softmax": {"temperature": 0.05, **_PROXIES},
        # Wang et al. 2018 (CosFace): 64 is the paper's (section 4.1). 0.35 is the default of PML and of catalyst; the
        # paper tries margins of 0.25 to 0.45, according to PML.
        "cosface": {"scale": 64.0, "margin": 0.35, **_PROXIES},
        # Deng et al. 2019 (ArcFace): 64 and 0.5 radians in the authors' code.
        "arcface": {"scale": 64.0, "angle": 0.5, **_PROXIES},
        # Teh et al. 2020 (ProxyNCA++): 1/9 in the authors' code. Movshovitz-Attias et al. 2017 have none (T = 1).
        "proxy_nca": {"temperature": 1 / 9, **_PROXIES},
        # Kim et al. 2020: 32 and 0.1 in the authors' code.
        "proxy_anchor": {"scale": 32.0, "margin": 0.1, **_PROXIES},
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
