"""Networks written as plain PyTorch: they load without this project, answer the same, and can be read."""

import ast
import contextlib
import subprocess
import sys

import numpy as np
import pytest
import torch

import converters
import deeppose_port
from converters import Architecture, CheckpointError
from converters.networks import TABLES, BatchNormalization, Name, OwnTable
from deeppose_port.backends.torch.module import _Writer, write_module
from tests.helpers.layers import LAYERS, network_of
from tests.helpers.networks import NARROW_FILES, checkpoint_of, error, narrow_file, narrow_inputs

#: Loads modules in a process that cannot import this project, and answers.
ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("converters", "deeppose_port"):
            raise AssertionError(name)
sys.meta_path.insert(0, Refuse())
import numpy, torch
for folder in sys.argv[1:]:
    sys.path.insert(0, folder + "/net.module")
    import net
    with torch.inference_mode():
        numpy.save(folder + "/outputs.npy", net.load()(torch.from_numpy(numpy.load(folder + "/inputs.npy"))).numpy())
    assert net.__file__.startswith(sys.path.pop(0))
    del sys.modules["net"]
"""

FOLDERS = {
    "g1_lrn_before_pool-chainer1.13.0": "epoch-10.model",
    "g2_bn_elu-chainer1.13.0": "epoch-10.model",
    "g3_residual-chainer1.13.0": "epoch-10.model",
    "g4_init_scope-chainer7.8.1": "epoch-10.model",
    "t1_sequential-torch": "model_best.pth.tar",
    "t2_functional-torch": "epoch_3.pth",
}


#: Files of Chainer 1.13's families.
OF_FAMILIES = [name for name in NARROW_FILES if "1.13.0" in name and "adam" in name]


@pytest.fixture(scope="module")
def alone(golden, request, tmp_path_factory):
    """Folders by name: each network as a module, and its answer, all in one process: PyTorch's import takes seconds."""
    folders = {}

    def write(name, inputs, path, **options):
        folders[name] = tmp_path_factory.mktemp("alone")
        np.save(folders[name] / "inputs.npy", inputs)
        (folders[name] / "net.module").mkdir()
        write_module(converters.read(path, state=False, **options), folders[name] / "net.module")

    for name, file in FOLDERS.items():
        write(name, narrow_inputs(), golden / "own-networks" / name / file)
    for name in OF_FAMILIES:
        with contextlib.suppress(pytest.skip.Exception):  # the test of it skips itself
            file = narrow_file(name, request)
            write(name, file.inputs, file.path, writer=file.writer)
    subprocess.run([sys.executable, "-I", "-B", "-c", ALONE, *map(str, folders.values())], check=True)
    return folders


@pytest.mark.parametrize("name", FOLDERS)
def test_people_s_own_networks_answer_as_the_real_framework(name, golden, alone):
    with np.load(golden / "own-networks" / name / "expected.npz") as arrays:
        (expected,) = arrays.values()
    outputs = np.load(alone[name] / "outputs.npy")
    assert error(outputs, expected.reshape(outputs.shape)) <= 4e-6
    text = (alone[name] / "net.module" / "net.py").read_text()
    assert 30 <= len(text.splitlines()) <= 150
    assert max(map(len, text.splitlines())) <= 140


@pytest.mark.end_to_end
def test_a_conversion_is_verified_by_a_process_too(golden, tmp_path):
    name = "g2_bn_elu-chainer1.13.0"
    file = golden / "own-networks" / name / FOLDERS[name]
    assert converters.convert(file, tmp_path / "net.module", format="pytorch-module").verified


@pytest.mark.parametrize("name", OF_FAMILIES)
def test_networks_of_the_families_answer_as_chainer(name, request, alone):
    file = narrow_file(name, request)
    assert error(np.load(alone[name] / "outputs.npy"), file.outputs) <= file.bound
    assert 30 <= len((alone[name] / "net.module" / "net.py").read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", sorted(set(LAYERS) - {"normalised by the batch"}))
def test_every_layer_is_written(name):
    checkpoint, inputs = network_of(LAYERS[name])
    preprocessing = converters.Preprocessing(im_size=13, im_width=11, part="letterbox")
    checkpoint = checkpoint.replace(preprocessing=preprocessing)
    writer = _Writer(checkpoint)
    names = {"__file__": "net.py"}
    exec(writer.text(), names)
    network = names["Net"]().eval()
    network.load_state_dict(writer.state, strict=True)
    with torch.inference_mode():
        outputs = network(torch.from_numpy(inputs)).numpy()
    expected = deeppose_port.backends.get("torch").predictor(checkpoint)(inputs)
    np.testing.assert_allclose(outputs.reshape(expected.shape), expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_full_size_networks_are_read_on_a_page(name):
    architecture = Architecture.full_size(name, 14, im_size=224)
    weights = {key: np.zeros((1,) * len(shape), np.float32) for key, shape in architecture.shapes.items()}
    text = _Writer(checkpoint_of(architecture, weights, converters.Preprocessing(im_size=224))).text()
    compile(text, "net.py", "exec")
    assert 30 <= len(text.splitlines()) <= 150


def test_what_plain_pytorch_cannot_do_is_refused(tmp_path):
    checkpoint, _ = network_of(BatchNormalization("bn", batch=True))
    with pytest.raises(CheckpointError, match="bn normalises by the batch's own statistics"):
        converters.write(checkpoint, tmp_path / "net.module", format="pytorch-module")
    assert not list(tmp_path.iterdir())


def test_words_of_a_file_are_no_code(tmp_path):
    checkpoint, _ = network_of(Name('"); import os; os.abort(); ("'))
    evil = 'Net"""\nimport os; os.abort()\n"""'
    architecture = Architecture(evil, 1, own=OwnTable(checkpoint.architecture.layers, (13, 11)), writer="torch")
    preprocessing = converters.Preprocessing(im_size=13)
    text = _Writer(checkpoint_of(architecture, checkpoint.weights, preprocessing)).text()
    tree = ast.parse(text)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "os"]
