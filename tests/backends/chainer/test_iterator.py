import copy
import importlib.util
import itertools
import threading

import numpy as np
import pytest

from deeppose_port.data import DatasetError, PoseDataset
from deeppose_port.data.augmentation import Augmentation
from deeppose_port.data.loader import TrainingLoader
from tests.helpers.streams import Numbers, loader_threads, tell, told, wait_until, within

if importlib.util.find_spec("chainer") is None:
    pytest.skip("Chainer is not installed", allow_module_level=True)

from deeppose_port.backends.chainer.iterator import PoseBatch, PoseIterator, chainer, concat_poses

ALL = Augmentation(fliplr=True, rotate=True, zoom=True, translate=True)


@pytest.fixture(autouse=True)
def no_thread_survives():
    yield
    assert wait_until(lambda: not loader_threads())


@pytest.fixture
def iterator():
    """Makes iterators of `tell`'s examples and finalizes them."""
    made = []

    def make(size=10, batch_size=4, **options):
        loader = TrainingLoader(Numbers(size), batch_size, **{"example": tell, "threads": 2, **options})
        made.append(PoseIterator(loader))
        return made[-1]

    yield make
    for each in made:
        each.finalize()


@pytest.fixture
def free(pictures):
    return PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic", im_size=64)


def take(iterator, count):
    return [told(iterator.next().arrays) for _ in range(count)]


def counters(iterator):
    names = (
        "epoch",
        "current_position",
        "is_new_epoch",
        "epoch_detail",
        "previous_epoch_detail",
        "repeat",
        "batch_size",
    )
    return {name: getattr(iterator, name) for name in names}


def save(iterator):
    return {key: np.asarray(value) for key, value in chainer.serializers.npz.serialize(iterator).items()}


def load(iterator, arrays, **options):
    chainer.serializers.NpzDeserializer(arrays, **options).load(iterator)


class SquaredErrors(chainer.Chain):
    """A network of one layer and its loss."""

    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.linear = chainer.links.Linear(3 * 64 * 64, 14, initialW=0)

    def forward(self, inputs, targets, mask):
        return chainer.functions.sum((self.linear(inputs) - targets) ** 2 * mask.astype(np.float32))


class TestChainersProtocol:
    def test_it_is_found_by_programs_that_look_for_a_multithread_iterator(self, iterator):
        made = iterator(threads=3)
        assert isinstance(made, chainer.iterators.MultithreadIterator)
        assert (made.n_threads, len(made.dataset)) == (3, 10)
        assert iter(made) is made

    @pytest.mark.parametrize(("size", "batch_size"), [(10, 4), (10, 5), (10, 10), (3, 7), (1, 1), (7, 2), (2, 4)])
    def test_counters_and_indices_are_those_of_serial_iterator(self, iterator, size, batch_size):
        ours = iterator(size, batch_size, shuffle=False)
        serial = chainer.iterators.SerialIterator(range(size), batch_size, shuffle=False)
        assert counters(ours) == counters(serial)
        for _ in range(25):
            assert [index for _, index in told(ours.next().arrays)] == serial.next()
            assert counters(ours) == counters(serial)

    def test_orders_of_shuffled_epochs_are_visited_as_serial_iterator_does(self, iterator):
        orders = [iterator(position=(epoch, 0)).loader.state()["order"] for epoch in range(12)]
        following = iter(orders)
        sampler = lambda order, position: next(following)  # noqa: E731
        ours, serial = iterator(), chainer.iterators.SerialIterator(range(10), 4, shuffle=None, order_sampler=sampler)
        for _ in range(25):
            assert [index for _, index in told(ours.next().arrays)] == serial.next()

    def test_reset_begins_again(self, iterator):
        made = iterator()
        begin, stream = counters(made), take(made, 4)
        made.reset()
        assert counters(made) == begin
        assert take(made, 4) == stream

    def test_trainer_runs_and_joins(self, free, tmp_path):
        optimizer = chainer.optimizers.SGD(1e-6).setup(SquaredErrors())
        iterator = PoseIterator(TrainingLoader(free, 4, augmentation=ALL, epochs=2))
        updater = chainer.training.StandardUpdater(iterator, optimizer, concat_poses)
        seen = []
        trainer = chainer.training.Trainer(updater, (2, "epoch"), tmp_path)
        trainer.extend(lambda _: seen.append(updater.previous_epoch_detail), trigger=(1, "iteration"), name="seen")
        within(60, trainer.run)
        assert updater.iteration == 7  # 13 persons twice, by fours
        np.testing.assert_allclose(seen, np.arange(7) * 4 / 13)
        assert not loader_threads()
        with pytest.raises(RuntimeError, match="closed"):
            iterator.next()


