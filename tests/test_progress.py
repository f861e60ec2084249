"""Progress bars of the library; examples/tour.ipynb shows one in a notebook."""

import rich.console

from deeppose_port.progress import steps


def work(step):
    step(1, 4)
    step("a\x1b[2Jpart", 2, 4)
    step("", 3, 0)


def test_nothing_is_shown_where_nobody_looks(capfd):
    with steps("evaluating", unit="persons") as step:
        work(step)
    assert capfd.readouterr() == ("", "")


def test_a_terminal_is_told_what_is_done_and_how_much(capfd, monkeypatch):
    monkeypatch.setattr(rich.console.Console, "is_terminal", True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for unit, amount in (("persons", "2/4"), ("", "2/4 bytes")):
        with steps("evaluating", unit=unit) as step:
            step("a\x1b[2Jpart", 2, 4)
        shown = capfd.readouterr()
        assert "evaluating a\\x1b[2Jpart" in shown.err
        assert amount in shown.err
        assert shown.out == ""
