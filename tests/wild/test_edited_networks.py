"""Networks that are changed after their parts were made: attributes, hooks, modules in the place of others, views."""

import importlib.util

import pytest

import converters
import deeppose_port
from converters import CheckpointError
from tests.converters.test_random_sources import check
from tests.helpers.checkpoint_files import alexnet, in_torch_names
from tests.helpers.networks import error, narrow_inputs
from tests.helpers.sources import CHAINER, TORCH

torch = pytest.importorskip("torch")

TORCH_PARTS = """
class Net(nn.Module):
    def __init__(self, joints=5):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 5, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, 2)
        self.average = nn.AvgPool2d(2, 2, 1)
        self.slope = nn.LeakyReLU()
        self.second = nn.Conv2d(8, 8, 3, 1, 1)
        self.side = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.BatchNorm2d(8), nn.MaxPool2d(2))
        self.same = nn.Identity()
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(8, joints * 2)
        self.more = nn.Linear(8, joints)
        CHANGES

    def forward(self, x):
        h = self.average(self.pool(self.slope(self.norm(self.first(x)))))
        h = self.side(self.second(h))
        ANSWER
"""
ANSWER = "return self.last(self.drop(F.adaptive_avg_pool2d(h, 1).flatten(1)))"
#: What a source does to its parts -> whether it is in the table; each alone moves the answer by far more than rounding.
TORCH_CHANGES = (
    "self.norm.eps = 1e-2",
    "self.first.stride = (3, 3)",
    "self.second.padding = 0",
    "self.second.padding_mode = 'reflect'",
    "setattr(self.second, 'dilation', (2, 2))",
    "self.pool.kernel_size = 2",
    "self.pool.ceil_mode = True",
    "self.average.count_include_pad = False",
    "self.slope.negative_slope = 0.3",
    "self.second.bias = None",
    "self.side[2].__init__(8, eps=1e-2)",
    "self.norm.register_forward_hook(lambda module, inputs, output: output * 2)",
    "self.first.register_forward_pre_hook(lambda module, inputs: (inputs[0] - 1,))",
    "self.pool.forward = lambda x: F.max_pool2d(x, 4)",
    "setattr(self.side, '1', nn.ELU())",
    "self.side.pop(3)",
    "relu = nn.ReLU(); self.side = nn.Sequential(*nn.Sequential(self.side[0], relu, self.side[2], relu).children())",
    "self.apply(lambda m: setattr(m, 'eps', 1e-2) if isinstance(m, nn.BatchNorm2d) else None)",
    "[setattr(m, 'eps', 1e-2) for m in self.modules() if isinstance(m, nn.BatchNorm2d)]",
    "self.norm = nn.SyncBatchNorm.convert_sync_batchnorm(self.norm)",
)
CHAINER_PARTS = """
class Net(chainer.Chain):
    def __init__(self, joints):
        super().__init__()
        with self.init_scope():
            self.first = L.Convolution2D(3, 8, 5, 2, 1)
            self.norm = L.BatchNormalization(8)
            self.second = L.Convolution2D(8, 8, 3, 1, 1)
            self.last = L.Linear(None, joints * 2)
        self.first.stride = (3, 3)
        self.norm.eps = 1e-2
        self.second.pad = (0, 1)
        self.second.dilate = (2, 2)

    def forward(self, x):
        h = F.max_pooling_2d(self.second(F.relu(self.norm(self.first(x)))), 3)
        return self.last(F.average_pooling_2d(h, h.shape[2:]))
"""


def network(*changes, answer=ANSWER):
    indented = "\n        ".join(changes or ("pass",))
    return TORCH + TORCH_PARTS.replace("CHANGES", indented).replace("ANSWER", answer)


def saved(text, tmp_path, written=None):
    """The network of a source with weights of chance, and its checkpoint beside the source, or beside another."""
    names = {}
    exec(text, names)
    torch.manual_seed(1)
    made = names["Net"]().eval()
    (tmp_path / "net.py").write_text(written or text)
    torch.save(made.state_dict(), tmp_path / "model.pth")
    return made, tmp_path / "model.pth"


#: A command line in a model's file: at its top, or in a function.
PARSERS = {
    "at the top": """
parser = argparse.ArgumentParser(description="a pose network")
parser.add_argument("-j", "--joints", type=int, default="5", help="of a person")
parser.add_argument("--leaky-slope", type=float, default=0.2)
parser.add_argument("--plain", action="store_true")
parser.add_argument("--images", required=True)
opt = parser.parse_args()
""",
    "in a function": """
def arguments():
    parser = argparse.ArgumentParser()
    group = parser.add_argument_group("network")
    group.add_argument("--joints", default=5, type=int)
    group.add_argument("-l", dest="leaky_slope", default=0.2)
    parser.set_defaults(plain=False)
    return parser.parse_known_args()[0]
opt = arguments()
""",
}


