"""What a configuration may name is exactly what the registries have."""

from imagematch import config, extractors
from imagematch.config import names
from imagematch.registry import SOURCE_REGISTRY


def test_extractors() -> None:
    assert set(config.EXTRACTORS) == set(extractors.SPECS)
    assert names.KERASHUB == extractors.PREFIX
    assert set(names.FROM_SCRATCH) == {name for name, spec in extractors.SPECS.items() if spec.from_scratch}


def test_data_sources() -> None:
    assert set(config.DATASETS) == set(SOURCE_REGISTRY.all())


def test_engines_and_precisions() -> None:
    assert config.ENGINES == extractors.ENGINES
    assert config.PRECISIONS == extractors.PRECISIONS
