"""torchvision's models by name: each is a source of its own here, written after the published networks."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.resources import files

from converters.networks.source.context import Context
from converters.networks.source.registry import KNOWN, function
from converters.networks.source.values import Bundled, Namespace

_FILES = ("alexnet", "densenet", "mobilenet", "resnet", "squeezenet", "vgg")
_FOLDER = files("converters.networks.source") / "torchvision_sources"


#: Model -> how many tensors its state dict has, which tells models apart before one is made.
TENSORS = {
    **{"alexnet": 16, "mobilenet_v2": 314, "squeezenet1_0": 52, "squeezenet1_1": 52},
    **{"vgg11": 22, "vgg13": 26, "vgg16": 32, "vgg19": 38},
    **{"vgg11_bn": 62, "vgg13_bn": 76, "vgg16_bn": 97, "vgg19_bn": 118},
    **{"resnet18": 122, "resnet34": 218, "resnet50": 320, "resnet101": 626, "resnet152": 932},
    **{"resnext50_32x4d": 320, "wide_resnet50_2": 320, "resnext101_32x8d": 626, "wide_resnet101_2": 626},
    **{"densenet121": 727, "densenet161": 967, "densenet169": 1015, "densenet201": 1207},
}


def models_like(tensors: int) -> list[str]:
    """Returns models by name, those first whose state dict is nearest to a size."""
    return sorted(TENSORS, key=lambda name: abs(TENSORS[name] - tensors))


@cache
def tree_of(file: str) -> ast.Module:
    """Returns the tree of one of the sources."""
    return ast.parse((_FOLDER / f"{file}.txt").read_text(encoding="utf-8"))


@function("torchvision.models.get_model")
def _get_model(c: Context, name: object, *arguments: object, **keywords: object) -> object:
    return c.call(c.attribute(Namespace("torchvision.models"), str(name)), arguments, keywords)


for _file in _FILES:
    _text = (_FOLDER / f"{_file}.txt").read_text(encoding="utf-8")
    for _name in re.findall(r"^(?:class|def) (\w+)", _text, re.MULTILINE):
        KNOWN[f"torchvision.models.{_name}"] = Bundled(_file, _name)
