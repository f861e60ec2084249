import contextlib
import copy
import itertools
import pickle
import random
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from converters.processors import usable_processors
from deeppose_port.data import DatasetError, PoseDataset
from deeppose_port.data.augmentation import Augmentation, example_rng
from deeppose_port.data.augmented import augmented_example
from deeppose_port.data.loader import TrainingLoader
from deeppose_port.data.pack import PackedDataset, PackOptions
from deeppose_port.data.pack.packing import pack
from deeppose_port.inspecting import bench
from deeppose_port.inspecting.bench import DataSpeed, bench_data, recommend
from tests.helpers.streams import Numbers, loader_threads, tell, told, wait_until, within

ALL = Augmentation(fliplr=True, rotate=True, zoom=True, translate=True)


@pytest.fixture(autouse=True)
def no_thread_survives():
    yield
    assert wait_until(lambda: not loader_threads())


@pytest.fixture
def open_loader():
    """Makes loaders of `tell`'s examples and closes them."""
    loaders = []

    def make(size=10, batch_size=4, **options):
        loaders.append(TrainingLoader(Numbers(size), batch_size, **{"example": tell, "threads": 2, **options}))
        return loaders[-1]

    yield make
    for loader in loaders:
        loader.close()


@pytest.fixture
def free(pictures):
    return PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic", im_size=64)


def take(loader, count):
    return [told(next(loader)) for _ in range(count)]


def joined(batches):
    return list(itertools.chain.from_iterable(batches))


def counters(loader):
    return (
        loader.epoch,
        loader.current_position,
        loader.is_new_epoch,
        loader.epoch_detail,
        loader.previous_epoch_detail,
    )


