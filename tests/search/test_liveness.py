"""A process that was killed is seen to be gone, and one that is there is not taken for it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from hfdistill.search import liveness
from hfdistill.search.liveness import STALE_SECONDS, Presence

HOLD = """
import sys, time
from hfdistill.search.liveness import Presence
with Presence(sys.argv[1]) as own:
    print(own.name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def storage(tmp_path):
    return tmp_path / "search.log"


@pytest.fixture
def own(storage):
    with Presence(storage) as present:
        yield present


def files(storage):
    return sorted(path.name for path in storage.parent.iterdir())


def test_a_process_is_there_until_it_ends(own, storage):
    with Presence(storage) as other:
        assert not own.is_gone(other.name) and not other.is_gone(own.name) and not own.is_gone(own.name)
        own.sweep()
        assert len(files(storage)) == 2
    assert own.is_gone(other.name) and own.is_gone("never") and own.is_gone("host:1234")
    assert len(files(storage)) == 1


@pytest.mark.slow
def test_a_killed_process_is_gone_at_once(own, storage):
    """Its number may be another process's by now, in a container that was started anew even this one's."""
    killed = subprocess.Popen([sys.executable, "-c", HOLD, storage], stdout=subprocess.PIPE, text=True)
    name = killed.stdout.readline().strip()
    assert not own.is_gone(name)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert own.is_gone(name)
    own.sweep()
    assert len(files(storage)) == 1


@pytest.mark.parametrize("locks", [True, False])
def test_of_another_machine_the_age_decides(own, storage, monkeypatch, locks):
    """Its locks may not be seen here: without looking at the time every process there would seem to be gone."""
    if not locks:
        monkeypatch.setattr(liveness, "fcntl", None)
    other = storage.with_name("search.log.elsewhere.running")
    other.touch()
    assert not own.is_gone("elsewhere")
    own.sweep()
    os.utime(other, (time.time() - STALE_SECONDS - 60,) * 2)
    assert own.is_gone("elsewhere")
    own.sweep()
    assert not other.exists() and len(files(storage)) == 1


def test_its_time_stamp_is_renewed(storage, monkeypatch):
    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.01)
    with Presence(storage):
        [path] = storage.parent.iterdir()
        os.utime(path, (0, 0))
        for _ in range(500):
            if path.stat().st_mtime > 0:
                break
            time.sleep(0.01)
        assert path.stat().st_mtime > 0
