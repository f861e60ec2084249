import json
import math
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import converters
from converters.errors import DeepPoseError
from deeppose_port.cli import main
from deeppose_port.data import PoseDataset, read_csv, skeletons
from deeppose_port.data.prepare import PrepareError, _matfile, checks, engine, matlab, pictures, prepare
from deeppose_port.data.prepare.source import Annotation, Source
from deeppose_port.data.references import path_beside
from deeppose_port.metrics.evaluation import evaluation_of
from deeppose_port.metrics.predictions import Predictions
from tests.helpers.matfiles import (
    element,
    mat5,
    matrix_header,
    nested_cells,
    read_here,
    structs,
    write_flic,
    write_pictures,
)
from tests.helpers.metrics import pdj
from tests.helpers.networks import random_checkpoint

#: Pieces of a MATLAB 5 file: the number 4, a function, and the name of a struct's only field.
NUMBER = element(14, matrix_header(6, (1, 1)) + element(9, struct.pack("<d", 4)))
FUNCTION = element(14, matrix_header(16, (1, 1)) + NUMBER)
FIELD = element(5, struct.pack("<i", 32)) + element(1, b"act".ljust(32, b"\0"))
HDF5 = b"\x89HDF\r\n\x1a\n"


def persons(count, seed=0):
    """Coordinates of FLIC's persons inside pictures of 100 x 80, left and right alike."""
    return np.random.RandomState(seed).uniform(5, 75, (count, 2, 29))


@pytest.fixture
def flic(tmp_path):
    """Writes FLIC as its authors ship it: examples.mat, tr_plus_indices.mat and images."""

    def build(coords=None, names=None, shown=None, indices=None):
        coords = persons(12) if coords is None else coords
        names = names or [f"film-{i // 2}-{i:05}.jpg" for i in range(len(coords))]
        folder = tmp_path / "FLIC-full"
        folder.mkdir(exist_ok=True)
        write_flic(folder / "examples.mat", coords, names)
        indices = list(range(1, len(coords) - 2)) if indices is None else indices
        savemat(folder / "tr_plus_indices.mat", {"tr_plus_indices": np.array([indices]).T})
        write_pictures(folder / "images", names if shown is None else shown)
        return folder

    return build


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(matlab, "read", read_here)


def counts(result):
    return {row.what: row.count for row in result.rows}


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def is_noted(result, phrase):
    return any(phrase in note for note in result.notes)


