"""What a configuration may name is exactly what the registries have."""

from imagematch import config, data


def test_data_sources() -> None:
    assert set(config.DATASETS) == set(data.SOURCES)
