"""Regressors that people made of torchvision's ResNets, ResNeXts and VGGs, whatever they named their parts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from converters.families.family import Built, Family, register
from converters.families.shapes import Head, head_in, resnet_in, with_shapes
from converters.families.torchvision import PREPROCESSING, RESNETS, VGG16_BN, vgg
from converters.networks import AdaptiveAveragePooling, GlobalAveragePooling, Layer, ReLU, Shape

#: Convolutions before each pooling of torchvision's VGGs.
_VGGS: dict[tuple[int, ...], int] = {(1, 1, 2, 2, 2): 11, (2, 2, 2, 2, 2): 13, (2, 2, 3, 3, 3): 16, (2, 2, 4, 4, 4): 19}
_VGG_HEAD = (0, 3, 6)


def _said_of(head: Head) -> str | None:
    """Says what was taken of a head that its file does not tell."""
    if not any(isinstance(layer, ReLU) for layer in head.layers):
        return None
    return (
        "its head has several layers, and the file does not tell what is between them: ReLU is taken; --model-file "
        "FILE.py reads it from its source"
    )


def _resnet(shapes: Mapping[str, Shape]) -> Built | None:
    body = resnet_in(shapes)
    head = None if body is None else head_in(body.rest, "fc")
    if body is None or head is None or head.inputs != body.channels:
        return None
    name, canonical = f"{body.name}-torchvision", {**body.canonical, **head.canonical}
    if head.linear and body.standard:
        return Built(name, canonical)
    layers = (*body.layers, GlobalAveragePooling(), *head.layers)
    return Built(name if head.linear else f"{name}-mlp", canonical, layers, notice=_said_of(head))


def _vgg(shapes: Mapping[str, Shape]) -> Built | None:
    stems = [
        found[1]
        for key, shape in shapes.items()
        if shape[1:] == (3, 3, 3) and (found := re.fullmatch(r"((?:.*\.)?)0\.weight", key))
    ]
    if len(stems) != 1:
        return None
    keys = {key: re.fullmatch(r"(\d{1,2})\.\w+", key.removeprefix(stems[0])) for key in shapes}
    canonical = {k: f"features.{k.removeprefix(stems[0])}" for k, at in keys.items() if at and k.startswith(stems[0])}
    by_name = {name: shapes[key] for key, name in canonical.items()}
    normalized = any(name.endswith(".running_mean") for name in by_name)
    places = sorted(int(name.split(".")[1]) for name, s in by_name.items() if name.endswith(".weight") and len(s) == 4)
    stages, step = [0], 3 if normalized else 2
    for place, following in zip(places, [*places[1:], None], strict=True):
        stages[-1] += 1
        if following == place + step + 1:
            stages.append(0)
        elif following not in (place + step, None):
            return None
    depth = _VGGS.get(tuple(stages))
    sized = None if depth is None else with_shapes(vgg(tuple(stages), normalized), by_name)
    head = head_in({key: shape for key, shape in shapes.items() if key not in canonical}, "classifier")
    if sized is None or head is None or sized[2] != 1:
        return None
    if head.inputs == 7**2 * sized[1]:
        pooled: Layer = AdaptiveAveragePooling(7)
    elif head.inputs == sized[1]:
        pooled = GlobalAveragePooling()
    else:
        return None
    name = f"vgg{depth}{'_bn' if normalized else ''}-torchvision"
    canonical |= head.canonical
    layers = (*sized[0], pooled, *head.layers)
    if head.places == _VGG_HEAD and isinstance(pooled, AdaptiveAveragePooling):
        return Built(name, canonical, None if name in VGG16_BN else layers)
    return Built(f"{name}-{'linear' if head.linear else 'mlp'}", canonical, layers, notice=_said_of(head))


register(
    Family(
        name="torchvision",
        title="regressors made of torchvision's ResNets, ResNeXts and VGGs, by anybody",
        recognised="torchvision's names, or the numbers of a ResNet's children (`backbone.{0,1,4..7}.*`), under any "
        "prefix, and a last layer of any name (`fc`, `fc.1`, `fc.{0,3}`, `classifier.6`, `classifier.{0,3}`); depth, "
        "widths and groups by the shapes",
        done="torchvision's ResNet, ResNeXt, wide ResNet or VGG 11 to 19 with or without BatchNormalization; RGB with "
        "ImageNet's mean and deviation, 224 pixels",
        tables={**RESNETS, **VGG16_BN},
        preprocessing=PREPROCESSING,
        engines=("torch",),
        build=lambda shapes: _resnet(shapes) or _vgg(shapes),
        notice="nothing says how these inputs were made: they are taken as torchvision makes them (RGB, ImageNet's "
        "mean and deviation, 224 pixels), of the box of the joints, and answers as -0.5 .. 0.5 of it",
    )
)
