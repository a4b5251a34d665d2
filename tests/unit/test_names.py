"""What a configuration may name is exactly what the registries have."""

from imagematch import config, data, evaluation, extractors, losses


def test_extractors() -> None:
    assert set(config.EXTRACTORS) == set(extractors.SPECS)


def test_losses() -> None:
    assert set(config.PAIR_LOSSES) == set(losses.PAIR_LOSSES)
    assert set(config.PROXY_LOSSES) == set(losses.PROXY_LOSSES)


def test_data_sources() -> None:
    assert set(config.DATASETS) == set(data.SOURCES)


def test_engines_and_precisions() -> None:
    assert config.ENGINES == extractors.ENGINES
    assert config.PRECISIONS == extractors.PRECISIONS


def test_every_objective_is_measured_each_epoch() -> None:
    import numpy as np

    random = np.random.default_rng(0)
    embeddings = random.normal(size=(20, 4)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    measured = evaluation.quick_figures(embeddings, np.repeat(np.arange(5), 4))
    assert {f"val_{name}" for name in measured} | {"val_loss"} >= set(config.OBJECTIVES)
