"""The families: whose files are known, how one is recognised, what its networks are and were fed.

A module a family, or a few that share their networks; each registers what it knows, and nothing elsewhere asks for a
family by name. What several have in common is in modules that register nothing: torchvision, shapes, sizes, joints.
docs/families.md is made from the families by `make families`.
"""

# In the order in which a file is asked whose it is, and in which architectures are named: a line a module.
# isort: off
from converters.families import own as own
from converters.families import source as source
from converters.families import mitmul as mitmul
from converters.families import rewrite2019 as rewrite2019
from converters.families import takiyu as takiyu
from converters.families import ynaka81 as ynaka81
from converters.families import asanakoy as asanakoy
from converters.families import hourglass as hourglass
from converters.families import voqtuyen as voqtuyen
from converters.families import hosseinpai as hosseinpai
from converters.families import jindongjiang as jindongjiang
from converters.families import naman_ntc as naman_ntc
from converters.families import mmpose as mmpose
from converters.families import simple_baseline as simple_baseline
from converters.families import wzmiaomiao as wzmiaomiao
from converters.families import torchvision_regressors as torchvision_regressors
from converters.families import resfpn as resfpn
# isort: on

from converters.families.family import (
    CANONICAL,
    FAMILIES,
    Built,
    Family,
    Found,
    Substitutions,
    Writers,
    automatic,
    family_of,
    grown,
    naming,
    on_request,
    others_alike,
    register,
    starting_preprocessing,
)

__all__ = [
    "CANONICAL",
    "FAMILIES",
    "Built",
    "Family",
    "Found",
    "Substitutions",
    "Writers",
    "automatic",
    "family_of",
    "grown",
    "naming",
    "on_request",
    "others_alike",
    "register",
    "starting_preprocessing",
]