class TestStream:
    def test_each_epoch_visits_every_example_once_in_an_order_of_its_own(self, open_loader):
        stream = joined(take(open_loader(), 10))
        epochs = [stream[k : k + 10] for k in range(0, 40, 10)]
        for number, epoch in enumerate(epochs):
            assert [pair[0] for pair in epoch] == [number] * 10
            assert sorted(pair[1] for pair in epoch) == list(range(10))
        orders = [tuple(pair[1] for pair in epoch) for epoch in epochs]
        assert len({*orders, tuple(range(10))}) == 5

    def test_batch_at_the_edge_of_an_epoch_is_filled_up_from_the_next(self, open_loader):
        first, second, third = take(open_loader(shuffle=False), 3)
        assert first == [(0, 0), (0, 1), (0, 2), (0, 3)]
        assert second == [(0, 4), (0, 5), (0, 6), (0, 7)]
        assert third == [(0, 8), (0, 9), (1, 0), (1, 1)]

    def test_counters_are_those_of_chainers_iterators(self, open_loader):
        loader = open_loader()
        assert counters(loader) == (0, 0, False, 0.0, None)
        seen = []
        for _ in range(5):
            next(loader)
            seen.append(counters(loader))
        assert seen == [
            (0, 4, False, 0.4, 0.0),
            (0, 8, False, 0.8, 0.4),
            (1, 2, True, 1.2, 0.8),
            (1, 6, False, 1.6, 1.2),
            (2, 0, True, 2.0, 1.6),
        ]

    def test_batch_may_span_several_epochs(self, open_loader):
        loader = open_loader(size=2, batch_size=5, shuffle=False)
        assert take(loader, 1) == [[(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]]
        assert counters(loader) == (2, 1, True, 2.5, 0.0)

    def test_order_of_an_epoch_follows_from_seed_and_epoch_alone(self, open_loader):
        stream = joined(take(open_loader(batch_size=4), 10))
        assert joined(take(open_loader(batch_size=20), 2)) == stream
        assert take(open_loader(position=(3, 0)), 1)[0] == stream[30:34]
        assert joined(take(open_loader(seed=1), 10)) != stream
        # What every NumPy draws.
        assert [pair[1] for pair in stream[:10]] == [3, 5, 6, 1, 0, 9, 4, 8, 2, 7]

    def test_orders_and_examples_draw_from_different_streams(self, free):
        # A seed sequence of (seed, epoch) is that of (seed, epoch, 0): index 0 would be augmented by the order's bits.
        order = np.random.PCG64(np.random.SeedSequence(1701, spawn_key=(3,)))
        for index in range(3):
            example = example_rng(1701, 3, index).bit_generator.seed_seq.generate_state(4)
            assert (order.seed_seq.generate_state(4) != example).all()

    def test_global_random_numbers_play_no_part(self, open_loader):
        streams = []
        for seed in (1, 2):
            np.random.seed(seed)
            random.seed(seed)
            streams.append(take(open_loader(), 5))
        assert streams[0] == streams[1]

    def test_batches_are_the_datasets_examples(self, free):
        with TrainingLoader(free, 5) as loader:
            order = loader.state()["order"]
            inputs, targets, mask = next(loader)
        assert (inputs.shape, inputs.dtype) == ((5, 3, 64, 64), np.float32)
        assert (targets.shape, targets.dtype) == ((5, 14), np.float32)
        assert (mask.shape, mask.dtype) == ((5, 14), np.int32)
        for row, index in enumerate(order[:5]):
            for array, part in zip((inputs, targets, mask), free[index], strict=True):
                assert np.array_equal(array[row], part)

    def test_augmentation_is_drawn_from_seed_epoch_and_index(self, free):
        with TrainingLoader(free, 13, augmentation=ALL, seed=5) as loader:
            for epoch in range(3):
                order = loader.state()["order"]
                batch = next(loader)
                for row, index in enumerate(order):
                    expected = augmented_example(free, index, ALL, example_rng(5, epoch, int(index)))
                    for array, part in zip(batch, expected, strict=True):
                        assert np.array_equal(array[row], part)

    @pytest.mark.parametrize("augmentation", [None, ALL])
    def test_inputs_are_written_straight_into_the_batch(self, free, monkeypatch, augmentation):
        from deeppose_port.data import normalization as module

        places = []
        original = module.cv2.LUT

        def spy(plane, table, dst):
            places.append(dst)
            return original(plane, table, dst=dst)

        monkeypatch.setattr(module.cv2, "LUT", spy)
        with TrainingLoader(free, 13, augmentation=augmentation, threads=1, epochs=1) as loader:
            inputs, _, _ = next(loader)
        assert len(places) == 3 * 13
        assert all(np.shares_memory(place, inputs) for place in places)

    def test_batch_of_some_examples_is_that_of_the_stream(self, free):
        with TrainingLoader(free, 5, augmentation=ALL, seed=5) as loader:
            (wanted, _), stream = next(loader.schedule()), next(loader)
            assert all(map(np.array_equal, loader.batch(wanted), stream))

    def test_batches_belong_to_the_caller(self, free):
        with TrainingLoader(free, 13, shuffle=False) as loader:
            first = next(loader)
            before = [array.copy() for array in first]
            for array in first:
                array[...] = 7
            for array, expected in zip(next(loader), before, strict=True):
                assert np.array_equal(array, expected)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"batch_size": 0}, "batch_size is 0"),
            ({"threads": 0}, "threads is 0"),
            ({"ahead": 0}, "ahead is 0"),
            ({"seed": -1}, "seed is -1; it has to be at least 0"),
            ({"size": 0}, "a dataset of 0 has no position 0 in epoch 0"),
            ({"position": (0, 10)}, "a dataset of 10 has no position 10 in epoch 0"),
            ({"position": (-1, 0)}, "no position 0 in epoch -1"),
            ({"order": range(9)}, "the order, of 9 examples, is not one of this dataset of 10"),
            ({"order": [0] * 10}, "not one of this dataset"),
        ],
    )
    def test_nonsense_is_refused(self, open_loader, options, message):
        with pytest.raises(ValueError, match=message):
            open_loader(**options)

    def test_default_threads_are_the_processors_of_this_process(self, open_loader):
        assert open_loader(threads=None).threads == usable_processors() >= 1


