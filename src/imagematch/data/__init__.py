"""Data: image files -> manifest -> splits -> decoded, augmented pixels.

`open_dataset` lists a source, checks every file once, finds the faces where they are asked for, and splits the images;
`Dataset.picture` and `decode` give the canonical pixels that training, evaluation and matching all see;
`stream_batches` feeds them to TensorFlow. `check_data` tells what is wrong with a data set, `fetch` gets a public one.
"""

from __future__ import annotations

from imagematch.data.augmentation import AUGMENTATION_VERSION, N_DRAWS, augment, draw_augmentations
from imagematch.data.boxes import Box, check_digest, decoded_digest
from imagematch.data.checking import DataCheck, check_data
from imagematch.data.contact_sheet import contact_sheet
from imagematch.data.dataset import Dataset, Quarantined
from imagematch.data.decoding import DECODER_VERSION, ImageFacts, Thumbnail, decode, inspect, thread_count, thumbnail
from imagematch.data.decoding_limits import MAX_MEGAPIXELS
from imagematch.data.downloads import DOWNLOADS, NOT_FETCHED
from imagematch.data.faces import Face, FaceCropper, crop_faces, faces_path, find_face, read_faces
from imagematch.data.fetching import fetch
from imagematch.data.folds import class_disjoint, fold_datasets
from imagematch.data.manifest import Fact, doubt, manifest_path, read_manifest
from imagematch.data.opening import NO_FACE, open_dataset
from imagematch.data.sources import DESCRIPTIONS, SOURCES, CsvSource, Entry, Source, file_mode, open_source
from imagematch.data.sources.csv_rows import csv_rows
from imagematch.data.sources.csv_table import TABLE_SUFFIXES
from imagematch.data.sources.walking import Found, image_files
from imagematch.data.splits import SPLITS
from imagematch.data.streaming import stream_batches
from imagematch.data.value_ranges import ValueRange, describe_range, set_range
from imagematch.image_files import IMAGE_SUFFIXES, NotReadableHereError, image_format, read_bytes, unreadable_kind

__all__ = [
    "AUGMENTATION_VERSION",
    "DECODER_VERSION",
    "DESCRIPTIONS",
    "DOWNLOADS",
    "IMAGE_SUFFIXES",
    "MAX_MEGAPIXELS",
    "NOT_FETCHED",
    "NO_FACE",
    "N_DRAWS",
    "SOURCES",
    "SPLITS",
    "TABLE_SUFFIXES",
    "Box",
    "CsvSource",
    "DataCheck",
    "Dataset",
    "Entry",
    "Face",
    "FaceCropper",
    "Fact",
    "Found",
    "ImageFacts",
    "NotReadableHereError",
    "Quarantined",
    "Source",
    "Thumbnail",
    "ValueRange",
    "augment",
    "check_data",
    "check_digest",
    "class_disjoint",
    "contact_sheet",
    "crop_faces",
    "csv_rows",
    "decode",
    "decoded_digest",
    "describe_range",
    "doubt",
    "draw_augmentations",
    "faces_path",
    "fetch",
    "file_mode",
    "find_face",
    "fold_datasets",
    "image_files",
    "image_format",
    "inspect",
    "manifest_path",
    "open_dataset",
    "open_source",
    "read_bytes",
    "read_faces",
    "read_manifest",
    "set_range",
    "stream_batches",
    "thread_count",
    "thumbnail",
    "unreadable_kind",
]
