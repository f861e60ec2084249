"""MMPose's DeepPose as it is published and trained: the configuration inside of a file says how inputs were made."""

import re

import numpy as np
import pytest

import converters
from tests.helpers.checkpoint_files import refused

torch = pytest.importorskip("torch")
import deeppose_port  # noqa: E402
from tests.helpers.ports import MMPose, ResNet, answer, assert_same, back, drawn, letterbox, to_tensor  # noqa: E402

COLOURS = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

#: As mmcv's Config.pretty_text writes it, and mmengine's.
OLD = """# a comment says image_size=[1, 2]
model = dict(type='TopDown', keypoint_head=dict(type='DeepposeRegressionHead', num_joints={joints}))
data_cfg = dict(
    image_size=[{width}, {height}],
    heatmap_size=[48, 64],
    num_output_channels={joints})
data = dict(train=dict(data_cfg=dict(image_size=[{width}, {height}])))
"""
NEW = """codec = dict(type='RegressionLabel', input_size=({width}, {height}))
model = dict(head=dict(type='RegressionHead', num_joints={joints}, decoder=dict(input_size=(
    {width},
    {height},
), type='RegressionLabel')))
"""


def saved(path, network, **meta):
    torch.save({"meta": {"epoch": 210, **meta}, "state_dict": network.state_dict()}, path)
    return path


def expected_points(network, picture, joints, width, height):
    inputs, matrix = letterbox(picture, width, height)
    outputs = answer(network, to_tensor(inputs, 1.0, *COLOURS)).reshape(joints, 2)
    return back(outputs * (width, height), matrix)


@pytest.mark.parametrize("joints", [4, 6, 8])
@pytest.mark.parametrize("head", ["head", "keypoint_head"])
def test_networks_for_clothes_are_higher_than_wide(joints, head, tmp_path, picture):
    network = drawn(MMPose(50, 2 * joints, head))
    pose = deeppose_port.load(saved(tmp_path / "res50_deepfashion.pth", network))
    assert pose.preprocessing.shape == (256, 192)
    assert len(pose.preprocessing.joints) == joints
    assert {"left hem", "right hem"} <= set(pose.preprocessing.joints)
    assert_same(pose.predict(picture), expected_points(network, picture, joints, 192, 256))


def test_a_backbone_that_is_in_no_table(tmp_path, picture):
    network = MMPose(50, 2 * 17, "head")
    network.backbone = ResNet(50, 1, groups=2)
    del network.backbone.fc
    pose = deeppose_port.load(saved(tmp_path / "resnext50.pth", drawn(network)))
    assert pose.checkpoint.source.generation == "resnet-mmpose"
    assert pose.preprocessing.shape == (256, 192)
    assert_same(pose.predict(picture), expected_points(network, picture, 17, 192, 256))


@pytest.mark.parametrize(("name", "text"), [("config", OLD), ("cfg", NEW)])
@pytest.mark.parametrize(("joints", "width", "height"), [(17, 288, 384), (16, 192, 256), (17, 256, 256), (8, 128, 128)])
def test_the_configuration_decides(name, text, joints, width, height, tmp_path, picture):
    network = drawn(MMPose(50, 2 * joints, "head"))
    text = text.format(joints=joints, width=width, height=height)
    pose = deeppose_port.load(saved(tmp_path / "a.pth", network, **{name: text}))
    assert pose.preprocessing.shape == (height, width)
    told = f"its inputs are {height} high and {width} wide, as the configuration inside of the file says"
    assert told in pose.checkpoint.notices
    assert_same(pose.predict(picture), expected_points(network, picture, joints, width, height))