class TestMatlabFiles:
    def test_plain_values_are_what_was_written(self, tmp_path):
        value = {"text": "abc", "none": "", "number": 2.5, "array": np.arange(6).reshape(2, 3), "cells": None}
        value["cells"] = np.array(["a", 3.0], object)
        savemat(tmp_path / "a.mat", {"value": value, "other": 1})
        (read,) = matlab.read(tmp_path / "a.mat", "value")
        assert read == {
            "text": "abc",
            "none": "",
            "number": [[2.5]],
            "array": [[0, 1, 2], [3, 4, 5]],
            "cells": ["a", [[3.0]]],
        }

    @pytest.mark.parametrize("content", [b"MATLAB 7.3 MAT-file".ljust(512) + HDF5, HDF5])
    def test_version_7_3_is_refused_with_the_way_out(self, tmp_path, content):
        (tmp_path / "a.mat").write_bytes(content)
        with pytest.raises(PrepareError, match=r"a\.mat: it was saved as MATLAB 7\.3, which is HDF5; .*'-v7'"):
            matlab.read(tmp_path / "a.mat", "x")

    @pytest.mark.parametrize(
        ("content", "phrase"),
        [
            pytest.param(b"", "damaged or no MATLAB file", id="empty"),
            pytest.param(b"x" * 500, "damaged or no MATLAB file", id="text"),
            pytest.param(mat5(b""), "there is no variable `x` in it, only none", id="nothing in it"),
            pytest.param(mat5(element(14, matrix_header(6, (1, 9), b"x"))), "damaged", id="cut short"),
        ],
    )
    @pytest.mark.usefixtures("in_this_process")
    def test_damaged_files_are_refused_by_name(self, tmp_path, content, phrase):
        (tmp_path / "a.mat").write_bytes(content)
        with pytest.raises(PrepareError, match=rf"a\.mat: .*({phrase})"):
            matlab.read(tmp_path / "a.mat", "x")

    @pytest.mark.parametrize(
        ("content", "phrase"),
        [
            pytest.param(
                mat5(element(14, matrix_header(1, (1, 2**31 - 1), b"x"))), "2,147,483,647 numbers", id="16 GB of cells"
            ),
            pytest.param(
                mat5(element(14, matrix_header(1, (1, 1), b"x") + element(14, matrix_header(1, (1, 2**31 - 1))))),
                "more than 3 GB",
                id="16 GB of cells in a cell",
            ),
            pytest.param(
                mat5(nested_cells(100_000)),
                r"reading it crashed \(SIG\w+\)|it cannot be read: RecursionError",
                id="nested deeply",
            ),
        ],
    )
    def test_hostile_files_are_refused_by_name(self, tmp_path, content, phrase):
        (tmp_path / "a.mat").write_bytes(content)
        with pytest.raises(PrepareError, match=rf"a\.mat: .*({phrase})"):
            matlab.read(tmp_path / "a.mat", "x")

    def test_a_bomb_of_numbers_takes_little_memory(self, tmp_path):
        """Each is read with what reads such files, all in one process: SciPy's import takes longer than they do."""
        bombs = {
            # 7 million zeros are 59 MB in MATLAB, 60 kB in the file, and 290 MB as Python's numbers.
            "numbers": (np.zeros((14, 3, 175_000)), 1 << 21, "`x` has 7,350,000 numbers, which no annotations have"),
            "an array": (np.zeros((14, 3, 175_000)), 1 << 18, "it has more than 16 MB when it is decompressed"),
            "structs": (structs({name: np.zeros(2_250_000) for name in "ab"}), 1 << 21, "more values up to `x.a` than"),
            "in all": (structs({name: np.zeros(250_000) for name in "abcdefghi"}), 1 << 21, "up to `x.i` than any"),
            "as many as there may be": (structs({name: np.zeros(250_000) for name in "abcdefg"}), 1 << 21, None),
        }
        for name, (content, _, _) in bombs.items():
            savemat(tmp_path / name, {"x": content}, do_compression=True, appendmat=False)
            assert (tmp_path / name).stat().st_size < 75_000
        code = f"""
            import sys, scipy.io
            peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
            before = peak()
            sys.path.insert(0, {str(Path(_matfile.__file__).parent)!r})
            import _matfile
            for path, most in {[(str(tmp_path / name), str(most)) for name, (_, most, _) in bombs.items()]}:
                sys.argv[1:] = [path, "x", most]
                _matfile.main()
                print()
                assert peak() - before < 150_000_000, (path, peak() - before)
        """
        run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
        for (name, (_, _, phrase)), line in zip(bombs.items(), run.stdout.splitlines(), strict=True):
            answer = json.loads(line)
            if phrase:
                assert phrase in answer["error"], name
            else:
                assert [len(answer["value"][0][key][0]) for key in "abcdefg"] == [250_000] * 7

    def test_what_is_endless_when_decompressed_is_counted_first(self, tmp_path):
        savemat(tmp_path / "a.mat", {"x": np.zeros(1 << 14)}, do_compression=True)
        assert len(read_here(tmp_path / "a.mat", "x", 1 << 14)[0]) == 1 << 14
        savemat(tmp_path / "a.mat", {"y": np.zeros(1 << 18), "x": 1.0}, do_compression=True)
        with pytest.raises(PrepareError, match=r"a\.mat: it has more than 1 MB when it is decompressed"):
            read_here(tmp_path / "a.mat", "x", 1 << 14)

    @pytest.mark.parametrize(
        ("content", "place"),
        [
            pytest.param(matrix_header(3, (1, 1), b"x") + element(1, b"Evil") + FIELD + NUMBER, "`x`", id="object"),
            pytest.param(matrix_header(16, (1, 1), b"x") + NUMBER, "`x`", id="function"),
            pytest.param(matrix_header(2, (1, 1), b"x") + FIELD + FUNCTION, "`x.act`", id="function in a struct"),
            pytest.param(matrix_header(1, (1, 1), b"x") + FUNCTION, "`x{}`", id="function in a cell"),
        ],
    )
    @pytest.mark.usefixtures("in_this_process")
    def test_object_is_refused_by_its_place(self, tmp_path, content, place):
        (tmp_path / "a.mat").write_bytes(mat5(element(14, content)))
        with pytest.raises(PrepareError, match=rf"a\.mat: {place} is an object \(Matlab(Object|Function)\), which"):
            matlab.read(tmp_path / "a.mat", "x")

    def test_modules_of_the_working_folder_are_not_run(self, tmp_path, monkeypatch):
        (tmp_path / "scipy.py").write_text("open('ran', 'w')")
        (tmp_path / "json.py").write_text("open('ran', 'w')")
        savemat(tmp_path / "a.mat", {"x": 1.0})
        monkeypatch.chdir(tmp_path)
        assert matlab.read(tmp_path / "a.mat", "x") == [[1.0]]
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        ("value", "number"),
        [
            ([[3]], 3),
            ("1", 1),
            (" 2 ", 2),
            (True, 1),
            ([], None),
            ("", None),
            ("x", None),
            ([1, 2], None),
            (None, None),
        ],
    )
    def test_number_is_found_in_whatever_holds_it(self, value, number):
        assert matlab.number(value) == number


