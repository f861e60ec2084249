"""Examples that tell their epoch and index, for the tests of what makes batches of examples."""

import threading
import time

import numpy as np


class Numbers:
    """A dataset of so many nothings."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size


def tell(epoch, index):
    """An example whose targets are its epoch and index."""
    targets = np.array([epoch, index], np.float32)
    return np.full((3, 2, 2), index, np.float32), targets, np.ones(2, np.int32)


def told(batch):
    """Epoch and index of each example of a batch of `tell`."""
    inputs, targets, mask = batch
    assert (inputs == targets[:, 1, None, None, None]).all()
    assert (mask == 1).all()
    return [tuple(pair) for pair in targets.astype(int).tolist()]


def within(seconds, function, *arguments):
    """Calls a function that is to return, or raise, in so many seconds; fails where it hangs."""
    outcome = []

    def call():
        try:
            outcome.append((function(*arguments), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, f"{function} hangs"
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def wait_until(condition, seconds=60):
    """Waits for a condition to come true; tells whether it did."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return condition()


def loader_threads():
    """The threads of all loaders."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("deeppose-loader")]
