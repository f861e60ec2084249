import errno
import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.checkpoint import Preprocessing
from converters.families import starting_preprocessing
from deeppose_port.cli import main
from deeppose_port.data import DatasetError, PackedDataset, PackError, PoseDataset, TrainingLoader, references
from deeppose_port.data import dataset as dataset_module
from deeppose_port.data import pack as pack_module
from deeppose_port.data.augmentation import Augmentation, Drawn
from deeppose_port.data.augmented import drawn_example
from deeppose_port.data.pack import Pack
from deeppose_port.data.pack import journal as pack_journal
from deeppose_port.data.pack.index import PackOptions
from deeppose_port.data.pack.packing import pack, verify
from deeppose_port.data.spread import Spread

ALL = Augmentation(fliplr=True, rotate=True, zoom=True, translate=True)

draws = st.builds(
    Drawn,
    rotation=st.integers(0, 9),
    translation=st.tuples(st.integers(-5, 4), st.integers(-5, 4)),
    zoom=st.floats(0.8, 1.2),
    flip=st.booleans(),
)


def options(**given):
    return PackOptions(**{"skeleton": "flic", "resolution": 0, **given})


@pytest.fixture
def source(pictures, tmp_path):
    """A folder with the three free pictures and free.csv, to change; and the dataset of them."""
    folder = tmp_path / "source"
    shutil.copytree(pictures, folder)
    return folder, PoseDataset(folder / "free.csv", images=folder, skeleton="flic")


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory):
    """The 13 free persons and an unreduced pack of them."""
    folder = tmp_path_factory.mktemp("whole") / "pack"
    dataset = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic")
    pack(dataset, folder, options())
    return dataset, folder


@pytest.fixture(scope="module")
def reduced(pictures, tmp_path_factory):
    """The free persons on blurred pictures, and a pack of at most 220 pixels a side."""
    folder = tmp_path_factory.mktemp("reduced")
    for name in ("astronaut.png", "chelsea.png", "coffee.png"):
        cv2.imwrite(str(folder / name), cv2.GaussianBlur(cv2.imread(str(pictures / name)), (0, 0), 3))
    smooth = PoseDataset(pictures / "free.csv", images=folder, skeleton="flic", gcn=False)
    assert pack(smooth, folder / "pack", options(resolution=220)).pack.reduced > 6
    return smooth, folder / "pack"


def packed(dataset, folder, **given):
    return PackedDataset(dataset.csv, **{"images": dataset.images, "skeleton": "flic", "pack": folder, **given})


def rewritten(folder, change):
    """Changes a pack's index, and gives it the right checksum."""
    content = json.loads((folder / "pack.json").read_text())
    del content["sha256"]
    change(content)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / "pack.json").write_text(json.dumps({"sha256": digest, **content}))


