"""Networks in Chainer as people edited them: what is read from the source answers as Chainer itself."""

import textwrap
from importlib.util import find_spec

import numpy as np
import pytest

import converters
import deeppose_port
from converters import CheckpointError
from tests.helpers.networks import error

pytest.importorskip("torch")
if find_spec("chainer") is None:
    pytest.skip("chainer is not installed", allow_module_level=True)

SIDE = 16
BOUND = 4e-6

#: A network of one convolution and a fully connected layer, with what a test is of between them.
FRAME = """
import copy
import chainer
import chainer.functions as F
import chainer.links as L
from chainer import Sequential
{before}
def conv():
    return L.Convolution2D(6, 6, 3, pad=1)

class Net(chainer.Chain):
    def __init__(self, n_joints=3):
        super(Net, self).__init__()
        with self.init_scope():
            self.stem = L.Convolution2D(3, 6, 3, 2, 1)
            self.fc = L.Linear(None, n_joints * 2)
{init}
    def __call__(self, x):
        h = F.relu(self.stem(x))
{forward}
        return self.fc(h)
"""


def source(init="", forward="", before=""):
    return FRAME.format(
        init=textwrap.indent(init, " " * 12), forward=textwrap.indent(forward, " " * 8), before=textwrap.dedent(before)
    )


def saved(text, folder, name="epoch-1.model", answer=lambda network, x: network(x)):
    """Trains nothing: saves the network of a source with weights that are all different; returns inputs and answers."""
    from deeppose_port.backends.chainer.networks import chainer

    (folder / "AlexNet.py").write_text(text)
    log = f"INFO:root:chainer version: 7.8.1\nINFO:root:Namespace(model='models/AlexNet.py', im_size={SIDE})\n"
    (folder / "log.txt").write_text(log)
    names = {"__name__": "AlexNet"}
    exec(text, names)
    np.random.seed(0)
    network, inputs = names["Net"](), np.random.randn(2, 3, SIDE, SIDE).astype("f")
    with chainer.using_config("train", False):
        answer(network, inputs)
        for link in network.links():
            if isinstance(link, chainer.links.BatchNormalization):
                link.avg_mean[...], link.avg_var[...] = np.random.randn(link.avg_mean.size), np.random.rand() + 0.5
        for parameter in network.params():
            parameter.array[...] += np.random.randn(*parameter.shape) * 0.1
        expected = answer(network, inputs).array
    save = chainer.serializers.save_hdf5 if name.endswith(".h5") else chainer.serializers.save_npz
    save(str(folder / name), network)
    return inputs, expected.reshape(len(expected), -1)


def check(text, folder, name="epoch-1.model"):
    inputs, expected = saved(text, folder, name)
    pose = deeppose_port.load(folder / name, preprocessing=converters.Preprocessing(im_size=SIDE))
    assert error(pose(inputs), expected) <= BOUND, text
    return pose.checkpoint


