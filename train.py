"""Trains one configuration: python train.py --config configs/train/digits.yaml"""

import sys

try:
    from imagematch.cli.main import train_script
except ModuleNotFoundError as error:
    sys.exit(f"error: {error.name} is not installed; run `make hpt`, then .venv/bin/python train.py ...")

if __name__ == "__main__":
    train_script()
