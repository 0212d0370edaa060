"""Locks on files, by flock and by what Windows has."""

import os
import sys
import threading

import pytest

from as_on_windows import build_msvcrt
from clawback.system import file_lock
from waiting import eventually


@pytest.fixture(params=["unix", "windows"], autouse=True)
def system(request, monkeypatch):
    """Both ways; what Windows locks with has flock behind it."""
    if request.param == "windows":
        monkeypatch.setattr(file_lock, "HAS_FLOCK", False)
        monkeypatch.setitem(sys.modules, "msvcrt", build_msvcrt())


@pytest.fixture
def path(tmp_path):
    """A file with something in it."""
    path = tmp_path / "file"
    path.write_text("content")
    return path


def test_one_holds_it_until_its_file_is_closed(path):
    """The second is refused at once, and has it when the first is gone."""
    first, second = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    file_lock.lock(first)
    with pytest.raises(BlockingIOError):
        file_lock.lock(second)
    os.close(first)
    file_lock.lock(second)

    assert os.read(second, 7) == b"content"
    os.close(second)


def test_a_shared_lock_is_refused_while_one_holds_it_alone(path):
    """Who only asks whether it is held is told so."""
    holder, asker = os.open(path, os.O_RDWR), os.open(path, os.O_RDONLY)
    file_lock.lock(holder)
    with pytest.raises(BlockingIOError):
        file_lock.lock(asker, shared=True)
    os.close(holder)
    file_lock.lock(asker, shared=True)
    os.close(asker)


async def test_who_waits_has_it_after_the_other(path):
    """Waiting ends with the other's hold, and not before."""
    first, second = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    file_lock.lock(first)
    waiter = threading.Thread(target=file_lock.lock, args=(second,), kwargs={"wait": True})
    waiter.start()

    assert waiter.is_alive()
    os.close(first)
    await eventually(lambda: not waiter.is_alive())
    os.close(second)


def test_a_locked_file_is_removed_and_closed(path):
    """Its lock is gone with it; a file that is gone already is only closed."""
    file = os.open(path, os.O_RDWR)
    again = os.open(path, os.O_RDWR)
    file_lock.lock(file)
    file_lock.remove(path, file)

    assert not path.exists()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(file)
    file_lock.remove(path, again)
