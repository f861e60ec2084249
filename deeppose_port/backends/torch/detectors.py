"""torchvision's detectors of persons, by name. Nothing is downloaded, and of a weights file no code is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from converters.errors import DeepPoseError, reason_of
from converters.files import hash_file, refuse_no_file
from deeppose_port.backends.devices import BackendError
from deeppose_port.backends.torch.prediction import full_precision, usable_device
from deeppose_port.data.arrays import Float64Array
from deeppose_port.data.pictures import Picture

_LARGEST = 1 << 30  # bytes; the largest of torchvision's has 237 MB
_PERSON = 1  # in all of torchvision's, of which 0 is the background
#: What torchvision's files are called behind this address, and in its cache; the end of the name begins their SHA-256.
_ADDRESS = "https://download.pytorch.org/models/"
#: Where trainings put a network into their files.
_WITHIN = ("model", "state_dict")
_CLASSES = "roi_heads.box_predictor.cls_score.weight"
_KEYPOINTS = "roi_heads.keypoint_predictor.kps_score_lowres.weight"


@dataclass(frozen=True)
class Kind:
    """A detector of torchvision's, with a ResNet-50 and a feature pyramid.

    Attributes:
        build: Makes the network for what is in its weights.
        file: What torchvision's own weights are called.
        without_eps: Whether these were trained with a BatchNormalization that has no eps, as torchvision's were up to
            0.8.
        classes: The key whose array has a row a class.
    """

    build: Callable[[Mapping[str, Tensor]], nn.Module]
    file: str
    without_eps: bool
    classes: str

    @property
    def hash(self) -> str:
        """What the SHA-256 of these begins with."""
        return self.file.rpartition("-")[2].partition(".")[0]


def torchvision_detector(
    name: str, weights: Path | None = None, device: str = "cpu"
) -> Callable[[Picture], Float64Array]:
    """Makes a detector, which returns (N, 5) x, y, width, height and score of the persons in a picture.

    Args:
        name: A key of `KINDS`.
        weights: A state dict's file; None for the one in torchvision's cache.
        device: Where the network runs.

    Raises:
        DeepPoseError: torchvision is not installed, or there are no weights, or others.
    """
    kind = KINDS[name]
    path = _cached(name, kind) if weights is None else weights
    state = _state(path)
    if kind.classes not in state or not state[kind.classes].ndim:
        raise DeepPoseError(f"this is no {name} of torchvision's: it has no {kind.classes}", where=path)
    network = _built(kind, state)
    try:
        missing, left = network.load_state_dict(state, strict=False)
    except RuntimeError as error:  # of arrays that have another shape
        told = " ".join(str(error).split())[:200]
        raise DeepPoseError(f"this is no {name} of torchvision's: {told}", where=path) from error
    wrong = [*missing, *left]
    if wrong:
        raise DeepPoseError(f"this is no {name} of torchvision's: {wrong[0]} and {len(wrong) - 1} more", where=path)
    if kind.without_eps and hash_file(path).startswith(kind.hash):
        for module in network.modules():
            if hasattr(module, "running_var") and hasattr(module, "eps"):
                setattr(module, "eps", 0.0)  # noqa: B010  # which PyTorch's hints take for a module
    where = usable_device(device)
    network.eval().to(where)

    def detect(image: Picture) -> Float64Array:
        rgb = torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))).to(where)
        with torch.inference_mode(), full_precision():
            answer = network([rgb.float() / 255])[0]
        person = answer["labels"] == _PERSON
        boxes, scores = (answer[key][person].double().cpu().numpy() for key in ("boxes", "scores"))
        return np.column_stack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2], scores])

    return detect


def _cached(name: str, kind: Kind) -> Path:
    """Returns torchvision's own weights, where it has once put them."""
    path = Path(torch.hub.get_dir(), "checkpoints", kind.file)
    if not path.is_file():
        raise DeepPoseError(
            f"the weights of {name} are not here, and nothing is downloaded",
            where=path,
            advice=f"put {_ADDRESS}{kind.file} there, or name another file with --people-weights",
        )
    if not hash_file(path).startswith(kind.hash):
        raise DeepPoseError("this file is damaged: its SHA-256 is not that of its name", where=path)
    return path


def _state(path: Path) -> dict[str, Tensor]:
    """Reads a state dict."""
    refuse_no_file(path, DeepPoseError, _LARGEST)
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes of PyTorch's reader
        raise DeepPoseError(f"no file of weights that can be read: {reason_of(error)}", where=path) from error
    for key in _WITHIN:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise DeepPoseError("there is no state dict in it", where=path)
    return {str(key): value for key, value in content.items()}


def _built(kind: Kind, state: Mapping[str, Tensor]) -> nn.Module:
    try:
        return kind.build(state)
    except (ImportError, RuntimeError, AttributeError) as error:  # of a torchvision for another PyTorch
        problem = f"torchvision cannot be loaded: {reason_of(error)}"
        raise BackendError(
            f"{problem}; pip install torchvision brings the one for PyTorch {torch.__version__}"
        ) from error


def _fcos(state: Mapping[str, Tensor]) -> nn.Module:
    from torchvision.models.detection import FCOS
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    levels = {"returned_layers": [2, 3, 4], "extra_blocks": LastLevelP6P7(256, 256)}
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, **levels)
    network: nn.Module = FCOS(backbone, num_classes=len(state[KINDS["fcos"].classes]))
    return network


def _fasterrcnn(state: Mapping[str, Tensor]) -> nn.Module:
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None)
    network: nn.Module = FasterRCNN(backbone, num_classes=len(state[_CLASSES]))
    return network


def _keypointrcnn(state: Mapping[str, Tensor]) -> nn.Module:
    from torchvision.models.detection import KeypointRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None)
    points = state[_KEYPOINTS].shape[1] if _KEYPOINTS in state and state[_KEYPOINTS].ndim > 1 else 17
    network: nn.Module = KeypointRCNN(backbone, num_classes=len(state[_CLASSES]), num_keypoints=points)
    return network


#: The detectors by the names that `--people` takes.
KINDS = {
    "fcos": Kind(_fcos, "fcos_resnet50_fpn_coco-99b0c9b7.pth", False, "head.classification_head.cls_logits.weight"),
    "fasterrcnn": Kind(_fasterrcnn, "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", True, _CLASSES),
    "keypointrcnn": Kind(_keypointrcnn, "keypointrcnn_resnet50_fpn_coco-fc266e95.pth", True, _CLASSES),
}
