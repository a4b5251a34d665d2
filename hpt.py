"""Tunes an image matcher: python hpt.py --hpt-config-filepath hpt_config.yaml"""

import sys

try:
    from imagematch.cli.main import hpt_script
except ModuleNotFoundError as error:
    sys.exit(f"error: {error.name} is not installed; run `make hpt`, then .venv/bin/python hpt.py ...")

if __name__ == "__main__":
    hpt_script()
