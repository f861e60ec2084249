"""What notebooks and tables say of a file, whatever is in it."""

import html
from dataclasses import replace

import numpy as np
import pytest

import converters
from converters import words
from tests.conftest import ROOT
from tests.helpers.networks import random_checkpoint

ASTRONAUT = ROOT / "examples" / "astronaut" / "epoch-300.model"
EVIL = "<script>alert(1)</script>\x1b[2J\u202e"


@pytest.fixture(scope="module")
def inspection():
    return converters.inspect(ASTRONAUT)


def report(tmp_path):
    return converters.convert(ASTRONAUT, tmp_path / "a.safetensors")


def test_lines_have_no_arrays(inspection, tmp_path):
    expected = f"<Inspection of {ASTRONAUT}, chainer-npz: epoch-300.model: alexnet, 7 joints, 16 tensors>"
    assert repr(inspection) == expected
    expected = f"<Report {ASTRONAUT} -> {tmp_path / 'a.safetensors'}: alexnet, 7 joints, verified>"
    assert repr(report(tmp_path)) == expected


def test_what_is_no_network_says_why(tmp_path):
    np.savez(tmp_path / "a.npz", something=np.zeros(3, np.float32))
    found = converters.inspect(tmp_path / "a.npz")
    assert found.problem is not None
    assert found.problem in repr(found)
    assert html.escape(found.problem) in found._repr_html_()


def test_a_table_shows_facts_and_opens_layers_and_tensors(inspection, tmp_path):
    shown = inspection._repr_html_()
    for text in ("<table>", "alexnet, 132,286 parameters", "22 layers", "16 tensors", "LocalResponseNormalization"):
        assert text in shown
    assert "array(" not in shown
    assert "every byte equal" in report(tmp_path)._repr_html_()


def test_names_are_text_whatever_they_hold(inspection, tmp_path):
    converted, checkpoint = report(tmp_path), random_checkpoint()
    checkpoint = checkpoint.replace(source=replace(checkpoint.source, path=EVIL, writer=EVIL))
    shown = [
        checkpoint._repr_html_(),
        replace(inspection, path=EVIL, problem=EVIL)._repr_html_(),
        replace(converted, output=EVIL, notices=(EVIL,))._repr_html_(),
        words.html_of_rows([EVIL], [[EVIL, EVIL]], title=EVIL),
    ]
    for text in shown:
        assert "&lt;script&gt;" in text
        assert "<script" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
    for value in (replace(inspection, path=EVIL), replace(converted, output=EVIL)):
        assert "\x1b" not in repr(value)


def test_a_table_ends_somewhere():
    shown = words.html_of_rows(["a"], [[number] for number in range(1000)])
    assert shown.count("<tr>") == 202
    assert "and 800 more" in shown
