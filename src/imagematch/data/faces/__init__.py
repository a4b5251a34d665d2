"""Faces: found once a picture, kept with the manifest, cut out with a margin, upright where that is asked for."""

from __future__ import annotations

from imagematch.data.faces.cropping import FaceCropper
from imagematch.data.faces.detection import Face, find_face
from imagematch.data.faces.keeping import cut_faces, cut_to_face, faces_path, read_faces

__all__ = ["Face", "FaceCropper", "cut_faces", "cut_to_face", "faces_path", "find_face", "read_faces"]
