"""Query x gallery: vectors of folders, exact and approximate search, kNN, duplicates, and what a search comes to.

`retrieve` ranks a gallery for each query; `duplicate_groups` finds images that match each other; `open_collection`
gives a folder's images as vectors for anything else.
"""

from __future__ import annotations

from imagematch.retrieval.collection import SPACES, Collection, embed_images, open_collection
from imagematch.retrieval.duplicates import Group, duplicate_groups
from imagematch.retrieval.figures import KS, SearchFigures, search_figures
from imagematch.retrieval.folder_search import Retrieval, Search, retrieve, same_content
from imagematch.retrieval.images import ImageFolder, common_labels, list_images
from imagematch.retrieval.index import INDEXES, Index, choose_index, make_index
from imagematch.retrieval.knn import knn_classify
from imagematch.retrieval.metrics import METRICS, distances
from imagematch.retrieval.saved_index import GalleryIndex, ImageId, model_identity
from imagematch.retrieval.search import LeftOut, Neighbours, nearest
from imagematch.retrieval.submission import check_url, submit

__all__ = [
    "INDEXES",
    "KS",
    "METRICS",
    "SPACES",
    "Collection",
    "GalleryIndex",
    "Group",
    "ImageFolder",
    "ImageId",
    "Index",
    "LeftOut",
    "Neighbours",
    "Retrieval",
    "Search",
    "SearchFigures",
    "check_url",
    "choose_index",
    "common_labels",
    "distances",
    "duplicate_groups",
    "embed_images",
    "knn_classify",
    "list_images",
    "make_index",
    "model_identity",
    "nearest",
    "open_collection",
    "retrieve",
    "same_content",
    "search_figures",
    "submit",
]
