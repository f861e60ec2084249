"""Which Chainer a source was written for, and which line tells."""

import ast

import pytest
from packaging.version import Version

from converters.networks.source.era import era_of


@pytest.mark.parametrize(
    ("text", "since", "until", "mark"),
    [
        ("a = chainer.FunctionSet()", None, "2.0.0", "net.py, line 1 (FunctionSet)"),
        ("with x.init_scope():\n    y = F.relu(x)\nx.init_scope()", "2.0.0", None, "net.py, line "),
        ("with x.init_scope():\n    y = chainer.Sequential(x)", "4.0.0", None, "net.py, line 2 (Sequential)"),
        ("\ny = F.dropout(x, train=True)", None, "2.0.0", "net.py, line 2 (train=)"),
        ("y = L.Linear(2, 3, wscale=2)", None, "2.0.0", "net.py, line 1 (wscale=)"),
        ("y = f(x, train=True)", None, None, "its source"),
    ],
)
def test_what_tells_the_version_is_said_with_its_line(text, since, until, mark):
    era = era_of(ast.parse(text), "net.py")
    assert (era.since, era.until) == (since and Version(since), until and Version(until))
    assert era.mark.startswith(mark)
