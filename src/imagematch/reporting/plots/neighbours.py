"""A query beside its nearest neighbours, as one plot for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagematch.reporting.escaping import plot_label
from imagematch.reporting.images import image_uri
from imagematch.reporting.plots.style import BASELINE_COLOUR, GENUINE_COLOUR, IMPOSTOR_COLOUR
from imagematch.reporting.tables.retrieval import nearest_rows
from imagematch.retrieval import ImageFolder, Retrieval

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_SIDE = 112
_MOST = 10


def neighbours_plot(found: Retrieval, query: int, count: int = 5) -> Figure:
    """A query and its nearest neighbours, with their distances; right and wrong are marked where classes are known.

    Args:
        found: the result of `retrieve`.
        query: row of the query.
        count: how many neighbours are shown, at most ten.

    Raises:
        DataError: an image is no longer there.
    """
    from plotly.subplots import make_subplots

    queries, gallery = found.queries, found.gallery
    neighbours = nearest_rows(found, query)[: min(count, _MOST)]
    titles = [f"<b>query</b><br>{plot_label(_name(queries, query), 24)}"]
    colours = [BASELINE_COLOUR]
    for row, distance in neighbours:
        right = found.right(query, row)
        mark = {None: "", True: " ✓", False: " ✗"}[right]
        titles.append(f"{distance:.3f}{mark}<br>{plot_label(_name(gallery, row), 24)}")
        colours.append({None: BASELINE_COLOUR, True: GENUINE_COLOUR, False: IMPOSTOR_COLOUR}[right])
    figure = make_subplots(rows=1, cols=len(titles), subplot_titles=titles, horizontal_spacing=0.01)
    images = [queries.thumbnail(query, _SIDE).pixels, *(gallery.thumbnail(row, _SIDE).pixels for row, _ in neighbours)]
    paths = [queries.paths[query], *(gallery.paths[row] for row, _ in neighbours)]
    for column, (image, path, colour) in enumerate(zip(images, paths, colours, strict=True), start=1):
        text = f"{plot_label(path)}<extra></extra>"
        figure.add_image(source=image_uri(image), hovertemplate=text, row=1, col=column)
        axes = {"showticklabels": False, "showgrid": False, "mirror": True, "linewidth": 3, "linecolor": colour}
        figure.update_xaxes(axes, row=1, col=column)
        figure.update_yaxes(axes, row=1, col=column)
    margin = {"l": 10, "r": 10, "t": 60, "b": 10}
    return figure.update_layout(template="plotly_white", height=250, width=150 * len(titles), margin=margin)


def _name(images: ImageFolder, row: int) -> str:
    return images.labels[row] if images.labels is not None else images.paths[row]