def test_a_class_of_settings_has_the_defaults_that_its_annotations_tell(tmp_path):
    settings = "@dataclass\nclass Settings:\n    slope: float\n    eps: float = 1e-2\n\n\nSET = Settings(0.3)\n\n\n"
    text = network("self.slope = nn.LeakyReLU(SET.slope)", "self.norm.eps = SET.eps").replace(
        "class Net", f"{settings}class Net"
    )
    check(f"from dataclasses import dataclass\n{text}", 3, "torch", tmp_path)


@pytest.mark.parametrize("where", PARSERS)
def test_defaults_of_a_command_line_count_and_are_said(where, tmp_path):
    text = network("self.slope = nn.ReLU() if opt.plain else nn.LeakyReLU(opt.leaky_slope)")
    text = text.replace("joints=5", "joints=opt.joints").replace("class Net", f"{PARSERS[where]}\n\nclass Net")
    run = text.replace("parse_args()", "parse_args(['--images', ''])").replace("known_args()", "known_args([])")
    _, path = saved(f"import argparse\n{run}", tmp_path, f"import argparse\n{text}")
    checkpoint = converters.read(path)
    assert "LeakyReLU(slope=0.2)" in str(checkpoint.architecture.layers)
    (notice,) = (notice for notice in checkpoint.notices if "command line" in notice)
    assert notice.endswith("as its defaults: joints 5, plain False, leaky_slope 0.2")


def test_an_argument_of_a_command_line_without_a_default_is_refused(tmp_path):
    text = network("self.slope = nn.LeakyReLU(opt.leaky_slope)").replace(
        "class Net", f"{PARSERS['at the top']}class Net"
    )
    text = text.replace("default=0.2", "required=True")
    _, path = saved(network(), tmp_path, f"import argparse\n{text}")
    with pytest.raises(CheckpointError, match="leaky_slope, an argument of the command line without a default, is not"):
        converters.read(path)


@pytest.mark.parametrize("change", TORCH_CHANGES)
def test_what_a_part_is_told_afterwards_counts(change, tmp_path):
    check(network(change), 3, "torch", tmp_path)


def test_a_link_of_chainer_s_too(tmp_path):
    if importlib.util.find_spec("chainer") is None:
        pytest.skip("chainer is not installed")
    check(CHAINER + CHAINER_PARTS, 3, "chainer", tmp_path)


#: What people write into `__init__` that gives parameters their first values, of which nothing is left in a checkpoint.
INITIALISATIONS = {
    "a loop": """
for m in self.modules():
    if isinstance(m, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(m.weight, mode='fan_out')
        if m.bias is not None:
            nn.init.zeros_(m.bias)
    elif isinstance(m, nn.BatchNorm2d) and m.weight is not None:
        m.weight.data.fill_(1)
        m.bias.data.zero_()""",
    "names": """
for name, p in self.named_parameters():
    if 'weight' in name and p.dim() > 1:
        nn.init.xavier_normal_(p)
    elif p.requires_grad:
        p.data.fill_(0.0)
print(sum(p.numel() for p in self.parameters()))""",
    "a function": """
def initial(m):
    if m.__class__.__name__.find('Conv') != -1:
        bound = 1 / math.sqrt(nn.init._calculate_fan_in_and_fan_out(m.weight)[0])
        if bound > 0.1:
            raise ValueError(bound)
        m.weight.data.normal_(0, bound)
    for p in m.parameters(recurse=False):
        if zoo.rank() == 0 and p.dim() > 2:
            p.data.copy_(zoo.drawn(p.shape))
self.apply(initial)""",
    "weights of others": """
for key, value in zoo.weights('resnet18').items():
    if key in self.state_dict():
        self.state_dict()[key].copy_(value)
if zoo.pretrained:
    self.load_state_dict(zoo.weights('resnet18'), strict=False)""",
}


@pytest.mark.parametrize("name", INITIALISATIONS)
def test_first_values_of_parameters_say_nothing_of_the_network(name, tmp_path):
    made, path = saved(network(), tmp_path)
    lines = INITIALISATIONS[name].strip().replace("\n", "\n        ")
    (tmp_path / "net.py").write_text("import math\nimport zoo\n" + network(lines))
    with torch.inference_mode():
        expected = made(torch.from_numpy(narrow_inputs())).numpy()
    assert error(deeppose_port.load(path)(narrow_inputs()), expected) <= 4e-6


