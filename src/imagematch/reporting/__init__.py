"""What people see: plots, tables, self-contained HTML reports, and projector files.

Plots are plotly figures and tables are data frames, the same in notebooks, reports and the dashboard. Where one cannot
be made, a `Note` of one line stands in its place. Class and file names may hold anything: here they are made harmless.
"""

from __future__ import annotations

from imagematch.reporting.escaping import plot_label, spreadsheet_cell, spreadsheet_text, visible
from imagematch.reporting.html import Page
from imagematch.reporting.images import SplitView, images_html
from imagematch.reporting.mistakes import (
    ImagePair,
    example_pairs,
    pairs_html,
    worst_false_matches,
    worst_false_non_matches,
)
from imagematch.reporting.model_report import write_model_report
from imagematch.reporting.notes import Note, plot_or_note, table_or_note
from imagematch.reporting.numbers import t_interval
from imagematch.reporting.plots import (
    StudyPlots,
    TitledPlot,
    det_plot,
    histogram_plot,
    neighbours_plot,
    projection_plot,
    reliability_plot,
    roc_plot,
)
from imagematch.reporting.projector import PROJECTOR_FILES, write_projector, write_tensorboard_projector
from imagematch.reporting.retrieval_pages import write_groups_page, write_neighbours_page
from imagematch.reporting.studies import read_study, state_counts
from imagematch.reporting.study_comparison import compare_studies, comparison_lines
from imagematch.reporting.study_report import study_lines, study_summary, write_study_report
from imagematch.reporting.study_text import feature_store_text, importance_text, study_steps
from imagematch.reporting.suspects import suspect_labels, write_suspect_labels
from imagematch.reporting.tables import (
    baseline_table,
    best_configuration,
    class_table,
    counts_text,
    front_table,
    gallery_table,
    groups_table,
    metrics_table,
    nearest_rows,
    neighbours_table,
    rates_lines,
    reruns_table,
    seen_text,
    threshold_table,
    time_table,
    trials_overview,
    unfinished_trials,
    warnings_of,
    worst_and_best_classes,
    write_csv,
)
from imagematch.reporting.threshold_report import threshold_text
from imagematch.reporting.threshold_steps import confusion_html, named_confusions
from imagematch.reporting.verdict import verdict

__all__ = [
    "PROJECTOR_FILES",
    "ImagePair",
    "Note",
    "Page",
    "SplitView",
    "StudyPlots",
    "TitledPlot",
    "baseline_table",
    "best_configuration",
    "class_table",
    "compare_studies",
    "comparison_lines",
    "confusion_html",
    "counts_text",
    "det_plot",
    "example_pairs",
    "feature_store_text",
    "front_table",
    "gallery_table",
    "groups_table",
    "histogram_plot",
    "images_html",
    "importance_text",
    "metrics_table",
    "named_confusions",
    "nearest_rows",
    "neighbours_plot",
    "neighbours_table",
    "pairs_html",
    "plot_label",
    "plot_or_note",
    "projection_plot",
    "rates_lines",
    "read_study",
    "reliability_plot",
    "reruns_table",
    "roc_plot",
    "seen_text",
    "spreadsheet_cell",
    "spreadsheet_text",
    "state_counts",
    "study_lines",
    "study_steps",
    "study_summary",
    "suspect_labels",
    "t_interval",
    "table_or_note",
    "threshold_table",
    "threshold_text",
    "time_table",
    "trials_overview",
    "unfinished_trials",
    "verdict",
    "visible",
    "warnings_of",
    "worst_and_best_classes",
    "worst_false_matches",
    "worst_false_non_matches",
    "write_csv",
    "write_groups_page",
    "write_model_report",
    "write_neighbours_page",
    "write_projector",
    "write_study_report",
    "write_suspect_labels",
    "write_tensorboard_projector",
]
