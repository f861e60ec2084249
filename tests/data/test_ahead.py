"""What is made ahead: in its order, bounded, with its errors, and ended with whoever uses it."""

import threading
import time

import pytest

from deeppose_port.data.ahead import Workers, read_ahead


class TestWorkers:
    def test_things_come_in_their_order_whatever_is_done_first(self):
        def make(item):
            time.sleep(0.002 * (5 - item))
            return item * item

        with Workers(4) as workers:
            assert [(item, made()) for item, made in workers.ahead(range(6), make, 3)] == [(i, i * i) for i in range(6)]

    def test_no_more_are_taken_than_asked_for(self):
        taken = []

        def items():
            for i in range(100):
                taken.append(i)
                yield i

        with Workers(2) as workers:
            ahead = workers.ahead(items(), lambda item: item, 4)
            for i in range(10):
                assert next(ahead)[0] == i
                assert len(taken) <= i + 4

    def test_an_error_is_raised_in_its_turn_and_the_rest_goes_on(self):
        def make(item):
            if item == 1:
                raise ValueError("one")
            return item

        found = []
        with Workers(2) as workers:
            for item, made in workers.ahead(range(4), make, 3):
                try:
                    found.append(made())
                except ValueError as error:
                    found.append((item, str(error)))
        assert found == [0, (1, "one"), 2, 3]

    def test_opencv_has_its_threads_back(self):
        import cv2

        before = cv2.getNumThreads()
        with Workers(1):
            pass
        assert cv2.getNumThreads() == before


class TestReadAhead:
    def test_everything_comes_once_and_in_order(self):
        assert list(read_ahead(iter(range(50)), 3)) == list(range(50))

    def test_so_many_wait_at_most(self):
        taken = []

        def source():
            for i in range(100):
                taken.append(i)
                yield i

        reader = read_ahead(source(), 3)
        next(reader)
        time.sleep(0.05)
        assert len(taken) <= 1 + 3 + 1
        reader.close()

    def test_an_error_comes_after_what_was_before_it(self):
        def source():
            yield 1
            raise OSError("cut off")

        reader = read_ahead(source(), 3)
        assert next(reader) == 1
        with pytest.raises(OSError, match="cut off"):
            next(reader)

    def test_the_thread_has_ended_when_it_is_closed(self):
        reader = read_ahead(iter(range(100)), 2)
        next(reader)
        reader.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "deeppose-reader"]