class TestThreads:
    @pytest.mark.parametrize("threads", [1, 2, 24, 64])
    @pytest.mark.parametrize("ahead", [1, 2, 5])
    def test_stream_is_the_same_for_any_number_of_threads(self, open_loader, threads, ahead):
        delays = random.Random(threads)

        def uneven(epoch, index):
            time.sleep(delays.choice((0, 0, 0.002)))
            return tell(epoch, index)

        expected = take(open_loader(threads=1, ahead=1), 20)
        assert take(open_loader(threads=threads, ahead=ahead, example=uneven), 20) == expected

    def test_augmented_pictures_are_the_same_bits_for_any_number_of_threads(self, free):
        batches = {}
        for threads in (1, 2, 24, 64):
            with TrainingLoader(free, 8, augmentation=ALL, threads=threads) as loader:
                batches[threads] = [next(loader) for _ in range(6)]
        for threads in (2, 24, 64):
            for batch, expected in zip(batches[threads], batches[1], strict=True):
                for array, bits in zip(batch, expected, strict=True):
                    assert array.tobytes() == bits.tobytes()

    def test_so_many_threads_work_at_once(self, open_loader):
        barrier = threading.Barrier(8)

        def together(epoch, index):
            barrier.wait(60)
            return tell(epoch, index)

        loader = open_loader(size=8, batch_size=8, threads=8, epochs=1, example=together)
        within(60, next, loader)
        assert len(loader_threads()) == 8

    def test_opencvs_own_threads_are_off_while_the_workers_run(self, open_loader):
        before = cv2.getNumThreads()
        cv2.setNumThreads(3)
        try:
            seen = []

            def example(epoch, index):
                seen.append(cv2.getNumThreads())
                return tell(epoch, index)

            first, second = open_loader(example=example), open_loader(example=example)
            assert cv2.getNumThreads() == 3
            next(first)
            next(second)
            first.close()
            next(second)
            assert set(seen) == {1}
            assert cv2.getNumThreads() == 1
            second.close()
            second.close()
            assert cv2.getNumThreads() == 3
        finally:
            cv2.setNumThreads(before)


class TestAhead:
    def test_two_batches_are_made_ahead_and_no_more(self, open_loader):
        made = []
        loader = open_loader(size=100, example=lambda *example: made.append(example) or tell(*example))
        assert not made
        next(loader)
        assert wait_until(lambda: len(made) == 12)
        time.sleep(0.05)
        assert len(made) == 12
        next(loader)
        assert wait_until(lambda: len(made) == 16)

    def test_batches_made_ahead_are_not_waited_for(self, open_loader):
        gate = threading.Event()
        gate.set()
        made = []

        def example(epoch, index):
            gate.wait(120)
            made.append(index)
            return tell(epoch, index)

        loader = open_loader(size=100, ahead=3, example=example)
        next(loader)
        assert wait_until(lambda: len(made) == 16)
        gate.clear()
        within(60, take, loader, 3)
        gate.set()

    def test_slow_picture_holds_back_no_other_thread(self, open_loader):
        gate, made = threading.Event(), []

        def example(epoch, index):
            if index == 1:
                gate.wait(120)
            else:
                made.append(index)
            return tell(epoch, index)

        loader = open_loader(size=100, shuffle=False, example=example)
        consumer = threading.Thread(target=next, args=(loader,))
        consumer.start()
        assert wait_until(lambda: sorted(made) == [0, *range(2, 12)])
        assert consumer.is_alive()
        gate.set()
        consumer.join(60)
        assert not consumer.is_alive()

    def test_nothing_past_the_training_is_made_ahead(self, open_loader):
        made = []
        loader = open_loader(
            size=8, epochs=2, shuffle=False, example=lambda *example: made.append(example) or tell(*example)
        )
        while loader.epoch < 2:
            next(loader)
        loader.close()
        assert sorted(made) == list(itertools.product(range(2), range(8)))

    def test_training_can_go_on_past_its_length(self, open_loader):
        assert take(open_loader(epochs=1), 8) == take(open_loader(), 8)

    def test_waiting_and_examples_are_counted(self, open_loader):
        def slow(epoch, index):
            time.sleep(0.02)
            return tell(epoch, index)

        loader = open_loader(size=100, example=slow, threads=1)
        assert (loader.waited, loader.given) == (0, 0)
        next(loader)
        assert loader.waited >= 0.08
        assert loader.given == 4
        assert wait_until(lambda: all(future.done() for batch in loader._pending for future in batch._futures))
        before = loader.waited
        next(loader)
        assert loader.waited - before < 0.02
        assert loader.given == 8


