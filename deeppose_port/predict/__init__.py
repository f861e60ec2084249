"""Joints of pictures, videos and annotated persons, as files of numbers and as drawings."""

from deeppose_port.data.crop import Box
from deeppose_port.predict.boxes import read_boxes
from deeppose_port.predict.files import free_folder, how_many, predict_files
from deeppose_port.predict.inputs import parse_box
from deeppose_port.predict.people import Detected, Found, Given, Listed, People, detector
from deeppose_port.predict.persons import predict_persons
from deeppose_port.predict.results import (
    FORMATS,
    Failure,
    PersonPrediction,
    PersonPredictions,
    Prediction,
    Predictions,
    Stages,
    VideoPrediction,
)
from deeppose_port.predict.sources import PICTURE_SUFFIXES, Remote, Source, files_in, is_source, sources_in
from deeppose_port.predict.tracks import smoother

__all__ = [
    "FORMATS",
    "PICTURE_SUFFIXES",
    "Box",
    "Detected",
    "Failure",
    "Found",
    "Given",
    "Listed",
    "People",
    "PersonPrediction",
    "PersonPredictions",
    "Prediction",
    "Predictions",
    "Remote",
    "Source",
    "Stages",
    "VideoPrediction",
    "detector",
    "files_in",
    "free_folder",
    "how_many",
    "is_source",
    "parse_box",
    "predict_files",
    "predict_persons",
    "read_boxes",
    "smoother",
    "sources_in",
]
