import json
import subprocess
import sys
import typing
from dataclasses import MISSING, fields

import pytest

from converters import Architecture
from converters.errors import DeepPoseError
from converters.networks import TABLES, Convolution, Linear, ModelSource, OwnTable, ReLU, Residual
from converters.networks.description import describe, layers_of
from converters.networks.formula import FORMULAS
from converters.networks.formulas import GELU
from converters.networks.layers import Layer
from tests.helpers.layers import LAYERS, network_of

TABLE = (Convolution("conv", 4, 3), ReLU(), Linear("fc", 14))
OWN = Architecture("Net", 7, own=OwnTable(TABLE, (32, 32)), source=ModelSource("net.py", "Net", "class Net: pass\n"))


#: What files leave out of their layers: with other values files that exist would hold other networks.
LEFT_OUT = {
    "Affine": {"factor": 1.0, "offset": 0.0},
    "AveragePooling": {"pad": 0, "count_pad": True, "ceil_mode": False},
    "BatchNormalization": {"eps": None, "gamma": True, "beta": True, "decay": 0.9, "batch": False},
    "Convolution": {"stride": 1, "pad": 0, "bias": True, "scale": 1.0, "groups": 1, "dilation": 1},
    "DepthwiseConvolution": {"stride": 1, "pad": 0, "bias": True},
    "Dropout": {"channels": False},
    "ELU": {"alpha": 1.0},
    "GroupNormalization": {"eps": 1e-5, "gamma": True, "beta": True},
    "Heatmaps": {"stacks": 1},
    "LayerNormalization": {"eps": 1e-5, "gamma": True, "beta": True},
    "Linear": {"bias": True},
    "LocalResponseNormalization": {"n": 5, "k": 2.0, "alpha": 0.0001, "beta": 0.75},
    "LinearAlongLast": {"bias": True},
    "MaxPooling": {"pad": 0, "cover_all": True, "ceil_mode": False},
    "PReLU": {"shape": ()},
    "Reduction": {"keep": False},
    "Residual": {"shortcut": ()},
    "Resize": {"size": None, "scale": None, "corners": False},
    "SamePadding": {"stride": 1},
    "Scale": {"bias": False},
    "Softplus": {"beta": 1.0},
    "Take": {"join": "sum"},
    "Weighting": {"trained": True, "first": ()},
    "TransposedConvolution": {"stride": 1, "pad": 0, "bias": True, "groups": 1, "dilation": 1, "output_pad": 0},
}


def through_json(value):
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_survives_json(name):
    assert layers_of(through_json(describe((LAYERS[name],)))) == (LAYERS[name],)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_family_survives_json(name):
    layers = Architecture.full_size(name, 7).layers
    assert layers_of(through_json(describe(layers))) == layers


def test_what_files_leave_out_stays_what_it_was():
    for kind in {*typing.get_args(Layer), *FORMULAS.values()}:
        defaults = {each.name: each.default for each in fields(kind) if each.default is not MISSING}
        assert defaults == LEFT_OUT.get(kind.__name__, {})


class TestOwn:
    def test_an_architecture_of_its_own_survives_json(self):
        assert Architecture.from_dict(through_json(OWN.as_dict())) == OWN
        assert Architecture.of(json.dumps(OWN.as_dict())) == OWN
        assert hash(Architecture.from_dict(through_json(OWN.as_dict()))) == hash(OWN)

    def test_its_shapes_are_those_of_its_layers(self):
        assert OWN.shapes == {
            "conv.weight": (4, 3, 3, 3),
            "conv.bias": (4,),
            "fc.weight": (14, 4 * 30 * 30),
            "fc.bias": (14,),
        }

    def test_it_takes_the_inputs_that_its_linear_layer_takes(self):
        assert OWN.accepts(32)
        assert not OWN.accepts(33)
        assert OWN.input_sizes() == (32, 32)
        pooled = Architecture("Net", 7, own=OwnTable((*TABLE[:2], LAYERS["global max pooling"], TABLE[2]), (32, 32)))
        assert pooled.input_sizes() is None

    def test_fixed_tables_take_the_size_that_they_were_read_at_alone(self):
        pooled = (*TABLE[:2], LAYERS["global max pooling"], TABLE[2])
        own = Architecture("Net", 7, own=OwnTable(pooled, (32, 32), fixed=True))
        assert [side for side in (31, 32, 33) if own.accepts(side)] == [32]

    def test_other_joints(self):
        assert OWN.with_joints(5).shapes["fc.weight"] == (10, 3600)
        assert OWN.with_joints(5).joints == 5


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"layers": None}, "does not describe a table"),
            ({"layers": [{"layer": "Evil"}]}, "does not describe a layer"),
            ({"layers": [{"layer": "Convolution", "name": "c", "channels": 4}]}, "needs kernel"),
            ({"layers": [{"layer": "ReLU", "x": 1}]}, "has no x"),
            ({"layers": [{"layer": "Linear", "name": "f", "channels": "4"}]}, "channels is '4'"),
            ({"layers": [{"layer": "Linear", "name": "f", "channels": 10**9}]}, "channels is 1000000000"),
            ({"layers": [{"layer": "MaxPooling", "kernel": 3, "stride": 0}]}, "stride is 0"),
            ({"layers": [{"layer": "MaxPooling", "kernel": [3, 3, 3], "stride": 1}]}, "kernel is a tuple"),
            ({"layers": [{"layer": "Take", "values": ["a"]}]}, "no value is named 'a'"),
            ({"layers": [{"layer": "ReLU"}] * 6000}, "more than 5000 layers"),
            ({"layers": [{"layer": "Linear", "name": "f", "channels": 10**7}]}, "is none of pose estimation"),
            ({"layers": [{"layer": "Upsample", "factor": 10**5}]}, "is none of pose estimation"),
            ({"layers": [{"layer": "Convolution", "name": "c", "channels": 4, "kernel": 99}]}, "too small for c"),
            ({"input_size": [10**6, 32]}, "1000000 x 32 pixels"),
            ({"input_size": None}, "needs input_size"),
            ({"layers": [{"layer": "ReLU"}]}, "no convolution and no fully connected layer in it gives joints"),
            ({"layers": [{"layer": "Linear", "name": "f", "channels": 9}]}, r"answers 4\.5 joints, and it says 7"),
        ],
    )
    def test_tables_that_are_none(self, change, message):
        described = OWN.as_dict()
        described["own"] = {**described["own"], **change}
        with pytest.raises(DeepPoseError, match=message):
            Architecture.from_dict(through_json(described))

    def test_deep_nesting(self):
        layer = {"layer": "ReLU"}
        for _ in range(60):
            layer = {"layer": "Residual", "branch": [layer]}
        with pytest.raises(DeepPoseError, match="does not describe a table"):
            layers_of([layer])

    def test_a_source_whose_text_was_changed(self):
        described = OWN.as_dict()
        described["source"]["text"] += "x"
        with pytest.raises(DeepPoseError, match=r"the text of net\.py is not the one that its hash is of"):
            Architecture.from_dict(described)


def test_a_formula_is_known_where_nothing_else_has_loaded_it():
    described = json.dumps(describe((GELU(), ReLU())))
    read = f"layers_of(json.loads({described!r}))"
    code = f"import json; from converters.networks.description import layers_of; print({read})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == f"{(GELU(), ReLU())}\n"


def test_branches_that_do_not_fit_are_refused():
    with pytest.raises(DeepPoseError, match="cannot be added"):
        network_of(Residual((Convolution("conv", 5, 1),)))
