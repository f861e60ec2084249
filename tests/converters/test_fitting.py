from pathlib import Path

import numpy as np

from converters import Architecture
from converters.fitting import Search
from converters.formats import Contents
from converters.keys import Header
from tests.helpers.checkpoint_files import alexnet, in_torch_names, wrapped


def searched(arrays, **options):
    """A search among arrays, and their headers."""
    headers = {key: Header(array.dtype, array.shape) for key, array in arrays.items()}
    contents = Contents("safetensors", headers, lambda key: iter([arrays[key].data]), None, {})
    return Search(Path("a.safetensors"), contents, **options), headers


def test_the_network_under_a_prefix_is_found_with_its_names():
    search, headers = searched(wrapped(in_torch_names(alexnet()), "student."))
    fit = search.fit(headers)
    assert fit.match.architecture.name == "alexnet"
    assert fit.way.wrappers == ("student.",)
    assert fit.canonical == {f"student.{name}": name for name in in_torch_names(alexnet())}


def test_known_wrappers_come_before_any_other():
    search, headers = searched(wrapped(in_torch_names(alexnet()), "module."))
    assert search.fit(headers).way.wrappers == ("module.",)
    assert search.nearest(headers)[0].wrappers == ("module.",)


def test_what_is_asked_alone_is_compared():
    search, headers = searched(in_torch_names(alexnet()), asked="vgg_bn")
    assert search.fit(headers) is None
    assert search.nearest(headers)[1].architecture.name == "vgg_bn"


def test_a_network_of_its_own_is_compared_with_its_own_table():
    own = Architecture.full_size("alexnet", 7)
    search, headers = searched(in_torch_names(alexnet()), own=own)
    assert search.fit(headers) is None  # full size is not narrow


def test_arrays_that_are_there_twice_are_told():
    arrays = in_torch_names(alexnet())
    twice = {**wrapped(arrays, "net."), **wrapped({k: v for k, v in arrays.items() if k.startswith("conv")}, "body.")}
    fit, again = searched(twice)[0].fit_of_some(searched(twice)[1])
    assert fit.match.architecture.name == "alexnet"
    assert sorted(again) == sorted(f"body.{key}" for key in arrays if key.startswith("conv"))


def test_among_very_many_arrays_no_wrappers_are_looked_for():
    arrays = {f"student.{i}.weight": np.zeros((1, 1), np.float32) for i in range(10_001)}
    search, headers = searched(arrays)
    assert search.fit(headers) is None
    assert search.nearest(headers)[0].wrappers == ()
