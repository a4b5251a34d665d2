"""Every mistake of a file is one line on stderr, and the exit code is that of a configuration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("experiment_name: x\nepochs: a\nembeding_dim: 3\ndropout: 2\n")
    command = [sys.executable, "-m", "imagematch", "train", "--config", "bad.yaml", "--validate"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: bad.yaml:2: epochs must be a whole number from 0 to 100000, not 'a' (and 2 more)",
        "error: bad.yaml:3: unknown key 'embeding_dim'; did you mean embedding_dim?",
        "error: bad.yaml:4: dropout must be a number from 0 to 1, not 2",
    ]
