"""Trains one configuration: python train.py --config configs/train/digits.yaml"""

from imagematch.cli.main import train_script

if __name__ == "__main__":
    train_script()
