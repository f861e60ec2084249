"""Networks that are refused by name, and files that are none of ours."""

import io
import struct
import tarfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from converters.families.unsupported import UNSUPPORTED
from tests.helpers import tensorflow1 as tf
from tests.helpers.checkpoint_files import alexnet, refused, save_npz, wrapped
from tests.helpers.keras import fill

ONE = np.ones(1, np.float32)
FILES = {
    "ResNet152": ("npz", {"conv1/W": ONE, "res4/b35/conv1/W": ONE, "fc/W": np.ones((1000, 4), np.float32)}),
    "classifier": ("npz", {**alexnet(), "fc8/W": np.ones((1000, 6), np.float32), "fc8/b": np.ones(1000, np.float32)}),
    "HosseinPAI with Conv6": ("safetensors", {"Conv1.weight": ONE, "Conv6.weight": ONE, "FC4.weight": ONE}),
    "Keras": ("keras", {"conv2d": {"kernel": np.ones((3, 3, 3, 4), "f")}, "dense": {"kernel": np.ones((4, 2), "f")}}),
    "Caffe": ("hdf5", {"data/conv1/0": ONE, "data/conv1/1": ONE}),
    "asanakoy, edited": ("tf1", {"fc_regression/weight": ONE, "fc_regression/bias": np.ones(2, np.float32)}),
    "MMPose with RLE": ("safetensors", {"backbone.conv1.weight": ONE, "head.loss_module.flow_model.loc": ONE}),
    "MMPose with RLE, stripped": (
        "safetensors",
        {"backbone.conv1.weight": ONE, "head.fc.weight": np.ones((68, 4), np.float32)},
    ),
    "MMPose with UDP": ("pt", {"backbone.conv1.weight": ONE, "head.final_layer.weight": ONE}),
    "MMPose without bias": ("pt", {"backbone.conv1.weight": ONE, "head.simplebaseline_head.final_layer.weight": ONE}),
    "MMPose in Caffe's style": (
        "pt",
        {"backbone.layer1.0.conv3.weight": ONE, "head.fc.weight": np.ones((34, 4), np.float32)},
    ),
    "MMPose with heat maps": ("safetensors", {"backbone.conv1.weight": ONE, "head.final_layer.weight": ONE}),
}


#: What the configuration inside of them says.
CONFIGURATIONS = {
    "MMPose with UDP": "use_udp=True",
    "MMPose without bias": "debias=True",
    "MMPose in Caffe's style": "style='caffe'",
}


@pytest.mark.parametrize("name", FILES)
def test_each_is_refused_by_name(name, tmp_path):
    (model,) = (m for m in UNSUPPORTED if m.name == name)
    kind, arrays = FILES[name]
    path = tmp_path / "a.model"
    if kind == "pt":
        torch = pytest.importorskip("torch")
        state = {key: torch.from_numpy(array) for key, array in arrays.items()}
        torch.save({"meta": {"config": CONFIGURATIONS[name]}, "state_dict": state}, path)
    elif kind in ("keras", "hdf5"):
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            fill(file, arrays) if kind == "keras" else [file.create_dataset(k, data=a) for k, a in arrays.items()]
    elif kind == "tf1":
        path = tf.save(tmp_path, arrays)
        product = tf.field(1, b"out") + tf.field(2, b"MatMul") + tf.field(3, b"fc_regression/weight")
        path.with_suffix(".meta").write_bytes(tf.field(2, tf.field(1, product)))  # no normalisation before it
    else:
        save_npz(path, arrays) if kind == "npz" else save_file(arrays, path)
    message = refused(path, r"\w")
    assert message.endswith(f"{model.problem} ({model.advice})")


def test_every_one_has_a_file_here():
    assert {model.name for model in UNSUPPORTED} == set(FILES)


@pytest.mark.parametrize(
    "key", ["fc.weight", "classifier.6.weight", "fc8.weight", "head.fc.weight", "keypoint_head.fc.weight"]
)
def test_networks_for_imagenet_are_no_poses_of_500_joints(key, tmp_path):
    save_file({key: np.ones((1000, 2), np.float32)}, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "classifies ImageNet and answers no joints")


def test_a_thousand_in_another_layer_is_no_classifier(tmp_path):
    arrays = {**alexnet(), "fc7/W": np.ones((1000, 5), np.float32), "fc7/b": np.ones(1000, np.float32)}
    refused(save_npz(tmp_path / "a.model", wrapped(arrays)), r"nearest is alexnet: .*predictor/fc8/W")


@pytest.mark.parametrize(
    "content",
    [
        b"\n\x07AlexNet\x12\xa0\x01\n\x05conv1" + bytes(200),
        b"\n\x07AlexNet\x1a\x04data" + bytes(200),
        b"\n\x0bCaffeNet_v2\xa2\x06\x80\x01" + bytes(200),
        b"\x08\xe8\x07\x12\x25snapshots/AlexNet_iter_1000.caffemodel\x1a\x00" + bytes(200),
    ],
    ids=["caffemodel of 2014", "with inputs", "of today", "solverstate"],
)
def test_caffe_is_refused_by_name(content, tmp_path):
    (tmp_path / "AlexNet_iter_1000.caffemodel").write_bytes(content)
    refused(tmp_path / "AlexNet_iter_1000.caffemodel", r"this is a Caffe file, .*2014-11 to 2015-01\).*another network")


def test_an_archive_says_that_it_is_one(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("epoch-1.model")
        member.size = 4
        archive.addfile(member, io.BytesIO(struct.pack("<I", 7)))
    refused(tmp_path / "a.tar", "this is a tar")
