import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from converters import files
from converters.errors import DeepPoseError
from converters.files import atomic, byte_count, checked_folder, hash_file, refuse_targets, same_file, staged, sweep
from tests.helpers.checkpoint_files import listing, sha256


def write(target, text="new", force=False):
    with atomic(target, force=force) as temporary:
        temporary.write_text(text)


def fail_within(writing):
    """Writes a half of something, and fails."""
    with writing as path:
        (path / "half" if path.is_dir() else path).write_text("half")
        raise ZeroDivisionError


def interrupted(writing, signal_number=signal.SIGINT):
    """Writes a half of something."""
    with writing as path:
        (path / "half" if path.is_dir() else path).write_text("half")
        signal.raise_signal(signal_number)
        time.sleep(10)


def program(text, *arguments, **options):
    """Starts a program that imports `files`."""
    command = [sys.executable, "-c", "from converters import files\nfrom pathlib import Path\nimport sys, time\n"]
    command[-1] += textwrap.dedent(text)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*command, *map(str, arguments)], text=True, **pipes, **options)


#: Writes half of its target, says so, and goes on when it is told to.
WRITER = """
    try:
        with files.atomic(Path(sys.argv[1]), force=False) as temporary:
            temporary.write_text(sys.argv[2])
            print(temporary, flush=True)
            sys.stdin.readline()
    except ValueError as error:
        sys.exit(f"error: {error}")
"""


class TestSizes:
    def test_a_file_may_be_as_large_as_is_said(self, tmp_path):
        (tmp_path / "a").write_bytes(b"1234")
        files.refuse_no_file(tmp_path / "a", largest=4)
        with pytest.raises(DeepPoseError, match="it has 4 bytes, and such a file has at most 3"):
            files.refuse_no_file(tmp_path / "a", largest=3)

    def test_no_more_is_read_at_a_time_than_is_said(self, tmp_path):
        (tmp_path / "a").write_bytes(b"12345")
        with files.Bounded(tmp_path / "a", 4) as stream:
            assert (stream.read(4), stream.read(4), stream.read(4)) == (b"1234", b"5", b"")
            with pytest.raises(ValueError, match="5 bytes of it are one header, where 4 are the most"):
                stream.read(5)


class TestTargets:
    def test_files_that_exist_are_refused_unless_forced(self, tmp_path):
        (tmp_path / "there").write_text("old")
        with pytest.raises(DeepPoseError, match=r"there: it exists already \(--force replaces it, --to names another"):
            refuse_targets([None, tmp_path / "new", tmp_path / "there"], False, instead="--to names another")
        refuse_targets([tmp_path / "there"], True)

    @pytest.mark.parametrize("link", [os.symlink, os.link])
    def test_inputs_are_refused_even_if_forced(self, link, tmp_path):
        (tmp_path / "picture").write_text("input")
        link(tmp_path / "picture", tmp_path / "link")
        for name in ("picture", "link"):
            with pytest.raises(DeepPoseError, match=f"{name}: this is the input itself, which is never changed"):
                refuse_targets([tmp_path / name], True, read=[None, tmp_path / "gone", tmp_path / "picture"])

    @pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link to a device"])
    @pytest.mark.parametrize("force", [True, False])
    def test_what_is_no_file_is_never_replaced(self, kind, force, tmp_path):
        target = tmp_path / "target"
        if kind == "pipe":
            os.mkfifo(target)
        elif kind == "folder":
            target.mkdir()
        elif kind == "device":
            try:
                os.mknod(target, 0o600 | 0o020000, os.makedev(1, 3))
            except PermissionError:
                pytest.skip("only root makes devices")
        else:
            target.symlink_to(os.devnull)
        before = target.lstat()
        for refuse in (
            lambda: refuse_targets([target], force),
            lambda: write(target, force=force),
            lambda: files._put(tmp_path / "whole", target, force),
        ):
            with pytest.raises(DeepPoseError, match=r"target: this is a (folder|device or a pipe, which is never)"):
                refuse()
        assert target.lstat() == before
        assert list(tmp_path.iterdir()) == [target]

    def test_files_in_a_folders_place_are_refused(self, tmp_path):
        (tmp_path / "file").write_text("a")
        with pytest.raises(DeepPoseError, match="file: this is a file; name a folder"):
            checked_folder(tmp_path / "file")
        with (
            pytest.raises(DeepPoseError, match="file: this is a file; name a folder"),
            staged(tmp_path / "file", force=True),
        ):
            pass


