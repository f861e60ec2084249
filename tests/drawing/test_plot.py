import json
import math
import re
import subprocess
import sys

import cv2
import matplotlib.axes
import pytest

from deeppose_port.cli import main
from deeppose_port.drawing.plot import curve_title, draw_curves
from deeppose_port.training.curves import Curves, Series, read_results
from tests.helpers.tables import tables_of

HEADER = "INFO:root:chainer version: 1.13.0\nINFO:root:Namespace(batchsize=8, resume_model={resumed!r}, seed=1701)\n"


def text(*entries, resumed=None):
    """A legacy log.txt with a header; entries are (epoch, loss) or (epoch, loss, validation loss)."""
    lines = [HEADER.format(resumed=resumed)]
    for epoch, loss, *validation in entries:
        extra = f"validation/main/loss:{validation[0]}, " if validation else ""
        lines.append(f"INFO:root:epoch:{epoch}, main/loss:{loss}, {extra}\n")
    return "".join(lines)


def lines(*entries):
    """Our `log` of JSON lines; entries are (epoch, iteration, loss)."""
    names = ("epoch", "iteration", "main/loss")
    return "".join(json.dumps(dict(zip(names, entry, strict=True))) + "\n" for entry in entries)


@pytest.fixture
def folder(tmp_path):
    """Makes a result folder of files given by name (`log_txt` is log.txt)."""

    def make(name="run", **files):
        path = tmp_path / name
        path.mkdir()
        for file, content in files.items():
            (path / file.replace("_", ".")).write_text(content)
        return path

    return make


def curve(run, name="main/loss"):
    series = run.series[name]
    return list(zip(series.epochs, series.values, strict=True))


