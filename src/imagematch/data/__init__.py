"""Data: image files -> manifest -> splits -> decoded, augmented pixels.

`open_dataset` lists a source, checks every file once, finds the faces where they are asked for, and splits the images;
`Dataset.picture` and `decode` give the canonical pixels that training, evaluation and matching all see;
`stream_batches` feeds them to TensorFlow. `check_data` tells what is wrong with a data set, `fetch` gets a public one.
"""

from __future__ import annotations

from imagematch.data.augmentation import AUGMENTATION_VERSION, N_DRAWS, augment, draw_augmentations
from imagematch.data.boxes import Box, check_digest
from imagematch.data.checking import DataCheck, check_data
from imagematch.data.contact_sheet import contact_sheet
from imagematch.data.dataset import Dataset, Quarantined
from imagematch.data.decoding import DECODER_VERSION, Overview, decode, overview, read_bytes, to_picture
from imagematch.data.downloads import DOWNLOADS, NOT_FETCHED
from imagematch.data.faces import Face, FaceCropper, cut_faces, faces_path, find_face, read_faces
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
from imagematch.data.threads import thread_count

__all__ = [
    "AUGMENTATION_VERSION",
    "DECODER_VERSION",
    "DESCRIPTIONS",
    "DOWNLOADS",
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
    "Overview",
    "Quarantined",
    "Source",
    "augment",
    "check_data",
    "check_digest",
    "class_disjoint",
    "contact_sheet",
    "csv_rows",
    "cut_faces",
    "decode",
    "doubt",
    "draw_augmentations",
    "faces_path",
    "fetch",
    "file_mode",
    "find_face",
    "fold_datasets",
    "image_files",
    "manifest_path",
    "open_dataset",
    "open_source",
    "overview",
    "read_bytes",
    "read_faces",
    "read_manifest",
    "stream_batches",
    "thread_count",
    "to_picture",
]
