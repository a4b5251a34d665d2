"""Faces: found once an image, cached beside the manifest, cropped with a margin, upright where that is wanted."""

from __future__ import annotations

from imagematch.data.faces.cache import crop_faces, crop_to_face, faces_path, read_faces
from imagematch.data.faces.cropping import FaceCropper
from imagematch.data.faces.detection import Face, find_face

__all__ = ["Face", "FaceCropper", "crop_faces", "crop_to_face", "faces_path", "find_face", "read_faces"]
