"""From a file or a folder to something that answers."""

from __future__ import annotations

import os

import converters
from converters import Checkpoint, Preprocessing
from converters.cascade import Cascade
from converters.errors import DeepPoseError
from deeppose_port.cascade import CascadePose
from deeppose_port.pose import Pose


def load(
    source: str | os.PathLike[str] | Checkpoint | Cascade,
    backend: str = "torch",
    device: str = "cpu",
    *,
    architecture: str | None = None,
    model_file: str | os.PathLike[str] | None = None,
    writer: str | None = None,
    part: str | None = None,
    nonfinite: str = "zero",
    preprocessing: Preprocessing | None = None,
    relu_nan: str = "nan",
    engine: str | None = None,
) -> Pose | CascadePose:
    """Loads any checkpoint, or any cascade, into any backend.

    Args:
        source: A file or folder of any format that `converters.read` takes, a Checkpoint or a Cascade.
        backend: `torch`, `chainer` or `onnx`; or `auto`, the fastest that is installed here and answers alike.
        device: `cpu`, `cuda` or `cuda:N`.
        architecture: As for `converters.read`; like the next four, for a file only.
        model_file: As for `converters.read`.
        writer: As for `converters.read`.
        part: As for `converters.read`: which of several networks in it.
        nonfinite: As for `converters.read`.
        preprocessing: In place of what the checkpoint says it was trained on.
        relu_nan: What ReLU makes of NaN, see `Pose`: `zero` goes with `nonfinite="keep"`.
        engine: What runs it, of a backend that has a choice: `onnxruntime` or `openvino`.

    Raises:
        CheckpointError: The file is refused.
        BackendError: The backend or device cannot be used here.
        DeepPoseError: `architecture`, `model_file`, `writer` or `part` is given with a Checkpoint.
    """
    if isinstance(source, Checkpoint | Cascade):
        if any(said is not None for said in (architecture, model_file, writer, part)):
            said = "architecture, model_file, writer and part"
            raise DeepPoseError(f"{said} say how a file is read; this checkpoint was read already")
    elif relu_nan != "nan" and nonfinite != "keep":
        raise DeepPoseError(f"relu_nan={relu_nan!r} needs nonfinite='keep': with {nonfinite!r} there is no NaN left")
    else:
        source = converters.read(
            source,
            architecture=architecture,
            model_file=model_file,
            part=part,
            writer=writer,
            nonfinite=nonfinite,
            state=False,
        )
    if isinstance(source, Cascade):
        if preprocessing is not None:
            raise DeepPoseError("the preprocessing of a cascade is that of each of its networks; leave it out")
        return CascadePose(source, backend, device, relu_nan, engine)
    return Pose(source, backend, device, preprocessing, relu_nan, engine=engine)