class TestBatches:
    def test_batch_is_a_list_of_examples(self, iterator):
        batch = iterator(shuffle=False).next()
        assert len(batch) == 4
        assert [targets.tolist() for _, targets, _ in batch] == [[0, 0], [0, 1], [0, 2], [0, 3]]
        inputs, targets, mask = batch[-1]
        assert (inputs.shape, targets.shape, mask.shape) == ((3, 2, 2), (2,), (2,))
        with pytest.raises(IndexError):
            batch[4]

    def test_part_of_a_batch_is_a_batch_without_a_copy(self, iterator):
        batch = iterator(shuffle=False).next()
        parts = [batch[i::2] for i in range(2)]
        assert [told(part.arrays) for part in parts] == [[(0, 0), (0, 2)], [(0, 1), (0, 3)]]
        for part in parts:
            assert isinstance(part, PoseBatch)
            assert all(np.shares_memory(*pair) for pair in zip(part.arrays, batch.arrays, strict=True))

    @pytest.mark.parametrize("part", [slice(None), slice(0, None, 3), slice(1, None, 3)])
    def test_converter_gives_what_chainers_gives(self, free, part):
        with PoseIterator(TrainingLoader(free, 8)) as iterator:
            batch = iterator.next()[part]
        for device in (None, -1, "@numpy"):
            arrays = concat_poses(batch, device)
            for ours, of_list, theirs in zip(
                arrays,
                concat_poses(list(batch), device),
                chainer.dataset.concat_examples(batch, device),
                strict=True,
            ):
                assert ours.flags.c_contiguous
                assert ours.dtype == theirs.dtype
                assert np.array_equal(ours, theirs)
                assert np.array_equal(of_list, theirs)

    def test_converter_does_not_copy_a_whole_batch(self, iterator):
        batch = iterator().next()
        assert all(ours is array for ours, array in zip(concat_poses(batch, -1), batch.arrays, strict=True))

    def test_chainers_parallel_updater_parts_it_without_loss(self, free):
        gradients = []
        for names in (["main"], ["main", "second"]):
            model = SquaredErrors()
            optimizer = chainer.optimizers.SGD(1e-6).setup(model)
            with PoseIterator(TrainingLoader(free, 7)) as iterator:
                devices = {name: chainer.get_device("@numpy") for name in names}
                chainer.training.updaters.ParallelUpdater(iterator, optimizer, concat_poses, devices=devices).update()
            gradients.append(model.linear.W.grad)
        np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-5 * abs(gradients[0]).max())


