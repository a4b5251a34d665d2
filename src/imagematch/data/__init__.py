"""Data: the images of a source -> manifest -> splits -> decoded, augmented pixels.

`open_dataset` lists a source, checks every file once, finds the faces where they are asked for, and splits the images;
`Dataset.picture` and `decode` give the canonical pixels that training, evaluation and matching all see;
`stream_batches` feeds them to TensorFlow. `audit_data` says what is wrong with a data set, `fetch` gets a public one.
"""

from __future__ import annotations

from imagematch.data.audit import Audit, audit_data
from imagematch.data.augmentation import AUGMENTATION_VERSION, N_DRAWS, augment, draw_augmentations
from imagematch.data.boxes import check_digest
from imagematch.data.build import NO_FACE, open_dataset
from imagematch.data.contact_sheet import contact_sheet
from imagematch.data.dataset import Dataset, Quarantined
from imagematch.data.decoding import DECODER_VERSION, Overview, decode, overview, to_picture
from imagematch.data.faces import Face, FaceCropper, cut_faces, faces_path, find_face, read_faces
from imagematch.data.fetching import fetch
from imagematch.data.folds import class_disjoint, fold_datasets
from imagematch.data.manifest import distrust, manifest_path, read_manifest
from imagematch.data.stratified import SPLITS
from imagematch.data.streaming import stream_batches
from imagematch.data.threads import thread_count

__all__ = [
    "AUGMENTATION_VERSION",
    "DECODER_VERSION",
    "NO_FACE",
    "N_DRAWS",
    "SPLITS",
    "Audit",
    "Dataset",
    "Face",
    "FaceCropper",
    "Overview",
    "Quarantined",
    "audit_data",
    "augment",
    "check_digest",
    "class_disjoint",
    "contact_sheet",
    "cut_faces",
    "decode",
    "distrust",
    "draw_augmentations",
    "faces_path",
    "fetch",
    "find_face",
    "fold_datasets",
    "manifest_path",
    "open_dataset",
    "overview",
    "read_faces",
    "read_manifest",
    "stream_batches",
    "thread_count",
    "to_picture",
]