@pytest.mark.parametrize(
    "text",
    ["", "model = dict()", "image_size=[0, 256]", "padding=2", "mean=[1, 2]", "dict(type='Other', padding=2)", 7],
)
def test_a_configuration_that_does_not_tell_is_passed_over(text, tmp_path):
    checkpoint = converters.read(saved(tmp_path / "a.pth", drawn(MMPose(50, 34, "head")), config=text))
    assert checkpoint.preprocessing.shape == (256, 192)
    assert not any("configuration" in notice for notice in checkpoint.notices)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("codec=dict(input_size=(96, 128))", {"im_size": 128, "im_width": 96}),
        ({"codec": {"input_size": [96, 128]}}, {"im_size": 128, "im_width": 96}),
        ('{"codec": {"input_size": [256, 256]}}', {"im_size": 256, "im_width": None}),
        ("data_preprocessor=dict(bgr_to_rgb=False, mean=[1, 2, 3])", {"colour": "BGR", "mean": (1.0, 2.0, 3.0)}),
        ("data_preprocessor=dict(bgr_to_rgb=True, type='PoseDataPreprocessor')", {"colour": "RGB"}),
        ("data_preprocessor=dict(type='PoseDataPreprocessor')", {"colour": "BGR"}),
        ("dict(type='LoadImageFromFile', channel_order='bgr')", {"colour": "BGR"}),
        ("data_preprocessor=dict(\n mean=[\n 127.5,\n 127.5,\n 127.5,\n ])", {"mean": (127.5,) * 3}),
        ("dict(type='NormalizeTensor', mean=[0.5, 0.5, 0.5], std=[0.2, 0.2, 0.2])", {"mean": (127.5,) * 3}),
        ("dict(type='NormalizeTensor', mean=[0.485, 0.456, 0.406])", {"mean": COLOURS[0]}),
        ("std=[50.0, 51, 52]", {"std": (50.0, 51.0, 52.0)}),
        ("std=[0, 0, 0]", {"std": COLOURS[1]}),
        ("dict(padding=1.5, type='GetBBoxCenterScale')", {"base_zoom": 1.5}),
        ("dict(type='TopDownGetBboxCenterScale', padding=1.1), dict(padding=7)", {"base_zoom": 1.1}),
    ],
)
def test_all_that_a_configuration_says_of_inputs(text, said, tmp_path):
    checkpoint = converters.read(saved(tmp_path / "a.pth", drawn(MMPose(50, 34, "head")), cfg=text))
    assert {name: getattr(checkpoint.preprocessing, name) for name in said} == said


def test_a_network_that_sees_bgr(tmp_path, picture):
    network = drawn(MMPose(50, 34, "head"))
    text = "data_preprocessor=dict(bgr_to_rgb=False, mean=[1, 2, 3], std=[4, 5, 6])"
    pose = deeppose_port.load(saved(tmp_path / "a.pth", network, cfg=text))
    inputs, matrix = letterbox(picture, 192, 256)
    outputs = answer(network, to_tensor(inputs[:, :, ::-1].copy(), 1.0, (1, 2, 3), (4, 5, 6))).reshape(17, 2)
    assert_same(pose.predict(picture), back(outputs * (192, 256), matrix))
    assert "its inputs are BGR, as the configuration inside of the file says" in pose.checkpoint.notices


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("image_size=[192, 256]\nimage_size=[288, 384]", r"sizes of its inputs \(\(192, 256\), \(288, 384\)\)"),
        ("mean=[1, 2, 3], mean=[1, 2, 4]", "means of its inputs' colours"),
        ("dict(type='GetBBoxCenterScale'), dict(type='GetBBoxCenterScale', padding=2)", r"paddings .* \(1.25, 2.0\)"),
    ],
)
def test_a_configuration_that_contradicts_itself_is_said(text, what, tmp_path):
    checkpoint = converters.read(saved(tmp_path / "a.pth", drawn(MMPose(50, 34, "head")), config=text))
    assert checkpoint.preprocessing.shape == (256, 192)
    (notice,) = checkpoint.notices
    assert re.search(f"the configuration inside of the file says several {what}", notice)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("dict(type='TopdownAffine', use_udp=True)", "with UDP"),
        ("backbone=dict(type='ResNet', depth=50, style='caffe')", "strides or dilations"),
        ("backbone=dict(strides=(1, 2, 2, 1))", "strides or dilations"),
        ('{"backbone": {"dilations": [1, 1, 1, 2]}}', "strides or dilations"),
        ("head=dict(num_joints=17)", r"\(RLE\), stripped for inference"),
    ],
)
def test_what_a_configuration_says_is_not_done_is_refused(text, why, tmp_path):
    outputs = 4 * 17 if "num_joints" in text else 34
    refused(saved(tmp_path / "a.pth", drawn(MMPose(50, outputs, "head")), cfg=text), why)