class TestPictures:
    def test_header_gives_the_size_as_the_picture_is_decoded(self, tmp_path):
        image = Image.new("RGB", (30, 20))
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            image.save(tmp_path / f"{orientation}.jpg", exif=exif)
        names = [f"{i}.jpg" for i in range(1, 9)]
        decoded = {name: cv2.imread(str(tmp_path / name)).shape[1::-1] for name in names}
        assert pictures.sizes(tmp_path, names) == decoded
        assert set(decoded.values()) == {(30, 20), (20, 30)}

    @pytest.mark.parametrize(("suffix", "cut"), [(".jpg", 1), (".jpg", 9000), (".png", 1), (".png", 9000)])
    def test_truncated_picture_is_found_when_it_is_decoded(self, tmp_path, suffix, cut):
        noise = np.random.RandomState(0).randint(0, 256, (200, 200, 3), np.uint8)
        name = f"a{suffix}"
        (tmp_path / name).write_bytes(cv2.imencode(suffix, noise)[1].tobytes()[:-cut])
        if suffix == ".jpg":  # of which the header alone is read
            assert pictures.sizes(tmp_path, [name]) == {name: (200, 200)}
        assert pictures.sizes(tmp_path, [name], verify=True) == {name: "the picture cannot be decoded"}

    def test_decoding_gives_the_size_of_the_header(self, tmp_path):
        image, exif = Image.new("RGB", (30, 20)), Image.Exif()
        exif[0x0112] = 6
        image.save(tmp_path / "turned.jpg", exif=exif)
        image.save(tmp_path / "straight.png")
        names = ["turned.jpg", "straight.png", "missing.jpg"]
        assert pictures.sizes(tmp_path, names, verify=True) == pictures.sizes(tmp_path, names)

    @pytest.mark.parametrize(("content", "problem"), [(b"", "cannot be decoded"), (b"GIF", "cannot be decoded")])
    def test_what_is_no_picture_says_so(self, tmp_path, content, problem):
        (tmp_path / "a.jpg").write_bytes(content)
        found = pictures.sizes(tmp_path, ["a.jpg", "b.jpg"])
        assert problem in found["a.jpg"]
        assert found["b.jpg"] == "there is no such picture"

    def test_progress_ends_at_the_number_of_pictures(self, tmp_path):
        seen = []
        pictures.sizes(tmp_path, [f"{i}" for i in range(600)], progress=lambda *step: seen.append(step))
        assert seen == [(256, 600), (512, 600), (600, 600)]


