"""The result folders of people who edited their model file: the table read from it answers as the real framework."""

import numpy as np
import pytest
from packaging.version import Version

import deeppose_port
from converters import Architecture, formats
from converters.keys import canonical_name, known_wrappers
from converters.networks import OwnTable
from converters.networks.source import candidates_in, choose
from tests.helpers.networks import checkpoint_of, error, narrow_inputs

FOLDERS = {
    "g1_lrn_before_pool-chainer1.13.0": "epoch-10.model",
    "g2_bn_elu-chainer1.13.0": "epoch-10.model",
    "g3_residual-chainer1.13.0": "epoch-10.model",
    "g4_init_scope-chainer7.8.1": "epoch-10.model",
    "t1_sequential-torch": "model_best.pth.tar",
    "t2_functional-torch": "epoch_3.pth",
}
#: What an answer may differ by, as a part of the largest one.
BOUND = 4e-6


def read(folder, file):
    """Reads a folder's checkpoint with its source, and nothing else."""
    contents = formats.module(formats.sniff(folder / file)).read(folder / file)
    wrapper = next((w for w in known_wrappers() if all(key.startswith(w) for key in contents.headers)), "")
    arrays = formats.load(folder / file, contents, contents.headers, lambda _: None)
    weights = {canonical_name(key.removeprefix(wrapper)): array for key, array in arrays.items()}
    writer = f"chainer-{folder.name.rpartition('chainer')[2]}" if "chainer" in folder.name else "torch"
    version = Version(writer.removeprefix("chainer-")) if writer != "torch" else Version("7.8.1")
    found = choose(
        candidates_in(folder), {name: array.shape for name, array in weights.items()}, lambda era: version, (220, 220)
    )
    network = found.network
    own = OwnTable(network.layers, network.input_size, network.fixed)
    architecture = Architecture(network.class_name, network.outputs // 2, writer=writer, own=own, source=found.source)
    return checkpoint_of(architecture, {name: weights[name] for name in architecture.shapes})


@pytest.mark.parametrize("backend", ["torch", "chainer"])
@pytest.mark.parametrize("name", FOLDERS)
def test_it_answers_as_the_real_framework(name, backend, golden):
    pytest.importorskip(f"deeppose_port.backends.{backend}.networks")
    folder = golden / "own-networks" / name
    with np.load(folder / "expected.npz") as arrays:
        (expected,) = arrays.values()
    outputs = deeppose_port.load(read(folder, FOLDERS[name]), backend=backend)(narrow_inputs())
    assert error(outputs, expected.reshape(outputs.shape)) <= BOUND


@pytest.mark.parametrize("name", FOLDERS)
def test_its_table_survives_a_file(name, golden):
    architecture = read(golden / "own-networks" / name, FOLDERS[name]).architecture
    assert Architecture.from_dict(architecture.as_dict()) == architecture