class TestSnapshots:
    keys = ("current_position", "epoch", "is_new_epoch", "order", "previous_epoch_detail")

    def test_keys_and_types_are_those_of_serial_iterator(self, iterator):
        ours, serial = iterator(), chainer.iterators.SerialIterator(range(10), 4)
        for _ in range(4):
            saved, expected = save(ours), save(serial)
            assert sorted(saved) == sorted(expected) == sorted(self.keys)
            for key in self.keys:
                assert (saved[key].dtype, saved[key].shape) == (expected[key].dtype, expected[key].shape)
                assert key == "order" or saved[key] == expected[key]
            ours.next()
            serial.next()

    def test_serial_iterator_goes_on_from_ours(self, iterator):
        ours, serial = iterator(), chainer.iterators.SerialIterator(range(10), 4)
        take(ours, 4)
        load(serial, save(ours))
        assert counters(serial) == counters(ours)
        assert serial.next() == [index for _, index in take(ours, 1)[0]]

    @pytest.mark.parametrize("kind", ["SerialIterator", "MultithreadIterator"])
    def test_snapshots_of_chainers_iterators_are_gone_on_from(self, iterator, kind):
        theirs = getattr(chainer.iterators, kind)(list(range(10)), 4)
        for _ in range(4):
            theirs.next()
        arrays = save(theirs)
        ours = iterator()
        load(ours, arrays)
        assert counters(ours) == counters(theirs)
        assert [index for _, index in take(ours, 1)[0]] == theirs.next()
        theirs.finalize()

    @pytest.mark.parametrize(
        "name",
        [
            f"{version}/{kind}/snapshot_iter_{iteration}"
            for version, kind, iteration in [
                ("1.13.0", "trainer-multiprocess", 2),
                ("1.13.0", "trainer-serial", 2),
                ("1.13.0", "trainer-resnet50-momentumsgd", 12),
                ("1.24.0", "trainer-multiprocess", 2),
                ("5.4.0", "trainer-serial", 2),
                ("7.8.1", "trainer-multiprocess", 2),
                ("7.8.1", "trainer-resnet50-momentumsgd", 12),
            ]
        ],
    )
    def test_legacy_snapshots_are_gone_on_from(self, iterator, golden, request, name):
        path = golden / "checkpoints" / name
        if not path.is_file():
            path = request.getfixturevalue("shared_golden") / "checkpoints" / "tiny" / name
        with np.load(path) as arrays:
            prefix = "updater/iterator:main/"
            order = arrays[prefix + ("order" if prefix + "order" in arrays else "_order")]
            ours = iterator(size=len(order), batch_size=2)
            load(ours, arrays, path=prefix)
            epoch = int(arrays[prefix + "epoch"])
        assert (ours.epoch, ours.current_position, ours.is_new_epoch) == (epoch, 0, True)
        assert ours.previous_epoch_detail == pytest.approx(epoch - 2 / len(order))
        assert take(ours, 1) == [[(epoch, index) for index in order[:2]]]

    def test_previous_detail_is_guessed_as_serial_iterator_does(self, iterator):
        for position, epoch in ((0, 0), (2, 0), (8, 0), (3, 2)):
            arrays = save(iterator(position=(epoch, position)))
            del arrays["previous_epoch_detail"]
            ours, serial = iterator(), chainer.iterators.SerialIterator(range(10), 4)
            load(ours, arrays)
            load(serial, arrays)
            assert counters(ours) == counters(serial)

    def test_old_none_is_no_previous_detail(self, iterator):
        arrays = {**save(iterator()), "previous_epoch_detail": np.asarray(None)}
        ours = iterator()
        load(ours, arrays)
        assert ours.previous_epoch_detail is None

    def test_without_an_order_it_is_drawn(self, iterator):
        expected = take(iterator(), 3)
        for shuffle in (True, False):
            arrays = save(iterator(shuffle=False, position=(0, 4)))
            assert "order" not in arrays
            ours = iterator(shuffle=shuffle)
            load(ours, arrays)
            assert take(ours, 1)[0] == (expected[1] if shuffle else [(0, 4), (0, 5), (0, 6), (0, 7)])

    def test_snapshot_of_another_training_set_is_refused(self, iterator):
        with pytest.raises(ValueError, match="of 11 examples, is not one of this dataset of 10"):
            load(iterator(), save(iterator(size=11)))

    def test_files_that_hold_no_iterator_change_nothing_where_that_is_allowed(self, iterator):
        ours = iterator()
        expected = take(iterator(), 2)
        assert take(ours, 1) == expected[:1]
        before = counters(ours)
        load(ours, {}, strict=False)
        assert counters(ours) == before
        assert take(ours, 1) == expected[1:]
        with pytest.raises(KeyError):
            load(ours, {})

    @pytest.mark.parametrize("suffix", ["npz", "hdf5"])
    def test_run_resumed_from_a_file_is_the_uninterrupted_one(self, iterator, tmp_path, suffix):
        if suffix == "hdf5":
            pytest.importorskip("h5py")
        expected = take(iterator(), 9)
        for k in range(9):
            ours, path = iterator(), tmp_path / f"{k}.{suffix}"
            take(ours, k)
            getattr(chainer.serializers, f"save_{suffix}")(str(path), ours)
            resumed = iterator()
            getattr(chainer.serializers, f"load_{suffix}")(str(path), resumed)
            assert counters(resumed) == counters(ours)
            assert take(resumed, 9 - k) == expected[k:]


