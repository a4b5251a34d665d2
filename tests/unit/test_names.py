"""What a configuration may name is exactly what the registries have."""

from imagematch import config
from imagematch.registry import SOURCE_REGISTRY


def test_data_sources() -> None:
    assert set(config.DATASETS) == set(SOURCE_REGISTRY.all())