@pytest.mark.parametrize(
    "change",
    [
        "if zoo.wide:\n            self.slope = nn.ELU()",
        "if zoo.wide:\n            self.norm.eps = 1e-2",
        "for layer in zoo.layers:\n            self.side.append(layer)",
        "self.apply(lambda m: setattr(m, 'eps', zoo.eps) if zoo.wide else None)",
    ],
)
def test_what_changes_it_under_an_unknown_condition_is_refused(change, tmp_path):
    _, path = saved(network(), tmp_path)
    (tmp_path / "net.py").write_text("import zoo\n" + network(change))
    with pytest.raises(CheckpointError, match=r"net\.py, line \d+: zoo.* is not known"):
        converters.read(path)


@pytest.mark.parametrize(
    "answer",
    [
        "s = self.same(h); F.relu(h, inplace=True); h = h + s; " + ANSWER,
        "s = h.detach(); s.mul_(3); " + ANSWER,
        "s = h.clone(); h.mul_(3); h = h - s; " + ANSWER,
        "h.add_(h, alpha=2); " + ANSWER,
        "with torch.autocast('cpu', enabled=False): h = h - 1\n        " + ANSWER,
        "h = torch.utils.checkpoint.checkpoint(self.slope, h - 1, use_reentrant=False); " + ANSWER,
    ],
)
def test_what_is_changed_in_place_is_changed_under_each_of_its_names(answer, tmp_path):
    check(network(answer=answer), 3, "torch", tmp_path)


VIEWS = (
    *("h[:, :4]", "h[:, 1::2]", "h[:, [0, 3]]", "h.chunk(2, 1)[0]"),
    *("h.view(h.size(0), -1)", "self.drop(h)", "h.transpose(2, 3)"),
)


@pytest.mark.parametrize(
    ("view", "change"),
    [
        (view, change)
        for view in VIEWS
        for change in ("s = {}; s.relu_()", "s = {}; s *= 2", "{} *= 2")
        if change.startswith("s") or view.endswith("]")
    ],
)
def test_what_is_changed_through_a_view_is_not_guessed(view, change, tmp_path):
    _, path = saved(network(answer=f"{change.format(view)}; {ANSWER}"), tmp_path)
    with pytest.raises(CheckpointError, match=r"net\.py, line 2\d: a value that line 2\d changes in place through a v"):
        converters.read(path)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("return h", r"Net gives a value of \(8, \d+, \d+\) for each person, not two numbers for each joint"),
        (
            "h = h.mean((2, 3)); return torch.cat((self.last(h), self.more(h)), 1).view(-1, 5, 3)",
            r"Net gives 15 numbers, not two for each joint",
        ),
        (
            "return self.second.weight.sum() * self.last(h.mean((2, 3)))",
            r"net\.py, line 25: nn\.Conv2d\.weight",
        ),
    ],
)
def test_answers_that_are_no_joints_are_refused(answer, message, tmp_path):
    _, path = saved(network(answer=answer), tmp_path)
    with pytest.raises(CheckpointError, match=message):
        converters.read(path)


@pytest.mark.parametrize(
    "answer",
    [
        "h = h.mean((2, 3)); return torch.stack((self.more(h), self.more(h).tanh()), dim=1)",
        "return self.last(h.mean((2, 3))).view(-1, 2, 5)",
    ],
)
def test_all_x_and_then_all_y_become_pairs_and_that_is_said(answer, tmp_path):
    made, path = saved(network(answer=answer), tmp_path)
    checkpoint = converters.read(path)
    assert any("taken for the x of all 5 joints, then their y" in notice for notice in checkpoint.notices)
    with torch.inference_mode():
        expected = made(torch.from_numpy(narrow_inputs())).transpose(1, 2).reshape(2, -1).numpy()
    assert error(deeppose_port.load(checkpoint)(narrow_inputs()), expected) <= 4e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("self.norm = nn.FractionalMaxPool2d(2, 8)", r"net\.py, line 20: torch\.nn\.FractionalMaxPool2d is not known"),
        ("self.slope = nn.CrossMapLRN2d(5)", r"net\.py, line \d+: torch\.nn\.CrossMapLRN2d is not known"),
        ("self.pool.__dict__['kernel_size'] = 2", r"net\.py, line 20: __dict__ is not known"),
        ("self.second.padding_mode = 'mirror'", r"net\.py, line 24: the padding_mode 'mirror' is not known"),
    ],
)
def test_a_part_that_is_not_known_is_named_with_its_line(change, message, tmp_path):
    _, path = saved(network(change), tmp_path)
    with pytest.raises(CheckpointError, match=message):
        converters.read(path)


