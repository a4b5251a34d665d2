"""Query x gallery: the images of folders, exact and approximate search, kNN, duplicates, and how good a search is.

`retrieve` ranks a folder for each query; `duplicate_groups` finds images that match each other; a `Gallery` stays, and
is added to and removed from.
"""

from __future__ import annotations

from imagematch.retrieval.distances import SEARCH_DISTANCES, distances
from imagematch.retrieval.duplicates import Group, duplicate_groups
from imagematch.retrieval.folder_search import Retrieval, RetrievalSettings, retrieve, same_content
from imagematch.retrieval.gallery import IMAGE_SIDE, Gallery
from imagematch.retrieval.gallery_copy import copy_gallery
from imagematch.retrieval.gallery_hits import Hit, Hits
from imagematch.retrieval.gallery_images import checked_label, small_image
from imagematch.retrieval.gallery_store import GALLERY_STORES, GalleryFacts, GalleryImage, GalleryStore, NewImage
from imagematch.retrieval.images import SPACES, ImageFolder, common_labels, embed_images, list_images
from imagematch.retrieval.index import INDEXES, NeighbourIndex, choose_index
from imagematch.retrieval.metrics import KS, SearchMetrics, knn_classify, search_metrics
from imagematch.retrieval.saved_index import IndexedImage, SavedIndex, model_identity
from imagematch.retrieval.search import LeftOut, Neighbours, nearest
from imagematch.retrieval.submission import check_url, submit

__all__ = [
    "GALLERY_STORES",
    "IMAGE_SIDE",
    "INDEXES",
    "KS",
    "SEARCH_DISTANCES",
    "SPACES",
    "Gallery",
    "GalleryFacts",
    "GalleryImage",
    "GalleryStore",
    "Group",
    "Hit",
    "Hits",
    "ImageFolder",
    "IndexedImage",
    "LeftOut",
    "NeighbourIndex",
    "Neighbours",
    "NewImage",
    "Retrieval",
    "RetrievalSettings",
    "SavedIndex",
    "SearchMetrics",
    "check_url",
    "checked_label",
    "choose_index",
    "common_labels",
    "copy_gallery",
    "distances",
    "duplicate_groups",
    "embed_images",
    "knn_classify",
    "list_images",
    "model_identity",
    "nearest",
    "retrieve",
    "same_content",
    "search_metrics",
    "small_image",
    "submit",
]
