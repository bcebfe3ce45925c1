"""Training keeps no more memory than plain fine-tuning and one teacher; on stored soft targets, no teacher."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc, which Linux has"),
]

SCRIPT = Path(__file__).parents[1] / "scripts" / "measure_peak_memory.py"
#: Float32: a vocabulary of 16,000 tokens of width 2,048, four square matrices of attention, one of the pooler.
TEACHER_MIB = (16_000 * 2_048 + 5 * 2_048**2) * 4 / 2**20
NOISE_MIB = 30


@pytest.fixture(scope="module")
def peak(tmp_path_factory):
    def measure(kind):
        command = [sys.executable, str(SCRIPT), kind, str(tmp_path_factory.mktemp(kind))]
        run = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr[-4000:]
        return float(run.stdout.splitlines()[-1])

    return {kind: measure(kind) for kind in ("plain", "stored", "live")}


@pytest.mark.slow
def test_stored_soft_targets_keep_no_teacher(peak):
    assert peak["stored"] < peak["plain"] + NOISE_MIB


@pytest.mark.slow
def test_a_live_teacher_is_kept_once(peak):
    """Not twice, as where it is copied or cast beside the original."""
    assert peak["live"] > peak["plain"] + TEACHER_MIB / 2, "nothing was measured"
    assert peak["live"] < peak["plain"] + TEACHER_MIB + NOISE_MIB