class TestState:
    def test_saving_leaves_the_stream_and_what_is_made_ahead_alone(self, open_loader):
        made = []
        loader = open_loader(example=lambda *example: made.append(example) or tell(*example))
        stream = []
        for _ in range(10):
            loader.state()
            stream.append(told(next(loader)))
            loader.state()
        loader.close()
        assert stream == take(open_loader(), 10)
        assert len(made) == len(set(made))

    @pytest.mark.parametrize("shuffle", [True, False])
    @pytest.mark.parametrize(("size", "batch_size"), [(10, 4), (10, 10), (3, 7), (1, 2)])
    def test_resumed_stream_is_the_uninterrupted_one(self, open_loader, shuffle, size, batch_size):
        options = {"size": size, "batch_size": batch_size, "shuffle": shuffle}
        loader = open_loader(**options)
        states, stream, counts = [], [], []
        for _ in range(9):
            states.append(loader.state())
            stream.append(told(next(loader)))
            counts.append(counters(loader))
        for k, state in enumerate(states):
            restored = open_loader(**options)
            restored.restore(state)
            assert counters(restored) == ((0, 0, False, 0.0, None) if k == 0 else counts[k - 1])
            placed = open_loader(position=(state["epoch"], state["current_position"]), order=state["order"], **options)
            for resumed in (restored, placed):
                for batch, count in zip(stream[k:], counts[k:], strict=True):
                    assert told(next(resumed)) == batch
                    assert counters(resumed) == count

    def test_order_of_a_snapshot_ends_the_epoch_and_the_seeds_follow(self, open_loader):
        backwards = list(range(10))[::-1]
        stream = joined(take(open_loader(position=(2, 5), order=backwards), 5))
        assert stream[:5] == [(2, 4), (2, 3), (2, 2), (2, 1), (2, 0)]
        assert stream[5:15] == joined(take(open_loader(position=(3, 0)), 3))[:10]

    def test_state_is_plain_and_cannot_be_edited(self, open_loader):
        loader = open_loader()
        next(loader)
        state = loader.state()
        assert set(state) == {"epoch", "current_position", "is_new_epoch", "order", "previous_epoch_detail"}
        assert state["order"].dtype == np.int64
        with pytest.raises(ValueError, match="read-only"):
            state["order"][0] = 1
        assert open_loader(shuffle=False).state()["order"] is None

    def test_restoring_forgets_what_was_made_ahead(self, open_loader):
        loader = open_loader()
        start = loader.state()
        stream = take(loader, 3)
        loader.restore(start)
        assert take(loader, 3) == stream
        loader.restore({"epoch": 0, "current_position": 8})
        assert take(loader, 1) == stream[2:]

    def test_state_of_another_dataset_is_refused_and_changes_nothing(self, open_loader):
        loader, other = open_loader(), open_loader(size=11)
        expected = take(open_loader(), 2)
        assert take(loader, 1) == expected[:1]
        with pytest.raises(ValueError, match="of 11 examples, is not one of this dataset of 10"):
            loader.restore(other.state())
        with pytest.raises(ValueError, match="no position 10"):
            loader.restore({"epoch": 0, "current_position": 10})
        assert take(loader, 1) == expected[1:]

    def test_copy_has_threads_and_batches_of_its_own(self, open_loader):
        loader = open_loader()
        expected = take(open_loader(), 4)
        assert take(loader, 2) == expected[:2]
        with copy.copy(loader) as twin:
            assert counters(twin) == counters(loader)
            assert take(twin, 1) == expected[2:3]
            loader.close()
            assert within(60, take, twin, 1) == expected[3:]


