"""Ctrl-C that asks for an end: what training and cameras have in common."""

import signal

import pytest

from converters.interrupts import asked_to_end


def test_the_first_ctrl_c_asks_and_the_second_is_as_any():
    before, asked = signal.getsignal(signal.SIGINT), []
    with asked_to_end(lambda: asked.append(1)):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (asked, signal.getsignal(signal.SIGINT)) == ([1], before)


def test_where_ctrl_c_is_ignored_it_stays_so():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with asked_to_end(pytest.fail):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
