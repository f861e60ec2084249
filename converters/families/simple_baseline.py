"""MMPose's networks with heat maps on a ResNet: SimpleBaseline, and integral regression on the same maps.

Xiao, Wu and Wei, "Simple baselines for human pose estimation and tracking", ECCV 2018; Sun, Xiao, Wei, Liang and Wei,
"Integral human pose regression", ECCV 2018 (IPR); Nibali, He, Morgan and Prendergast, "Numerical coordinate regression
with convolutional neural networks", 2018 (DSNT, which differs from IPR in what it is trained on).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from converters.checkpoint import Decoding
from converters.families.family import Built, Family, register
from converters.families.joints import COCO
from converters.families.mmpose import PREPROCESSING
from converters.families.mmpose_configuration import said
from converters.families.shapes import resnet_in
from converters.networks import BatchNormalization, Convolution, Heatmaps, Layer, ReLU, Shape, TransposedConvolution

#: Prefixes of its last layers: of 1.x, of 0.x, and of 1.x's integral heads.
_HEADS, _INTEGRAL = ("head.", "keypoint_head."), ("head.simplebaseline_head.",)
_LAYER = re.compile(r"(deconv_layers)\.(\d)\.(\w+)|(final_layer)\.(weight|bias)")
#: A transposed convolution's pad and output's pad by its kernel; its stride is 2.
_PADS = {4: (1, 0), 3: (1, 1), 2: (0, 0)}


def _build(kind: str, heads: tuple[str, ...]) -> Callable[[Mapping[str, Shape]], Built | None]:
    """Returns what builds a network whose last layers have one of some prefixes."""

    def build(shapes: Mapping[str, Shape]) -> Built | None:
        body = resnet_in(shapes)
        if body is None or not all(key.startswith("backbone.") for key in body.canonical):
            return None
        found = [head for head in heads if all(_LAYER.fullmatch(key.removeprefix(head)) for key in body.rest)]
        if len(found) != 1 or not body.rest or not all(key.startswith(found[0]) for key in body.rest):
            return None
        own = {key.removeprefix(found[0]): shape for key, shape in body.rest.items()}
        layers = _head(own)
        if layers is None:
            return None
        canonical = {**body.canonical, **{found[0] + name: name for name in own}}
        return Built(f"{kind}-{body.name}", canonical, (*body.layers, *layers), 256)

    return build


def _head(shapes: Mapping[str, Shape]) -> tuple[Layer, ...] | None:
    """Returns the layers that make heat maps of a ResNet's; None where the shapes are those of others."""
    layers: list[Layer] = []
    while len(weight := shapes.get(f"deconv_layers.{len(layers)}.weight", ())) == 4:
        _, channels, *kernel = weight
        if kernel[0] != kernel[1] or kernel[0] not in _PADS:
            return None
        pad, more = _PADS[kernel[0]]
        name = f"deconv_layers.{len(layers)}"
        layers.append(TransposedConvolution(name, channels, kernel[0], 2, pad, bias=False, output_pad=more))
        layers += [BatchNormalization(f"deconv_layers.{len(layers)}"), ReLU()]
    final = shapes.get("final_layer.weight", ())
    if len(final) != 4 or final[2] != final[3]:
        return None
    return (*layers, Convolution("final_layer", final[0], final[2], pad=final[2] // 2), Heatmaps())


_INPUTS = (
    "any ResNet, PyTorch only; RGB with ImageNet's mean and deviation (or those that are in the file), a letterbox as "
    "large as the configuration in the file says; without one 256 pixels (256 high and 192 wide with COCO's 17 joints)"
)


def _register(kind: str, heads: tuple[str, ...], decoding: Decoding, title: str, recognised: str, done: str) -> None:
    inputs = replace(PREPROCESSING, peak="corner", decoding=decoding)
    register(
        Family(
            name=f"{kind}-mmpose",
            title=title,
            recognised=f"`backbone.*` with {recognised}",
            done=f"heat maps; {done}; {_INPUTS}",
            formats=("pt", "safetensors"),
            beside=dict.fromkeys(("pt", "safetensors"), r"(?:.*\.)?head\.linspace_[xy]"),
            recognise=lambda found: not found.architecture or found.architecture.startswith(f"{kind}-"),
            preprocessing=inputs,
            by_joints={len(COCO.names): replace(inputs, im_width=192, joints=COCO.names)},
            said=said,
            build=_build(kind, heads),
            engines=("torch",),
        )
    )


_register(
    "simplebaseline",
    _HEADS,
    "argmax",
    title="MMPose's SimpleBaseline on ResNets, 0.x and 1.x",
    recognised="`head.deconv_layers.*` and `head.final_layer.*`, or `keypoint_head.` before them",
    done="joints by the largest number, a quarter of a pixel toward its larger neighbour (no DarkPose)",
)
_register(
    "integral",
    _INTEGRAL,
    "soft-argmax",
    title="MMPose's integral regression (IPR, DSNT) on ResNets, 1.x",
    recognised="`head.simplebaseline_head.*`",
    done="joints as the mean of a map's pixels by the softmax",
)
