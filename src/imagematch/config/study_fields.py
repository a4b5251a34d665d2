"""The keys that only a study file has, and the two it shares with a train file (seed, objective)."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from imagematch.config import names
from imagematch.config.field_types import Names, checked_choice, name, whole
from imagematch.config.metrics import OBJECTIVES, SECOND_OBJECTIVES
from imagematch.config.problems import shown, told
from imagematch.config.train_fields import checked_run_name

_CHOICES = {"sampler": names.SAMPLERS, "pruner": names.PRUNERS}
_URL = re.compile(r"[a-z][a-z0-9]*(\+[a-z0-9_]+)?://\S+")
RERUN_SUFFIX = "-rerun"
"""Ends the name under which a study's repeated runs are kept beside it."""


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
    objective: str | Names = Field("val_map_at_r", description="the name of a metric, or a list of two")
    max_parameters: int | None = whole(None, 1, 10**12)

    @field_validator(*_CHOICES)
    @classmethod
    def _is_a_known_name(cls, value: str, info: ValidationInfo) -> str:
        field = str(info.field_name)
        return checked_choice(field, value, _CHOICES[field])

    @field_validator("objective")
    @classmethod
    def _are_metrics(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, str):
            return checked_choice("objective", value, OBJECTIVES)
        if len(value) != 2 or value[0] == value[1]:
            raise told(f"objective must be one metric or two different ones, not {shown(list(value))}")
        checked_choice("the first objective", value[0], OBJECTIVES)
        checked_choice("the second objective", value[1], SECOND_OBJECTIVES)
        return value

    @field_validator("study_name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if value.endswith(RERUN_SUFFIX):
            what = f"study_name may not end in {RERUN_SUFFIX}, as the repeated runs of another study do"
            raise told(what, "choose another study_name")
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