@pytest.mark.parametrize(
    "text", ["style='pytorch', strides=(1, 2, 2, 2), dilations=(\n1,\n1,\n1,\n1,\n)", "use_udp=False"]
)
def test_what_is_torchvisions_is_read(text, tmp_path):
    assert converters.read(saved(tmp_path / "a.pth", drawn(MMPose(50, 34, "head")), cfg=text)).joints == 17


def test_blocks_of_two_convolutions_have_one_style(tmp_path):
    assert converters.read(saved(tmp_path / "a.pth", drawn(MMPose(18, 34, "head")), cfg="style='caffe'")).joints == 17


@pytest.mark.parametrize("joints", [17, 21, 98])
def test_rle_that_was_stripped_for_inference_is_no_pose_of_twice_as_many_joints(joints, tmp_path):
    path = saved(tmp_path / "a.pth", drawn(MMPose(18, 4 * joints, "head")))
    refused(path, r"residual log-likelihood \(RLE\), stripped for inference.*if it is DeepPose with twice as many")
    checkpoint = converters.read(path, architecture="resnet18-torchvision")
    assert checkpoint.joints == 2 * joints
    assert not any("RLE" in notice for notice in checkpoint.notices), "it was said which it is"


@pytest.mark.parametrize("joints", [4, 6, 8, 14, 16, 17, 21, 68, 98, 133])
def test_no_network_that_mmpose_published_is_taken_for_it(joints, tmp_path):
    path = saved(tmp_path / "a.pth", drawn(MMPose(18, 2 * joints, "head")))
    checkpoint = converters.read(path)
    assert checkpoint.joints == joints
    told = [notice for notice in checkpoint.notices if "RLE" in notice]
    assert len(told) == (joints % 2 == 0), "four rows for each of half as many are as many"
    assert all(f"those of {joints} joints; as MMPose's RLE has four each, they would be" in one for one in told)


@pytest.mark.parametrize(
    ("joints", "text", "is_rle"),
    [
        (19, "head=dict(type='RLEHead', num_joints=19)", True),
        (17, "loss_keypoint=dict(type='RLELoss', use_target_weight=True), out_sigma=True", True),
        (17, "head=dict(type='RegressionHead', num_joints=34), loss=dict(type='SmoothL1Loss')", False),
    ],
)
def test_a_configuration_tells_rle(joints, text, is_rle, tmp_path):
    path = saved(tmp_path / "a.pth", drawn(MMPose(18, 4 * joints, "head")), cfg=text)
    if is_rle:
        refused(path, r"\(RLE\), stripped for inference")
    else:
        assert converters.read(path).joints == 2 * joints


def test_nothing_in_a_configuration_is_run(tmp_path):
    text = "__import__('os').mkdir('made')\nimage_size=[192, 256]"
    saved(tmp_path / "a.pth", drawn(MMPose(18, 34, "head")), config=text)
    assert np.isfinite(converters.read(tmp_path / "a.pth").weights["fc.bias"]).all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


class WithAverages(MMPose):
    """As mmcv 1.x's EMAHook leaves it: each parameter has a buffer, the statistics of BatchNormalization have none."""

    def __init__(self, *about):
        super().__init__(*about)
        for name, value in dict(self.named_parameters()).items():
            self.register_buffer(f"ema_{name.replace('.', '_')}", value.data.clone() + 0.125)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("head", ["head", "keypoint_head"])
def test_the_averages_of_mmcvs_hook(prefix, head, tmp_path):
    network = WithAverages(18, 2 * 16, head)
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    optimizer = {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    torch.save({"meta": {"epoch": 3}, "state_dict": state, "optimizer": optimizer}, tmp_path / "epoch_3.pth")
    plain, averages = (converters.read(tmp_path / "epoch_3.pth", part=part) for part in (None, "ema"))
    assert plain.source.generation == averages.source.generation == "resnet-mmpose"
    assert plain.weights.keys() == averages.weights.keys()
    for name, array in plain.weights.items():
        moved = 0.125 * (not name.endswith(("running_mean", "running_var", "num_batches_tracked")))
        np.testing.assert_allclose(averages.weights[name], array + moved, rtol=0, atol=1e-6)
    assert any("mmcv's EMAHook keeps one beside the other" in notice for notice in plain.notices)