#: Lines within init_scope.
SEQUENTIALS = {
    # Chainer numbers three links and more of a Sequential 0, 2, 1: the numbers tell nothing of the order.
    "several links": "self.net = Sequential(conv(), F.relu, conv(), F.tanh, conv(), F.elu, conv())",
    "a function first": "self.net = Sequential(F.elu, conv(), F.relu, conv(), F.tanh, conv())",
    "appended": """
        self.net = Sequential()
        for function in (F.relu, F.tanh, F.elu):
            self.net.append(conv())
            self.net.append(function)
        """,
    "put in and taken out": """
        net = Sequential(conv(), F.tanh, conv(), F.relu, conv(), conv())
        net.insert(2, conv())
        net.insert(0, F.elu)
        net.insert(1, conv())
        net.pop(4)
        net.remove(F.relu)
        del net[1]
        net[1] = conv()
        self.net = net
        """,
    "added": """
        net = Sequential(conv(), F.tanh, conv()) + Sequential(conv(), F.relu)
        net += Sequential(conv(), F.elu)
        net.extend([conv(), F.tanh])
        self.net = net
        """,
    "nested": "self.net = Sequential(conv(), Sequential(conv(), F.tanh, Sequential(conv(), F.elu), conv()), conv())",
    "flattened": "self.net = Sequential(conv(), Sequential(Sequential(conv(), F.elu), conv()), conv()).flatten()",
    "repeated": "self.net = Sequential(conv(), F.tanh, conv(), F.relu).repeat(2).repeat(2, mode='copy')",
    "a link repeated": "self.net = conv().repeat(3)",
    "shared": "self.net = Sequential(conv(), F.tanh).repeat(3, mode='share')",
    "copied": """
        other = conv()
        self.other = other.copy('init')
        self.net = Sequential(self.other, F.tanh, copy.deepcopy(other), Sequential(conv(), F.elu, conv()).copy('copy'))
        """,
    "of a class": """
        class Maker(object):
            width = 6
            @classmethod
            def make(cls, side):
                return L.Convolution2D(cls.width, cls.width, side, pad=1)
        self.net = Sequential(Maker.make(3), F.tanh, Maker().make(3))
        """,
    "a list": """
        self.net = chainer.ChainList(conv(), conv(), conv())
        self.net[0] = conv()
        self.net.append(conv())
        self.net.insert(1, conv())
        del self.net[2]
        """,
    "several values": "self.net = Sequential(lambda h: (h, F.tanh(h)), lambda a, b: a + b, conv())",
}


@pytest.mark.parametrize("name", SEQUENTIALS)
def test_links_one_after_the_other_have_the_numbers_that_chainer_gives_them(name, tmp_path):
    init = textwrap.dedent(SEQUENTIALS[name]).strip()
    forward = "h = self.net(h)"
    if name == "a list":
        forward = "for link in self.net:\n    h = F.tanh(link(h))"
    check(source(init, forward), tmp_path)


#: Lines within init_scope, and of a call.
LINES = {
    "the stride and the pad are set later": ("self.stem.stride, self.stem.pad = (1, 1), (2, 2)", ""),
    "eps is set later": ("self.bn = L.BatchNormalization(6)\nself.bn.eps = 0.1", "h = self.bn(h)"),
    "names that are anybody's": (
        "self.net = chainer.Chain(c=conv(), kind=conv(), instance=conv())\n"
        "setattr(self, '{c}{value}'.format(c='q', value=dict(c=1, values=2)['c']), conv())",
        "h = self.q1(self.net.instance(F.tanh(self.net.kind(F.elu(self.net.c(h))))))",
    ),
    "a scope within the scope": ("with self.init_scope():\n    self.a = conv()\nself.b = conv()", "h = self.b(h)"),
    "children are by name": (
        "self.zz, self.aa = conv(), conv()",
        "for link in self.children():\n    h = h if link in (self.stem, self.fc) else F.tanh(link(h))",
    ),
    "a list that is sorted": (
        "self.c1, self.c2, self.c3 = [conv() for _ in range(3)]\nself.names = ['c2', 'c1', 'c3']\nself.names.sort()",
        "for name in self.names:\n    h = F.tanh(self[name](h))",
    ),
    "a name that is bound within a list": (
        "self.net = chainer.ChainList(conv(), conv())", "[h := F.tanh(link(h)) for link in self.net]"
    ),
    "statistics of the batch at test time": (
        "self.bn = L.BatchNormalization(6)", "with chainer.using_config('train', True):\n    h = self.bn(h)"
    ),
    "statistics that stay as they are": (
        "self.bn = L.BatchNormalization(6)", "with chainer.using_config('train', False):\n    h = self.bn(h)"
    ),
    "functions that are made in a list see its last round": (
        "self.c1, self.c2 = conv(), conv()",
        "for f in [lambda h: F.tanh(self['c%d' % i](h)) for i in (1, 2)]:\n    h = f(h)",
    ),
    "texts that are lines": (
        "exec('self.c%d = conv()' % 1)\nself.__setattr__('c2', conv())\nself.c3 = conv()\ndelattr(self, 'c3')",
        "h = F.tanh(eval('self.c%d' % 2)(h))\nh = self.__getattribute__('c1')(h)",
    ),
    "names of a class's own": ("self.__a = conv()\nself.b = 'a'", "h = self.__a(h)"),
    "an order that a function makes": (
        "self.c1, self.c2, self.c3 = conv(), conv(), conv()",
        "plan = {'c%s' % chr(ord('1') + i): f for i, f in enumerate([F.tanh, F.elu, F.relu])}\n"
        "for name, f in sorted(plan.items(), key=lambda item: -int(item[0][1:])):\n    h = f(self[name](h))",
    ),
    "functions of modules that have their name": (
        "from chainer.functions.activation import leaky_relu\nself.f = leaky_relu.leaky_relu",
        "h = chainer.functions.activation.elu.elu(self.f(h, .1))",
    ),
    "words of a class's body": (
        "self.c1, self.c2 = conv(), conv()", "for name in Plan.names:\n    h = Plan.f(self['c%(n)d' % {'n': name}](h))"
    ),
}  # fmt: skip
PLAN = """
class Plan(object):
    names = []
    for i in (2, 1):
        names.append(i)
    names.append(2)
    f = staticmethod(F.tanh)
"""