class TestTraps:
    """What goes wrong in Chainer's own MultithreadIterator, one test for each."""

    def test_failing_picture_loses_no_batch(self, iterator):
        def example(epoch, index):
            if index == 6:
                raise DatasetError("t.csv, line 7")
            return tell(epoch, index)

        ours = iterator(shuffle=False, example=example)
        take(ours, 1)
        before = save(ours)
        for _ in range(3):
            with pytest.raises(DatasetError, match="line 7"):
                within(10, ours.next)
            assert save(ours).items() >= {key: before[key] for key in ("epoch", "current_position")}.items()
        mended = iterator(shuffle=False)
        load(mended, save(ours))
        assert take(mended, 1) == [[(0, 4), (0, 5), (0, 6), (0, 7)]]

    def test_after_finalize_there_is_an_error_and_no_new_pool(self, iterator):
        ours = iterator()
        ours.next()
        ours.finalize()
        ours.finalize()
        with pytest.raises(RuntimeError, match="closed and gives no more batches"):
            within(5, ours.next)
        assert not loader_threads()

    def test_copy_does_not_hang_when_the_other_is_finalized(self, iterator):
        ours = iterator()
        expected = take(iterator(), 3)
        assert take(ours, 1) == expected[:1]
        with copy.copy(ours) as twin:
            assert counters(twin) == counters(ours)
            ours.finalize()
            assert within(10, take, twin, 2) == expected[1:]

    def test_saving_drops_nothing_that_was_made_ahead(self, iterator):
        made = []
        ours = iterator(example=lambda *example: made.append(example) or tell(*example))
        stream = []
        for _ in range(10):
            save(ours)
            stream += take(ours, 1)
            save(ours)
        ours.finalize()
        assert stream == take(iterator(), 10)
        assert len(made) == len(set(made))

    def test_chainers_thread_local_configuration_plays_no_part(self, free):
        batches = []
        for train in (True, False):
            with chainer.using_config("train", train), PoseIterator(TrainingLoader(free, 13, augmentation=ALL)) as ours:
                batches.append(ours.next().arrays)
        for array, other in zip(*batches, strict=True):
            assert np.array_equal(array, other)

    def test_global_random_state_and_scheduling_play_no_part(self, free):
        batches = []
        for seed, threads in ((1, 1), (2, 24)):
            np.random.seed(seed)
            with PoseIterator(TrainingLoader(free, 8, augmentation=ALL, threads=threads)) as ours:
                batches.append([ours.next().arrays for _ in range(4)])
        for batch, other in zip(*batches, strict=True):
            for array, same in zip(batch, other, strict=True):
                assert np.array_equal(array, same)

    def test_nothing_is_read_past_the_end_of_training(self, iterator):
        made = []
        ours = iterator(size=8, epochs=3, example=lambda *example: made.append(example) or tell(*example))
        while ours.epoch < 3:
            ours.next()
        ours.finalize()
        assert sorted(made) == list(itertools.product(range(3), range(8)))

    def test_24_threads_are_24_threads_and_end(self, iterator):
        before, barrier = threading.enumerate(), threading.Barrier(24)

        def example(epoch, index):
            if epoch == 0:  # of what is made ahead, some examples are not begun when it ends
                barrier.wait(60)
            return tell(epoch, index)

        ours = iterator(size=24, batch_size=24, threads=24, example=example)
        within(60, ours.next)
        assert len(loader_threads()) == 24
        assert len(threading.enumerate()) == len(before) + 24
        ours.finalize()
        assert threading.enumerate() == before

    def test_no_two_examples_are_augmented_alike(self, pictures, tmp_path):
        line = (pictures / "free.csv").read_text().splitlines()[0]
        (tmp_path / "same.csv").write_text(f"{line}\n" * 20)
        dataset = PoseDataset(tmp_path / "same.csv", images=pictures, skeleton="flic", im_size=64)
        with PoseIterator(TrainingLoader(dataset, 20, augmentation=ALL, threads=8)) as ours:
            targets = [ours.next().arrays[1] for _ in range(2)]
        assert len(np.unique(np.concatenate(targets), axis=0)) == 40
