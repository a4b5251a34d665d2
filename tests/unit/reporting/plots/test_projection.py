from __future__ import annotations

import numpy as np
import pytest
from tests.unit.reporting.samples import make_view

from imagematch.reporting import Note, plot_or_note, projection_plot
from imagematch.reporting.plots.projection import pca, tsne


def test_scores_and_shares_are_those_of_a_singular_value_decomposition():
    vectors = np.random.default_rng(0).normal(size=(30, 5)) * [5, 3, 1, 1, 1]
    scores, shares = pca(vectors, 3)
    left, lengths, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(scores), np.abs(left[:, :3] * lengths[:3]), atol=1e-9)
    np.testing.assert_allclose(shares, lengths[:3] ** 2 / np.sum(lengths**2))


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (4, 1)])
def test_missing_components_are_zero(shape):
    scores, _ = pca(np.ones(shape))
    assert scores.shape == (shape[0], 2)
    assert np.all(scores == 0)


def test_tsne_keeps_classes_together_and_repeats_itself():
    view = make_view(images=60, classes=3, noise=0.05)
    points = tsne(view.embeddings)
    np.testing.assert_array_equal(points, tsne(view.embeddings))
    centres = np.stack([points[view.labels == label].mean(axis=0) for label in range(3)])
    nearest = np.argmin(np.linalg.norm(points[:, None] - centres[None], axis=2), axis=1)
    np.testing.assert_array_equal(nearest, view.labels)


def test_a_hover_names_class_and_file_without_tags(view):
    hostile = make_view(classes=6, names=("<b>bold</b>", "a", "b", "c", "d", "e"))
    figure = projection_plot(hostile, "pca")
    assert figure.data[0].name == "&lt;b&gt;bold&lt;/b&gt;"
    assert figure.data[0].text[0] == "&lt;b&gt;bold&lt;/b&gt;<br>&lt;b&gt;bold&lt;/b&gt;/0.png"


def test_many_classes_are_one_trace_and_many_images_a_sample():
    figure = projection_plot(make_view(images=100, classes=50), "pca", at_most=40)
    assert len(figure.data) == 1
    assert len(figure.data[0].x) == 40


def test_three_images_give_a_note_instead_of_tsne():
    small = make_view(images=3, classes=1)
    shown = plot_or_note(lambda: projection_plot(small, "tsne"), "t-SNE")
    assert isinstance(shown, Note)
    assert "4 images" in str(shown)