class TestEngine:
    @pytest.fixture
    def ray(self, monkeypatch):
        """Something that behaves as Ray does, and notes what it is asked."""
        asked = []

        def task(function):
            return SimpleNamespace(remote=lambda shard: asked.append(shard) or (function, shard))

        def wait(running, num_returns):
            asked.append(f"{len(running)} running")
            return running[-1:], running[:-1]

        fake = SimpleNamespace(
            is_initialized=lambda: False,
            init=lambda **options: asked.append("init"),
            shutdown=lambda: asked.append("shutdown"),
            remote=task,
            wait=wait,
            get=lambda future: future[0](future[1]),
        )
        monkeypatch.setitem(sys.modules, "ray", fake)
        return asked

    @pytest.mark.parametrize("jobs", [1, 3, 50])
    def test_results_are_in_the_order_of_the_shards(self, jobs):
        steps = []
        results = engine.run(lambda shard: shard * 2, range(9), jobs=jobs, progress=lambda *step: steps.append(step))
        assert results == list(range(0, 18, 2))
        assert steps == [(i, 9) for i in range(1, 10)]

    def test_ray_runs_the_same_function_at_most_jobs_at_a_time(self, ray):
        results = engine.run(lambda shard: shard * 2, range(5), jobs=2, engine="ray")
        assert results == [0, 2, 4, 6, 8]
        assert (ray[0], ray[-1]) == ("init", "shutdown")
        assert [entry for entry in ray if isinstance(entry, int)] == list(range(5))
        assert {entry for entry in ray if "running" in str(entry)} == {"1 running", "2 running"}

    def test_ray_that_runs_already_is_left_running(self, ray, monkeypatch):
        monkeypatch.setattr(sys.modules["ray"], "is_initialized", lambda: True)
        engine.run(lambda shard: shard, [1], jobs=1, engine="ray")
        assert not {"init", "shutdown"} & set(ray)

    def test_missing_ray_says_how_it_is_installed(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(PrepareError, match=r"pip install 'deeppose-port\[ray\]'"):
            engine.run(str, [1], jobs=1, engine="ray")

    @pytest.mark.parametrize(("options", "phrase"), [({"jobs": 0}, "1 or more"), ({"engine": "dask"}, "threads, ray")])
    def test_wrong_options_are_refused(self, options, phrase):
        with pytest.raises(PrepareError, match=phrase):
            engine.run(str, [1], **{"jobs": 1, **options})

    @pytest.mark.parametrize("by", ["threads", "ray"])
    def test_error_in_a_shard_is_raised(self, ray, by):
        with pytest.raises(ZeroDivisionError):
            engine.run(lambda shard: 1 // shard, [1, 0, 1], jobs=2, engine=by)


def test_what_is_not_finite_in_a_mat_is_not_annotated():
    numbers = matlab.as_numbers([[1, math.inf], [-math.inf, math.nan]], "a.mat: `joints`")
    assert np.isnan(numbers).tolist() == [[False, True], [True, True]]
    assert numbers[0, 0] == 1


@pytest.mark.usefixtures("in_this_process")
class TestChecks:
    def test_persons_without_their_picture_are_left_out_and_counted(self, flic, out):
        names = [f"{i}.jpg" for i in range(12)]
        folder = flic(names=names, shown=names[:11])
        (folder / "images" / "4.jpg").write_bytes(b"\xff\x00no picture")
        result = prepare("flic", folder, out)
        left_out = sorted((row for row in result.rows if "left out" in row.what), key=lambda row: row.what)
        broken, missing = left_out
        assert (missing.what, missing.count, missing.why) == ("left out: there is no such picture", 1, "11.jpg")
        assert (broken.what, broken.count) == ("left out: the picture cannot be decoded", 1)
        assert broken.why.startswith("4.jpg: it is no picture")
        files = [p.file for p in read_csv(out / "train_joints.csv") + read_csv(out / "test_joints.csv")]
        assert sorted(files) == sorted(name for name in names if name not in ("4.jpg", "11.jpg"))

    def test_truncated_pictures_persons_are_left_out_by_name_with_verify(self, flic, out):
        folder = flic()
        paths = sorted((folder / "images").iterdir())[:4]
        for cut, path in enumerate(paths, 20):
            path.write_bytes(path.read_bytes()[:-cut])
        assert sum(prepare("flic", folder, out).persons.values()) == 12
        result = prepare("flic", folder, out, verify=True, force=True)
        assert sum(result.persons.values()) == 8
        (row,) = (row for row in result.rows if "decoded" in row.what)
        assert row.count == 4
        assert sum(path.name in row.why for path in paths) == 3
        assert row.why.endswith(" and 1 more")

    def test_joints_outside_the_picture_are_kept_and_counted(self, flic, out):
        coords = persons(12)
        coords[2, 0, 2] = 100.5
        coords[3, 1, [0, 1]] = -0.5
        coords[4, :, 1] = [100, 80]
        result = prepare("flic", flic(coords), out)
        (row,) = (row for row in result.rows if "outside" in row.what)
        assert (row.count, row.why.split()[0]) == (2, "3")
        assert sum(result.persons.values()) == 12

    def test_persons_with_nothing_to_crop_are_left_out(self, flic, out):
        coords = persons(12)
        coords[2] = 30
        coords[3] += 500
        coords[4] = np.nan
        coords[5, 0, 2] = 1e9
        result = prepare("flic", flic(coords), out)
        assert counts(result)["left out: a joint is beyond any picture"] == 1
        assert counts(result)["left out: the joints span no area to crop"] == 1
        assert counts(result)["left out: nothing of the picture is around the joints"] == 1
        assert counts(result)["left out: fewer than 1 joints"] == 1
        for name in ("train", "test"):
            dataset = PoseDataset(out / f"{name}_joints.csv", images=flic() / "images", skeleton="flic")
            assert all(dataset.view(i).crop.width for i in range(len(dataset)))

    def test_min_joints_leaves_out_persons_with_fewer(self, flic, out):
        coords = persons(12)
        coords[3, :, 2] = np.nan
        assert sum(prepare("flic", flic(coords), out).persons.values()) == 12
        result = prepare("flic", flic(coords), out, min_joints=7, force=True)
        assert counts(result)["left out: fewer than 7 joints"] == 1

    def test_limbs_that_differ_between_left_and_right_are_noted(self, flic, out):
        coords = persons(40)
        coords[:, :, 4] = coords[:, :, 3] + 2
        result = prepare("flic", flic(coords), out)
        assert is_noted(result, "are the joints in their order?")
        mirrored = persons(40)
        mirrored[:, :, [3, 4, 5]] = 80 - mirrored[:, :, [0, 1, 2]]
        mirrored[:, :, [12, 13, 16]] = 40
        result = prepare("flic", flic(mirrored), out, force=True)
        assert counts(result)["symmetric pairs compared"] == 40
        assert not is_noted(result, "are the joints in their order?")

    @pytest.mark.parametrize(("longer", "count", "noted"), [(1.2, 20, False), (1.3, 20, True), (1.3, 19, False)])
    def test_a_quarter_of_their_length_in_twenty_persons_is_the_limit(self, longer, count, noted):
        skeleton = skeletons.get("lsp")
        joints = np.empty((14, 2))
        joints[:, 0] = [100 if i in (3, 4, 5, 9, 10, 11) else 50 if i > 11 else 0 for i in range(14)]
        joints[:, 1] = [[40, 20, 0, 0, 20, 40, 40, 20, 0, 0, 20, 40, 50, 60][i] for i in range(14)]
        joints[5, 1] = 20 + 20 * longer  # the left shin
        people = [Annotation("a.jpg", joints) for _ in range(count)]
        row, notes = checks.symmetry(Source("lsp", {"train": people}, "nowhere"), skeleton)
        assert row.count == (count if count >= 20 else 0)
        assert len(notes) == noted
        assert all("ankle" in note and "the lengths differ by 30% between left and right" in note for note in notes)

    def test_pictures_on_both_sides_are_counted(self, flic, out):
        result = prepare("flic", flic(names=["a.jpg", "b.jpg", "c.jpg"] * 4, indices=[1, 2, 4, 5]), out)
        assert counts(result)["pictures on both sides of the split"] == 2

    def test_without_a_folder_of_pictures_the_csvs_are_the_same_and_a_note_says_so(self, flic, out, tmp_path):
        folder = flic()
        prepare("flic", folder, out)
        (folder / "images").rename(tmp_path / "elsewhere")
        result = prepare("flic", folder, tmp_path / "second")
        assert contents(out) == contents(tmp_path / "second")
        assert is_noted(result, "the pictures were not looked at")
        assert is_noted(result, "bensapp.github.io")
        assert prepare("flic", folder, out, images=tmp_path / "elsewhere", force=True).images == tmp_path / "elsewhere"

    def test_named_folder_without_any_picture_is_refused(self, flic, out, tmp_path):
        with pytest.raises(PrepareError, match="there is no such picture, and so for all 12 pictures; is it the"):
            prepare("flic", flic(), out, images=tmp_path)
        with pytest.raises(PrepareError, match="nowhere: there is no such folder"):
            prepare("flic", flic(), out, images=tmp_path / "nowhere")
        assert not out.exists()

    @pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "..\\a.jpg", "C:\\a.jpg", "a\nb.jpg", "a\x1b[2J.jpg"])
    def test_names_that_lead_elsewhere_are_refused(self, flic, out, name):
        with pytest.raises(PrepareError, match="is no picture's name, relative to their folder"):
            prepare("flic", flic(names=[*"abcdefghijk", name], shown=[]), out)