@pytest.mark.parametrize("name", LINES)
def test_it_answers_as_chainer(name, tmp_path):
    check(source(*LINES[name], before=PLAN), tmp_path)


def refusal(text, folder):
    saved(text, folder)
    with pytest.raises(CheckpointError) as caught:
        converters.read(folder / "epoch-1.model")
    return str(caught.value)


#: Lines within init_scope -> what is refused.
CHANGED = {
    "self.net = Sequential(F.tanh)\nself.net.remove_by_layer_type('relu')": "remove_by_layer_type",
    "self.net = F.tanh\nnames = {'a', 'b'}\nnames.difference_update({'a'})": "difference_update",
    "self.net = F.tanh\nself.__dict__.update(net=F.relu)": "update of an object's __dict__",
    "self.net = F.tanh\nself.__dict__['net'] = F.relu": "setting an item",
    "self.net = F.tanh\nexec('self.net = F.relu', {'self': self, 'F': F})": "the name exec is not known",
    "self.net = eval('lambda h: F.relu(h)')": "the name eval is not known",
    "from chainer import link_hooks as hooks\nself.net = conv()\nself.net.add_hook(hooks.WeightStandardization())": (
        "a hook of L.Convolution2D"
    ),
    "self.net = F.tanh\nself.add_persistent('mean', 0.5)": "the array 'mean' that is saved beside the weights",
}


@pytest.mark.parametrize("init", CHANGED)
def test_what_changes_a_container_is_refused_where_it_is_not_known(init, tmp_path):
    text = source(init, "h = self.net(h)")
    message = refusal(text, tmp_path)
    line = text[: text.index(init.splitlines()[-1])].count("\n") + 1
    assert f"AlexNet.py, line {line}: {CHANGED[init]}" in message or f"line {line}: chainer.Seq" in message


def test_what_another_file_s_function_may_change_is_refused(tmp_path):
    text = source("self.names = [1, 2]\nrandom.shuffle(self.names)", "h = h * self.names[0]", "import random")
    assert "line 7: random of another file (random).shuffle is not known" in refusal(text, tmp_path)
    text = source("", "h = h * NAMES[0]", "import random\nNAMES = [1, 2]\nrandom.shuffle(NAMES)")
    assert "line 9: NAMES, which is changed outside of the network, is not known" in refusal(text, tmp_path)


