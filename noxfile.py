"""The supported releases, each in an environment of its own: `python -m nox` runs all, `-s oldest` one, `-l` lists.

A session whose interpreter or packages are not to be had is skipped and says so. On Linux the index has torch for CUDA;
`PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu` brings its smaller CPU builds.
"""

import nox

nox.needs_version = ">=2025"
nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "venv"

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
#: The lower bounds of pyproject.toml; tests/test_package.py holds the two together.
OLDEST = {
    "torch": "2.13.0",
    "transformers": "5.19.0",
    "datasets": "4.0.0",
    "accelerate": "1.10.0",
    "huggingface_hub": "1.31.0",
    "tokenizers": "0.23.1",
    "evaluate": "0.4.5",
}
#: One run of each kind: loss and gradient, precomputed soft targets, a report, the floors of the package.
TESTS = (
    "tests/test_architecture.py",
    "tests/losses/test_contract.py",
    "tests/report/test_results.py",
    "tests/soft_targets/test_soft_targets.py",
    "tests/training/test_private_overrides.py",
    "tests/training/test_trainer.py",
    "tests/training/test_trainer_checkpoint.py",
)


def _install(session: nox.Session, *words: str) -> None:
    """Installs, or skips where the index does not have it."""
    try:
        session.install("--prefer-binary", *words)
    except nox.command.CommandFailed:
        session.skip(f"not to be installed here: pip install {' '.join(words)}")


def _test(session: nox.Session, *words: str) -> None:
    session.run("python", "-m", "pytest", "-q", "-m", "not slow", *(session.posargs or words))


@nox.session(python=PYTHONS)
def newest(session: nox.Session) -> None:
    """The newest releases that the bounds allow."""
    _install(session, "-e", ".[dev]")
    _test(session, "tests")


@nox.session(python=PYTHONS)
def pinned(session: nox.Session) -> None:
    """The releases of constraints.txt."""
    _install(session, "-e", ".[dev]", "-c", "constraints.txt")
    _test(session, "tests")


@nox.session(python=["3.11"])
def oldest(session: nox.Session) -> None:
    """The lower bounds of pyproject.toml."""
    pins = [f"{name}=={version}" for name, version in OLDEST.items()]
    _install(session, "-e", ".", "pytest", "pytest-timeout", "hypothesis", *pins)
    _test(session, *TESTS)


@nox.session(python=PYTHONS)
def syntax(session: nox.Session) -> None:
    """Every file compiles, and `hfdistill --help` runs, with nothing installed: what each Python is told at least."""
    session.run("python", "-W", "error", "-m", "compileall", "-q", "-f", "hfdistill", "recipes", "tests")
    session.run("python", "-m", "hfdistill", "--help", env={"PYTHONPATH": "."}, silent=True)
