"""Recipes: named sets of options, over which whatever is said counts.

    legacy   what the legacy program did: the options' own defaults
    paper    what the paper says of the network's first stage, and nothing else (Toshev and Szegedy, CVPR 2014)
    modern   what was measured to learn; `train` takes it for what starts anew
    course   what the Keras course did with the stacked hourglass, which `train` takes for one that starts anew

The options of a recipe are those that the command line would say. What is left of them where something else is said is
here too: another optimizer has its own rates, the legacy program's geometry takes the place of today's, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from converters.checkpoint import Part
from converters.families import grown
from converters.networks import TABLES, BatchNormalization, Heatmaps, Layer, SoftArgmax, walk
from deeppose_port.data.augmentation import BOX, sees_box
from deeppose_port.data.spread import Chance, Spread
from deeppose_port.options import refuse_unknown

RECIPES: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "legacy": {},
        "paper": {
            "opt": "AdaGrad",
            "lr": 0.0005,
            "lr_decay_freq": 0,
            "batch_size": 128,
            "dropout": 0.6,
            "fliplr": True,
            "shift": Spread(0.1, kind="uniform"),
        },
        "modern": {
            "epochs": 90,
            "batch_size": 32,
            "loss": "l1",
            "heatmap_loss": 0.02,
            "opt": "AdamW",
            "lr": 0.002,
            "weight_decay": 0.05,
            "schedule": "cosine",
            "warmup": 2.0,
            "grad_clip": 1.0,
            "ema": 0.999,
            "base_zoom": 1.25,
            "fliplr": True,
            "rotation": Spread(30.0, 0.6),
            "scale": Spread(0.12),
            "aspect": Spread(0.05),
            "shift": Spread(0.04),
            "colour": Chance(1.0, 0.5),
            "cutout": Chance(0.36, 0.4),
        },
        # The number of persons in a batch is not the course's, which is not known.
        "course": {"batch_size": 16, "opt": "Adam", "lr": 0.0007, "margin_range": 0.1},
    }
)

#: Of `modern`, for a network without BatchNormalization, and for one that has learned already.
_CAREFUL_RATE = 0.0003
#: What of a recipe goes where one of some options is said.
_REPLACED = (
    (("opt",), ("lr", "weight_decay", "lr_decay_freq")),
    (("adam_alpha",), ("lr",)),
    (("lr_decay_freq", "lr_decay_ratio"), ("schedule",)),
    (("rotate", "zoom", "translate"), BOX),
    # A pack has the pixels of a certain box, and of what the legacy program's geometry shows of it.
    (("pack",), (*BOX, "base_zoom")),
    # A network that has learned was made for its inputs.
    (("init", "finetune"), ("base_zoom",)),
    # A later stage of a cascade sees close-ups, which are displaced already.
    (("before",), ("base_zoom", "shift")),
)


def default_for(said: Mapping[str, object], before: tuple[Layer, ...] = ()) -> str:
    """Returns the recipe that `train` takes where none is said; arguments are those of `with_recipe`."""
    return "course" if _is_hourglass(said, before) else "modern"


def with_recipe(
    name: str, said: Mapping[str, object], before: tuple[Layer, ...] = (), part: Part = "joints"
) -> dict[str, object]:
    """Puts what is said over a recipe's options, to make `TrainingOptions` of with `options.build`.

    Args:
        name: A key of `RECIPES`.
        said: Options by name.
        before: The layers of the network that the first weights are of; or of the stage before, whose kind of network a
            later stage is where none is said; empty for none of both.
        part: What of the picture the network sees that the first weights are of.

    Returns:
        The options by name, `recipe` among them.

    Raises:
        DeepPoseError: There is no such recipe.
    """
    refuse_unknown("recipe", name, RECIPES)
    recipe = dict(RECIPES[name])
    if name == "modern" and _is_careful(said, before):
        recipe["lr"] = _CAREFUL_RATE
    if not _has_maps(said, before):
        recipe.pop("heatmap_loss", None)
    if _is_hourglass(said, before):  # whose loss and inputs are its own
        recipe = {option: value for option, value in recipe.items() if option not in ("loss", "base_zoom")}
    for others, replaced in _REPLACED:
        if any(said.get(other) not in (None, False, recipe.get(other)) for other in others):
            recipe = {option: value for option, value in recipe.items() if option not in replaced}
    if said.get("method") == "legacy" or not sees_box(part):
        recipe = {option: value for option, value in recipe.items() if option not in BOX}
    return {**recipe, **said, "recipe": name}


def _is_hourglass(said: Mapping[str, object], before: tuple[Layer, ...]) -> bool:
    """Tells whether a network is trained on heat maps alone."""
    named = said.get("architecture")
    return grown(str(named)) is not None if named is not None else any(isinstance(row, Heatmaps) for row in before)


def _begins_anew(said: Mapping[str, object]) -> bool:
    return not any(said.get(name) is not None for name in ("init", "finetune", "model_file"))


def _layers(said: Mapping[str, object], before: tuple[Layer, ...]) -> tuple[Layer, ...]:
    named = said.get("architecture")
    return before if named is None and before else TABLES.get(str(named or "alexnet"), ())


def _is_careful(said: Mapping[str, object], before: tuple[Layer, ...]) -> bool:
    """Tells whether a network is one that a high learning rate spoils."""
    layers = walk(_layers(said, before))
    return not _begins_anew(said) or not any(isinstance(layer, BatchNormalization) for layer in layers)


def _has_maps(said: Mapping[str, object], before: tuple[Layer, ...]) -> bool:
    """Tells whether a network is one whose joints come of maps."""
    return _begins_anew(said) and any(isinstance(layer, SoftArgmax) for layer in _layers(said, before))
