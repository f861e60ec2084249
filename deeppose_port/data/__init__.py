"""Annotations, the legacy crop and normalisation, and the dataset made of them."""

from deeppose_port.data.annotations import AnnotationError, Person, read_csv
from deeppose_port.data.crop import (
    Crop,
    crop_of_box,
    crop_of_joints,
    labels,
    network_input,
    points_of_outputs,
)
from deeppose_port.data.dataset import DatasetError, PoseDataset

__all__ = [
    "AnnotationError",
    "Crop",
    "DatasetError",
    "Person",
    "PoseDataset",
    "crop_of_box",
    "crop_of_joints",
    "labels",
    "network_input",
    "points_of_outputs",
    "read_csv",
]
