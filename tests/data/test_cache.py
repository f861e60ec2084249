import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from deeppose_port.data.cache import PictureCache


def picture(bytes_of_pixels, level=0):
    return np.full((1, bytes_of_pixels // 3, 3), level, np.uint8)


class TestPictureCache:
    def test_keeps_what_was_put(self):
        cache, kept = PictureCache(100), picture(30)
        assert cache.get("a") is None
        cache.put("a", kept)
        assert cache.get("a") is kept
        assert (len(cache), cache.used) == (1, 30)

    def test_forgets_what_was_not_used_for_the_longest_time_and_never_holds_more_than_the_limit(self):
        cache = PictureCache(100)
        for name in "abc":
            cache.put(name, picture(30))
        cache.get("a")
        cache.put("d", picture(60))
        assert [cache.get(name) is not None for name in "abcd"] == [True, False, False, True]
        assert cache.used == 90

    def test_picture_of_exactly_the_limit_is_kept_and_a_larger_one_displaces_nothing(self):
        cache = PictureCache(60)
        cache.put("a", picture(60))
        cache.put("b", picture(63))
        assert cache.get("a") is not None
        assert cache.get("b") is None

    def test_picture_put_again_counts_once(self):
        cache = PictureCache(100)
        for level in range(5):
            cache.put("a", picture(30, level))
        assert (len(cache), cache.used) == (1, 30)
        assert cache.get("a")[0, 0, 0] == 4

    def test_zero_keeps_nothing(self):
        cache = PictureCache(0)
        cache.put("a", picture(3))
        assert (len(cache), cache.used) == (0, 0)

    def test_negative_limit_is_refused(self):
        with pytest.raises(ValueError, match="limit is -1 bytes"):
            PictureCache(-1)

    def test_threads_share_it_within_the_limit(self):
        cache = PictureCache(300)
        seen = []

        def use(i):
            name = str(i % 20)
            kept = cache.get(name)
            if kept is None:
                cache.put(name, picture(30, int(name)))
            else:
                seen.append(kept[0, 0, 0] == int(name))
            assert cache.used <= 300

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(use, np.random.RandomState(0).randint(0, 20, 5000).tolist()))
        assert all(seen)
        assert cache.used == 30 * len(cache)

    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_another_process_begins_with_an_empty_one(self):
        cache = PictureCache(100)
        cache.put("a", picture(30))
        again = pickle.loads(pickle.dumps(cache))
        assert (again.limit, len(again), again.used) == (100, 0, 0)
        with cache._lock:  # as another thread may hold it when a process is forked
            child = os.fork()
            if not child:
                os._exit(0 if cache.get("a") is None and cache.used == 0 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert cache.get("a") is not None
