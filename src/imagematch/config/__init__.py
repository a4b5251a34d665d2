"""What the user wrote -> checked, typed settings, and the names of everything selectable.

`load_train` and `load_study` read strict YAML and give settings or one ConfigError that names file, line and remedy.
Nothing here opens data or weights, or imports TensorFlow: `--validate` needs this room alone.
"""

from __future__ import annotations

from imagematch.config.fields import Affects, Condition, KeyFacts
from imagematch.config.loading import load_study, load_train, parse_study, parse_train
from imagematch.config.names import (
    DATASETS,
    ENGINES,
    EXTRACTORS,
    FACE_CROPS,
    FACES_MISSING,
    LOSSES,
    LR_SCHEDULES,
    METRIC_DIRECTIONS,
    NAMED_CRITERIA,
    OBJECTIVES,
    OFFLINE_LOSSES,
    OPTIMIZERS,
    PAIR_LOSSES,
    PRECISIONS,
    PROXY_LOSSES,
    PRUNERS,
    SAMPLERS,
    SECOND_OBJECTIVES,
    SPLITS_BY,
    TRAINING_PRECISIONS,
    Direction,
    direction_of,
)
from imagematch.config.network_input import wrong_input
from imagematch.config.problems import did_you_mean
from imagematch.config.reference import ReferenceRow, reference_rows, study_schema, write_reference
from imagematch.config.space import (
    Choices,
    Dimension,
    FloatRange,
    IntRange,
    Label,
    space_difference,
    with_lists,
    with_tuples,
)
from imagematch.config.starting_points import RECIPES, starting_lines, starting_points
from imagematch.config.study_rules import LARGEST_GRID
from imagematch.config.study_settings import RERUN_SUFFIX, STUDY_FACTS, STUDY_KEYS, StudySettings
from imagematch.config.train_keys import (
    CONDITIONS,
    DEFAULTS,
    KEYS,
    STAGE_KEYS,
    TRAIN_KEYS,
    TUNABLE,
    is_active,
)
from imagematch.config.train_settings import TrainSettings
from imagematch.config.yaml_files import Document, parse_value, parse_yaml, read_yaml, to_yaml

__all__ = [
    "CONDITIONS",
    "DATASETS",
    "DEFAULTS",
    "ENGINES",
    "EXTRACTORS",
    "FACES_MISSING",
    "FACE_CROPS",
    "KEYS",
    "LARGEST_GRID",
    "LOSSES",
    "LR_SCHEDULES",
    "METRIC_DIRECTIONS",
    "NAMED_CRITERIA",
    "OBJECTIVES",
    "OFFLINE_LOSSES",
    "OPTIMIZERS",
    "PAIR_LOSSES",
    "PRECISIONS",
    "PROXY_LOSSES",
    "PRUNERS",
    "RECIPES",
    "RERUN_SUFFIX",
    "SAMPLERS",
    "SECOND_OBJECTIVES",
    "SPLITS_BY",
    "STAGE_KEYS",
    "STUDY_FACTS",
    "STUDY_KEYS",
    "TRAINING_PRECISIONS",
    "TRAIN_KEYS",
    "TUNABLE",
    "Affects",
    "Choices",
    "Condition",
    "Dimension",
    "Direction",
    "Document",
    "FloatRange",
    "IntRange",
    "KeyFacts",
    "Label",
    "ReferenceRow",
    "StudySettings",
    "TrainSettings",
    "did_you_mean",
    "direction_of",
    "is_active",
    "load_study",
    "load_train",
    "parse_study",
    "parse_train",
    "parse_value",
    "parse_yaml",
    "read_yaml",
    "reference_rows",
    "space_difference",
    "starting_lines",
    "starting_points",
    "study_schema",
    "to_yaml",
    "with_lists",
    "with_tuples",
    "write_reference",
    "wrong_input",
]
