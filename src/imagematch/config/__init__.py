"""What the user wrote -> checked, typed settings, and the names of everything selectable.

`load_train` and `load_study` read strict YAML and give settings or one ConfigError that names file, line and remedy.
Nothing here opens data or weights, or imports TensorFlow: `--validate` needs this room alone.
"""

from __future__ import annotations

from imagematch.config.conditions import CONDITIONS, Condition
from imagematch.config.dimension_parsing import TUNABLE
from imagematch.config.loading import load_study, load_train, parse_study, parse_train
from imagematch.config.loss_fields import LOSS_FIELDS, OPTION_FIELDS, RANDOM_BATCH_MARGIN
from imagematch.config.metrics import METRICS, OBJECTIVES, SECOND_OBJECTIVES, Direction, direction_of
from imagematch.config.names import (
    CRITERIA,
    DATASETS,
    ENGINES,
    EXTRACTORS,
    FACE_CROPS,
    FACES_MISSING,
    LOSS_DISTANCES,
    LOSSES,
    LR_SCHEDULES,
    OFFLINE_LOSSES,
    OPTIMIZERS,
    PAIR_LOSSES,
    PRECISIONS,
    PROXY_LOSSES,
    PRUNERS,
    SAMPLERS,
    SPLITS_BY,
    TRAINING_PRECISIONS,
    TRIPLET_HINGES,
    TRIPLET_LOSSES,
)
from imagematch.config.space import Choices, Dimension, FloatRange, IntRange, Label
from imagematch.config.study_fields import RERUN_SUFFIX, STUDY_KEYS
from imagematch.config.study_settings import LARGEST_GRID, StudySettings, space_difference
from imagematch.config.suggestions import did_you_mean
from imagematch.config.train_fields import DEFAULTS, TRAIN_KEYS
from imagematch.config.train_settings import TrainSettings
from imagematch.config.yaml_loader import Document, parse_value, parse_yaml, read_yaml
from imagematch.config.yaml_writer import to_yaml

__all__ = [
    "CONDITIONS",
    "CRITERIA",
    "DATASETS",
    "DEFAULTS",
    "ENGINES",
    "EXTRACTORS",
    "FACES_MISSING",
    "FACE_CROPS",
    "LARGEST_GRID",
    "LOSSES",
    "LOSS_DISTANCES",
    "LOSS_FIELDS",
    "LR_SCHEDULES",
    "METRICS",
    "OBJECTIVES",
    "OFFLINE_LOSSES",
    "OPTIMIZERS",
    "OPTION_FIELDS",
    "PAIR_LOSSES",
    "PRECISIONS",
    "PROXY_LOSSES",
    "PRUNERS",
    "RANDOM_BATCH_MARGIN",
    "RERUN_SUFFIX",
    "SAMPLERS",
    "SECOND_OBJECTIVES",
    "SPLITS_BY",
    "STUDY_KEYS",
    "TRAINING_PRECISIONS",
    "TRAIN_KEYS",
    "TRIPLET_HINGES",
    "TRIPLET_LOSSES",
    "TUNABLE",
    "Choices",
    "Condition",
    "Dimension",
    "Direction",
    "Document",
    "FloatRange",
    "IntRange",
    "Label",
    "StudySettings",
    "TrainSettings",
    "did_you_mean",
    "direction_of",
    "load_study",
    "load_train",
    "parse_study",
    "parse_train",
    "parse_value",
    "parse_yaml",
    "read_yaml",
    "space_difference",
    "to_yaml",
]
