import json

import numpy as np
import pytest

import converters
from converters import Preprocessing, Progress, Repair, Source
from converters.checkpoint import as_native, bytes_of, is_parameter
from tests.helpers.checkpoint_files import adam_state, alexnet, in_torch_names, save_npz, vgg_bn, wrapped

SOURCE = Source("a.model", "00", "chainer-npz", wrappers=("predictor/",), writer="chainer-1.13.0", origin={"path": "b"})


class TestPlainRecords:
    @pytest.mark.parametrize(
        "record",
        [
            Preprocessing(227, 1.25, False, "subtract", "RGB", "nearest", "yx"),
            Progress(3, None),
            Repair("conv1.weight", 1, 2, None),
            Repair("conv1.weight", 1, 2),
            SOURCE,
        ],
    )
    def test_records_survive_json(self, record):
        assert type(record).from_dict(json.loads(json.dumps(record.as_dict()))) == record

    def test_what_a_newer_version_added_is_passed_over(self):
        assert Progress.from_dict({"epoch": 3, "phase": "late"}) == Progress(3)

    @pytest.mark.parametrize(
        ("kind", "values"),
        [
            (Progress, {"epoch": "three"}),
            (Progress, {"epoch": True}),
            (Progress, {"iteration": 1.5}),
            (Preprocessing, {"im_size": 220.0}),
            (Preprocessing, {"im_size": None}),
            (Preprocessing, {"base_zoom": "1.5"}),
            (Preprocessing, {"coord_normalize": 1}),
            (Preprocessing, {"gcn": "multiply"}),
            (Preprocessing, {"gcn": ["divide"]}),
            (Repair, {"tensor": "a", "nan": 1}),
            (Repair, {"tensor": 5, "nan": 1, "inf": 0}),
            (Repair, {"tensor": "a", "nan": 1, "inf": 0, "became": "zero"}),
            (Source, {"path": "a", "sha256": "0"}),
            (Source, {"path": "a", "sha256": "0", "format": "pt", "wrappers": "module."}),
            (Source, {"path": "a", "sha256": "0", "format": "pt", "wrappers": [1]}),
            (Source, {"path": "a", "sha256": "0", "format": "pt", "origin": "b"}),
        ],
    )
    def test_values_of_another_kind_are_refused(self, kind, values):
        with pytest.raises(ValueError, match=r"is |missing"):
            kind.from_dict(values)

    def test_whole_numbers_are_good_zooms(self):
        assert Preprocessing.from_dict({"base_zoom": 2}).base_zoom == 2


class TestPreprocessing:
    @pytest.mark.parametrize(
        ("values", "phrase"),
        [
            ({"im_size": 0}, "im_size is 0; it has to be at least 1"),
            ({"base_zoom": 0}, "base_zoom is 0; it has to be positive"),
            ({"base_zoom": float("nan")}, "base_zoom is nan; it has to be positive"),
            ({"base_zoom": float("inf")}, "base_zoom is inf; it has to be positive and finite"),
            ({"gcn": "multiply"}, "gcn is 'multiply'; it is one of divide, subtract, none"),
            ({"colour": "CMYK"}, "colour is 'CMYK'; it is one of BGR, RGB"),
            ({"interpolation": "cubic"}, "interpolation is 'cubic'; it is one of linear, nearest"),
            ({"axes": "xyz"}, "axes is 'xyz'; it is one of xy, yx"),
        ],
    )
    def test_values_that_make_no_sense_are_refused(self, values, phrase):
        with pytest.raises(ValueError, match=phrase):
            Preprocessing(**values)


class TestCheckpoint:
    def test_tensors_are_the_weights_then_the_slots(self, tmp_path):
        save_npz(tmp_path / "a.state", adam_state(alexnet()))
        checkpoint = converters.read(save_npz(tmp_path / "a.model", alexnet()))
        names = [name for name, _ in checkpoint.tensors()]
        assert names[:16] == list(checkpoint.weights)
        assert set(names[16:]) == {f"optimizer.{slot}.{name}" for slot in "mv" for name in in_torch_names(alexnet())}

    def test_statistics_are_no_parameters(self, tmp_path):
        checkpoint = converters.read(save_npz(tmp_path / "a.model", vgg_bn()))
        trained = [a.size for key, a in vgg_bn().items() if key.split("/")[1] in ("W", "b", "gamma", "beta")]
        assert checkpoint.parameters == sum(trained)
        assert is_parameter("bn1.weight")
        for statistic in ("running_mean", "running_var", "num_batches_tracked"):
            assert not is_parameter(f"bn1.{statistic}")

    def test_metadata_is_json(self, tmp_path):
        checkpoint = converters.read(save_npz(tmp_path / "a.model", wrapped(vgg_bn())))
        metadata = checkpoint.metadata()
        assert json.loads(json.dumps(metadata)) == metadata
        assert metadata["architecture"]["name"] == "vgg_bn"
        assert metadata["writer"] == "chainer-1.13.0"

    def test_chainers_file_is_remembered_through_others(self, tmp_path):
        first = converters.read(save_npz(tmp_path / "a.model", wrapped(alexnet())))
        assert first.chainer_source == first.source
        converters.write(first, tmp_path / "b.safetensors")
        second = converters.read(tmp_path / "b.safetensors")
        assert second.source.format == "safetensors"
        assert second.chainer_source == first.source

    def test_replace_makes_another(self, tmp_path):
        checkpoint = converters.read(save_npz(tmp_path / "a.model", alexnet()))
        assert checkpoint.replace(notices=("a",)).notices == ("a",)
        assert checkpoint.notices != ("a",)


class TestArrays:
    def test_bytes_are_not_copied(self):
        array = np.arange(6, dtype=np.float32).reshape(2, 3)
        assert bytes(bytes_of(array)) == array.tobytes()
        assert np.shares_memory(np.frombuffer(bytes_of(array), np.uint8), array)
        assert bytes(bytes_of(np.array(3))) == np.array(3).tobytes()

    @pytest.mark.parametrize("array", [np.ones((2, 3), ">f4"), np.ones((2, 3), order="F"), np.array(3, ">i8")])
    def test_native_arrays_have_the_same_values(self, array):
        native = as_native(array)
        assert native.dtype.isnative
        assert native.flags.c_contiguous
        assert native.shape == array.shape
        assert np.array_equal(native, array)

    def test_a_native_array_is_not_copied(self):
        array = np.ones((2, 3))
        assert as_native(array) is array or np.shares_memory(as_native(array), array)