#: Lines of a call -> what is refused.
PARTS = {
    "h = h[:, [0, 1], [2, 3]]": "a part of a value by several lists of numbers, which are taken in pairs,",
    "h = h[:, 0, :, [0, 1]]": "a part of a value by several lists of numbers, which are taken in pairs,",
    "h = F.pad(h.reshape(len(h), -1), ((0, 0), (0, 0)), 'constant')": "a margin of other than zeros around maps",
    "try:\n    {}[0:1]\nexcept (TypeError, KeyError):\n    pass": "the key a slice",
}


@pytest.mark.parametrize("forward", PARTS)
def test_a_part_that_is_another_than_it_looks_is_refused(forward, tmp_path):
    assert f"{PARTS[forward]} is not known" in refusal(source("", forward), tmp_path)


def test_weights_that_a_call_sets_are_refused(tmp_path):
    text = source("self.net = conv()", "self.net.W = chainer.Parameter(self.net.W.data * 0.5)\nh = self.net(h)")
    assert "setting W of a link in a call is not known" in refusal(text, tmp_path)


@pytest.mark.parametrize("backend", ["torch", "chainer"])
def test_a_layer_may_stand_in_several_places(backend, tmp_path):
    text = source("self.net = conv()", "for _ in range(3):\n    h = F.tanh(self.net(h)) + h")
    inputs, expected = saved(text, tmp_path)
    pose = deeppose_port.load(tmp_path / "epoch-1.model", backend=backend)
    assert error(pose(inputs), expected) <= BOUND


#: What a link is -> what is refused.
UNKNOWN = {
    "L.ConvolutionND(2, 6, 6, 3)": "chainer.links.ConvolutionND is not known, which is Net.mid",
    "chainer.Chain(a=L.SimplifiedDropconnect(6, 6))": "chainer.links.SimplifiedDropconnect is not known",
}


@pytest.mark.parametrize("link", UNKNOWN)
def test_a_link_that_is_not_known_is_named_with_its_line(link, tmp_path):
    text = source(f"self.mid = {link}", "h = self.mid(h)" if "Drop" not in link else "h = F.relu(h)")
    line = text[: text.index("self.mid")].count("\n") + 1
    message = refusal(text, tmp_path)
    assert f"AlexNet.py, line {line}: {UNKNOWN[link]}" in message
    assert "in a copy of the file for --model-file, write it with what is known: BatchNormalization, BatchRe" in message


def test_a_link_of_another_file_is_named_with_its_import(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mylayers.py").write_text(
        "import chainer.links as L\ndef Mine():\n    return L.Convolution2D(6, 6, 3)\n"
    )
    message = refusal(source("self.mid = Mine()", "h = self.mid(h)", "from mylayers import Mine"), tmp_path)
    assert "line 7: Mine of another file (mylayers) is not known, which is Net.mid (put its definition into" in message


def test_a_sequential_of_no_class_is_a_network(tmp_path):
    text = FRAME.split("class Net")[0].format(before="")
    text += "model = Sequential(L.Convolution2D(3, 6, 3, 2), conv(), F.relu, conv(), L.Linear(None, 6))\n"
    check(text + "Net = lambda: model\n", tmp_path)


#: Links that Chainer makes of others -> a line of a call. Each line's map has the width of the stem's, or is features.
LINKS = {
    "L.MLPConvolution2D(6, (8, 7), 3, pad=1, activation=F.sigmoid)": "self.mid(h)",
    "L.MLPConvolution2D((8, 7, 5), 3)": "self.mid(h)",
    "L.Inception(6, 4, 3, 5, 2, 4, 3)": "self.mid(h)",
    "L.InceptionBN(None, 4, 3, 6, 2, 4, 'avg', 3)": "self.mid(h)",
    "L.InceptionBN(6, 0, 3, 6, 2, 4, 'max', stride=2)": "self.mid(h)",
    "L.Maxout(None, 5, 3)": "self.mid(h)",
    "L.Highway(6, activate=F.tanh)": "self.mid(F.mean(h, axis=(2, 3)))",
    "L.BatchRenormalization(6, eps=1e-3)": "self.mid(h)",
    "L.LayerNormalization()": "self.mid(F.mean(h, axis=(2, 3)))",
    "L.BatchNormalization(6, use_beta=False, eps=1e-3)": "self.mid(h)",
}