def test_pytorch_s_cross_map_normalisation_is_another_than_local_response_normalisation():
    """It never takes the first channel out of its window again."""
    x = torch.randn(1, 12, 2, 2, generator=torch.Generator().manual_seed(0)) * 9
    ours, theirs = torch.nn.LocalResponseNorm(5, 1.0)(x), torch.nn.CrossMapLRN2d(5, 1.0)(x)
    assert torch.allclose(ours[:, :3], theirs[:, :3])
    assert not torch.allclose(ours[:, 3:], theirs[:, 3:], rtol=1e-3)


class TestSourcesThatAreNotUnderstood:
    """The network's own class is never left out without a word where names and shapes alone would fit a family."""

    HIDDEN = (
        "from zoo import make_model\n"
        + TORCH
        + "class Net(nn.Module):\n    def __init__(self):\n"
        + (
            "        super().__init__()\n        self.net = make_model()\n\n    def forward(self, x):\n"
            "        return torch.sigmoid(self.net(x))\n"
        )
    )

    @pytest.fixture
    def beside(self, tmp_path):
        state = {f"net.{name}": torch.from_numpy(array) for name, array in in_torch_names(alexnet()).items()}
        torch.save(state, tmp_path / "model.pth")
        return tmp_path / "model.pth"

    def test_a_class_that_has_the_file_s_names_in_something_unknown_refuses_it(self, beside):
        beside.with_name("net.py").write_text(self.HIDDEN)
        with pytest.raises(
            CheckpointError, match=r"net\.py, line 1: make_model of another file \(zoo\) is not known.*--arch"
        ):
            converters.read(beside)
        assert converters.read(beside, architecture="alexnet").architecture.name == "alexnet"

    def test_other_classes_that_cannot_be_read_are_said(self, beside):
        for name in ("a.py", "b.py"):
            beside.with_name(name).write_text(self.HIDDEN.replace("nn.Module", "zoo.Module"))
        checkpoint = converters.read(beside)
        assert checkpoint.architecture.name == "alexnet"
        assert any("not every class could be read (a.py" in notice for notice in checkpoint.notices)


@pytest.mark.parametrize(
    ("content", "named", "phrase"),
    [
        (b"", "net.py:Foo", r"net\.py: there is no class Foo \(there is Net\)"),
        (b"\0", "net.py", r"net\.py: this is not Python: "),
        (b"", "none.py", r"none\.py: there is no such file \(--model-file takes a Python file"),
        (b"", ".", r": this is no file, but a folder or a pipe \(--model-file takes a Python file"),
    ],
)
def test_a_source_that_is_none_is_named(content, named, phrase, tmp_path):
    _, path = saved(network(), tmp_path)
    with path.with_name("net.py").open("ab") as stream:
        stream.write(content)
    with pytest.raises(CheckpointError, match=phrase):
        converters.read(path, model_file=f"{tmp_path}/{named}")


class TestFunctions:
    """Whoever takes a network of torchvision's mostly edits it in a function, not in a class."""

    HEAD = "import torch\nimport torch.nn as nn\nimport torchvision\nfrom torchvision import models\n"
    MADE = (
        "def get_model(num_joints, pretrained=True):\n    model = models.squeezenet1_1(pretrained=pretrained)\n"
        "    model.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, 2 * num_joints, 1), {})\n"
        "    return model{}\n"
    )

    @pytest.fixture
    def save(self, tmp_path):
        def write(text, rows=10):
            shapes = squeezenet()
            shapes["classifier.1.weight"], shapes["classifier.1.bias"] = (rows, 512, 1, 1), (rows,)
            state = {name: torch.full(shape, 0.01) for name, shape in shapes.items()}
            torch.save(state, tmp_path / "model.pth")
            (tmp_path / "make.py").write_text(self.HEAD + text)
            return tmp_path / "model.pth"

        return write

    @pytest.mark.parametrize("given", ["", ", 224"])
    def test_what_one_makes_is_the_network(self, given, save):
        path = save(self.MADE.format("nn.Sigmoid(), nn.AdaptiveAvgPool2d(1)", given))
        checkpoint = converters.read(path)
        assert (checkpoint.architecture.name, checkpoint.joints) == ("get_model", 5)
        kinds = [type(layer).__name__ for layer in checkpoint.architecture.layers]
        assert kinds[-3:] == ["Convolution", "Sigmoid", "GlobalAveragePooling"]
        named = converters.read(path, model_file=f"{path.with_name('make.py')}:get_model")
        assert named.architecture.layers == checkpoint.architecture.layers

    def test_several_that_compute_something_else_are_refused(self, save):
        one, other = (self.MADE.format(f"nn.{kind}(), nn.AdaptiveAvgPool2d(1)", "") for kind in ("Sigmoid", "Tanh"))
        path = save(one + other.replace("get_model", "make"))
        with pytest.raises(
            CheckpointError, match=r"get_model, make\.py:make all have its names and shapes, and do not"
        ):
            converters.read(path)

    def test_those_that_make_something_else_or_cannot_be_followed_are_passed_over(self, save):
        more = "def main(args):\n    return models.resnet18(), zoo.train(args)\n"
        path = save(more + self.MADE.format("nn.AdaptiveAvgPool2d(1)", ""))
        assert converters.read(path).architecture.name == "get_model"

    def test_a_class_made_from_torchvision_s_is_one(self, save):
        text = (
            "class Net(models.SqueezeNet):\n    def __init__(self, joints=5):\n"
            "        super().__init__('1_1', 2 * joints)\n\n"
            "    def forward(self, x):\n        return super().forward(x) * 2 - 1\n"
        )
        assert type(converters.read(save(text)).architecture.layers[-1]).__name__ == "Affine"


