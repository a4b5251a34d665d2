"""What `data fetch` can fetch: official archives, their published digests, and where they are unpacked."""

from __future__ import annotations

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True)
class Archive:
    """One archive of a data set.

    Attributes:
        url: where it is.
        size: bytes.
        digest: hexadecimal, as published; its algorithm is `algorithm`.
        algorithm: of the digest, a name that hashlib knows.
        folder: what it unpacks to, below the data set's place.
        limit: bytes that it may unpack to.
        members: files and folders that it may hold.
    """

    url: str
    size: int
    digest: str
    algorithm: str
    folder: str
    limit: int
    members: int

    @property
    def name(self) -> str:
        """The archive's file name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Download:
    """A data set that can be fetched.

    Attributes:
        place: folder below the output folder that the archives are unpacked in; "" is that folder itself.
        archives: what it is made of.
        licence: on what terms, in a line.
    """

    place: str
    archives: tuple[Archive, ...]
    licence: str