@pytest.mark.usefixtures("in_this_process")
class TestWriting:
    def test_any_number_of_jobs_writes_the_same(self, flic, tmp_path, monkeypatch):
        monkeypatch.setattr(pictures, "SHARD", 2)
        folder = flic()
        results = [prepare("flic", folder, tmp_path / f"out{jobs}", jobs=jobs) for jobs in (1, 2, 7)]
        assert contents(tmp_path / "out1") == contents(tmp_path / "out2") == contents(tmp_path / "out7")
        assert results[0].rows == results[1].rows == results[2].rows

    def test_names_with_commas_and_any_letters_are_read_back(self, flic, out):
        names = ["a, b.jpg", 'say "hi".jpg', "Müller.jpg", "写真.jpg", *(f"{i}.jpg" for i in range(8))]
        prepare("flic", flic(names=names), out)
        read = [p.file for p in read_csv(out / "test_joints.csv") + read_csv(out / "train_joints.csv")]
        assert sorted(read) == sorted(names)

    @pytest.mark.parametrize("name", ["test_joints.csv", "train_joints.references.json"])
    def test_existing_file_is_replaced_only_when_forced(self, flic, out, name):
        out.mkdir()
        (out / name).write_text("mine")
        with pytest.raises(PrepareError, match=f"{name}: it exists already .*--force"):
            prepare("flic", flic(), out)
        assert contents(out) == {name: b"mine"}
        prepare("flic", flic(), out, force=True)
        assert contents(out)[name] != b"mine"
        assert len(contents(out)) == 4

    def test_file_of_another_preparation_does_not_stay_beside_the_new_ones(self, flic, out):
        prepare("flic", flic(), out)
        before = contents(out)
        coords = persons(12)
        coords[0] = np.nan
        with pytest.raises(PrepareError, match=r"test_joints\.csv: it is of another preparation .* move it away"):
            prepare("flic", flic(coords, indices=list(range(1, 13))), out, force=True)
        assert contents(out) == before

    def test_failure_while_writing_leaves_what_was_there(self, flic, out, monkeypatch):
        prepare("flic", flic(), out)
        before = contents(out)
        folder = flic(persons(12, seed=1))
        write = Path.write_bytes

        def full(path, content):
            if "test_joints.csv" in path.name:
                raise OSError(28, "No space left on device", str(path))
            return write(path, content)

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(DeepPoseError, match="cannot be written: No space left on device"):
            prepare("flic", folder, out, force=True)
        assert contents(out) == before

    def test_target_that_is_a_file_is_refused(self, flic, tmp_path):
        (tmp_path / "out").write_text("mine")
        with pytest.raises(DeepPoseError, match="out: this is a file; name a folder"):
            prepare("flic", flic(), tmp_path / "out")

    def test_split_without_persons_is_not_written_and_noted(self, flic, out):
        result = prepare("flic", flic(indices=list(range(1, 13))), out)
        assert result.persons == {"train": 11, "test": 1}
        coords = persons(12)
        coords[0] = np.nan
        result = prepare("flic", flic(coords, indices=list(range(1, 13))), out.parent / "second")
        assert result.persons == {"train": 11}
        assert is_noted(result, "too few persons to test")

    def test_nobody_left_is_refused_with_the_reasons(self, flic, out):
        with pytest.raises(PrepareError, match="nobody is left: 12 fewer than 1 joints"):
            prepare("flic", flic(np.full((12, 2, 29), np.nan)), out)

    @pytest.mark.parametrize(
        ("dataset", "options", "phrase"),
        [
            ("aic", {}, "no data set 'aic'; there are coco, cvat, flic, labelme, lsp, mpii"),
            ("lsp", {"split": "film"}, "--split is for flic"),
            ("flic", {"min_joints": 0}, "1 or more"),
        ],
    )
    def test_wrong_options_are_refused(self, out, dataset, options, phrase):
        with pytest.raises(PrepareError, match=phrase):
            prepare(dataset, out, out, **options)