class TestAtomic:
    def test_a_file_is_written_whole_or_not_at_all(self, tmp_path):
        target = tmp_path / "file"
        with atomic(target, force=False) as temporary:
            temporary.write_text("first")
            assert not target.exists()
        with pytest.raises(ZeroDivisionError):
            fail_within(atomic(target, force=True))
        assert target.read_text() == "first"
        write(target, "second", force=True)
        assert target.read_text() == "second"
        assert list(tmp_path.iterdir()) == [target]

    def test_its_permissions_are_those_of_any_new_file(self, tmp_path):
        write(tmp_path / "a")
        (tmp_path / "b").write_text("")
        assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode

    def test_what_came_meanwhile_is_not_replaced_unasked(self, tmp_path):
        writing = atomic(tmp_path / "file", force=False)
        writing.__enter__().write_text("mine")
        (tmp_path / "file").write_text("another's")
        with pytest.raises(DeepPoseError, match=r"file: it exists already \(--force"):
            writing.__exit__(None, None, None)
        assert listing(tmp_path).keys() == {"file"}
        assert (tmp_path / "file").read_text() == "another's"

    @pytest.mark.parametrize("links", [True, False], ids=["with links", "without"])
    def test_of_three_writers_of_one_new_file_one_wins(self, links, tmp_path):
        no_links = "import os\ndef link(*_): raise PermissionError(1, 'no links')\nos.link = link\n"
        text = ("" if links else no_links) + textwrap.dedent(WRITER)
        writers = [program(text, tmp_path / "file", name) for name in ("first", "second", "third")]
        for writer in writers:
            assert writer.stdout.readline()
        ended = [writer.communicate("\n", timeout=300) for writer in writers]
        assert sorted(writer.returncode for writer in writers) == [0, 1, 1]
        assert all("file: it exists already" in errors for _, errors in ended[1:])
        assert (tmp_path / "file").read_text() == "first"
        assert list(tmp_path.iterdir()) == [tmp_path / "file"]

    @pytest.mark.parametrize("name", ["n" * 248, "n" * 255, "\N{GRINNING FACE}" * 63, "name-\udcff"])
    def test_names_as_long_as_they_can_be(self, name, tmp_path):
        with atomic(tmp_path / name, force=False) as temporary:
            temporary.write_text("new")
        assert list(tmp_path.iterdir()) == [tmp_path / name]
        with pytest.raises(DeepPoseError, match="it cannot be written: File name too long"):
            write(tmp_path / ("n" * 256))

    @pytest.mark.parametrize(
        ("error", "problem"),
        [
            (OSError(28, "No space left on device"), "file: it cannot be written: No space left on device"),
            (OSError(5, "Input/output error", "another"), "^.Errno 5. Input/output error: 'another'$"),
        ],
    )
    def test_errors_of_the_disk_name_the_file_that_is_written(self, error, problem, tmp_path):
        with pytest.raises((DeepPoseError, OSError), match=problem), atomic(tmp_path / "file", force=False):
            raise error
        assert listing(tmp_path) == {}

    def test_a_place_that_cannot_be_written_is_said(self, tmp_path):
        with pytest.raises(DeepPoseError, match=r"file: it cannot be written: No such file or directory \(nothing was"):
            write(tmp_path / "none" / "file")

    def test_another_name_of_a_file(self, tmp_path, monkeypatch):
        (tmp_path / "epoch-1.pt").write_text("one")
        (tmp_path / "last.pt").write_text("old")
        for _ in range(2):
            same_file(tmp_path / "epoch-1.pt", tmp_path / "last.pt")
            assert (tmp_path / "last.pt").samefile(tmp_path / "epoch-1.pt")

        def link(*_):
            raise PermissionError(1, "no links here")

        monkeypatch.setattr(os, "link", link)
        (tmp_path / "epoch-2.pt").write_text("two")
        same_file(tmp_path / "epoch-2.pt", tmp_path / "last.pt")
        assert (tmp_path / "last.pt").read_text() == "two"
        assert (tmp_path / "epoch-1.pt").read_text() == "one"
        assert len(list(tmp_path.iterdir())) == 3


