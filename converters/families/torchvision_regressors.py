"""Regressors that people made of torchvision's networks, whatever they named their parts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from converters.families.family import Built, Family, register
from converters.families.shapes import Head, head_in, resnet_in, with_shapes
from converters.families.torchvision import PREPROCESSING, RESNETS, VGG16_BN, alexnet_features, vgg
from converters.networks import AdaptiveAveragePooling, GlobalAveragePooling, Layer, ReLU, Shape

#: Convolutions before each pooling of torchvision's VGGs.
_VGGS: dict[tuple[int, ...], int] = {(1, 1, 2, 2, 2): 11, (2, 2, 2, 2, 2): 13, (2, 2, 3, 3, 3): 16, (2, 2, 4, 4, 4): 19}
_VGG_HEAD, _VGG_SIDE = (0, 3, 6), 7
#: What torchvision pools the last map of an AlexNet to.
_ALEXNET_SIDE = 6


def _said_of(head: Head) -> str | None:
    """Says what was taken of a head that its file does not tell."""
    if head.places == (0,) and head.linear:
        return (
            "its last layer is the first of a Sequential, and the file does not tell what follows it: nothing is "
            "taken; --model-file FILE.py reads it from its source"
        )
    if not head.guessed and not head.linear:
        return (
            "its head has several layers, whose numbers follow each other, and the file does not tell whether their "
            "program puts something between them: nothing is taken; --model-file FILE.py reads it from its source"
        )
    if not head.guessed:
        return None
    taken = "ReLU" if any(isinstance(layer, ReLU) for layer in head.layers) else "nothing"
    return (
        f"its head has several layers, and the file does not tell what is between them: {taken} is taken; --model-file "
        "FILE.py reads it from its source"
    )


def _resnet(shapes: Mapping[str, Shape]) -> Built | None:
    body = resnet_in(shapes)
    head = None if body is None else head_in(body.rest, "fc")
    if body is None or head is None or head.inputs != body.channels:
        return None
    name, canonical = f"{body.name}-torchvision", {**body.canonical, **head.canonical}
    if head.linear and body.standard:
        return Built(name, canonical, notice=_said_of(head))
    layers = (*body.layers, GlobalAveragePooling(), *head.layers)
    return Built(name if head.linear else f"{name}-mlp", canonical, layers, notice=_said_of(head))


def _features(shapes: Mapping[str, Shape], kernel: int) -> tuple[dict[str, str], dict[str, Shape]] | None:
    """Finds the numbered layers of a VGG or an AlexNet, under any name.

    Args:
        shapes: Shapes by key.
        kernel: The kernel of the first convolution.

    Returns:
        Key -> torchvision's name for it, and shapes by that; None where there are none, or two.
    """
    stems = [
        found[1]
        for key, shape in shapes.items()
        if shape[1:] == (3, kernel, kernel) and (found := re.fullmatch(r"((?:.*\.)?)0\.weight", key))
    ]
    if len(stems) != 1:
        return None
    (stem,) = stems
    own = (key for key in shapes if key.startswith(stem) and re.fullmatch(r"\d{1,2}\.\w+", key.removeprefix(stem)))
    canonical = {key: f"features.{key.removeprefix(stem)}" for key in own}
    return canonical, {name: shapes[key] for key, name in canonical.items()}


def _vgg(shapes: Mapping[str, Shape]) -> Built | None:
    found = _features(shapes, kernel=3)
    if found is None:
        return None
    canonical, by_name = found
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
    if depth is None:
        return None
    name, layers = f"vgg{depth}{'_bn' if normalized else ''}-torchvision", vgg(tuple(stages), normalized)
    return _with_head(name, layers, _VGG_SIDE, shapes, canonical, by_name)


def _alexnet(shapes: Mapping[str, Shape]) -> Built | None:
    found = _features(shapes, kernel=11)
    if found is None:
        return None
    return _with_head("alexnet-torchvision", alexnet_features(), _ALEXNET_SIDE, shapes, *found)


def _with_head(
    name: str,
    layers: tuple[Layer, ...],
    side: int,
    shapes: Mapping[str, Shape],
    canonical: Mapping[str, str],
    by_name: Mapping[str, Shape],
) -> Built | None:
    """Builds a network of convolutions, of the map that they are pooled to, and of the layers that are left."""
    sized = with_shapes(layers, by_name)
    head = head_in({key: shape for key, shape in shapes.items() if key not in canonical}, "classifier")
    if sized is None or head is None or sized[2] != 1:
        return None
    if head.inputs == side**2 * sized[1]:
        pooled: Layer = AdaptiveAveragePooling(side)
    elif head.inputs == sized[1]:
        pooled = GlobalAveragePooling()
    else:
        return None
    canonical = {**canonical, **head.canonical}
    layers = (*sized[0], pooled, *head.layers)
    if head.places == _VGG_HEAD and side == _VGG_SIDE and isinstance(pooled, AdaptiveAveragePooling):
        return Built(name, canonical, None if name in VGG16_BN else layers)
    return Built(f"{name}-{'linear' if head.linear else 'mlp'}", canonical, layers, notice=_said_of(head))


register(
    Family(
        name="torchvision",
        title="regressors made of torchvision's ResNets, ResNeXts, VGGs and AlexNet, by anybody",
        recognised="torchvision's names, or the numbers of a ResNet's children (`backbone.{0,1,4..7}.*`), under any "
        "prefix, and a last layer of any name (`fc`, `fc.1`, `fc.{0,3}`, `classifier.6`, `classifier.{0,3}`); depth, "
        "widths and groups by the shapes",
        done="torchvision's ResNet, ResNeXt, wide ResNet, VGG 11 to 19 with or without BatchNormalization, or AlexNet; "
        "RGB with ImageNet's mean and deviation, 224 pixels",
        tables={**RESNETS, **VGG16_BN},
        preprocessing=PREPROCESSING,
        engines=("torch",),
        build=lambda shapes: _resnet(shapes) or _vgg(shapes) or _alexnet(shapes),
        notice="nothing says how these inputs were made: they are taken as torchvision makes them (RGB, ImageNet's "
        "mean and deviation, 224 pixels), of the box of the joints, and answers as -0.5 .. 0.5 of it",
    )
)
