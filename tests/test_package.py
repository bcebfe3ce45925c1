"""The package as users get it: what is in wheel and sdist, how an installed wheel runs, and its bounds."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from hfdistill.models.extras import install_hint

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
#: What needs an extra.
EXTRAS = {
    "ctranslate2": "from hfdistill.export.base import check_export as f; f(['ctranslate2'], 'translation')",
    "export": "from hfdistill.export.base import check_export as f; f(['onnx'])",
    "peft": "from hfdistill.models.adapters import Adapter, _peft as f; f(Adapter('mine', 'base', 'LORA', None))",
    "search": "from hfdistill.search.study import check_search as f; f()",
    "zstd": "from pathlib import Path; from hfdistill.data.lines import opened as f; f(Path('a.zst'))",
    "translation": "from hfdistill.tasks.translation.metrics import check_sacrebleu as f; f()",
}
ALL = (
    "backports.zstd bitsandbytes ctranslate2 liger_kernel onnx onnxruntime onnxscript optuna peft py3langid sacrebleu "
    "sentencepiece tensorboard torchao trackio wandb"
)


def python(code: str, **settings) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **settings)


def without(packages: str) -> str:
    """Python that hides packages, as if they were not installed."""
    return f"import sys; sys.modules.update(dict.fromkeys({packages.split()!r}))\n"


@pytest.mark.slow
def test_a_missing_extra_is_named_in_one_sentence():
    tries = [f"try:\n    {code}\nexcept ImportError as error:\n    print(error)\n" for code in EXTRAS.values()]
    done = python(without(ALL) + "".join(tries))
    told = done.stdout.strip().splitlines()
    assert len(told) == len(EXTRAS), done.stdout + done.stderr[-2000:]
    assert all(one.endswith(f": {install_hint(extra)}.") for one, extra in zip(told, EXTRAS, strict=True)), told


@pytest.mark.slow
def test_everything_imports_without_any_extra():
    """A module that imports an extra at its top breaks those who do not use it."""
    code = (
        "import hfdistill, importlib, pkgutil\n"
        "for one in pkgutil.walk_packages(hfdistill.__path__, 'hfdistill.'):\n"
        "    if not one.name.endswith('__main__'):\n"
        "        importlib.import_module(one.name)\n"
        "for name in hfdistill.__all__:\n"
        "    getattr(hfdistill, name)\n"
    )
    done = python(without(ALL) + code)
    assert done.returncode == 0, done.stderr[-2000:]


def bound(name: str) -> str:
    [found] = re.findall(rf'^    "{name}>=([\d.]+)', PROJECT, re.M)[:1]
    return found


def test_the_oldest_session_tests_the_lower_bounds():
    """A bound that no environment has is a promise that nobody has kept."""
    oldest = dict(re.findall(r'^    "(\w+)": "([\d.]+)",', (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.M))
    assert {"torch", "transformers", "datasets", "accelerate"} <= set(oldest)
    assert bound("torch") == "2.11"  # run on a GPU; the session takes the oldest that has a CPU build everywhere
    for name, version in oldest.items() - {"torch": oldest["torch"]}.items():
        assert version.startswith(bound(name)), f"{name}: {version} is tested, {bound(name)} promised"


def test_transformers_is_bounded_while_its_private_methods_are_overridden():
    from hfdistill.training.private_overrides import OVERRIDDEN, READ_IN

    assert OVERRIDDEN and re.search(r'"transformers>=5\.\d+,<6"', PROJECT)
    assert READ_IN[0].startswith(bound("transformers"))


def test_one_version_is_told_everywhere():
    [version] = re.findall(r'^version = "(.+)"', PROJECT, re.M)
    for file, pattern in {"hfdistill/__init__.py": '__version__ = "{}"', "CITATION.cff": 'version: "{}"'}.items():
        assert pattern.format(version) in (ROOT / file).read_text(encoding="utf-8"), file


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Wheel and sdist: those of `HFDISTILL_DIST`, or built here."""
    if given := os.environ.get("HFDISTILL_DIST"):
        return ROOT / given
    if importlib.util.find_spec("build") is None:
        pytest.skip("the package `build` is not installed: pip install -e '.[release]'")
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], capture_output=True, text=True)
    if "No matching distribution" in done.stdout + done.stderr:
        pytest.skip("the build backend is not to be had from this index")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


@pytest.mark.slow
def test_the_wheel_has_the_package_and_nothing_else(dist):
    [wheel] = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        [entry] = [files.read(name).decode() for name in names if name.endswith("entry_points.txt")]
    assert "hfdistill = hfdistill.commands.main:main" in entry
    tree = {path.relative_to(ROOT).as_posix() for path in (ROOT / "hfdistill").rglob("*") if path.is_file()}
    there = {name for name in tree if "__pycache__" not in name}
    assert {"hfdistill/py.typed", "hfdistill/__init__.pyi"} <= there
    assert {name for name in names if ".dist-info/" not in name} == there


@pytest.mark.slow
def test_the_sdist_has_what_the_tests_need_and_no_results(dist):
    [sdist] = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "constraints.txt", "tests/tiny.py"} <= names
    junk = re.compile(r"(^|/)(__pycache__|\.git|runs|out|outputs|checkpoint-\d+)(/|$)|\.(pyc|log|safetensors|onnx)$")
    assert [name for name in sorted(names) if junk.search(name)] == []


@pytest.mark.slow
def test_an_installed_wheel_runs_without_the_tree(dist, tmp_path):
    """The package from the wheel alone; what it depends on is shared, for that takes gigabytes."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    own, [wheel] = tmp_path / "venv" / "bin" / "python", dist.glob("*.whl")
    subprocess.run([own, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    [site] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    shared = [path for path in sys.path if path.endswith("site-packages")]
    (site / "shared.pth").write_text("\n".join(shared) + "\n", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words):
        command = [tmp_path / "venv" / "bin" / words[0], *words[1:]]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    assert str(site) in run("python", "-c", "import hfdistill; print(hfdistill.__file__)")
    assert "--teacher_name_or_path" in run("hfdistill", "distill", "--help")
    run("hfdistill", "distill", "--demo", "--max_steps", "2", "--use_cpu", "true", "--output_dir", "out")
    assert {"all_results.json", "README.md", "model.safetensors"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