class TestInterrupts:
    @pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
    @pytest.mark.parametrize("writing", [atomic, staged])
    def test_nothing_is_left(self, number, raised, writing, tmp_path):
        before = signal.getsignal(number)
        with pytest.raises(raised):
            interrupted(writing(tmp_path / "other", force=False), number)
        assert listing(tmp_path) == {}
        assert signal.getsignal(number) == before

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_program_that_is_ended_leaves_nothing(self, number, tmp_path):
        writer = program(WRITER, tmp_path / "file", "half")
        assert writer.stdout.readline()
        writer.send_signal(number)
        writer.communicate(timeout=300)
        assert writer.returncode == {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 143}[number]
        assert listing(tmp_path) == {}

    def test_a_second_ctrl_c_does_not_interrupt_the_tidying(self, tmp_path, monkeypatch):
        unlink = os.unlink

        def slowly(path):
            signal.raise_signal(signal.SIGINT)
            unlink(path)

        monkeypatch.setattr(os, "unlink", slowly)
        with pytest.raises(KeyboardInterrupt):
            interrupted(atomic(tmp_path / "file", force=False))
        assert listing(tmp_path) == {}

    def test_one_that_comes_while_the_file_is_put_in_its_place_comes_after_it(self, tmp_path, monkeypatch):
        link = os.link

        def interrupted_link(*arguments):
            signal.raise_signal(signal.SIGINT)
            link(*arguments)

        monkeypatch.setattr(os, "link", interrupted_link)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "file", "whole")
        assert (tmp_path / "file").read_text() == "whole"
        assert list(tmp_path.iterdir()) == [tmp_path / "file"]

    def test_in_other_threads_files_are_written_too(self, tmp_path):
        thread = threading.Thread(target=write, args=(tmp_path / "file",))
        thread.start()
        thread.join()
        assert (tmp_path / "file").read_text() == "new"

    def test_a_handler_that_raises_nothing_is_called_and_the_work_goes_on(self, tmp_path):
        heard = []
        before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
        try:
            with atomic(tmp_path / "file", force=False) as temporary:
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGTERM)
                temporary.write_text("whole")
        finally:
            signal.signal(signal.SIGTERM, before)
        assert heard == [signal.SIGTERM] * 2
        assert (tmp_path / "file").read_text() == "whole"


