"""The launch configurations: Accelerate reads each, and the one for processors runs the main recipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

RECIPES = Path(__file__).parents[2] / "recipes"
CONFIGS = sorted((RECIPES / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_reads_it(path):
    config = load_config_from_file(str(path))
    assert config.num_processes >= 1 and (config.distributed_type == "NO") == (config.num_processes == 1)
    assert path.name in (RECIPES / "accelerate" / "README.md").read_text()


@pytest.mark.slow
def test_two_processes_distil(tmp_path):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    command += [str(RECIPES / "accelerate" / "two_cpu_processes.yaml"), str(RECIPES / "sst2.py"), "--demo"]
    command += ["--max_steps", "4", "--output_dir", str(tmp_path / "student")]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "student" / "all_results.json").exists()