class TestFailure:
    def test_failure_comes_again_and_the_stream_stays_before_it(self, open_loader):
        def example(epoch, index):
            if index == 5:
                raise DatasetError("persons.csv, line 6: no picture")
            return tell(epoch, index)

        loader = open_loader(example=example, shuffle=False)
        take(loader, 1)
        before = loader.state()
        for _ in range(3):
            with pytest.raises(DatasetError, match="line 6"):
                within(60, next, loader)
            assert loader.state() == before
            assert loader.given == 4
        resumed = open_loader(shuffle=False)
        resumed.restore(loader.state())
        assert take(resumed, 1) == [[(0, 4), (0, 5), (0, 6), (0, 7)]]

    def test_first_of_several_failures_is_raised_whoever_was_first(self, open_loader):
        second_failed = threading.Event()

        def example(epoch, index):
            if index == 1:
                second_failed.wait(120)
            if index in (1, 2):
                second_failed.set()
                raise DatasetError(f"number {index}")
            return tell(epoch, index)

        with pytest.raises(DatasetError, match="number 1"):
            within(60, next, open_loader(example=example, shuffle=False, threads=4))

    def test_failure_ahead_waits_for_its_turn(self, open_loader):
        def example(epoch, index):
            if index == 9:
                raise DatasetError("number 9")
            return tell(epoch, index)

        loader = open_loader(example=example, shuffle=False)
        assert len(take(loader, 2)) == 2
        with pytest.raises(DatasetError, match="number 9"):
            next(loader)

    def test_mended_picture_is_read_after_restoring(self, open_loader):
        broken = [True]

        def example(epoch, index):
            if broken:
                raise DatasetError("broken")
            return tell(epoch, index)

        loader = open_loader(example=example)
        with pytest.raises(DatasetError):
            next(loader)
        broken.clear()
        loader.restore(loader.state())
        assert take(loader, 1) == take(open_loader(), 1)

    def test_broken_picture_is_named_with_its_line(self, tmp_path):
        for name in ("a.png", "b.png", "c.png"):
            cv2.imwrite(str(tmp_path / name), np.full((50, 50, 3), 99, np.uint8))
        (tmp_path / "b.png").write_bytes(b"no picture")
        joints = ",10,10,40,40" * 3 + ",10,40"
        (tmp_path / "t.csv").write_text("".join(f"{name}{joints}\n" for name in ("a.png", "b.png", "c.png")))
        dataset = PoseDataset(tmp_path / "t.csv", images=tmp_path, skeleton="flic")
        for augmentation in (None, ALL):
            with (
                TrainingLoader(dataset, 3, augmentation=augmentation) as loader,
                pytest.raises(DatasetError, match=r"^[^:]*t\.csv, line 2, picture [^:]*b\.png: cannot be decoded"),
            ):
                within(60, next, loader)

    def test_unforeseen_error_names_the_picture_too(self, free, monkeypatch):
        def fail(*arguments):
            raise cv2.error("too wide")

        monkeypatch.setattr("deeppose_port.data.loader.augmented_example", fail)
        with (
            TrainingLoader(free, 1, augmentation=ALL, shuffle=False) as loader,
            pytest.raises(DatasetError, match=r"free\.csv, line 1, picture .*astronaut\.png: .*error: too wide"),
        ):
            next(loader)


