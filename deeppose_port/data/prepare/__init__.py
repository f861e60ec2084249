"""Preparing data sets: from what their authors ship to the legacy CSVs, with the legacy splits and order."""

from deeppose_port.data.prepare.run import DATASETS, DataSet, Preparation, prepare
from deeppose_port.data.prepare.source import PrepareError

__all__ = ["DATASETS", "DataSet", "Preparation", "PrepareError", "prepare"]
