"""Arguments that decide what a network computes, and that no shape tells."""

import re

import pytest
from packaging.version import Version

from converters.errors import DeepPoseError
from converters.networks.source import Candidate, choose_anew
from tests.helpers.sources import CHAINER, read

SHAPES = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "fc.weight": (6, 900), "fc.bias": (6,)}


def source(arguments, forward, made="", keep=""):
    return f"""{CHAINER}
class Net(chainer.Chain):
    def __init__(self, {arguments}):
        super().__init__()
        {keep}
        with self.init_scope():
            self.conv, self.fc = L.Convolution2D(3, 4, 3), L.Linear(None, 2 * joints)

    def forward(self, x):
        h = self.conv(x)
        h = {forward}
        return self.fc(F.max_pooling_2d(h, 2))

{made}
"""


LRN = "F.local_response_normalization(h) if self.lrn else h"
#: Arguments, a line of `__init__`, a line of the forward pass, what the file makes -> what is said of it.
SAID = [
    ("joints, lrn=False", "self.lrn = lrn", LRN, "", "lrn .*taken as its default False"),
    ("joints, lrn=True", "self.lrn = lrn", LRN, "model = Net(3)", "lrn .*taken as its default True"),
    ("joints, n=5", "self.n = n", "F.local_response_normalization(h, n=self.n)", "", "n .*taken as its default 5"),
    ("joints, a", "self.a = a", "F.leaky_relu(h, self.a)", "net = Net(3, .3)", r"a .*0\.3 as line 18 makes it"),
    ("joints, act=F.elu", "self.act = act", "self.act(h)", "", r"act .*taken as its default F\.elu"),
    ("joints, act='elu'", "self.act = getattr(F, act)", "self.act(h)", "", "act .*taken as its default 'elu'"),
    ("joints, ratio", "self.ratio = ratio", "F.dropout(h, self.ratio)", "", "nothing tells the ratio of dropout"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "keep", "forward", "made", "said"), SAID)
def test_what_is_taken_for_one_is_said(arguments, keep, forward, made, said, tmp_path):
    (notice,) = read(tmp_path, source(arguments, forward, made, keep), SHAPES, size=(32, 32)).network.notices
    assert re.search(said, notice)


REFUSED = [
    ("joints, lrn", "self.lrn = lrn", LRN, "", "line 7: lrn of Net decides .*it has no default"),
    ("joints, slope", "self.s = slope", "F.leaky_relu(h, self.s)", "", "line 7: slope of Net decides .*no default"),
    ("joints, lrn=False", "self.lrn = lrn", LRN, "n = Net(3, lrn=True)", "is False and line 18 .*True"),
    ("joints, **words", "self.lrn = words.get('lrn')", LRN, "n = Net(3, lrn=True)", "may be left out .*True"),
    ("joints, act", "self.act = getattr(F, act)", "self.act(h)", "", "line 9: .*nothing tells act as 'alexnet'"),
    ("joints, pool", "self.pool = pool", "F.max_pooling_2d(h, self.pool)", "", "line 7: pool of Net .*no default"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "keep", "forward", "made", "said"), REFUSED)
def test_one_of_which_nothing_tells_is_refused(arguments, keep, forward, made, said, tmp_path):
    with pytest.raises(DeepPoseError, match=rf"^net\.py, .*{said}"):
        read(tmp_path, source(arguments, forward, made, keep), SHAPES, size=(32, 32))


#: Arguments that a network's answer does not depend on, or that its shapes tell.
SETTLED = [
    ("joints, gpu=-1, pretrained=None", "self.gpu = gpu"),
    ("joints=7, ratio=0.7", "self.ratio = ratio"),
    ("joints, train=True", "self.train = train"),
    ("joints, flag", "self.flag = flag"),
]


@pytest.mark.parametrize(("arguments", "keep"), SETTLED)
def test_nothing_is_said_of_others(arguments, keep, tmp_path):
    assert not read(tmp_path, source(arguments, "F.relu(h)", keep=keep), SHAPES, size=(32, 32)).network.notices


def test_a_training_that_starts_anew_needs_all_but_the_joints(tmp_path):
    (tmp_path / "net.py").write_text(source("joints, slope", "F.leaky_relu(h, self.s)", keep="self.s = slope"))
    with pytest.raises(DeepPoseError, match="line 7: nothing tells slope, which Net is made with"):
        choose_anew(Candidate(tmp_path / "net.py"), 6, lambda era: Version("7.8.1"), (32, 32))


def test_a_word_of_a_call_is_said_too(tmp_path):
    text = source("joints", LRN.replace("self.lrn", "lrn")).replace(
        "forward(self, x)", "forward(self, x, t=None, lrn=False)"
    )
    (notice,) = read(tmp_path, text, SHAPES, size=(32, 32)).network.notices
    assert notice.startswith("net.py, line 13: lrn of a call of Net decides what it computes")
    assert notice.endswith("taken as its default False")
