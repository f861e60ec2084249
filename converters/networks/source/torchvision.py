"""torchvision's models by name: each is a source of its own here, written after the published networks."""

from __future__ import annotations

from converters.networks.source.bundled import bundled
from converters.networks.source.context import Context
from converters.networks.source.registry import KNOWN, function
from converters.networks.source.values import Namespace

_FILES = ("alexnet", "densenet", "mobilenet", "resnet", "squeezenet", "vgg")


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


@function("torchvision.models.get_model")
def _get_model(c: Context, name: object, *arguments: object, **keywords: object) -> object:
    return c.call(c.attribute(Namespace("torchvision.models"), str(name)), arguments, keywords)


for _file in _FILES:
    for _name, _model in bundled(f"torchvision_sources/{_file}").items():
        KNOWN[f"torchvision.models.{_name}"] = _model
