"""Tunes an image matcher: python hpt.py --hpt-config-filepath hpt_config.yaml"""

from imagematch.cli.main import hpt_script

if __name__ == "__main__":
    hpt_script()
