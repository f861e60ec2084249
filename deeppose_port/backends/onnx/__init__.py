"""DeepPose as ONNX graphs, on ONNX Runtime or OpenVINO: for prediction alone."""

from deeppose_port.backends.onnx.exporting import export
from deeppose_port.backends.onnx.graph import model_of
from deeppose_port.backends.onnx.precision import reduced
from deeppose_port.backends.onnx.prediction import predictor

__all__ = ["export", "model_of", "predictor", "reduced"]
