"""What is shown, and how."""

import ast
import io
import json
import sys
from pathlib import Path

import pytest

from deeppose_port import cli
from deeppose_port.cli import display

HOSTILE = "a\x1b[31m\nfake: line\r\u2028\u202e\x9b2J\udcff\x00"
PRINTABLE = r"a\x1b[31m\nfake: line\r\u2028\u202e\x9b2J\udcff\x00"


class TestPrintable:
    def test_a_line(self, capsys):
        display.say(HOSTILE)
        display.say(HOSTILE, err=True)
        assert capsys.readouterr() == (f"{PRINTABLE}\n", f"{PRINTABLE}\n")

    def test_notes_and_errors(self, capsys):
        display.notices([HOSTILE], called=HOSTILE)
        display.error(HOSTILE)
        assert capsys.readouterr().err == f"note: {PRINTABLE}: {PRINTABLE}\nerror: {PRINTABLE}\n"

    def test_tables(self, capsys):
        table = display.table("name", HOSTILE)
        table.add_row(HOSTILE, [HOSTILE, "second line"])
        facts = display.facts()
        facts.add_row("name", HOSTILE)
        for each in (table, facts):
            display.show(each)
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["name", *PRINTABLE.split()] in lines
        assert [*PRINTABLE.split(), *PRINTABLE.split()] in lines
        assert ["second", "line"] in lines

    @pytest.mark.parametrize("lines", [True, False])
    def test_json_escapes_as_json_does(self, lines, capsys):
        display.as_json({HOSTILE: [HOSTILE, "é", "\U0001f600", "\U000e0001"]}, lines=lines)
        shown = capsys.readouterr().out
        assert all(c.isprintable() or c == "\n" for c in shown)
        assert shown.count("\n") == 1 or lines
        assert json.loads(shown) == {HOSTILE: [HOSTILE, "é", "\U0001f600", "\U000e0001"]}
        assert "é" in shown

    def test_nothing_else_writes(self):
        found = []
        for path in sorted(Path(cli.__file__).parent.glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                if called.endswith(("echo", "print", "secho", ".write")) and path.name != "display.py":
                    found.append(f"{path.name}:{node.lineno} {called}")
        assert found == []


class TestTables:
    def shown(self, capsys, *cells):
        table = display.table("name", "words", "number", text=2)
        table.add_row(*cells)
        display.show(table)
        return capsys.readouterr().out.splitlines()

    def test_no_line_ends_in_blanks(self, capsys):
        lines = self.shown(capsys, "a", "b", "1")
        assert lines == [line.rstrip() for line in lines]

    def test_a_pipe_has_no_width(self, capsys, monkeypatch):
        monkeypatch.delenv("COLUMNS", raising=False)
        assert any("word " * 30 in f"{line} " for line in self.shown(capsys, "a", "word " * 30, "1"))

    @pytest.mark.parametrize("columns", [40, 60, 100])
    def test_columns_is_obeyed(self, columns, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = self.shown(capsys, "a", "word " * 60, "1")
        assert max(map(len, lines)) <= columns
        assert sum(line.count("word") for line in lines) == 1 + 60

    @pytest.mark.parametrize("columns", [40, 50])
    def test_text_gives_way_to_numbers(self, columns, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", str(columns))
        table = display.table("tensor", "smallest", "largest", text=1)
        table.add_row("res2.b_1.bn1.running_mean, res2.b_1.bn1.running_var", "-0.02124", "0.001634")
        display.show(table)
        lines = capsys.readouterr().out.splitlines()
        assert any("smallest" in line and "largest" in line for line in lines)
        assert any("-0.02124" in line and "0.001634" in line for line in lines)
        assert max(map(len, lines)) <= columns

    def test_where_there_is_no_room_numbers_are_folded_rather_than_cut(self, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "24")
        assert sum(line.count("9") for line in self.shown(capsys, "a", "b", "9" * 30)) == 30

    def test_markup_is_text(self, capsys):
        assert any("[bold]a[/bold] :smile:" in line for line in self.shown(capsys, "[bold]a[/bold] :smile:", "", "1"))


class TestSettings:
    def test_a_closed_output_is_said_once_and_a_closed_error_output_ignored(self, monkeypatch):
        class Closed(io.StringIO):
            def write(self, text):
                raise BrokenPipeError

        monkeypatch.setattr(sys, "stderr", Closed())
        display.say("a", err=True)
        monkeypatch.setattr(sys, "stdout", Closed())
        with pytest.raises(display.OutputClosedError):
            display.say("a")