class TestReading:
    def test_log_and_log_txt_of_the_legacy_program_say_the_same(self, shared_golden):
        results = shared_golden / "results" / "AlexNet_2026"
        whole, log, txt = (read_results([source])[0] for source in (results, results / "log", results / "log.txt"))
        for name in ("main/loss", "validation/main/loss"):
            assert curve(whole, name) == curve(log, name) == curve(txt, name)
        assert len(whole.series["main/loss"].values) == 30
        assert curve(whole)[0] == (10, 0.028039153292775156)
        assert curve(whole, "validation/main/loss")[-1] == (300, 0.00029921630630269647)
        assert whole.series["main/loss"].iterations[-1] == 900
        assert (whole.label, whole.notes) == ("AlexNet_2026", ())

    def test_lines_of_json_are_read_up_to_the_damage(self, folder):
        run = folder(log=lines((1, 10, 0.5), (2, 20, 0.25)) + '{"epoch": 3, "iter')
        assert curve(read_results([run])[0]) == [(1, 0.5), (2, 0.25)]

    def test_entries_within_an_epoch_lie_between(self, folder):
        run = folder(log=lines((0, 2, 0.9), (0, 4, 0.8), (1, 6, 0.7), (1, 8, 0.6), (2, 12, 0.5)))
        epochs = [epoch for epoch, _ in curve(read_results([run])[0])]
        assert epochs == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 2])

    def test_so_they_do_where_an_epoch_has_no_whole_number_of_iterations(self, folder):
        """Of 10 persons in batches of 4 an epoch has two and a half."""
        run = folder(log=lines(*((iteration * 4 // 10, iteration, 0.5) for iteration in range(1, 11))))
        epochs = [epoch for epoch, _ in curve(read_results([run])[0])]
        assert epochs == pytest.approx([iteration * 0.4 for iteration in range(1, 11)])

    def test_iterations_that_fit_no_epoch_length_leave_whole_epochs(self, folder):
        run = folder(log=lines((0, 2, 0.9), (0, 9, 0.8), (1, 11, 0.7), (3, 12, 0.6), (3, 13, 0.6)))
        assert [epoch for epoch, _ in curve(read_results([run])[0])] == [0, 0, 1, 3, 3]

    def test_lines_of_earlier_programs_are_understood(self, folder):
        old = "INFO:root:training epoch:1 loss: 0.25\nINFO:root:test epoch:1 loss: 0.5\nINFO:root:epoch:2 done\n"
        (run,) = read_results([folder(log_txt=old)])
        assert curve(run) == [(1, 0.25)]
        assert curve(run, "validation/main/loss") == [(1, 0.5)]

    def test_evaluations_of_a_watched_training_are_curves_too(self, folder):
        run = folder(log=lines((1, 10, 0.5), (2, 20, 0.25)))
        (run / "evaluations").write_text(
            '{"checkpoint": "epoch-2.pt", "loss": 0.3, "mean_error_px": 7.5, "pdj": {"0.2": {"mean": 0.5}}}\n'
            '{"checkpoint": "epoch-1.pt", "loss": 0.4, "mean_error_px": null, "pdj": null, "pcp": {"mean": 0.25}}\n'
            f'{{"checkpoint": "epoch-{"9" * 400}.pt", "loss": 0.1}}\n'  # of nobody's training
        )
        for source in (run, run / "evaluations"):
            (read,) = read_results([source])
            assert curve(read, "evaluation/loss") == [(1, 0.4), (2, 0.3)]
            assert curve(read, "evaluation/mean_error_px") == [(2, 7.5)]
            assert curve(read, "evaluation/pdj@0.2") == [(2, 0.5)]
            assert curve(read, "evaluation/pcp") == [(1, 0.25)]

    def test_loss_that_is_not_finite_is_said_and_null(self, folder):
        (run,) = read_results([folder(log_txt=text((1, 0.5), (2, "inf"), (3, "nan")))])
        assert run.notes == ("run: main/loss is not finite at 2 of 3 points, from epoch 2",)
        assert run.as_dict()["series"]["main/loss"]["value"] == [0.5, None, None]

    def test_what_is_no_number_is_left_out(self, folder):
        odd = [
            {"epoch": "one", "main/loss": 1},
            {"epoch": 10**400, "main/loss": 1},
            {"epoch": 1, "main/loss": 10**400},
            {"epoch": 1, "iteration": "x", "main/loss": 2, "by": [1]},
            7,
            {"epoch": 2},
        ]
        run = folder(log=json.dumps([*odd, {"epoch": math.nan, "main/loss": 3}]))
        (read,) = read_results([run])
        assert curve(read) == [(1, 2)]
        assert set(read.series) == {"main/loss"}

    @pytest.mark.parametrize(
        "content",
        ["", "nothing\n", "[]", "{}", "\0\1\2", "epoch:1\n", "[" * 100_000, f"epoch:{'9' * 5000}, main/loss:1, \n"],
        ids=range(8),
    )
    def test_files_without_a_loss_are_refused(self, folder, content):
        run = folder(log=content)
        with pytest.raises(
            ValueError, match=r"run: there is no log, log\.txt or evaluations with a loss in this folder"
        ):
            read_results([run])
        with pytest.raises(ValueError, match=r"log: there is no loss in it"):
            read_results([run / "log"])

    def test_missing_results_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match="gone: there is no such file; name a training's result folder"):
            read_results([tmp_path / "gone"])

    def test_labels_tell_folders_of_one_name_apart(self, tmp_path):
        for name in ("a/lsp", "b/lsp", "flic"):
            (tmp_path / name).mkdir(parents=True)
            (tmp_path / name / "log").write_text(lines((1, 1, 0.5)))
        runs = read_results([tmp_path / "a/lsp", tmp_path / "b/lsp/log", tmp_path / "flic"])
        assert [run.label for run in runs] == ["a/lsp", "b/lsp", "flic"]


class TestJoining:
    def test_legacy_run_that_resumed_is_counted_on_from_its_checkpoint(self, folder):
        first = text((1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6))
        second = text((1, 0.5), (2, 0.4), resumed="results/A/epoch-3.model")
        (run,) = read_results([folder(log_txt=first + second)])
        assert curve(run) == [(1, 0.9), (2, 0.8), (3, 0.7), (4, 0.5), (5, 0.4)]
        assert len(run.notes) == 1
        assert "counts its epochs anew (its first entry is of epoch 1); they are counted on from 3" in run.notes[0]

    def test_resumed_legacy_run_counts_on_even_where_its_epochs_do_not_go_back(self, folder):
        first, second = text((1, 0.9), (2, 0.8)), text((3, 0.5), (6, 0.4), resumed="epoch-2.model")
        (run,) = read_results([folder(log_txt=first + second)])
        assert curve(run)[2:] == [(5, 0.5), (8, 0.4)]

    def test_log_has_only_the_last_run_of_a_resumed_legacy_folder(self, folder):
        second = ((1, 0.5), (2, 0.4))
        logged = [{"epoch": e, "iteration": 10 * e, "main/loss": loss} for e, loss in second]
        txt = text((1, 0.9), (2, 0.8)) + text(*second, resumed="x.model")
        (run,) = read_results([folder(log_txt=txt, log=json.dumps(logged))])
        assert curve(run) == [(1, 0.9), (2, 0.8), (3, 0.5), (4, 0.4)]
        assert "counted on from 2" in run.notes[0]

    def test_our_run_that_resumed_replaces_what_it_repeats(self, folder):
        first = text((1, 0.9), (2, 0.8), (3, 0.7)).replace("resume_model", "resume")
        second = text((3, 0.6), (4, 0.5), resumed="results/lsp").replace("resume_model", "resume")
        (run,) = read_results([folder(log_txt=first + second)])
        assert curve(run) == [(1, 0.9), (2, 0.8), (3, 0.6), (4, 0.5)]
        assert "a resumed run repeats from epoch 3 on; 1 earlier entry is left out" in run.notes[0]

    def test_our_run_that_resumed_from_its_start_replaces_everything(self, folder):
        first = text((2, 0.9), (3, 0.8)).replace("resume_model", "resume")
        second = text((2, 0.7), resumed="results/lsp/epoch-1.pt").replace("resume_model", "resume")
        (run,) = read_results([folder(log_txt=first + second)])
        assert curve(run) == [(2, 0.7)]

    def test_log_that_was_gone_on_with_needs_no_joining(self, folder):
        ours = text((1, 0.9), (2, 0.8)) + text((3, 0.7), resumed="results/lsp")
        whole = lines((1, 10, 0.9), (2, 20, 0.8), (3, 30, 0.7))
        (run,) = read_results([folder(log_txt=ours.replace("resume_model", "resume"), log=whole)])
        assert curve(run) == [(1, 0.9), (2, 0.8), (3, 0.7)]
        assert run.notes == ()

    def test_log_that_goes_back_is_joined_by_iterations(self, folder):
        (run,) = read_results([folder(log=lines((1, 10, 0.9), (1, 15, 0.8), (2, 20, 0.7), (1, 15, 0.6), (2, 20, 0.5)))])
        assert [value for _, value in curve(run)] == [0.9, 0.6, 0.5]
        assert "a resumed run repeats from iteration 15 on; 2 earlier entries are left out" in run.notes[0]

    def test_runs_that_did_not_resume_each_other_stay_apart(self, folder):
        runs = read_results([folder(log_txt=text((1, 0.9), (2, 0.8)) + text((1, 0.7)))])
        assert [run.label for run in runs] == ["run (1)", "run (2)"]
        assert [curve(run) for run in runs] == [[(1, 0.9), (2, 0.8)], [(1, 0.7)]]

    def test_folders_are_one_run_where_that_is_asked_for(self, folder):
        first = folder("first", log_txt=text((1, 0.9), (2, 0.8)))
        second = folder("second", log_txt=text((1, 0.7), resumed="results/first/epoch-2.model"))
        assert [curve(run) for run in read_results([first, second])] == [[(1, 0.9), (2, 0.8)], [(1, 0.7)]]
        (run,) = read_results([first, second], join=True)
        assert curve(run) == [(1, 0.9), (2, 0.8), (3, 0.7)]
        assert (run.label, run.sources) == ("first", (first, second))

    def test_iterations_are_counted_on_too(self, folder):
        first, second = folder("a", log=lines((1, 10, 0.9), (2, 20, 0.8))), folder("b", log=lines((1, 10, 0.7)))
        (run,) = read_results([first, second], join=True)
        assert run.series["main/loss"].iterations == (10, 20, 30)

    def evaluations(self, folder, *entries):
        """Writes what `watch` found: (epoch, loss) each."""
        told = [{"checkpoint": f"epoch-{epoch}.pt", "loss": loss} for epoch, loss in entries]
        (folder / "evaluations").write_text("".join(json.dumps(entry) + "\n" for entry in told))
        return folder

    def test_evaluations_of_a_resumed_run_stay_at_their_epochs(self, folder):
        first = text((1, 0.9), (2, 0.8), (3, 0.7)).replace("resume_model", "resume")
        second = text((3, 0.6), (4, 0.5), resumed="results/lsp").replace("resume_model", "resume")
        watched = ((1, 0.95), (2, 0.85), (3, 0.65), (4, 0.55))
        (run,) = read_results([self.evaluations(folder(log_txt=first + second), *watched)])
        assert curve(run) == [(1, 0.9), (2, 0.8), (3, 0.6), (4, 0.5)]
        assert curve(run, "evaluation/loss") == list(watched)

    def test_checkpoint_that_was_evaluated_again_counts_once(self, folder):
        resumed = folder(log=lines((1, 10, 0.9), (2, 20, 0.8), (2, 20, 0.7)))
        (run,) = read_results([self.evaluations(resumed, (2, 0.85), (1, 0.95), (2, 0.75))])
        assert curve(run, "evaluation/loss") == [(1, 0.95), (2, 0.75)]

    def test_evaluations_behind_the_training_do_not_set_it_back(self, folder):
        first = self.evaluations(folder("first", log_txt=text((1, 0.9), (2, 0.8), (3, 0.7))), (1, 0.95))
        second = self.evaluations(folder("second", log_txt=text((1, 0.6))), (1, 0.65))
        (run,) = read_results([first, second], join=True)
        assert curve(run) == [(1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6)]
        assert curve(run, "evaluation/loss") == [(1, 0.95), (4, 0.65)]


class TestDrawing:
    @pytest.fixture
    def run(self):
        def series(*values):
            return Series(tuple(range(1, len(values) + 1)), (None,) * len(values), values)

        return Curves(
            "lsp",
            (),
            {
                "main/loss": series(1.0, 0.1, 0.001),
                "validation/main/loss": series(0.5, math.nan, 0.3),
                "validation/main/pdj@0.2": series(0.1, 0.2, 0.9),
                "validation/main/mean_error_px": series(30.0, 20.0, 10.0),
                "waiting": series(0.1, 0.1, 0.1),
            },
        )

    @pytest.fixture
    def alone(self, run):
        """A run of one panel, which is drawn in a third of the time."""
        return Curves("lsp", (), {"main/loss": run.series["main/loss"]})

    @pytest.mark.parametrize(
        ("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89P")]
    )
    def test_format_is_that_of_the_suffix(self, alone, tmp_path, suffix, magic):
        path = draw_curves([alone], tmp_path / f"curves.{suffix}")
        assert path.read_bytes().startswith(magic)
        assert [file.name for file in tmp_path.iterdir()] == [f"curves.{suffix}"]

    def test_axes_and_curves_are_named(self, run, alone, tmp_path):
        picture = draw_curves([run], tmp_path / "one.svg").read_text()
        for name in (
            "epoch",
            "loss",
            "mean error, px",
            "fraction",
            "training loss",
            "validation loss",
            "validation PDJ@0.2",
        ):
            assert f">{name}</text>" in picture
        assert "waiting" not in picture
        two = draw_curves([alone, Curves("flic", (), alone.series)], tmp_path / "two.svg").read_text()
        assert ">lsp: training loss</text>" in two
        assert ">flic: training loss</text>" in two
        moves = Curves("lsp", (), {"movement": run.series["validation/main/pdj@0.2"]})
        three = draw_curves([moves], tmp_path / "three.svg").read_text()
        assert ">movement of the answers</text>" in three
        assert ">movement / that of the joints</text>" in three

    def test_losses_over_decades_have_a_logarithmic_scale(self, alone, tmp_path):
        decades = draw_curves([alone], tmp_path / "a.svg").read_text()
        flat = Series((1, 2), (None, None), (0.5, 0.4))
        linear = draw_curves([Curves("lsp", (), {"main/loss": flat})], tmp_path / "b.svg").read_text()
        assert "10^{-2}" in decades or "mathdefault{10" in decades
        assert "10^{" not in linear
        assert "mathdefault{10" not in linear

    def test_title_names_the_trainings(self, alone, tmp_path):
        assert (
            ">lsp, flic</text>"
            in draw_curves([alone, Curves("flic", (), alone.series)], tmp_path / "a.svg").read_text()
        )
        many = [Curves(f"a training with a long name {i}", (), alone.series) for i in range(3)]
        assert ">3 trainings</text>" in draw_curves(many, tmp_path / "b.svg").read_text()

    def test_rate_that_never_changes_is_a_line_and_no_panel(self, alone, tmp_path):
        constant, falling = (Series((1, 2, 3), (None,) * 3, rates) for rates in ((0.001,) * 3, (0.01, 0.005, 0.001)))
        fixed, moving = (Curves(alone.label, (), {**alone.series, "lr": rate}) for rate in (constant, falling))
        picture = draw_curves([fixed], tmp_path / "a.svg").read_text()
        assert ">learning rate 0.001</text>" in picture
        assert picture.count('id="axes_') == 1
        picture = draw_curves([moving], tmp_path / "b.svg").read_text()
        assert ">learning rate</text>" in picture
        assert picture.count('id="axes_') == 2
        same, other = (
            Curves("flic", (), {**alone.series, "lr": Series((1,), (None,), (rate,))}) for rate in (0.001, 0.02)
        )
        assert ">learning rate 0.001</text>" in draw_curves([fixed, same], tmp_path / "c.svg").read_text()
        told = draw_curves([fixed, other], tmp_path / "e.svg").read_text()
        assert ">lsp: learning rate 0.001, flic: learning rate 0.02</text>" in told
        alone = Curves("lsp", (), {"lr": constant})
        assert 'id="axes_1"' in draw_curves([alone], tmp_path / "d.svg").read_text()

    def test_a_run_has_one_colour_in_every_panel(self, run, tmp_path, monkeypatch):
        drawn = []
        plain = matplotlib.axes.Axes.plot

        def plot(self, *arguments, **options):
            drawn.append((options["label"], options["color"], options["linestyle"], options["marker"]))
            return plain(self, *arguments, **options)

        monkeypatch.setattr(matplotlib.axes.Axes, "plot", plot)
        draw_curves([run, Curves("flic", (), run.series)], tmp_path / "a.svg")
        for label in ("lsp", "flic"):
            assert len({colour for name, colour, *_ in drawn if name.startswith(label)}) == 1
        assert len(drawn) == len(set(drawn)) == 8
        of_losses = {tuple(how) for name, *how in drawn if name.endswith(" loss")}
        assert len(of_losses) == 4, "training and validation are told apart"

    def test_same_curves_are_the_same_bytes(self, run, alone, tmp_path):
        for suffix, drawn in (("svg", run), ("pdf", alone), ("png", alone)):
            first, second = (draw_curves([drawn], tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
            assert first == second

    def test_picture_is_large_enough_to_read(self, run, tmp_path):
        picture = cv2.imread(str(draw_curves([run], tmp_path / "a.png")))
        assert picture.shape[1] == 1200
        assert picture.shape[0] > 1200  # three panels

    def test_an_evaluations_loss_says_that_it_is_of_squares(self):
        assert curve_title("evaluation/loss") == "evaluation mean squared loss"
        assert curve_title("validation/main/loss") == "validation loss"

    def test_few_epochs_are_whole_numbers(self, tmp_path):
        run = Curves("lsp", (), {"main/loss": Series((1, 2, 3), (None,) * 3, (100.0, 90.0, 110.0))})
        ticks = re.findall(r">([0-9.]+)</text>", draw_curves([run], tmp_path / "a.svg").read_text())
        assert [tick for tick in ticks if float(tick) < 10] == ["1", "2", "3"]

    @pytest.mark.parametrize("name", ["curves", "curves.jpg", "curves.svg.gz"])
    def test_other_suffixes_are_refused(self, run, tmp_path, name):
        with pytest.raises(ValueError, match="curves are written as png, svg, pdf, told by the suffix"):
            draw_curves([run], tmp_path / name)

    def test_file_that_exists_is_replaced_only_with_force(self, alone, tmp_path):
        (tmp_path / "a.png").write_text("mine")
        with pytest.raises(ValueError, match=r"a\.png: it exists already"):
            draw_curves([alone], tmp_path / "a.png")
        assert (tmp_path / "a.png").read_text() == "mine"
        draw_curves([alone], tmp_path / "a.png", force=True)
        assert (tmp_path / "a.png").read_bytes() != b"mine"

    def test_nothing_to_draw_is_refused(self, run, tmp_path):
        with pytest.raises(ValueError, match="there is no curve to draw; the logs have waiting"):
            draw_curves([Curves("x", (), {"waiting": run.series["waiting"]})], tmp_path / "a.png")

    def test_pyplot_stays_out(self, folder, tmp_path):
        results = folder(log=lines((1, 10, 0.5), (2, 20, 0.25)))
        code = (
            "import sys; from deeppose_port.training.curves import read_results; "
            "from deeppose_port.drawing.plot import draw_curves; "
            f"draw_curves(read_results([{str(results)!r}]), {str(tmp_path / 'a.png')!r}); "
            "print({'matplotlib.pyplot', 'torch', 'chainer'} & set(sys.modules))"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert result.stdout == "set()\n"


class TestCommand:
    def test_curves_are_drawn_and_summed_up(self, folder, tmp_path, capsys):
        run = folder(log_txt=text((1, 0.9), (2, 0.25), (3, 0.5)) + text((1, 0.4), resumed="a/epoch-3.model"))
        assert main(["plot", str(run), "-o", str(tmp_path / "a.png")]) == 0
        captured = capsys.readouterr()
        ((_, *row),) = tables_of(captured.out)
        assert row == [["run", "training loss", "4", "1 to 4", "0.4", "0.25", "2"]]
        assert "note: " in captured.err
        assert (tmp_path / "a.png").is_file()

    def test_table_has_words_and_units(self, folder, tmp_path, capsys):
        entries = [
            {"epoch": epoch, "main/loss": 0.5, "validation/main/mean_error_px": px, "validation/main/pdj@0.2": fraction}
            for epoch, px, fraction in ((1, 12.0, 0.25), (2, 9.5, 0.75), (3, 10.0, 0.5))
        ]
        assert main(["plot", str(folder(log=json.dumps(entries))), "-o", str(tmp_path / "a.png")]) == 0
        ((_, *rows),) = tables_of(capsys.readouterr().out)
        assert [row[1:] for row in rows] == [
            ["training loss", "3", "1 to 3", "0.5", "0.5", "1"],
            ["validation mean error", "3", "1 to 3", "10.00 px", "9.50 px", "2"],
            ["validation PDJ@0.2", "3", "1 to 3", "50.0 %", "75.0 %", "2"],
        ]

    def test_json_prints_the_series_and_draws_only_where_it_is_asked_to(self, folder, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        run = folder(log=lines((1, 10, 0.5), (2, 20, 0.25)))
        assert main(["plot", str(run), "--json"]) == 0
        values = json.loads(capsys.readouterr().out)
        assert values["output"] is None
        series = values["runs"][0]["series"]["main/loss"]
        assert series == {"epoch": [1, 2], "iteration": [10, 20], "value": [0.5, 0.25]}
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
        assert main(["plot", str(run)]) == 0
        assert (tmp_path / "curves.png").is_file()

    def test_target_is_refused_before_the_logs_are_read(self, tmp_path, capsys):
        assert main(["plot", str(tmp_path / "gone"), "-o", "a.jpg"]) == 2
        assert "told by the suffix" in capsys.readouterr().err