def files(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("side", ["x1", "y1"])
def test_a_person_beyond_the_picture_is_not_what_was_written(side, whole, tmp_path):
    _, folder = whole
    shutil.copytree(folder, tmp_path / "pack")

    def beyond(content):
        content["persons"][0][side] = 5000

    rewritten(tmp_path / "pack", beyond)
    with pytest.raises(PackError, match=r"pack\.json: not what this version writes \(line 1 is not in its picture\)"):
        Pack(tmp_path / "pack")


def test_a_picture_of_another_size_has_changed_whatever_its_times_say(whole, tmp_path):
    dataset, folder = whole
    shutil.copytree(folder, tmp_path / "pack")

    def larger(content):
        content["pictures"]["coffee.png"]["bytes"] += 1

    rewritten(tmp_path / "pack", larger)
    with pytest.raises(PackError, match=r"coffee\.png: this picture has changed"):
        pack(dataset, tmp_path / "pack", options())


class TestExamples:
    def test_unreduced_examples_are_the_legacy_programs_bits(self, whole, golden):
        expected = json.loads((golden / "preprocessing" / "manifest_free.json").read_text())["sets"]["free"]
        dataset = packed(*whole)
        assert [hashlib.sha256(x.tobytes()).hexdigest() for x, _, _ in dataset] == expected["input_sha256"]

    def test_labels_and_masks_are_those_of_the_pictures(self, whole):
        for (_, *ours), (_, *theirs) in zip(packed(*whole), whole[0], strict=True):
            assert all(map(np.array_equal, ours, theirs))

    @settings(deadline=None, max_examples=80)
    @given(drawn=draws, index=st.integers(0, 12))
    def test_augmented_examples_are_those_of_the_whole_pictures(self, whole, drawn, index):
        ours, theirs = (drawn_example(dataset, index, drawn) for dataset in (packed(*whole), whole[0]))
        # OpenCV 4 rounds positions to 1/32 pixel, and one in a million falls to the other side.
        assert (ours[0] != theirs[0]).mean() < 1e-3
        assert np.array_equal(ours[1], theirs[1])
        assert np.array_equal(ours[2], theirs[2])

    @pytest.mark.parametrize("zoom", [0.8, 1.2])
    @pytest.mark.parametrize("translation", [(-30, -30), (29, 29), (-30, 29)])
    @pytest.mark.parametrize("rotation", [0, 9])
    def test_margins_suffice_for_the_extremes_in_the_middle_of_a_picture(self, tmp_path, zoom, translation, rotation):
        picture = np.random.RandomState(0).randint(0, 256, (900, 900, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "a.png"), picture)
        (tmp_path / "a.csv").write_text("a.png" + ",400.5,300.2,480.1,600.9" * 3 + ",440,440")
        dataset = PoseDataset(tmp_path / "a.csv", images=tmp_path, skeleton="flic", gcn=False)
        made = pack(dataset, tmp_path / "pack", options(translate_range=30)).pack
        assert made.bytes < 0.5 * picture.nbytes  # and nothing reaches an edge of the picture
        ours, theirs = (
            drawn_example(data, 0, Drawn(rotation, translation, zoom))[0]
            for data in (packed(dataset, tmp_path / "pack", gcn=False), dataset)
        )
        assert np.array_equal(ours, theirs)

    @settings(deadline=None, max_examples=30)
    @given(drawn=draws, index=st.integers(0, 12))
    def test_reduced_examples_look_the_same(self, reduced, drawn, index):
        smooth, folder = reduced
        ours, theirs = (drawn_example(dataset, index, drawn) for dataset in (packed(smooth, folder, gcn=False), smooth))
        assert abs(ours[0] - theirs[0]).mean() < 1
        assert np.array_equal(ours[1], theirs[1])
        assert np.array_equal(ours[2], theirs[2])

    def test_resolution_bounds_each_side_of_the_crop(self, reduced):
        smooth, folder = reduced
        made = Pack(folder)
        for i in range(len(smooth)):
            crop, scale = smooth.view(i).crop, made.persons[smooth.person(i).line].scale
            assert crop.width * scale[0] <= 220
            assert crop.height * scale[1] <= 220
            assert scale[0] == 1 or crop.width * scale[0] > 217

    @pytest.mark.parametrize("augmentation", [None, ALL])
    def test_loader_decodes_no_picture(self, whole, monkeypatch, augmentation):
        dataset = packed(*whole, augmentation=augmentation)
        for module, name in ((cv2, "imread"), (cv2, "imdecode"), (dataset_module, "read_picture")):
            monkeypatch.setattr(module, name, lambda *given: pytest.fail("decoded"))
        with TrainingLoader(dataset, 13, augmentation=augmentation, threads=2, epochs=1) as loader:
            assert np.isfinite(next(loader)[0]).all()

    def test_threads_get_their_own_persons_pixels(self, whole):
        dataset = packed(*whole)
        expected = [dataset.window(i).pixels.copy() for i in range(13)]
        order = np.random.RandomState(0).randint(0, 13, 1000).tolist()
        with ThreadPoolExecutor(8) as pool:
            same = pool.map(lambda i: np.array_equal(dataset.window(i).pixels, expected[i]), order)
        assert all(same)

    def test_pixels_refuse_writing(self, whole):
        with pytest.raises(ValueError, match="read-only"):
            packed(*whole).window(0).pixels[...] = 0

    def test_dataset_can_be_sent_to_another_process(self, whole):
        dataset = packed(*whole)
        assert np.array_equal(pickle.loads(pickle.dumps(dataset))[3][0], dataset[3][0])

    def test_pixels_do_not_stay_in_the_processs_memory(self, whole):
        dataset = packed(*whole)
        tracemalloc.start()
        try:
            for i in range(13):
                dataset.window(i).pixels.sum()
            left, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        largest = max(person.size for person in dataset.pack.persons.values())
        assert left < 64 << 10
        assert largest < most < largest + (256 << 10) < dataset.pack.bytes / 3


SEES = starting_preprocessing("hourglass")


def write_person(folder, scale):
    """Writes the CSV of a person, and the height beside it."""
    csv = b"a.png" + b",400.9,350.7,480.1,520.9" * 3 + b",440,440\n"
    (folder / "a.csv").write_bytes(csv)
    scales = references.References("flic", 1, scales=np.array([scale]))
    references.path_beside(folder / "a.csv").write_bytes(references.encode(scales, csv))


def of_person(folder, sees):
    return PoseDataset(folder / "a.csv", images=folder, skeleton="flic", preprocessing=sees)


@pytest.fixture(scope="module")
def with_margins(tmp_path_factory):
    """A person in the middle of a picture, whose height is known, and a pack of margins up to 0.3."""
    folder = tmp_path_factory.mktemp("margins")
    picture = np.random.RandomState(0).randint(0, 256, (900, 900, 3)).astype(np.uint8)
    cv2.imwrite(str(folder / "a.png"), picture)
    write_person(folder, 1.5)
    dataset = of_person(folder, replace(SEES, margin=0.3))
    made = pack(dataset, folder / "pack", options(part="joints-margin", margin=0.3, translate_range=30)).pack
    assert made.bytes < 0.7 * picture.nbytes  # and nothing reaches an edge of the picture
    return folder


class TestMargins:
    """Crops that have a margin around the joints, by the person's height: those of a hourglass."""

    @pytest.mark.parametrize("zoom", [0.8, 1.2])
    @pytest.mark.parametrize("translation", [(-30, -30), (29, 29)])
    @pytest.mark.parametrize("rotation", [0, 9])
    @pytest.mark.parametrize("margin", [-0.1, 0.1])
    def test_pixels_suffice_for_all_that_is_drawn(self, with_margins, zoom, translation, rotation, margin):
        whole = of_person(with_margins, SEES)
        augmentation = Augmentation(margin_range=0.1, rotate=True, zoom=True, translate=True, translate_range=30)
        ours = packed(whole, with_margins / "pack", preprocessing=SEES, augmentation=augmentation)
        assert np.array_equal(ours[0][0], whole[0][0])
        drawn = Drawn(rotation, translation, zoom, margin=margin)
        pairs = zip(drawn_example(ours, 0, drawn), drawn_example(whole, 0, drawn), strict=True)
        assert all(np.array_equal(*pair) for pair in pairs)

    @pytest.mark.parametrize(
        ("sees", "augmentation", "phrase"),
        [
            (
                Preprocessing(),
                Augmentation(),
                "made for networks that see the part joints-margin, and this one sees joints",
            ),
            (SEES, Augmentation(margin_range=0.2), "made for margins up to 0.3, which has no pixels for 0.4"),
            (SEES, Augmentation(rotation=Spread(30.0)), "has not all pixels of --rotation"),
        ],
    )
    def test_what_it_has_no_pixels_for_is_refused(self, with_margins, sees, augmentation, phrase):
        with pytest.raises(PackError, match=phrase):
            packed(of_person(with_margins, sees), with_margins / "pack", preprocessing=sees, augmentation=augmentation)

    def test_a_pack_of_deeppose_is_refused(self, whole):
        with pytest.raises(PackError, match=r"this one sees joints-margin; make one with .* --architecture"):
            packed(*whole, preprocessing=SEES)

    def test_a_person_who_has_grown_since_is_refused(self, with_margins, tmp_path):
        shutil.copytree(with_margins, tmp_path / "copy")
        write_person(tmp_path / "copy", 1.6)
        with pytest.raises(DatasetError, match=r"a\.csv, line 1, .* was made when the person was smaller"):
            packed(of_person(tmp_path / "copy", SEES), tmp_path / "copy" / "pack", preprocessing=SEES)


class TestResuming:
    def stopped(self, dataset, folder, at):
        """Packs until so many pictures are done; `test_pack_goes_on_after_sigkill` kills a process in earnest."""

        def stop(done, total):
            if done == at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pack(dataset, folder, options(), threads=1, progress=stop)

    @pytest.mark.parametrize("at", [0, 1, 2, 3])
    def test_pack_of_a_stopped_run_goes_on_to_the_same_bytes(self, whole, tmp_path, at):
        dataset, expected = whole
        self.stopped(dataset, tmp_path / "pack", at)
        with pytest.raises(PackError, match=r"there is no whole pack here; .* goes on where it was stopped"):
            Pack(tmp_path / "pack")
        done = pack(dataset, tmp_path / "pack", options())
        assert done.resumed == sum(dataset.person(i).file in dataset_files(dataset)[:at] for i in range(13))
        assert files(tmp_path / "pack") == files(expected)

    def test_pack_goes_on_after_sigkill(self, whole, tmp_path):
        dataset, expected = whole
        code = (
            "import sys, time; from deeppose_port.data.pack.journal import Journal; original = Journal.add\n"
            "def add(*given):\n    original(*given); print('.', flush=True); time.sleep(60)\n"
            "Journal.add = add\nfrom deeppose_port.cli import main; main(sys.argv[1:])"
        )
        arguments = [str(dataset.csv), str(tmp_path / "pack"), "--images", str(dataset.images), "--resolution", "0"]
        command = [sys.executable, "-c", code, "pack", *arguments, "--skeleton", "flic"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == ".\n"
            process.send_signal(signal.SIGKILL)
        assert 0 < pack(dataset, tmp_path / "pack", options()).resumed < 13
        assert files(tmp_path / "pack") == files(expected)

    def test_pack_that_was_stopped_when_its_index_was_written_loses_its_journal(self, whole, tmp_path, monkeypatch):
        dataset, expected = whole
        with monkeypatch.context() as stopped:
            stopped.setattr(Path, "unlink", self.interrupt)
            with pytest.raises(KeyboardInterrupt):
                pack(dataset, tmp_path / "pack", options())
        assert (tmp_path / "pack" / "pack.partial").exists()
        assert pack(dataset, tmp_path / "pack", options()).resumed == 13
        assert files(tmp_path / "pack") == files(expected)

    @staticmethod
    def interrupt(path, **how):
        raise KeyboardInterrupt

    def test_half_written_line_and_pixels_are_dropped(self, whole, tmp_path):
        dataset, expected = whole
        self.stopped(dataset, tmp_path / "pack", 2)
        for name in ("pack.partial", "pack-00000.bin"):
            with (tmp_path / "pack" / name).open("ab") as file:
                file.write(b'{"name": "coffee.png", "pic')
        self.stopped(dataset, tmp_path / "pack", 3)
        assert pack(dataset, tmp_path / "pack", options()).resumed == 13
        assert files(tmp_path / "pack") == files(expected)

    def test_pixels_lost_in_a_power_cut_are_refused(self, whole, tmp_path):
        dataset, _ = whole
        self.stopped(dataset, tmp_path / "pack", 2)
        os.truncate(tmp_path / "pack" / "pack-00000.bin", 1000)
        with pytest.raises(PackError, match=r"pack-00000\.bin: the pixels of line 1 are not those .* delete"):
            pack(dataset, tmp_path / "pack", options())

    @pytest.mark.parametrize("line", ["7", "{}", "[" * 20000], ids=["number", "empty", "deep"])
    def test_a_damaged_line_is_refused(self, line, whole, tmp_path):
        dataset, _ = whole
        self.stopped(dataset, tmp_path / "pack", 2)
        with (tmp_path / "pack" / "pack.partial").open("a") as file:
            file.write(line + "\n")
        with pytest.raises(PackError, match=r"pack\.partial: damaged .*; delete the folder and pack anew"):
            pack(dataset, tmp_path / "pack", options())

    def test_other_options_or_data_are_refused_by_name(self, source, tmp_path):
        folder, dataset = source
        self.stopped(dataset, tmp_path / "pack", 1)
        with pytest.raises(PackError, match=r"for which zoom_range was 0\.2 and is 0\.5; delete"):
            pack(dataset, tmp_path / "pack", options(zoom_range=0.5))
        cv2.imwrite(str(folder / "astronaut.png"), np.zeros((512, 512, 3), np.uint8))
        with pytest.raises(PackError, match=r"astronaut\.png: this picture has changed"):
            pack(dataset, tmp_path / "pack", options())
        dataset.csv.write_text(dataset.csv.read_text() + "\n")
        with pytest.raises(PackError, match="for which the CSV has changed since"):
            pack(dataset, tmp_path / "pack", options())

    def test_whole_pack_is_left_as_it_is(self, source, tmp_path):
        _, dataset = source
        pack(dataset, tmp_path / "pack", options())
        before = {file: file.stat().st_mtime_ns for file in (tmp_path / "pack").iterdir()}
        assert pack(dataset, tmp_path / "pack", options()).resumed == 13
        assert {file: file.stat().st_mtime_ns for file in (tmp_path / "pack").iterdir()} == before

    def test_picture_that_cannot_be_decoded_ends_it_and_mended_it_goes_on(self, source, tmp_path):
        folder, dataset = source
        coffee = (folder / "coffee.png").read_bytes()
        (folder / "coffee.png").write_bytes(coffee[:5000])
        with pytest.raises(DatasetError, match=r"free\.csv, line \d+, picture .*coffee\.png: cannot be decoded"):
            pack(dataset, tmp_path / "pack", options())
        (folder / "coffee.png").write_bytes(coffee)
        assert 0 < pack(dataset, tmp_path / "pack", options()).resumed < 13

    def test_two_processes_do_not_write_one_pack(self, whole, tmp_path):
        dataset, _ = whole
        (tmp_path / "pack").mkdir()
        with (
            pack_journal.Journal(tmp_path / "pack", {}),
            pytest.raises(PackError, match="another process is making this"),
        ):
            pack(dataset, tmp_path / "pack", options())

    def test_folder_of_something_else_is_left_alone(self, whole, tmp_path):
        (tmp_path / "photo.jpg").touch()
        with pytest.raises(PackError, match=r"it holds photo\.jpg, which is no part of a pack"):
            pack(whole[0], tmp_path, options())
        assert [file.name for file in tmp_path.iterdir()] == ["photo.jpg"]

    def test_full_disk_is_told_and_what_was_written_is_kept(self, whole, tmp_path, monkeypatch):
        dataset, expected = whole
        original = pack_journal.Journal.add

        def add(journal, name, *rest):
            if name == dataset_files(dataset)[2]:
                raise OSError(errno.ENOSPC, "No space left on device")
            original(journal, name, *rest)

        with monkeypatch.context() as full:
            full.setattr(pack_journal.Journal, "add", add)
            with pytest.raises(PackError, match=r"pack: cannot be written: No space left on device; the same command"):
                pack(dataset, tmp_path / "pack", options())
        assert 0 < pack(dataset, tmp_path / "pack", options()).resumed < 13
        assert files(tmp_path / "pack") == files(expected)

    def test_file_in_the_folders_place_is_refused(self, whole, tmp_path):
        (tmp_path / "pack").write_text("mine")
        with pytest.raises(PackError, match="pack: a pack is a folder, and this is none; name another"):
            pack(whole[0], tmp_path / "pack", options())
        with pytest.raises(PackError, match="pack: a pack is a folder, and this is none"):
            packed(whole[0], tmp_path / "pack")
        assert (tmp_path / "pack").read_text() == "mine"

    def test_pixels_go_into_several_files(self, whole, tmp_path, monkeypatch):
        monkeypatch.setattr(pack_journal, "SHARD_BYTES", 1 << 20)
        dataset, expected = whole
        pack(dataset, tmp_path / "pack", options())
        assert len(files(tmp_path / "pack")) > 4
        same = zip(packed(dataset, tmp_path / "pack"), packed(dataset, expected), strict=True)
        assert all(np.array_equal(ours[0], theirs[0]) for ours, theirs in same)


def dataset_files(dataset):
    """Returns the names of a dataset's pictures, in the order of their first lines."""
    return list(dict.fromkeys(dataset.person(i).file for i in range(len(dataset))))


class TestStale:
    @pytest.fixture
    def made(self, source, tmp_path):
        folder, dataset = source
        pack(dataset, tmp_path / "pack", options())
        return folder, dataset, tmp_path / "pack"

    def test_changed_csv_is_refused_by_name(self, made):
        _, dataset, folder = made
        dataset.csv.write_text(dataset.csv.read_text().replace("165", "166", 1))
        with pytest.raises(PackError, match=r"pack: it was made from another CSV than .*free\.csv is now"):
            packed(dataset, folder)

    def test_changed_picture_is_refused_by_name(self, made):
        images, dataset, folder = made
        data = bytearray((images / "chelsea.png").read_bytes())
        data[-30] ^= 1  # of the same size
        (images / "chelsea.png").write_bytes(data)
        with pytest.raises(PackError, match=r"chelsea\.png: this picture has changed since .*pack was made"):
            packed(dataset, folder)

    def test_picture_that_was_only_touched_or_copied_is_the_same(self, made):
        images, dataset, folder = made
        (images / "chelsea.png").touch()
        shutil.copy(images / "coffee.png", images / "new")
        os.replace(images / "new", images / "coffee.png")
        assert len(packed(dataset, folder)) == 13

    def test_missing_picture_is_refused_and_a_missing_folder_is_not_looked_at(self, made):
        images, dataset, folder = made
        (images / "coffee.png").unlink()
        with pytest.raises(DatasetError, match=r"coffee\.png: there is no such file"):
            packed(dataset, folder)
        assert len(packed(dataset, folder, images=images / "gone")) == 13

    @pytest.mark.parametrize(
        ("given", "phrase"),
        [
            ({"base_zoom": 2}, "it was made with base_zoom 1.5, not 2"),
            ({"ignore_label": -2.0}, "it was made with ignore_label -1.0, not -2.0"),
            ({"augmentation": Augmentation(rotate=True, rotate_range=11)}, "rotate_range 10, .* no pixels for 11"),
            ({"augmentation": Augmentation(zoom=True, zoom_range=0.3)}, "zoom_range 0.2, .* no pixels for 0.3"),
            ({"augmentation": Augmentation(translate=True, translate_range=6)}, "translate_range 5, .* for 6"),
            (
                {"augmentation": Augmentation(fliplr=True, method="legacy")},
                "augment legacy goes through whole pictures",
            ),
            ({"preprocessing": Preprocessing(part="picture")}, "this network takes picture"),
        ],
    )
    def test_other_options_are_refused_by_name(self, whole, given, phrase):
        with pytest.raises(PackError, match=phrase):
            packed(*whole, **given)

    def test_smaller_ranges_and_those_that_are_off_are_taken(self, whole):
        for augmentation in (Augmentation(rotate=True, rotate_range=3), Augmentation(rotate_range=90, fliplr=True)):
            assert len(packed(*whole, augmentation=augmentation)) == 13

    def test_person_whom_a_larger_min_dim_left_out_is_refused_by_line(self, whole, tmp_path):
        dataset = PoseDataset(whole[0].csv, images=whole[0].images, skeleton="flic", min_dim=100)
        assert 0 < len(dataset) < 13
        pack(dataset, tmp_path / "pack", options(min_dim=100.0))
        with pytest.raises(DatasetError, match=r"free\.csv, line \d+, .*pack has no such person, .* min_dim 100"):
            packed(dataset, tmp_path / "pack")
        assert len(packed(dataset, tmp_path / "pack", min_dim=100)) == len(dataset)


class TestDamage:
    @pytest.fixture
    def copy(self, whole, tmp_path):
        shutil.copytree(whole[1], tmp_path / "pack")
        return whole[0], tmp_path / "pack"

    def test_damaged_pixels_are_refused_by_file_line_and_picture(self, copy):
        dataset, folder = copy
        damaged = Pack(folder).persons[7]
        with (folder / "pack-00000.bin").open("r+b") as file:
            file.seek(damaged.offset + damaged.size - 1)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
        dataset_of_pack = packed(dataset, folder)
        assert np.array_equal(dataset_of_pack[0][0], dataset[0][0])
        message = rf"pack-00000\.bin: the pixels of line 7, picture {damaged.file}, are damaged"
        with pytest.raises(PackError, match=message):
            dataset_of_pack[6]
        with pytest.raises(PackError, match=message):
            verify(dataset, folder)
        with TrainingLoader(dataset_of_pack, 13) as loader, pytest.raises(PackError, match=message):
            next(loader)

    def test_file_of_another_size_is_refused(self, copy):
        dataset, folder = copy
        os.truncate(folder / "pack-00000.bin", 5000)
        with pytest.raises(PackError, match=r"pack-00000\.bin: it has 5,000 bytes where the index says [\d,]+"):
            packed(dataset, folder)
        (folder / "pack-00000.bin").unlink()
        with pytest.raises(PackError, match=r"pack-00000\.bin: there is no such file"):
            packed(dataset, folder)

    @pytest.mark.parametrize("length", [0, 5000])
    def test_file_that_is_cut_while_it_is_open_ends_in_a_sentence(self, copy, length):
        dataset, folder = copy
        dataset_of_pack = packed(dataset, folder)
        dataset_of_pack[12]
        os.truncate(folder / "pack-00000.bin", length)
        with pytest.raises(PackError, match=r"pack-00000\.bin: it was cut since the pack was opened; delete"):
            dataset_of_pack[12]
        with TrainingLoader(dataset_of_pack, 13) as loader, pytest.raises(PackError, match="it was cut since"):
            next(loader)

    def test_file_that_is_removed_while_it_is_open_is_read_on(self, copy):
        dataset, folder = copy
        dataset_of_pack = packed(dataset, folder)
        (folder / "pack-00000.bin").unlink()
        assert np.array_equal(dataset_of_pack[0][0], dataset[0][0])

    def test_files_are_closed_with_the_pack(self, copy):
        descriptors = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else pytest.skip("no /proc")
        pack = Pack(copy[1])
        pack.window(1)
        assert len(os.listdir("/proc/self/fd")) == descriptors + 1
        del pack
        assert len(os.listdir("/proc/self/fd")) == descriptors

    @pytest.mark.parametrize("name", ["pack.json", "pack-00000.bin"])
    def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(self, copy, name):
        (copy[1] / name).unlink()
        os.mkfifo(copy[1] / name)
        with pytest.raises(PackError, match=rf"{name}: cannot be read: this is a device or a pipe"):
            Pack(copy[1])

    def test_change_of_the_index_is_noticed(self, copy):
        _, folder = copy
        text = (folder / "pack.json").read_text()
        (folder / "pack.json").write_text(text.replace('"x0": 0', '"x0": 1', 1))
        with pytest.raises(PackError, match=r"pack\.json: damaged, its checksum is not its own"):
            Pack(folder)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"format": "other"}'])
    def test_what_is_no_index_is_refused(self, copy, content):
        _, folder = copy
        (folder / "pack.json").write_bytes(content)
        with pytest.raises(PackError, match=r"pack\.json: (not JSON text .*delete the folder|not an index)"):
            Pack(folder)

    @pytest.mark.parametrize(
        "change",
        [
            lambda index: index["persons"][0].update(offset=1 << 40),
            lambda index: index["persons"][0].update(offset=-4096),
            lambda index: index["persons"][0].update(width=1 << 40),
            lambda index: index["persons"][0].update(width=0),
            lambda index: index["persons"][0].update(x1=100_000),
            lambda index: index["persons"][0].update(shard=7),
            lambda index: index["persons"][0].update(shard=1.5),
            lambda index: index["persons"][0].update(file="../../etc/passwd"),
            lambda index: index["persons"][0].update(line="1"),
            lambda index: index["persons"][0].pop("crc32"),
            lambda index: index["persons"].append(None),
            lambda index: index["pictures"]["coffee.png"].update(width="wide"),
            lambda index: index["pictures"]["coffee.png"].pop("stamp"),
            lambda index: index["options"].update(zoom_range=2),
            lambda index: index["options"].update(stranger=2),
            lambda index: index.pop("options"),
            lambda index: index.update(version=2),
        ],
    )
    def test_forged_indices_are_refused(self, copy, change):
        _, folder = copy
        rewritten(folder, change)
        with pytest.raises(PackError, match=r"pack-?\d*\.(json|bin): "):
            Pack(folder)

    def test_verify_compares_every_picture_with_its_bytes(self, source, tmp_path, monkeypatch):
        images, dataset = source
        pack(dataset, tmp_path / "pack", options())
        assert len(verify(dataset, tmp_path / "pack").persons) == 13
        # As on a file system that tells of no change.
        monkeypatch.setattr(
            pack_module, "stamp_of", lambda status: Pack(tmp_path / "pack").pictures["coffee.png"].stamp
        )
        data = bytearray((images / "coffee.png").read_bytes())
        data[-30] ^= 1
        (images / "coffee.png").write_bytes(data)
        packed(dataset, tmp_path / "pack")
        with pytest.raises(PackError, match=r"coffee\.png: this picture has changed"):
            verify(dataset, tmp_path / "pack")

    def test_verify_compares_the_csv(self, source, tmp_path):
        _, dataset = source
        pack(dataset, tmp_path / "pack", options())
        dataset.csv.write_text(dataset.csv.read_text() + "\n")
        with pytest.raises(PackError, match="made from another CSV"):
            verify(dataset, tmp_path / "pack")


class TestOptions:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"resolution": -1}, "resolution is -1"),
            ({"rotate_range": 0}, "rotate_range is 0"),
            ({"zoom_range": 1}, "zoom_range is 1"),
            ({"translate_range": 0}, "translate_range is 0"),
        ],
    )
    def test_nonsense_is_refused(self, given, message):
        with pytest.raises(ValueError, match=message):
            options(**given)


