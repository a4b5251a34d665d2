"""Faces: found once an image, cached beside the manifest, cropped with a margin, aligned where that is wanted."""

from __future__ import annotations

from imagematch.data.faces.cache import crop_faces, crop_to_face, faces_path, read_faces
from imagematch.data.faces.cropping import FaceCropper
from imagematch.data.faces.detector import Face
from imagematch.data.faces.yunet import remember_yunet, yunet_data

__all__ = [
    "Face",
    "FaceCropper",
    "crop_faces",
    "crop_to_face",
    "faces_path",
    "read_faces",
    "remember_yunet",
    "yunet_data",
]
