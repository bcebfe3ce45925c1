"""The packages and their layers: who may import whom, and how long a function may be. CONTRIBUTING.md has them."""

import ast
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
#: Each package may import from itself and from those before it; `hfdistill` itself and `__main__` stand on top.
LAYERS = (
    *("models", "students", "losses", "teachers", "data", "soft_targets", "report"),
    *("export", "training", "online", "search", "tasks", "commands"),
)
#: The most lines of code of a function.
LONGEST = 60


@cache
def modules() -> dict[str, str]:
    """The source of each module by its name within the package, which is empty for the package itself."""
    paths = sorted((ROOT / "hfdistill").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts[1:]) for path in paths]
    return {
        name.removesuffix("__init__").rstrip("."): path.read_text(encoding="utf-8")
        for name, path in zip(names, paths, strict=True)
    }


@cache
def imports() -> set[tuple[str, str]]:
    """Who imports whom, wherever in a module: in a function and for a type checker alone as well."""
    found = set()
    for importer, source in modules().items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                found |= {(importer, name) for name in imported_modules(node)}
    return found


def imported_modules(node: ast.Import | ast.ImportFrom) -> set[str]:
    """The package's modules that a statement imports; of `from hfdistill.losses import base, Term` the first is two."""
    names = [name.name for name in node.names]
    if isinstance(node, ast.ImportFrom):
        assert not node.level, f"a relative import of {', '.join(names)}: write hfdistill's name"
        inner = [f"{node.module}.{name}" for name in names]
        names = [name if within(name) in modules() else str(node.module) for name in inner]
    return {within(name) for name in names if name.partition(".")[0] == "hfdistill"}


def within(name: str) -> str:
    return name.removeprefix("hfdistill").removeprefix(".")


def layer(module: str) -> int:
    package = module.partition(".")[0]
    return LAYERS.index(package) if package in LAYERS else len(LAYERS)


def test_no_import_goes_up():
    """A package that knows those above it cannot be read, tested or changed without them."""
    assert {pair for pair in imports() if layer(pair[1]) > layer(pair[0])} == set()


def test_no_modules_import_one_another():
    """In a circle nothing comes first, within a package too."""
    left = imports()
    # Whoever imports nobody, or is imported by nobody, is in no circle; what is left when all these are gone is one.
    while ends := {one for one, _ in left} ^ {other for _, other in left}:
        left = {pair for pair in left if not ends & set(pair)}
    assert left == set()


def test_every_module_is_in_a_package():
    """A module that lies flat in the package is in nobody's picture of it."""
    assert {name for name in modules() if "." not in name} == {"", "__main__", *LAYERS}


@cache
def function_lengths() -> list[tuple[str, int]]:
    """How many lines of code each function has, without docstring, comments and blank lines."""
    lengths = []
    for module, source in modules().items():
        lines = [line.strip() for line in source.splitlines()]
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                documented = ast.get_docstring(node, clean=False) is not None
                body = range((node.body[0].end_lineno if documented else node.lineno - 1), node.end_lineno)
                head = range(node.lineno - 1, node.body[0].lineno - 1) if documented else ()
                code = [lines[number] for number in (*head, *body)]
                count = sum(bool(line) and not line.startswith("#") for line in code)
                lengths.append((f"{module}.{node.name}", count))
    return lengths


def test_functions_are_short():
    """What does not fit on a page cannot be seen at once."""
    lengths = function_lengths()
    assert [(name, lines) for name, lines in lengths if lines > LONGEST] == []
    assert median(lines for _, lines in lengths) <= 8


def test_the_package_imports_nothing_that_is_not_used():
    """Whoever imports a name of the package's pays for that one alone, and `import hfdistill` for none."""
    code = "import sys, hfdistill; print(*{'torch', 'transformers', 'datasets'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "\n"


def test_help_is_quick():
    """Of the processor's seconds, as other processes may be running; a command is imported when it is chosen."""

    def seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = seconds()
    subprocess.run([sys.executable, "-m", "hfdistill", "--help"], capture_output=True, check=True)
    assert seconds() - before < 1.5
