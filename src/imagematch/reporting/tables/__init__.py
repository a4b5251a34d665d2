"""Tables as pandas data frames, the same in notebooks and reports."""

from __future__ import annotations

from imagematch.reporting.tables.classes import class_table, confusions_table, worst_and_best_classes
from imagematch.reporting.tables.metrics import counts_text, metrics_table, seen_text, warnings_of
from imagematch.reporting.tables.retrieval import groups_table, nearest_rows, neighbours_table, write_csv
from imagematch.reporting.tables.study import (
    baseline_table,
    best_configuration,
    front_table,
    reruns_table,
    time_table,
    trials_overview,
    unfinished_trials,
)
from imagematch.reporting.tables.thresholds import gallery_table, rates_lines, threshold_table

__all__ = [
    "baseline_table",
    "best_configuration",
    "class_table",
    "confusions_table",
    "counts_text",
    "front_table",
    "gallery_table",
    "groups_table",
    "metrics_table",
    "nearest_rows",
    "neighbours_table",
    "rates_lines",
    "reruns_table",
    "seen_text",
    "threshold_table",
    "time_table",
    "trials_overview",
    "unfinished_trials",
    "warnings_of",
    "worst_and_best_classes",
    "write_csv",
]
