"""Joints of pictures, videos and annotated persons, as files of numbers and as drawings."""

from deeppose_port.predict.files import predict_files
from deeppose_port.predict.inputs import PICTURE_SUFFIXES, Box, files_in, parse_box
from deeppose_port.predict.persons import predict_persons
from deeppose_port.predict.results import (
    FORMATS,
    Failure,
    PersonPrediction,
    PersonPredictions,
    Prediction,
    Predictions,
    VideoPrediction,
)

__all__ = [
    "FORMATS",
    "PICTURE_SUFFIXES",
    "Box",
    "Failure",
    "PersonPrediction",
    "PersonPredictions",
    "Prediction",
    "Predictions",
    "VideoPrediction",
    "files_in",
    "parse_box",
    "predict_files",
    "predict_persons",
]
