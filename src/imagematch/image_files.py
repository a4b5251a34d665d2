"""Image files: read whole, and known by their content, whatever they are called."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from imagematch.errors import DataError
from imagematch.files import os_reason
from imagematch.reading import GB, MB, RefusedFileError, open_file

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".hif"),
)
"""Of the formats that are read, in lower case."""

READ_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WebP", "TIFF", "PPM", "AVIF", "HEIF")
"""HEIF where pillow-heif is installed; PPM stands for PBM and PGM too."""
_SIGNATURES = (
    ("JPEG", b"\xff\xd8\xff"),
    ("PNG", b"\x89PNG\r\n\x1a\n"),
    ("GIF", b"GIF87a"),
    ("GIF", b"GIF89a"),
    *(("TIFF", order) for order in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ("JPEG XL", b"\xff\x0a"),
    ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n"),
    ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"),
    ("JPEG 2000", b"\xff\x4f\xff\x51"),
    ("Photoshop", b"8BPS"),
    ("icon", b"\0\0\x01\0"),
    ("OpenEXR", b"\x76\x2f\x31\x01"),
    ("Radiance HDR", b"#?RADIANCE"),
    ("FITS", b"SIMPLE  ="),
    ("NumPy", b"\x93NUMPY"),
    ("PDF", b"%PDF-"),
    ("PostScript", b"%!PS"),
    ("ZIP", b"PK\x03\x04"),
    ("Fujifilm raw", b"FUJIFILMCCD-RAW"),
    ("video", b"\x1aE\xdf\xa3"),
)
_RAW_SUFFIXES = (".dng", ".nef", ".nrw", ".arw", ".sr2", ".cr2", ".pef", ".orf", ".rw2", ".iiq", ".3fr", ".erf")
"""Camera raws that are TIFFs by their content, with a small preview first."""
MAX_FILE_BYTES = 256 * MB
"""Larger image files are refused: a file is read whole."""

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEAD_BYTES = 512
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class NotReadableHereError(DataError):
    """An image that may be read another time: memory or a library is missing, or a limit of the settings is low."""


def format_of(data: bytes) -> str:
    """The format that a file's first bytes show, as "JPEG" or "JPEG XL"; "" where they show none that is known."""
    for name, signature in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:2] == b"BM" and (len(data) < 18 or data[15:18] == bytes(3)):  # the length of a header
        return "BMP"
    if data[:4] == b"RIFF":
        return {b"WEBP": "WebP", b"AVI ": "video"}.get(data[8:12], "")
    if data[:1] == b"P" and data[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6"):
        return "PPM" if not data[2:3].strip() or data[2:3] == b"#" else ""
    if data[4:8] == b"ftyp":
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, min(int.from_bytes(data[:4]), 128), 4))}
        if brands & _HEIF_BRANDS:
            return "HEIF"
        if brands & _AVIF_BRANDS or data[8:12] in (b"mif1", b"msf1"):
            return "AVIF"
        return "Canon raw" if data[8:12] == b"crx " else "video"
    if data[128:132] == b"DICM":
        return "DICOM"
    text = data[:_HEAD_BYTES].lstrip().lower()
    return "SVG" if text.startswith((b"<svg", b"<?xml")) and b"<svg" in text else ""


def image_format(path: Path) -> str:
    """The format of a file by its content: "JPEG", or "JPEG XL", which is not read; "" where it is unknown.

    Raises:
        OSError: the file cannot be opened.
    """
    with open_file(path, max_bytes=1024 * GB) as file:
        found = format_of(file.read(_HEAD_BYTES))
    return "camera raw" if found == "TIFF" and path.suffix.lower() in _RAW_SUFFIXES else found


def unreadable_kind(path: Path) -> str:
    """What a file is that is not read as an image, to count it by; "" where it is one that is read.

    An image in a known format that is not read here has the format's name, as "HEIF" or "JPEG XL"; any other file its
    suffix, as ".txt"; else it is an "empty file", "no image", or "unreadable file".
    """
    try:
        found = image_format(path)
        if found:
            missing = found == "HEIF" and find_spec("pillow_heif") is None
            return "" if found in READ_FORMATS and not missing else found
        return path.suffix.lower() or ("no image" if path.stat().st_size else "empty file")
    except RefusedFileError as error:
        return str(error.strerror).removeprefix("is ")
    except (OSError, ValueError):
        return "unreadable file"


def read_bytes(path: Path) -> bytes:
    """The content of an image file. Raises DataError naming it where it cannot be read."""
    try:
        with open_file(path, max_bytes=MAX_FILE_BYTES, dense=True) as file:
            return file.read(os.fstat(file.fileno()).st_size)  # room is made for no more than there is
    except RefusedFileError as error:
        raise DataError(os_reason(error), where=str(path)) from error
    except OSError as error:
        raise DataError(f"cannot be read: {os_reason(error)}", where=str(path)) from error
    except MemoryError as error:
        raise short_of_memory(str(path)) from error


def file_content(image: Any) -> bytes | None:
    """The content of an image file: of a path, of a file's bytes, or of a file that is open for reading bytes.

    None where the image is no file, as an array or a PIL image. Raises DataError where it cannot be read, naming it,
    and for an address on the web.
    """
    if isinstance(image, str) and _ADDRESS.match(image):
        what, do = "is an address: images are not fetched", "download it, and give the file or its bytes"
        raise DataError(what, where=image, do=do)
    if isinstance(image, (str, os.PathLike)):
        return read_bytes(Path(image))
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if not hasattr(image, "read"):
        return None
    try:
        content = image.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # closed, not open for reading, or no UTF-8 text
        raise DataError(f"the open file cannot be read: {error}") from error
    if not isinstance(content, bytes):
        raise DataError("the open file gives text", do='open it with mode "rb"')
    if len(content) > MAX_FILE_BYTES:
        raise DataError(f"the open file has more than {MAX_FILE_BYTES:,} bytes")
    return content


def short_of_memory(where: str) -> NotReadableHereError:
    """The error of an image for which there is no memory."""
    return NotReadableHereError(
        "there is not enough memory to decode it", where=where, do="free some, or save it smaller"
    )