class TestUse:
    def test_prepared_flic_has_its_pdj(self, flic, out):
        folder = flic()
        prepare("flic", folder, out)
        dataset = PoseDataset(out / "train_joints.csv", images=folder / "images", skeleton="flic")
        zeros = np.zeros((len(dataset), 14), np.float32)
        exact = Predictions(np.arange(len(dataset)), zeros, zeros, zeros.astype(np.int32), dataset.joints)
        assert pdj(evaluation_of(exact, dataset)).tolist() == [[1.0] * 7] * 5

    @pytest.mark.parametrize("has_boxes", [True, False])
    def test_eval_finds_head_sizes_and_says_where_they_are_an_estimate(self, tmp_path, capsys, has_boxes):
        joints = np.random.RandomState(0).uniform(5, 75, (2, 16, 2))
        people = [{"image": "a.png", "joints": xy.tolist(), "joints_vis": [1] * 16} for xy in joints]
        (tmp_path / "validation.json").write_text(json.dumps(people))
        if has_boxes:
            boxes = np.array([[[0.0, 0], [30, 40]]] * 2)
            truth = {"headboxes_src": boxes.transpose(1, 2, 0), "pos_gt_src": joints.transpose(1, 2, 0)}
            savemat(tmp_path / "gt_valid.mat", truth)
        write_pictures(tmp_path / "images", ["a.png"])
        converters.write(random_checkpoint(joints=16), tmp_path / "some.pt")
        assert main(["prepare", "mpii", str(tmp_path), str(tmp_path)]) == 0
        csv, images = tmp_path / "test_joints.csv", tmp_path / "images"
        capsys.readouterr()
        data = ["--csv", str(csv), "--images", str(images), "--skeleton", "mpii"]
        assert main(["eval", str(tmp_path / "some.pt"), *data, "--json"]) == 0
        shown = capsys.readouterr()
        assert json.loads(shown.out)["pckh"]["total"] is not None
        assert ("note: PCKh is an estimate: the head sizes are 0.75 times" in shown.err) != has_boxes

    def test_command_writes_and_tells(self, flic, out, capsys):
        assert main(["prepare", "flic", str(flic()), str(out), "--jobs", "2"]) == 0
        shown = capsys.readouterr()
        assert "examples in examples.mat" in shown.out
        assert f"wrote {out / 'train_joints.csv'}" in shown.out
        assert "note: the legacy split is off by one" in shown.err

    def test_command_gives_machines_one_object(self, flic, out, capsys):
        assert main(["prepare", "flic", str(flic()), str(out), "--split", "corrected", "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["persons"] == {"train": 9, "test": 3}
        assert {"what": "examples in examples.mat", "count": 12, "why": ""} in result["counts"]
        assert str(path_beside(out / "test_joints.csv")) in result["files"]

    def test_bad_input_is_one_line_and_exit_status_2(self, tmp_path, capsys):
        assert main(["prepare", "lsp", str(tmp_path), str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert "joints.mat" in error