class TestClose:
    def test_all_threads_are_joined(self, open_loader):
        before = threading.enumerate()
        loader = open_loader(threads=24, size=100, batch_size=48)
        next(loader)
        assert 1 <= len(loader_threads()) <= 24
        loader.close()
        assert threading.enumerate() == before

    def test_running_examples_are_waited_for_and_the_others_are_not_begun(self, open_loader):
        gate, begun = threading.Event(), []

        def example(epoch, index):
            begun.append(index)
            gate.wait(120)
            return tell(epoch, index)

        loader = open_loader(size=100, shuffle=False, example=example)

        def consume():
            with pytest.raises(RuntimeError, match="closed"):
                next(loader)

        consumer = threading.Thread(target=consume)
        consumer.start()
        assert wait_until(lambda: len(begun) == 2)
        threading.Timer(0.1, gate.set).start()
        within(60, loader.close)
        consumer.join(60)
        assert not consumer.is_alive()
        assert not loader_threads()
        assert len(begun) == 2

    def test_after_closing_there_are_no_more_batches(self, open_loader):
        loader = open_loader()
        next(loader)
        state = loader.state()
        loader.close()
        loader.close()
        for function in (next, lambda closed: closed.restore(state)):
            with pytest.raises(RuntimeError, match="closed and gives no more batches"):
                within(60, function, loader)
        assert counters(loader)[:2] == (0, 4)
        assert loader.state() == state

    def test_loader_that_never_began_closes(self, open_loader):
        open_loader().close()

    def test_context_closes(self, open_loader):
        with open_loader() as loader:
            next(iter(loader))
        assert not loader_threads()


class TestBench:
    def test_each_number_of_threads_is_measured(self, free):
        steps = []
        rows = bench_data(
            free, (2, 1), batch_size=4, seconds=0.1, rounds=2, progress=lambda done, total: steps.append((done, total))
        )
        assert [row.threads for row in rows] == [2, 1]
        assert all(row.pictures_per_second > 0 for row in rows)
        assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def test_speed_is_that_of_whole_batches_after_the_first_in_the_median_round(self, free, monkeypatch):
        now, opened = 0.0, 0

        class Loader(contextlib.nullcontext):
            """Gives a batch after the time that its examples take, 0.05 s for one thread, but for its first."""

            def __init__(self, dataset, batch_size, *, augmentation, threads):
                nonlocal opened
                self.given, self.size, opened = 0, batch_size, opened + 1
                self.example = 0.05 / threads * (9 if opened in (3, 4) else 1)  # the machine was busy in one round
                super().__init__(self)

            def __next__(self):
                nonlocal now
                now += self.size * self.example if self.given else 10
                self.given += self.size

        monkeypatch.setattr(bench, "TrainingLoader", Loader)
        monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: now))
        rows = bench_data(free, (1, 8), batch_size=4, seconds=1.5, rounds=3)
        assert [row.pictures_per_second for row in rows] == pytest.approx([20, 160])

    def test_fewest_threads_as_good_as_the_best_are_recommended(self):
        rows = [DataSpeed(*row) for row in ((64, 100.0), (4, 97.1), (8, 98.0), (2, 96.9), (1, 50.0))]
        assert recommend(rows) == DataSpeed(4, 97.1)
        assert recommend(rows[:1]) == rows[0]


@pytest.mark.parametrize("packs", [False, True])
def test_it_is_sent_to_processes_that_begin_with_nothing(packs, pictures, tmp_path):
    csv = pictures / "free.csv"
    dataset = PoseDataset(csv, images=pictures, skeleton="flic", im_size=64)
    if packs:
        pack(dataset, tmp_path / "pack", PackOptions("flic", resolution=0))
        dataset = PackedDataset(csv, images=pictures, skeleton="flic", im_size=64, pack=tmp_path / "pack")
    with TrainingLoader(dataset, 4, augmentation=ALL, seed=3, threads=1, part=(1, 2), epochs=2) as loader:
        next(loader)
        wanted, _ = next(loader.schedule())
        with pickle.loads(pickle.dumps(loader)) as other:
            assert counters(other) == counters(loader)
            for mine, theirs in zip(loader.batch(wanted), other.batch(wanted), strict=True):
                np.testing.assert_array_equal(mine, theirs)
            for mine, theirs in zip(next(loader), next(other), strict=True):
                np.testing.assert_array_equal(mine, theirs)
