"""The bytes of `wire` beside what `onnx.helper` makes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deeppose_port.backends.onnx import wire


def described(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def same(written, message):
    assert type(message).FromString(written) == message


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"axis": 1, "alpha": 0.25, "mode": "nearest", "pads": (0, 1, 2, 300), "scales": [0.5, -1.0], "axes": [-1, -2]},
        {"group": 1 << 40, "keepdims": 0, "beta": -3.5},
    ],
)
def test_an_operator(attributes):
    message = helper.make_node("Conv", ["x", "", "weight"], ["y"])
    message.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    same(wire.node("Conv", ["x", "", "weight"], "y", attributes), message)


@pytest.mark.parametrize(
    "array",
    [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([-1, 1 << 40], np.int64), np.array(0.5, np.float32)],
)
def test_a_constant(array):
    same(wire.tensor("c", array, apart=False), numpy_helper.from_array(array, "c"))
    beside = onnx.TensorProto.FromString(wire.tensor("c", array, apart=True))
    assert (beside.name, tuple(beside.dims), beside.raw_data) == ("c", array.shape, b"")
    assert beside.data_location == TensorProto.EXTERNAL
    assert [(each.key, each.value) for each in beside.external_data] == [("location", "memory")]


def test_a_model():
    x, y, c = ["batch", 3, 220, None], ["batch", 14], np.ones(200, np.float32)
    constant = numpy_helper.from_array(c, "c")
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    graph = helper.make_graph(nodes, "G", [described("x", x)], [described("y", y)], [constant])
    opsets = [helper.make_opsetid("", 17)]
    message = helper.make_model(graph, opset_imports=opsets, producer_name="me", ir_version=8)
    message.metadata_props.add(key="what", value="ä" * 200)
    written = wire.graph("G", [wire.node("Relu", ["x"], "y", {})], [], [wire.value("x", x)], [wire.value("y", y)])
    without = wire.model(written, 8, 17, "me", {"what": "ä" * 200})
    same(wire.with_constants(without, [wire.tensor("c", c, apart=False)]), message)
    assert not onnx.ModelProto.FromString(without).graph.initializer
