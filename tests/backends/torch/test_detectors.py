"""torchvision's detectors, by a stand-in for torchvision: its names, arguments and answers as documented."""

import hashlib
import pickle
import sys
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from deeppose_port.backends.torch import detectors  # noqa: E402
from deeppose_port.backends.torch.detectors import torchvision_detector  # noqa: E402
from deeppose_port.predict import detector  # noqa: E402

IMAGE = np.full((100, 200, 3), (0, 102, 255), np.uint8)  # orange, BGR


class Norm(torch.nn.Module):
    """As FrozenBatchNorm2d: buffers and an eps."""

    def __init__(self):
        super().__init__()
        self.eps = 1e-5
        self.register_buffer("running_var", torch.ones(2))


class Network(torch.nn.Module):
    """Finds a person as wide as the picture whose score is its red, a dog, and nobody of a low score."""

    made = []  # noqa: RUF012

    def __init__(self, kind, key, rows, backbone, **told):
        super().__init__()
        self.kind, self.told, self.norm = kind, {**told, **backbone}, Norm()
        self.body = torch.nn.ParameterDict()
        self.register_parameter(key.replace(".", "_"), torch.nn.Parameter(torch.zeros(rows, 2)))
        self._key = key
        Network.made.append(self)

    def load_state_dict(self, state, strict=True):
        expected = {self._key, "norm.running_var"}
        return sorted(expected - state.keys()), sorted(state.keys() - expected)

    def forward(self, images):
        (image,) = images
        _, height, width = image.shape
        boxes = torch.tensor([[0.0, 0, width, height], [1, 2, 3, 4], [5, 6, 9, 9]])
        scores = torch.stack([image[0].mean(), torch.tensor(0.9), image[1].mean()])
        return [{"boxes": boxes, "labels": torch.tensor([1, 18, 1]), "scores": scores, "keypoints": None}]


@pytest.fixture
def torchvision(monkeypatch):
    """Puts the stand-in where torchvision would be."""
    keys = {name: kind.classes for name, kind in detectors.KINDS.items()}
    modules = {
        name: types.ModuleType(name)
        for name in (
            "torchvision",
            "torchvision.models",
            "torchvision.models.detection",
            "torchvision.models.detection.backbone_utils",
            "torchvision.ops",
            "torchvision.ops.feature_pyramid_network",
        )
    }
    detection = modules["torchvision.models.detection"]
    for kind, name in (("fcos", "FCOS"), ("fasterrcnn", "FasterRCNN"), ("keypointrcnn", "KeypointRCNN")):

        def made(backbone, num_classes, kind=kind, **told):
            return Network(kind, keys[kind], num_classes, backbone, num_classes=num_classes, **told)

        setattr(detection, name, made)

    def resnet_fpn_backbone(*, backbone_name, weights, **told):
        assert (backbone_name, weights) == ("resnet50", None), "nothing may be downloaded"
        return told

    modules["torchvision.models.detection.backbone_utils"].resnet_fpn_backbone = resnet_fpn_backbone
    modules["torchvision.ops.feature_pyramid_network"].LastLevelP6P7 = lambda *sides: ("P6P7", *sides)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Network, "made", [])
    return modules


def weights(path, name, classes=91, **more):
    state = {detectors.KINDS[name].classes: torch.zeros(classes, 2), "norm.running_var": torch.ones(2), **more}
    torch.save(state, path)
    return path