@pytest.mark.parametrize("link", LINKS)
def test_links_that_are_made_of_others(link, tmp_path):
    check(source(f"self.mid = {link}", f"h = {LINKS[link]}"), tmp_path)


#: Lines of a call that make another value of a map `h`, by what they are about.
WORDS = {
    "parts": [
        *("h[:, 1:4]", "h[:, 2]", "h[:, :, 1:-2, 3:]", "h[:, :, 2]", "F.get_item(h, (slice(None), slice(1, 3)))"),
        *("F.split_axis(h, 2, axis=2)[1]", "F.split_axis(h, [1, 4], 1)[1]", "F.separate(h, axis=1)[2]"),
        *("F.concat([h, -h], axis=2)", "F.concat((h, h), axis=-1)", "F.stack([h, F.tanh(h)], axis=1)"),
        "F.hstack([F.mean(h, axis=(2, 3)), F.max(h, axis=(2, 3))])",
    ],
    "axes": [
        *("F.transpose(h, axes=(0, 2, 3, 1))", "h.transpose(0, 3, 2, 1)", "F.swapaxes(h, 1, 3)"),
        *("F.rollaxis(h, 1, 4)", "F.rollaxis(h, 3, 1)", "F.moveaxis(h, 1, -1)", "F.moveaxis(h, 3, 1)"),
        *("F.reshape(h, (h.shape[0], 6, -1))", "h.reshape(len(h), h.size // h.shape[0])", "h.reshape(-1, 2, 3, 8, 8)"),
    ],
    "numbers": [
        *(
            "F.clip(h, -0.5, 1.0)",
            "F.hard_sigmoid(h)",
            "F.crelu(h)",
            "F.square(h)",
            "h ** 2",
            "F.absolute(h)",
            "abs(h)",
        ),
        *("h * np.float32(0.3)", "F.maxout(h, 3)", "F.maxout(h.reshape(len(h), -1), pool_size=4)", "F.relu6(h) / 3"),
    ],
    "windows": [
        *(
            "F.max_pooling_2d(h, 3, 2, 0, False)",
            "F.max_pooling_2d(h, (3, 2), (2, 1), (1, 0))",
            "F.max_pooling_2d(h, 3)",
        ),
        *("F.average_pooling_2d(h, 3, 2, 1)", "F.average_pooling_nd(h, 3, 2, 1, pad_value=None)"),
        *("F.max_pooling_nd(h, 3, 2)", "F.spatial_pyramid_pooling_2d(h[:, :, 1:], 3, 'max')"),
        *("F.unpooling_2d(h, 2)", "F.unpooling_2d(h, 3, outsize=(23, 22))"),
        *("F.sum(h, axis=(2, 3))", "F.mean(h, axis=3)", "F.max(h, axis=2, keepdims=True)", "F.sum(h, axis=-1)"),
        *("h * F.broadcast_to(F.average_pooling_2d(h, 8), h.shape)", "sum(F.broadcast(h, F.max_pooling_2d(h, 8)))"),
    ],
    "python": [
        "reduce(lambda x, f: f(x), [F.relu, F.tanh], h)",
        "self.__dict__['stem'](F.concat([h, h])[:, :3])",
        "[h := self[name](h) if name == 'other' else h for name in sorted(self._children)][-1]",
    ],
}


@pytest.mark.parametrize("about", WORDS)
def test_words_mean_what_they_mean_in_chainer(about, tmp_path):
    lines = [f"f{i} = {word}" for i, word in enumerate(WORDS[about])]
    lines.append("h = " + " + ".join(f"self.l{i}(f{i})" for i in range(len(lines))))
    init = [f"self.l{i} = L.Linear(None, 5)" for i in range(len(WORDS[about]))]
    init += ["self.other = conv()", "for parameter in self.params():\n    parameter.name += ''"]
    init += [
        "for name, parameter in self.namedparams():\n    if name.endswith('other/b'):\n        parameter.name += ''"
    ]
    before = "import numpy as np\nfrom functools import reduce"
    check(source("\n".join(init), "\n".join(lines), before), tmp_path)


