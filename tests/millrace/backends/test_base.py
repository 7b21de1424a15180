"""What all backends share."""

import gc
import threading
import weakref

import pytest

from millrace.backends.base import Stop, check_length, has_ended
from millrace.errors import PipelineError


def test_a_stop_forgets_work_that_has_ended():
    stop, alive = Stop(), []
    for _ in range(10_000):
        done = threading.Event()
        done.set()
        assert has_ended(done, stop) is None
        alive.append(weakref.ref(done))
    del done
    gc.collect()
    assert not [one for one in alive if one() is not None]


def test_a_stop_calls_what_is_registered():
    stop, called = Stop(), []
    stop.register(lambda: called.append("first"))
    unregister = stop.register(lambda: called.append("second"))
    unregister()
    unregister()
    stop.ask()
    stop.ask()
    stop.register(lambda: called.append("late"))
    assert called == ["first", "late"]


def test_how_work_ends():
    stop, done = Stop(), threading.Event()
    assert has_ended(done, stop, 0.01) == "took longer than 0.01 s"
    threading.Timer(0.05, stop.ask).start()
    assert has_ended(done, stop, 60) == ""
    assert done.is_set()


def test_an_argument_that_linux_does_not_take():
    check_length(["x" * 131_071])
    with pytest.raises(PipelineError, match="131,072 bytes in one argument"):
        check_length(["x", "ü" * 65_536])