class TestAround:
    """A class around another may do more with its answer: a prefix is stripped only where no class has it."""

    INNER = TORCH + (
        "class Inner(nn.Module):\n    def __init__(self, joints=5):\n        super().__init__()\n"
        "        self.first = nn.Conv2d(3, 8, 5, 3)\n        self.last = nn.Linear(8, 2 * joints)\n\n"
        "    def forward(self, x):\n        return self.last(F.relu(self.first(x)).mean((2, 3)))\n\n\n"
        "class Net(nn.Module):\n    def __init__(self, joints=5):\n        super().__init__()\n"
        "        self.{name} = Inner(joints)\n\n    def forward(self, x):\n        return {answer}\n"
    )

    @pytest.mark.parametrize("name", ["model", "net", "module", "backbone", "predictor"])
    @pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
    def test_what_it_does_is_done(self, name, prefix, tmp_path):
        made, path = saved(self.INNER.format(name=name, answer=f"torch.sigmoid(self.{name}(x))"), tmp_path)
        torch.save({prefix + key: tensor for key, tensor in made.state_dict().items()}, path)
        checkpoint = converters.read(path)
        assert checkpoint.architecture.name == "Net"
        with torch.inference_mode():
            expected = made(torch.from_numpy(narrow_inputs())).numpy()
        assert error(deeppose_port.load(checkpoint)(narrow_inputs()), expected) <= 4e-6

    def test_one_that_cannot_be_followed_is_said(self, tmp_path):
        _, path = saved(self.INNER.format(name="model", answer="torch.lgamma(self.model(x))"), tmp_path)
        checkpoint = converters.read(path)
        assert checkpoint.architecture.name == "Inner"
        assert any(
            notice.startswith("a class around Inner cannot be followed (net.py, line") for notice in checkpoint.notices
        )
        inner = converters.read(path, model_file=f"{path.with_name('net.py')}:Inner")
        assert not any("cannot be followed" in notice for notice in inner.notices)


def squeezenet():
    """Shapes of torchvision's squeezenet1_1."""
    shapes = {"features.0.weight": (64, 3, 3, 3), "features.0.bias": (64,)}
    fires = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128)}
    fires |= {9: (256, 48, 192), 10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256)}
    for i, (inputs, squeeze, expand) in fires.items():
        for name, shape in (
            ("squeeze", (squeeze, inputs, 1, 1)),
            ("expand1x1", (expand, squeeze, 1, 1)),
            ("expand3x3", (expand, squeeze, 3, 3)),
        ):
            shapes[f"features.{i}.{name}.weight"], shapes[f"features.{i}.{name}.bias"] = shape, shape[:1]
    return shapes


def test_a_network_that_something_else_keeps_is_said(tmp_path):
    """Of a class around it that does not fit, nothing is known; that its names stand in the file's is said."""
    text = TestAround.INNER.format(name="model", answer="self.more(self.model(x))")
    text = text.replace(
        "self.model = Inner(joints)", "self.model = Inner(joints)\n        self.more = nn.Linear(10, 10)"
    )
    made, path = saved(text, tmp_path)
    torch.save({key: one for key, one in made.state_dict().items() if "more" not in key}, path)
    checkpoint = converters.read(path)
    assert checkpoint.architecture.name == "Inner"
    assert any(one.startswith("something in net.py keeps Inner as `model`: what it does") for one in checkpoint.notices)
