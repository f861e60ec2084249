"""A checkpoint file on disk <-> a Checkpoint: reads, writes and converts every kind of DeepPose checkpoint.

Needs NumPy only; PyTorch is loaded to write `.pt` files alone, h5py for HDF5, google-crc32c for TensorFlow's.

    checkpoint = converters.read("epoch-100.model")
    converters.write(checkpoint, "model.safetensors")
    report = converters.convert("epoch-100.model", "model.pt")
"""

from converters._version import __version__
from converters.checkpoint import Checkpoint, Optimizer, Preprocessing, Progress, Repair, Source
from converters.conversion import Report, convert, default_target, write
from converters.errors import CheckpointError, DeepPoseError
from converters.folders import checkpoints_in
from converters.inspection import Inspection, inspect
from converters.networks import Architecture
from converters.reading import read
from converters.several import convert_several

#: Tells that these are ours: another distribution has a package of the same name.
__project__ = "deeppose-port"

__all__ = [
    "Architecture",
    "Checkpoint",
    "CheckpointError",
    "DeepPoseError",
    "Inspection",
    "Optimizer",
    "Preprocessing",
    "Progress",
    "Repair",
    "Report",
    "Source",
    "__version__",
    "checkpoints_in",
    "convert",
    "convert_several",
    "default_target",
    "inspect",
    "read",
    "write",
]
