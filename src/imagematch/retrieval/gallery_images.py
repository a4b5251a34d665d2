"""What a gallery stores of an image: the digest of its content, a small image, a checked label."""

from __future__ import annotations

import io
import unicodedata
from typing import Any

from PIL import Image

from imagematch.data import decode, thumbnail
from imagematch.errors import DataError
from imagematch.files import digest_bytes
from imagematch.image_files import file_content

IMAGE_SIDE = 256
"""The longer side of the stored images, pixels, unless another one is given."""
LABEL_LETTERS = 1000

_LOSSLESS_PIXELS = 64 * 64
_JPEG_QUALITY = 95


def small_image(image: Any, side: int, **decoding: Any) -> bytes:
    """An image turned upright, its longer side at most `side`, as a file's bytes without what EXIF says; 0: b"".

    PNG where it has 64 x 64 pixels or fewer, else JPEG. `decoding` is that of `decode`, as the matcher's card has it.
    Raises DataError where it cannot be decoded.
    """
    if not side:
        return b""
    pixels = thumbnail(image, side, **decoding).pixels
    file = io.BytesIO()
    if pixels.shape[0] * pixels.shape[1] <= _LOSSLESS_PIXELS:
        Image.fromarray(pixels).save(file, "PNG")
    else:
        Image.fromarray(pixels).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def checked_label(label: str | None) -> str:
    """A label in Unicode's composed form; "" for none. Raises DataError where it is too long, or no text."""
    text = unicodedata.normalize("NFC", label or "")
    if len(text) > LABEL_LETTERS:
        raise DataError(f"a label has at most {LABEL_LETTERS:,} letters, not {len(text):,}", where=f"{text[:20]}...")
    if "\0" in text:
        raise DataError("a label must be text, without null characters", where=repr(text)[:100])
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError("a label must be Unicode text", where=repr(text)[:100]) from None
    return text


def image_digest(image: Any, **decoding: Any) -> str:
    """Of a file, however it is given, the digest of its content; of other images of their pixels; "" if unreadable."""
    try:
        content = file_content(image)
        if content is not None:
            return digest_bytes(content)
        pixels = decode(image, **decoding)
    except DataError:
        return ""
    return digest_bytes(repr(pixels.shape).encode() + pixels.tobytes())


def unchanged(image: Any, digest: str) -> Any:
    """The image, of a file its bytes. Raises DataError where the file no longer has the content of `digest`."""
    content = file_content(image)
    if content is not None and digest_bytes(content) != digest:
        raise DataError("has changed while it was added", where=str(image), do="add it again")
    return image if content is None else content
