"""The embedding in two dimensions: PCA and t-SNE by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from imagematch.reporting.escaping import plot_label
from imagematch.reporting.images import SplitView, sampled_rows
from imagematch.reporting.plots.style import class_colours, laid_out

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

ProjectionMethod = Literal["pca", "tsne"]

MOST_POINTS = 2000
"""Images in a projection at most: t-SNE takes seconds, and a page stays small."""

_CLASSES_IN_LEGEND = 20
_COMPONENTS_BEFORE_TSNE = 50
_TSNE_STEPS = 500


def pca(vectors: np.ndarray, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Principal components by scikit-learn: scores, (n, count), and each one's share of the variance, (count,).

    Components that do not exist (fewer dimensions or images) are zero.
    """
    from sklearn.decomposition import PCA

    scores, shares = np.zeros((len(vectors), count)), np.zeros(count)
    if len(vectors) > 1 and np.ptp(vectors, axis=0).any():
        fitted = PCA(min(count, *np.shape(vectors)), svd_solver="full")
        found = fitted.fit_transform(np.asarray(vectors, dtype=np.float64))
        scores[:, : found.shape[1]], shares[: found.shape[1]] = found, fitted.explained_variance_ratio_
    return scores, shares


def tsne(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE of (n, dim) vectors, after PCA to 50 components: (n, 2) float32.

    Raises:
        ValueError: fewer than 4 vectors.

    Source: van der Maaten and Hinton, Visualizing Data using t-SNE, JMLR 9, 2008.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(vectors) < 4:
        raise ValueError("t-SNE needs 4 images or more")
    reduced, _ = pca(vectors, min(_COMPONENTS_BEFORE_TSNE, vectors.shape[1]))
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    spread = float(np.std(reduced[:, 0]))
    start = (reduced[:, :2] / spread * 1e-4 if spread > 0 else np.zeros((len(reduced), 2))).astype(np.float32)
    if start.shape[1] < 2:
        start = np.hstack([start, np.zeros((len(start), 1), np.float32)])
    flow = TSNE(perplexity=perplexity, init=start, random_state=seed, max_iter=_TSNE_STEPS)
    with threadpool_limits(1):  # its threads wait by spinning: on a busy machine more of them are many times slower
        return np.asarray(flow.fit_transform(reduced.astype(np.float32)))


def projection_plot(
    view: SplitView, method: ProjectionMethod = "pca", *, at_most: int = MOST_POINTS, seed: int = 0
) -> Figure:
    """The images' embeddings in two dimensions, coloured by class; a hover shows class and file.

    Args:
        view: the split.
        method: "pca" or "tsne".
        at_most: images that are drawn; more are sampled evenly.
        seed: of the sample and of t-SNE.

    Raises:
        ValueError: too few images for the method.
    """
    import plotly.graph_objects as go

    rows = sampled_rows(len(view), at_most, seed)
    vectors = np.asarray(view.embeddings)[rows]
    if method == "tsne":
        points, titles = tsne(vectors, seed), ["t-SNE 1", "t-SNE 2"]
    else:
        points, shares = pca(vectors)
        titles = [f"component {n} ({100 * share:.1f} % of the variance)" for n, share in enumerate(shares, start=1)]
    labels = np.asarray(view.labels)[rows]
    classes = np.unique(labels)
    colours = dict(zip(classes.tolist(), class_colours(len(classes)), strict=True))
    hovers = [f"{plot_label(view.class_name(row))}<br>{plot_label(view.path(row))}" for row in rows.tolist()]
    figure = go.Figure()
    if len(classes) <= _CLASSES_IN_LEGEND:
        for number in classes.tolist():
            chosen = np.flatnonzero(labels == number)
            name = plot_label(view.class_names[number], 30)
            figure.add_trace(_markers(points[chosen], [hovers[i] for i in chosen], colours[number], name))
    else:
        figure.add_trace(_markers(points, hovers, [colours[number] for number in labels.tolist()], "images"))
    laid_out(figure, height=560)
    figure.update_layout(showlegend=len(classes) <= _CLASSES_IN_LEGEND, legend={"itemsizing": "constant"})
    figure.update_xaxes(title=titles[0], zeroline=False)
    figure.update_yaxes(title=titles[1], zeroline=False)
    return figure


def _markers(points: np.ndarray, hovers: Sequence[str], colour: str | Sequence[str], name: str) -> Any:
    import plotly.graph_objects as go

    return go.Scatter(
        x=points[:, 0].astype(np.float32),
        y=points[:, 1].astype(np.float32),
        mode="markers",
        marker={"color": colour, "size": 5, "opacity": 0.8},
        text=list(hovers),
        name=name,
        hovertemplate="%{text}<extra></extra>",
    )