class TestCommand:
    def arguments(self, source, tmp_path, *more):
        folder, dataset = source
        return ["pack", str(dataset.csv), str(tmp_path / "pack"), "--images", str(folder), "--skeleton", "flic", *more]

    def test_it_prints_how_much_smaller_the_pack_is(self, source, tmp_path, capsys):
        assert main(self.arguments(source, tmp_path, "--resolution", "100", "--json")) == 0
        told = json.loads(capsys.readouterr().out)
        # 512 x 512 + 451 x 300 + 600 x 400, and 3 bytes each
        assert told["decoded_bytes"] == 3 * (512 * 512 + 451 * 300 + 600 * 400)
        assert told["bytes"] == sum(person.size for person in Pack(tmp_path / "pack").persons.values())
        assert told["factor"] == told["decoded_bytes"] / told["bytes"] > 1
        assert (told["persons"], told["pictures"], told["persons_resumed"]) == (13, 3, 0)
        assert main(self.arguments(source, tmp_path, "--resolution", "100")) == 0
        shown = capsys.readouterr().out
        assert "13 of 3 pictures; 13 were packed before" in shown
        assert f"{told['factor']:.2f} times as much" in shown

    @pytest.mark.parametrize(("resolution", "phrase"), [("0", "there is no bound"), ("100", "to at most 100 pixels")])
    def test_it_says_what_bounded_the_persons(self, source, tmp_path, capsys, resolution, phrase):
        assert main(self.arguments(source, tmp_path, "--resolution", resolution)) == 0
        assert phrase in capsys.readouterr().out

    def test_verify_tells_what_is_damaged(self, source, tmp_path, capsys):
        assert main(self.arguments(source, tmp_path)) == 0
        assert main(self.arguments(source, tmp_path, "--verify")) == 0
        assert "whole and up to date" in capsys.readouterr().out
        with (tmp_path / "pack" / "pack-00000.bin").open("r+b") as file:
            file.write(b"damage")
        assert main(self.arguments(source, tmp_path, "--verify")) == 2
        assert re.search(r"^error: .*pack-00000\.bin: the pixels of line 1, .* are damaged", capsys.readouterr().err)

    def test_verify_makes_nothing(self, source, tmp_path, capsys):
        assert main(self.arguments(source, tmp_path, "--verify")) == 2
        assert "there is no whole pack here" in capsys.readouterr().err
        assert not (tmp_path / "pack").exists()

    def test_interrupt_says_that_it_goes_on(self, source, tmp_path, capsys, monkeypatch):
        def add(*given):
            raise KeyboardInterrupt

        monkeypatch.setattr(pack_journal.Journal, "add", add)
        assert main(self.arguments(source, tmp_path)) == 130
        assert "interrupted; the same command goes on" in capsys.readouterr().err
        monkeypatch.undo()
        assert main(self.arguments(source, tmp_path)) == 0

    def test_help_has_an_example(self, capsys):
        assert main(["pack", "--help"]) == 0
        assert "deeppose-port pack train.csv train.pack --images images" in capsys.readouterr().out
