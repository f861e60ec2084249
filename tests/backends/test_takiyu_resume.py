"""The later stages that takiyu/DeepPose left to go on from, one network a joint, are trained on in each backend."""

import shutil
from importlib.util import find_spec

import cv2
import numpy as np
import pytest

import converters
from converters.errors import DeepPoseError
from converters.families.takiyu import JOINTS
from converters.keys import chainer_names
from deeppose_port.backends.training import train
from deeppose_port.data import PoseDataset
from deeppose_port.data.augmentation import Augmentation, example_rng
from deeppose_port.data.displacements import DrawnCloseUps
from deeppose_port.loading import load
from tests.conftest import GOLDEN
from tests.helpers.trainings import KilledError, killed_after, resumed, small_options, update_error

TAKIYU = GOLDEN / "takiyu-cascade"
SEED = 1701
#: The joints whose networks have not all epochs behind them.
TRAINED = (0, 1, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two persons of the program's nine joints, and its `resume`: 77 updates, 3 epochs, 4 of all but three joints."""
    folder = tmp_path_factory.mktemp("takiyu")
    random = np.random.RandomState(5)
    cv2.imwrite(str(folder / "noise.png"), random.randint(0, 256, (160, 160, 3)).astype(np.uint8))
    points = np.array([[95, 50], [105, 75], [108, 100], [55, 52], [45, 76], [42, 99], [88, 110], [62, 111], [75, 25]])
    lines = [",".join(["noise.png", *(f"{value:g}" for value in (points + move).flat)]) for move in (0, 3.5)]
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    (folder / "nine.toml").write_text(f'joints = {list(JOINTS)}\ntorso = ["left shoulder", "right hip"]\n')
    (folder / "resume").mkdir()
    for joint in range(9):
        left = folder / "resume" / f"model_s1_j{joint}.npz"
        shutil.copy(TAKIYU / f"best_model_s1_j{joint}.npz", left)
        with np.load(left) as arrays:
            slots = {f"{key}/v": (random.randn(*arrays[key].shape) * 1e-3).astype("f") for key in arrays.files}
        np.savez(folder / "resume" / f"optimizer_s1_j{joint}.npz", t=np.array(77), epoch=np.array(0), **slots)
        epochs = 3 if joint in TRAINED else 4
        np.savez(folder / "resume" / f"loss_s1_j{joint}.npz", train=[0.5] * epochs, test=[0.6] * epochs)
    return folder


def options_of(folder, output, **given):
    """What goes on with them as the program did, for an epoch of one update: every person once."""
    how = {"stage": 2, "per_joint": True, "before": TAKIYU, "resume": folder / "resume"}
    how |= {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.0, "lr_decay_freq": 0, "draws": 1, "epochs": 4}
    how |= {"skeleton": str(folder / "nine.toml"), "batch_size": 2, "valid_freq": 0, "seed": SEED, "output": output}
    return small_options(folder, folder, **how | given)


def updated_by_chainer(folder, joint, inputs, targets):
    """Chainer's own optimizer's update from the program's files, with its network written as its program has it."""
    from deeppose_port.backends.chainer.networks import chainer

    with np.load(folder / "resume" / f"model_s1_j{joint}.npz") as arrays:
        weights = {key: arrays[key] for key in arrays.files}
    links, functions = chainer.links, chainer.functions
    network = chainer.Chain()
    with network.init_scope():
        for name in sorted({key.partition("/")[0] for key in weights}):
            out, into, *kernel = weights[f"{name}/W"].shape
            if kernel:
                stride, pad = {"conv1": (4, 0), "conv2": (1, 2)}.get(name, (1, 1))
                setattr(network, name, links.Convolution2D(into, out, kernel[0], stride, pad))
            else:
                setattr(network, name, links.Linear(into, out))
    chainer.serializers.load_npz(folder / "resume" / f"model_s1_j{joint}.npz", network)
    optimizer = chainer.optimizers.MomentumSGD(lr=0.01, momentum=0.9)
    optimizer.setup(network)
    chainer.serializers.load_npz(folder / "resume" / f"optimizer_s1_j{joint}.npz", optimizer, strict=False)
    hidden = inputs
    for name in ("conv1", "conv2"):
        hidden = functions.relu(functions.local_response_normalization(network[name](hidden)))
        hidden = functions.max_pooling_2d(hidden, 3, stride=2)
    for name in ("conv3", "conv4", "conv5"):
        hidden = functions.relu(network[name](hidden))
    hidden = functions.max_pooling_2d(hidden, 3, stride=2)
    hidden = network.fc8(functions.relu(network.fc7(functions.relu(network.fc6(hidden)))))
    loss = functions.mean_squared_error(hidden, targets)
    network.cleargrads()
    loss.backward()
    optimizer.update()
    after = {name.lstrip("/"): parameter.array for name, parameter in network.namedparams()}
    return {key: after[key] for key in weights}


def test_its_next_update_is_the_one_that_chainer_makes(folder, tmp_path, backend):
    if find_spec("chainer") is None:
        pytest.skip("chainer is not installed")
    with pytest.raises(KilledError):  # in the second joint: what is left then begins as he left it
        train(options_of(folder, tmp_path / "on"), backend, killed_after(2))
    train(resumed(tmp_path / "on"), backend)
    found = converters.read(tmp_path / "on" / "last.pt")
    assert [len(stage.networks) for stage in found.stages] == [1, 9]
    assert found.face == converters.read(TAKIYU).face
    close_up = found.stages[1].close_up
    assert (close_up.sigma, close_up.opposing) == (1.5, ((0, 7), (3, 6)))
    about = {"images": folder, "skeleton": folder / "nine.toml", "preprocessing": found.first.preprocessing}
    persons = PoseDataset(folder / "train.csv", **about)
    for joint, network in enumerate(found.stages[1].networks):
        before = converters.read(folder / "resume" / f"model_s1_j{joint}.npz", architecture="alexnet-takiyu")
        if joint not in TRAINED:
            assert all(np.array_equal(network.weights[name], array) for name, array in before.weights.items())
            continue
        seen = DrawnCloseUps(persons, network.preprocessing, close_up, 1).of_joint(joint)
        examples = [seen.drawn(i, Augmentation(), example_rng(SEED, 3, i)) for i in range(2)]
        inputs, targets = (np.stack(parts) for parts in list(zip(*examples, strict=True))[:2])
        keys = {key: name for name, key in chainer_names(before.architecture).items()}
        updated = updated_by_chainer(folder, joint, inputs, targets)
        expected = {keys[key]: array for key, array in updated.items()}
        assert update_error(network.weights, expected, before.weights) < 1e-5
        on = converters.read(tmp_path / "on" / f"joint{joint}" / "epoch-4.pt")
        assert (on.progress.epoch, on.progress.iteration, on.optimizer.step) == (4, 78, 78)
    assert load(found, backend).predict_stages(folder / "noise.png", (40, 20, 80, 100)).shape == (2, 9, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"per_joint": False},
            r"resume: this folder holds a stage of one network a joint \(--per-joint goes on with it",
        ),
        ({"stage": 3}, r"model_s2_j0\.npz: there is no such file, and the stage needs it"),
        ({"before": None}, "name them with --from"),
        ({"lr": None}, r"model_s1_j0\.npz: no file of this kind holds the learning rate"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(folder, tmp_path, given, message):
    with pytest.raises(DeepPoseError, match=message):
        train(options_of(folder, tmp_path / "on", **given), "torch")
    assert not (tmp_path / "on").exists()


def test_his_own_folder_is_begun_in_too(folder, tmp_path):
    shutil.copytree(folder / "resume", tmp_path / "resume")
    with pytest.raises(KilledError):
        train(options_of(folder, tmp_path / "resume", resume=tmp_path / "resume"), "torch", killed_after(1))
    assert (tmp_path / "resume" / "before.pt").is_file()
    assert len(list(tmp_path.glob("resume/joint?/epoch-?.pt"))) == 9


def test_a_joint_without_its_file_is_named_before_any_is_trained(folder, tmp_path):
    shutil.copytree(folder / "resume", tmp_path / "resume")
    (tmp_path / "resume" / "model_s1_j7.npz").unlink()
    with pytest.raises(DeepPoseError, match=r"model_s1_j7\.npz: there is no such file"):
        train(options_of(folder, tmp_path / "on", resume=tmp_path / "resume"), "torch")
    assert not (tmp_path / "on").exists()