@pytest.mark.parametrize("name", ["epoch-1.model", "model.h5"])
def test_a_network_of_its_own_class_in_both_of_chainer_s_formats(name, tmp_path):
    init = "self.mid = Sequential(conv(), F.relu, conv(), F.tanh, L.Inception(6, 4, 3, 5, 2, 4, 3))"
    check(source(init, "h = self.mid(h)"), tmp_path, name)


#: The end of a class -> what is said of it.
LOSSES = {
    "def predict(self, x):\n    return self.net(x)\n\ndef __call__(self, x, t):\n"
    "    return F.mean_squared_error(self.predict(x), t)": "what predict gives is taken for the joints",
    "def __call__(self, x, t):\n    self.half = self.net[0](x)\n    self.y = self.net(x)\n"
    "    return F.sum(F.absolute(self.y - t))": "its y is taken for the joints",
}
NET = "self.net = Sequential(L.Convolution2D(3, 4, 3), F.relu, L.Linear(None, 6))"


def loss_source(end):
    return (
        FRAME.split("class Net")[0].format(before="")
        + f"""
class Net(chainer.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            {NET}

{textwrap.indent(end, "    ")}
"""
    )


@pytest.mark.parametrize("end", LOSSES)
def test_a_class_that_gives_its_loss_gives_the_joints_elsewhere(end, tmp_path):
    text = loss_source(end)
    inputs, expected = saved(text, tmp_path, answer=lambda network, x: network.net(x))
    pose = deeppose_port.load(tmp_path / "epoch-1.model")
    assert error(pose(inputs), expected) <= BOUND
    assert any(LOSSES[end] in notice for notice in pose.checkpoint.notices)


def test_a_class_that_gives_its_loss_and_no_joints_is_refused(tmp_path):
    end = "def __call__(self, x, t):\n    self.half = self.net[0](x)\n    return F.mean_squared_error(self.net(x), t)"
    saved(loss_source(end), tmp_path, answer=lambda network, x: network.net(x))
    with pytest.raises(
        CheckpointError, match=r"line 20: a call of Net gives .*mean_squared_error, and nothing that it"
    ):
        converters.read(tmp_path / "epoch-1.model")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("base", "layer"), [("L.ResNet50Layers(pretrained_model=None)", "pool5"), ("L.VGG16Layers(None)", "conv5_3")]
)
def test_the_networks_for_imagenet_that_come_with_chainer(base, layer, tmp_path):
    check(
        source(f"self.base = {base}", f"h = self.base(F.unpooling_2d(x, 2), layers=['{layer}'])['{layer}']"), tmp_path
    )


#: Lines before a class that multiplies by `A` -> what is said of them; None where its last meaning is right.
REBOUND = {
    "B = 2.0\nA = B * 2\nB = 3.0": "line 9: B, which is changed here and read before, is not known",
    "def f(a=3.0): return a\nB = 2.0\ndef A(x, b=B): return x * b\nB = 3.0": "line 10: B, which is changed here",
    "A = 2.0\ndef change():\n    global A\n    A = 3.0\nchange()": "line 9: A, which is changed outside of the network",
    "A = 2.0\nA = 3.0": None,
    "B = 2.0\ndef A(x): return x * B\nB = 3.0": None,
    "B = 2.0\nA = lambda x: x * B\nB = 3.0": None,
}


@pytest.mark.parametrize("before", REBOUND)
def test_a_name_that_is_given_a_meaning_anew_after_it_was_read(before, tmp_path):
    text = source("", "h = A(h)" if "A(x" in before or "lambda" in before else "h = h * A", before)
    if REBOUND[before] is None:
        check(text, tmp_path)
    else:
        assert REBOUND[before] in refusal(text, tmp_path)