def cached(monkeypatch, tmp_path, name):
    """Puts weights of a name into torchvision's cache, under a hash that is theirs."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = weights(tmp_path / "a.pth", name)
    told = detectors.KINDS[name]
    file = f"{name}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    monkeypatch.setitem(detectors.KINDS, name, detectors.Kind(told.build, file, told.without_eps, told.classes))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path.rename(folder / file)
    return folder / file


class TestAnswers:
    @pytest.mark.parametrize("name", detectors.KINDS)
    def test_persons_have_boxes_and_scores(self, torchvision, tmp_path, name):
        found = torchvision_detector(name, weights(tmp_path / "a.pth", name))(IMAGE)
        np.testing.assert_allclose(found, [[0, 0, 200, 100, 1.0], [5, 6, 4, 3, 0.4]], rtol=1e-6)
        (network,) = Network.made
        assert (network.kind, network.training, network.told["num_classes"]) == (name, False, 91)

    def test_what_it_is_built_of(self, torchvision, tmp_path):
        torchvision_detector("fcos", weights(tmp_path / "a.pth", "fcos", 3))
        points = {"roi_heads.keypoint_predictor.kps_score_lowres.weight": torch.zeros(4, 5, 1)}
        with pytest.raises(ValueError, match="kps_score_lowres"):  # which the stand-in has not
            torchvision_detector("keypointrcnn", weights(tmp_path / "b.pth", "keypointrcnn", 2, **points))
        first, second = Network.made
        assert first.told == {"num_classes": 3, "returned_layers": [2, 3, 4], "extra_blocks": ("P6P7", 256, 256)}
        assert second.told == {"num_classes": 2, "num_keypoints": 5}

    def test_a_trainings_file_is_taken(self, torchvision, tmp_path):
        state = torch.load(weights(tmp_path / "a.pth", "fcos"), weights_only=True)
        torch.save({"model": state, "epoch": 3}, tmp_path / "b.pth")
        assert len(torchvision_detector("fcos", tmp_path / "b.pth")(IMAGE)) == 2

    def test_by_its_name_it_is_a_detector(self, torchvision, tmp_path):
        people = detector("fcos", 0.5, weights(tmp_path / "a.pth", "fcos"))
        assert [(found.box, found.score) for found in people.of(tmp_path, IMAGE)] == [((0, 0, 200, 100), 1)]


class TestWeights:
    @pytest.mark.parametrize(("name", "eps"), [("fcos", 1e-5), ("fasterrcnn", 0.0), ("keypointrcnn", 0.0)])
    def test_torchvisions_own_are_taken_from_its_cache(self, torchvision, tmp_path, monkeypatch, name, eps):
        cached(monkeypatch, tmp_path, name)
        assert len(torchvision_detector(name)(IMAGE)) == 2
        assert Network.made[0].norm.eps == eps

    def test_others_keep_their_eps(self, torchvision, tmp_path):
        torchvision_detector("fasterrcnn", weights(tmp_path / "a.pth", "fasterrcnn"))
        assert Network.made[0].norm.eps == 1e-5

    def test_nothing_is_downloaded(self, torchvision, tmp_path, monkeypatch):
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        with pytest.raises(ValueError, match=r"fcos_resnet50_fpn_coco-99b0c9b7\.pth: the weights of fcos are not here"):
            torchvision_detector("fcos")
        assert list(tmp_path.iterdir()) == []

    def test_a_damaged_file_in_the_cache_is_told(self, torchvision, tmp_path, monkeypatch):
        path = cached(monkeypatch, tmp_path, "fcos")
        path.write_bytes(path.read_bytes() + b"x")
        with pytest.raises(ValueError, match="this file is damaged"):
            torchvision_detector("fcos")

    def test_no_code_of_a_file_is_run(self, torchvision, tmp_path):
        class Evil:
            def __reduce__(self):
                return (print, ("evil",))

        (tmp_path / "a.pth").write_bytes(pickle.dumps({"a": Evil()}))
        torch.save({"a": Evil()}, tmp_path / "b.pth")
        for name in ("a.pth", "b.pth"):
            with pytest.raises(ValueError, match=rf"{name}: no file of weights that can be read"):
                torchvision_detector("fcos", tmp_path / name)

    @pytest.mark.parametrize(
        ("content", "phrase"),
        [([1, 2], "there is no state dict in it"), ({"a": 1}, "there is no state dict"), ({}, "this is no fcos")],
    )
    def test_others_are_refused(self, torchvision, tmp_path, content, phrase):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(ValueError, match=rf"a\.pth: {phrase}"):
            torchvision_detector("fcos", tmp_path / "a.pth")
        with pytest.raises(ValueError, match=r"gone\.pth: there is no such file"):
            torchvision_detector("fcos", tmp_path / "gone.pth")

    def test_a_key_too_many_is_refused(self, torchvision, tmp_path):
        with pytest.raises(ValueError, match=r"this is no fcos of torchvision's: a\.weight and 0 more"):
            torchvision_detector("fcos", weights(tmp_path / "a.pth", "fcos", **{"a.weight": torch.zeros(1)}))

    def test_arrays_of_other_shapes_are_refused(self, torchvision, tmp_path, monkeypatch):
        path = weights(tmp_path / "a.pth", "fcos")
        key = detectors.KINDS["fcos"].classes
        torch.save({key: torch.tensor(1.0)}, tmp_path / "b.pth")
        with pytest.raises(ValueError, match=rf"b\.pth: this is no fcos of torchvision's: it has no {key}"):
            torchvision_detector("fcos", tmp_path / "b.pth")
        monkeypatch.setattr(Network, "load_state_dict", torch.nn.Module.load_state_dict)  # PyTorch's own
        weights(path, "fcos", **{"norm.running_var": torch.ones(3)})
        with pytest.raises(
            ValueError, match=r"a\.pth: this is no fcos of torchvision's: .*size mismatch for norm\.run"
        ):
            torchvision_detector("fcos", path)

    def test_a_number_in_place_of_points_is_refused(self, torchvision, tmp_path):
        points = {"roi_heads.keypoint_predictor.kps_score_lowres.weight": torch.tensor(1.0)}
        with pytest.raises(ValueError, match="this is no keypointrcnn of torchvision's: roi_heads"):
            torchvision_detector("keypointrcnn", weights(tmp_path / "a.pth", "keypointrcnn", **points))

    def test_without_torchvision_it_is_said_what_to_install(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "torchvision", None)
        with pytest.raises(ValueError, match=r"torchvision cannot be loaded: .*; pip install torchvision"):
            torchvision_detector("fcos", weights(tmp_path / "a.pth", "fcos"))
