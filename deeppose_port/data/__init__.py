"""Annotations, what a network sees of their pictures, augmentation, and the datasets that are made of them.

A name is loaded when it is first asked for: skeletons are known without NumPy and OpenCV.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deeppose_port.data.annotations import AnnotationError, Person, read_csv
    from deeppose_port.data.augmentation import Augmentation
    from deeppose_port.data.crop import Crop
    from deeppose_port.data.dataset import DatasetError, PoseDataset
    from deeppose_port.data.loader import TrainingLoader
    from deeppose_port.data.pack import PackedDataset
    from deeppose_port.data.pack.index import PackError
    from deeppose_port.data.pictures import PictureError, read_picture
    from deeppose_port.data.view import View

__all__ = [
    "AnnotationError",
    "Augmentation",
    "Crop",
    "DatasetError",
    "PackError",
    "PackedDataset",
    "Person",
    "PictureError",
    "PoseDataset",
    "TrainingLoader",
    "View",
    "read_csv",
    "read_picture",
]

_MODULES = {
    "AnnotationError": "annotations",
    "Augmentation": "augmentation",
    "Crop": "crop",
    "DatasetError": "dataset",
    "PackError": "pack.index",
    "PackedDataset": "pack",
    "Person": "annotations",
    "PictureError": "pictures",
    "PoseDataset": "dataset",
    "TrainingLoader": "loader",
    "View": "view",
    "read_csv": "annotations",
    "read_picture": "pictures",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