class TestLeftOver:
    """What a process that was killed outright left."""

    @pytest.fixture
    def killed(self, tmp_path):
        """The half of a file of a writer that is gone, and of one that lives."""
        gone, alive = (program(WRITER, tmp_path / "file", "half") for _ in range(2))
        paths = [writer.stdout.readline().strip() for writer in (gone, alive)]
        gone.kill()
        gone.communicate()
        yield [tmp_path / path for path in paths]
        alive.communicate("\n")

    def test_the_next_writer_of_the_same_file_sweeps_it_away(self, killed, tmp_path):
        (tmp_path / ".other.01234567.tmp").write_text("of another target")
        write(tmp_path / "file")
        assert {path.name for path in tmp_path.iterdir()} == {"file", ".other.01234567.tmp", killed[1].name}

    def test_a_folder_is_swept_of_what_nobody_is_writing(self, killed, tmp_path):
        (tmp_path / ".other.01234567.tmp").write_text("left by another version")
        (tmp_path / ".notes.tmp").write_text("mine")
        (tmp_path / ".new.89abcdef.tmp").mkdir()
        (tmp_path / ".new.89abcdef.tmp" / "half").write_text("half")
        os.mkfifo(tmp_path / ".pipe.01234567.tmp")
        sweep(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {killed[1].name, ".notes.tmp", ".pipe.01234567.tmp"}

    def test_a_stage_is_swept_too(self, tmp_path):
        (tmp_path / ".new.89abcdef.tmp").mkdir()
        with staged(tmp_path, force=False) as stage:
            assert list(tmp_path.iterdir()) == [stage]

    def test_one_that_is_swept_before_it_was_locked_is_made_anew(self, tmp_path, monkeypatch):
        make, made = files._new_file, []

        def swept(path):
            descriptor = make(path)
            if not made:
                sweep(path.parent)
            made.append(path)
            return descriptor

        monkeypatch.setattr(files, "_new_file", swept)
        write(tmp_path / "file")
        assert len(made) == 2
        assert list(tmp_path.iterdir()) == [tmp_path / "file"]


class TestStaged:
    def test_a_file_that_cannot_be_written_is_named(self, tmp_path):
        folder, name = tmp_path / "made", "a" * 300
        with (
            pytest.raises(DeepPoseError, match=rf"made/{name}: it cannot be written: File name too long"),
            staged(folder, force=False) as stage,
        ):
            (stage / name).write_text("lost")
        assert not folder.exists()

    def test_files_of_a_folder_get_their_names_together_or_not_at_all(self, tmp_path):
        with staged(tmp_path / "made" / "here", force=False) as stage:
            (stage / "a").write_text("1")
            (stage / "b").write_text("2")
            assert not (tmp_path / "made" / "here" / "a").exists()
        assert listing(tmp_path / "made" / "here").keys() == {"a", "b"}
        with pytest.raises(ZeroDivisionError):
            fail_within(staged(tmp_path / "other", force=False))
        assert not (tmp_path / "other").exists()

    def test_what_came_meanwhile_is_not_replaced_unasked(self, tmp_path):
        writing = staged(tmp_path, force=False)
        stage = writing.__enter__()
        (stage / "a").write_text("1")
        (stage / "b").write_text("2")
        (tmp_path / "b").write_text("another's")
        with pytest.raises(DeepPoseError, match="b: it exists already"):
            writing.__exit__(None, None, None)
        assert listing(tmp_path).keys() == {"b"}
        with staged(tmp_path, force=True) as stage:
            (stage / "b").write_text("2")
        assert (tmp_path / "b").read_text() == "2"


def test_a_files_hash(tmp_path):
    (tmp_path / "a").write_bytes(bytes(3 << 20) + b"1")
    assert hash_file(tmp_path / "a") == sha256(tmp_path / "a")


@pytest.mark.parametrize(
    ("amount", "expected"),
    [("0", 0), (1000, 1000), ("512M", 512 << 20), ("1.5G", 3 << 29), ("64 KiB", 65536), ("1t", 1 << 40), ("7B", 7)],
)
def test_numbers_of_bytes(amount, expected):
    assert byte_count(amount) == expected


@pytest.mark.parametrize("amount", ["", "-1", "1,5G", "nan", "1e9", "M", "5X"])
def test_what_is_no_number_of_bytes(amount):
    with pytest.raises(ValueError, match=r"is not a number of bytes; write 512M"):
        byte_count(amount)


def test_folders_of_which_one_cannot_be_made_are_taken_away(tmp_path):
    with pytest.raises(DeepPoseError), files.made(tmp_path / "a" / ("x" * 300)):
        pass
    assert not list(tmp_path.iterdir())
