"""The room stays light: `--help`, `--validate` and errors in a file wait for nothing heavy."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("tensorflow", "keras", "optuna", "pandas", "numpy", "plotly", "sklearn", "PIL", "cv2", "openvino")


def test_nothing_heavy_is_imported() -> None:
    code = f"import sys, imagematch.config; print(*[name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == []


def test_public_names_exist() -> None:
    from imagematch import config

    assert all(hasattr(config, name) for name in config.__all__)
    assert sorted(config.__all__) == sorted(set(config.__all__))
