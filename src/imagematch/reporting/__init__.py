"""What people see: figures, tables, self-contained HTML reports, and projector files.

Figures are plotly figures and tables are data frames, the same in notebooks, reports and the dashboard. Where one
cannot be made, a `Note` of one line stands in its place. Class and file names may hold anything: here they are made
harmless.
"""

from __future__ import annotations

from imagematch.reporting.calibration_figures import reliability_figure
from imagematch.reporting.class_tables import class_table, worst_and_best_classes
from imagematch.reporting.comparison import (
    COMPARED,
    Recipe,
    comparison_figure,
    comparison_table,
    comparison_text,
    write_comparison,
)
from imagematch.reporting.escaping import cell, label, markup, visible
from imagematch.reporting.metrics_tables import (
    counts_text,
    figures_table,
    operating_table,
    tar_at_far_table,
    warnings_of,
)
from imagematch.reporting.mistakes import Pair, pairs_html, worst_false_matches, worst_false_non_matches
from imagematch.reporting.model_report import threshold_text, write_model_report
from imagematch.reporting.neighbours import (
    groups_table,
    neighbours_figure,
    neighbours_table,
    write_groups_page,
    write_neighbours_page,
)
from imagematch.reporting.notes import Note, figure_or_note, table_or_note
from imagematch.reporting.pictures import pictures_html
from imagematch.reporting.projection import principal_components, projection_figure, tsne
from imagematch.reporting.projector import PROJECTOR_FILES, write_projector, write_tensorboard_projector
from imagematch.reporting.study_facts import feature_store_text, state_counts
from imagematch.reporting.study_figures import StudyFigures, Titled
from imagematch.reporting.study_reading import read_study
from imagematch.reporting.study_report import study_summary, write_study_report
from imagematch.reporting.study_tables import (
    baseline_table,
    best_configuration,
    front_table,
    repeated_runs,
    time_table,
    trials_overview,
    unfinished_trials,
)
from imagematch.reporting.study_text import study_lines
from imagematch.reporting.training_figures import learning_curve_svg, learning_curves, write_learning_curves
from imagematch.reporting.verification_figures import det_figure, histogram_figure, roc_figure
from imagematch.reporting.view import SplitView

__all__ = [
    "COMPARED",
    "PROJECTOR_FILES",
    "Note",
    "Pair",
    "Recipe",
    "SplitView",
    "StudyFigures",
    "Titled",
    "baseline_table",
    "best_configuration",
    "cell",
    "class_table",
    "comparison_figure",
    "comparison_table",
    "comparison_text",
    "counts_text",
    "det_figure",
    "feature_store_text",
    "figure_or_note",
    "figures_table",
    "front_table",
    "groups_table",
    "histogram_figure",
    "label",
    "learning_curve_svg",
    "learning_curves",
    "markup",
    "neighbours_figure",
    "neighbours_table",
    "operating_table",
    "pairs_html",
    "pictures_html",
    "principal_components",
    "projection_figure",
    "read_study",
    "reliability_figure",
    "repeated_runs",
    "roc_figure",
    "state_counts",
    "study_lines",
    "study_summary",
    "table_or_note",
    "tar_at_far_table",
    "threshold_text",
    "time_table",
    "trials_overview",
    "tsne",
    "unfinished_trials",
    "visible",
    "warnings_of",
    "worst_and_best_classes",
    "worst_false_matches",
    "worst_false_non_matches",
    "write_comparison",
    "write_groups_page",
    "write_learning_curves",
    "write_model_report",
    "write_neighbours_page",
    "write_projector",
    "write_study_report",
    "write_tensorboard_projector",
]
