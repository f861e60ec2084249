"""Annotations, the legacy crop and normalisation, augmentation, and what is made of them."""

from deeppose_port.data.annotations import AnnotationError, Person, read_csv
from deeppose_port.data.augmentation import Augmentation
from deeppose_port.data.coordinates import labels, points_of_outputs
from deeppose_port.data.crop import Crop, crop_of_box, crop_of_joints
from deeppose_port.data.dataset import DatasetError, PoseDataset
from deeppose_port.data.loader import TrainingLoader
from deeppose_port.data.normalization import network_input
from deeppose_port.data.pack import PackedDataset
from deeppose_port.data.pack.index import PackError

__all__ = [
    "AnnotationError",
    "Augmentation",
    "Crop",
    "DatasetError",
    "PackError",
    "PackedDataset",
    "Person",
    "PoseDataset",
    "TrainingLoader",
    "crop_of_box",
    "crop_of_joints",
    "labels",
    "network_input",
    "points_of_outputs",
    "read_csv",
]
