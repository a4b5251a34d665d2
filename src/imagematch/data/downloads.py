"""What `data fetch` can fetch: official archives, their published digests, and where they are unpacked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_MB = 1_000_000


@dataclass(frozen=True)
class Archive:
    """One archive of a data set.

    Attributes:
        url: where it is.
        size: bytes.
        digest: hexadecimal, as published; its algorithm is told by `algorithm`.
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


# Sizes and digests are published ones, checked against each other when this table was made, not against a download:
# Tiny ImageNet's MD5 and size are those that many training programs pin; Omniglot's and the flowers' SHA-256 and sizes
# are those of TensorFlow Datasets (tensorflow_datasets/url_checksums/omniglot.txt and tf_flowers.txt).
DOWNLOADS: Mapping[str, Download] = {
    "tiny_imagenet": Download(
        "",
        (
            Archive(
                "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
                248_100_043,
                "90528d7ca1a48142e341f4ef8d21d0de",
                "md5",
                "tiny-imagenet-200",
                1000 * _MB,
                150_000,
            ),
        ),
        "a part of ImageNet: for non-commercial research and education only, see image-net.org",
    ),
    "omniglot": Download(
        "omniglot",
        (
            Archive(
                "https://github.com/brendenlake/omniglot/raw/master/python/images_background.zip",
                9_464_212,
                "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
                "sha256",
                "images_background",
                200 * _MB,
                50_000,
            ),
            Archive(
                "https://github.com/brendenlake/omniglot/raw/master/python/images_evaluation.zip",
                6_462_886,
                "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
                "sha256",
                "images_evaluation",
                200 * _MB,
                50_000,
            ),
        ),
        "MIT licence, B. Lake, R. Salakhutdinov and J. Tenenbaum",
    ),
    "flowers": Download(
        "",
        (
            Archive(
                "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
                228_813_984,
                "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
                "sha256",
                "flower_photos",
                1000 * _MB,
                10_000,
            ),
        ),
        "photos under Creative Commons licences of their own, named in LICENSE.txt",
    ),
}

NOT_FETCHED: Mapping[str, str] = {
    "celeba": (
        "CelebA is for non-commercial research only and its pictures are handed out in a browser: agree to the terms "
        "and download img_align_celeba.zip, identity_CelebA.txt and list_eval_partition.txt from "
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, and unpack them in data/celeba"
    ),
    "digits": "digits is part of scikit-learn: there is nothing to fetch",
    "folder": "folder reads your own images: there is nothing to fetch",
    "csv": "csv reads your own table: there is nothing to fetch",
}
"""Why the other data sets are not fetched, and what to do instead."""
