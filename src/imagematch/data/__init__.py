"""Data: image files -> manifest -> splits -> decoded, augmented pixels.

`open_dataset` lists a source, checks every file once and splits the images; `Dataset.picture` and `decode` give the
canonical pixels that training, evaluation and matching all see; `stream_batches` feeds them to TensorFlow.
"""

from __future__ import annotations

from imagematch.data.augmentation import AUGMENTATION_VERSION, N_DRAWS, augment, draw_augmentations
from imagematch.data.dataset import Dataset, Quarantined, open_dataset
from imagematch.data.decoding import DECODER_VERSION, MAX_PIXELS, decode, to_picture
from imagematch.data.sources import SOURCES, open_source
from imagematch.data.splits import SPLITS
from imagematch.data.streaming import stream_batches

__all__ = [
    "AUGMENTATION_VERSION",
    "DECODER_VERSION",
    "MAX_PIXELS",
    "N_DRAWS",
    "SOURCES",
    "SPLITS",
    "Dataset",
    "Quarantined",
    "augment",
    "decode",
    "draw_augmentations",
    "open_dataset",
    "open_source",
    "stream_batches",
    "to_picture",
]
