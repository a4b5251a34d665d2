from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from imagematch.reporting import Note, figure_or_note, principal_components, projection_figure, tsne

from .samples import make_view


def test_principal_components_are_scikit_learns_up_to_sign():
    vectors = np.random.default_rng(0).normal(size=(30, 5)) * [5, 3, 1, 1, 1]
    scores, shares = principal_components(vectors, 3)
    fitted = PCA(3).fit(vectors)
    np.testing.assert_allclose(np.abs(scores), np.abs(fitted.transform(vectors)), atol=1e-9)
    np.testing.assert_allclose(shares, fitted.explained_variance_ratio_)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (4, 1)])
def test_missing_components_are_zero(shape):
    scores, _ = principal_components(np.ones(shape))
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
    figure = projection_figure(hostile, "pca")
    assert figure.data[0].name == "&lt;b&gt;bold&lt;/b&gt;"
    assert figure.data[0].text[0] == "&lt;b&gt;bold&lt;/b&gt;<br>&lt;b&gt;bold&lt;/b&gt;/0.png"


def test_many_classes_are_one_trace_and_many_images_a_sample():
    figure = projection_figure(make_view(images=100, classes=50), "pca", at_most=40)
    assert len(figure.data) == 1
    assert len(figure.data[0].x) == 40


def test_three_images_give_a_note_instead_of_tsne():
    small = make_view(images=3, classes=1)
    shown = figure_or_note(lambda: projection_figure(small, "tsne"), "t-SNE")
    assert isinstance(shown, Note)
    assert "4 images" in str(shown)
