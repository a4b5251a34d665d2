"""What a worker is told when it starts, in one line of JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from imagematch.config import STUDY_KEYS, Choices, StudySettings, parse_study
from imagematch.files import Layout


@dataclass(frozen=True)
class WorkerJob:
    """What a worker is to do.

    Attributes:
        settings: of the study.
        layout: where files go.
        first: the number of the first trial whose failure counts; see `too_many_failures`.
    """

    settings: StudySettings
    layout: Layout
    first: int

    def to_json(self) -> str:
        """In one line."""
        study = study_values(self.settings)
        return json.dumps({"study": study, "root": str(self.layout.root), "first": self.first})

    @classmethod
    def from_json(cls, text: str | bytes) -> WorkerJob:
        """The job that `to_json` wrote."""
        job = json.loads(text)
        return cls(parse_study(job["study"]), Layout(Path(job["root"])), job["first"])


def study_values(settings: StudySettings) -> dict[str, Any]:
    """What a study file would say of these settings, as JSON; `parse_study` gives them back."""
    values = settings.model_dump(mode="json", include=set(STUDY_KEYS), exclude_unset=True)
    values |= to_jsonable_python(settings.fixed)
    for field, dimension in settings.space.items():
        if isinstance(dimension, Choices):
            values[f"{field}_grid"] = to_jsonable_python(dimension.options)
        else:
            limits = {"low": dimension.low, "high": dimension.high, "step": dimension.step, "log": dimension.log}
            unset = [name for name in ("step", "log") if not limits[name] or (name == "step" and dimension.log)]
            values[f"{field}_range"] = {name: value for name, value in limits.items() if name not in unset}
    return values
