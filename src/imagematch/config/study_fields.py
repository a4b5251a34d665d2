"""The keys that only a study file has, and the two it shares with a train file (seed, objective)."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from imagematch.config import names
from imagematch.config.field_types import checked_choice, name, whole
from imagematch.config.metrics import OBJECTIVES
from imagematch.config.problems import told
from imagematch.config.train_fields import checked_run_name

_CHOICES = {"sampler": names.SAMPLERS, "pruner": names.PRUNERS, "objective": OBJECTIVES}
_URL = re.compile(r"[a-z][a-z0-9]*(\+[a-z0-9_]+)?://\S+")


class StudyFields(BaseModel):
    """What a study file says about the study itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    study_name: str = Field(description="text")
    seed: int = whole(0, 0, 2**32 - 1)
    n_trials: int = whole(30, 1, 10_000_000)
    sampler: str = name("tpe", names.SAMPLERS)
    pruner: str = name("median", names.PRUNERS)
    folds: int = whole(1, 1, 100)
    rerun_top_k: int = whole(3, 0, 1_000)
    rerun_seeds: int = whole(3, 0, 1_000)
    storage: str | None = Field(None, repr=False, description="the URL of a database")
    objective: str = name("val_map_at_r", OBJECTIVES)

    @field_validator(*_CHOICES)
    @classmethod
    def _is_a_known_name(cls, value: str, info: ValidationInfo) -> str:
        field = str(info.field_name)
        return checked_choice(field, value, _CHOICES[field])

    @field_validator("study_name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        return checked_run_name("study_name", value)

    @field_validator("storage")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is not None and not _URL.fullmatch(value):  # never shown: it may hold a password
            example = "sqlite:///exp/hpt_studies/NAME.db or postgresql+psycopg://USER@HOST/DATABASE"
            raise told("storage must be the URL of a database", f"write it as {example}")
        return value


STUDY_KEYS: tuple[str, ...] = tuple(StudyFields.model_fields)
"""Every key that is about the study itself."""
