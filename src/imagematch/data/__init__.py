"""Data: the images of a source -> manifest -> splits -> decoded, augmented pixels.

`open_dataset` lists a source, checks every file once, finds the faces where they are asked for, and splits the images;
`Dataset.pixels` and `decode` give the canonical pixels that training, evaluation and matching all see;
`stream_batches` feeds them to TensorFlow. `audit_data` says what is wrong with a data set, `fetch` gets a public one.
"""

from __future__ import annotations

from imagematch.data.audit import Audit, audit_data
from imagematch.data.augmentation import AUGMENTATION_VERSION, N_DRAWS, augment, draw_augmentations
from imagematch.data.boxes import check_digest, decoded_digest
from imagematch.data.build import NO_FACE, open_dataset, scan_images
from imagematch.data.contact_sheet import draw_contact_sheet
from imagematch.data.corrections import ANSWERS, AnsweredPair, Correction, answered_pairs, read_corrections
from imagematch.data.dataset import Dataset, Quarantined
from imagematch.data.decoding import DECODER_VERSION, ImageFacts, Thumbnail, decode, inspect, thread_count, thumbnail
from imagematch.data.decoding_limits import MAX_MEGAPIXELS
from imagematch.data.faces import (
    Face,
    FaceCropper,
    crop_faces,
    faces_path,
    read_faces,
    remember_yunet,
    yunet_data,
)
from imagematch.data.fetching import fetch_dataset
from imagematch.data.folds import class_disjoint, fold_datasets
from imagematch.data.image_headers import open_image
from imagematch.data.manifest import distrust, manifest_path, read_manifest
from imagematch.data.stratified import SPLITS
from imagematch.data.streaming import stream_batches
from imagematch.data.value_ranges import ValueRange, describe_range, set_range

__all__ = [
    "ANSWERS",
    "AUGMENTATION_VERSION",
    "DECODER_VERSION",
    "MAX_MEGAPIXELS",
    "NO_FACE",
    "N_DRAWS",
    "SPLITS",
    "AnsweredPair",
    "Audit",
    "Correction",
    "Dataset",
    "Face",
    "FaceCropper",
    "ImageFacts",
    "Quarantined",
    "Thumbnail",
    "ValueRange",
    "answered_pairs",
    "audit_data",
    "augment",
    "check_digest",
    "class_disjoint",
    "crop_faces",
    "decode",
    "decoded_digest",
    "describe_range",
    "distrust",
    "draw_augmentations",
    "draw_contact_sheet",
    "faces_path",
    "fetch_dataset",
    "fold_datasets",
    "inspect",
    "manifest_path",
    "open_dataset",
    "open_image",
    "read_corrections",
    "read_faces",
    "read_manifest",
    "remember_yunet",
    "scan_images",
    "set_range",
    "stream_batches",
    "thread_count",
    "thumbnail",
    "yunet_data",
]
