"""Reading options, and answering bad input with one line."""

import signal
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub.utils import httpx
from processes import results_of_two_ranks

from hfdistill.commands.command_line import demo_folder, parse_arguments, plain_errors
from hfdistill.commands.options import option
from hfdistill.report.terminal import own_command, put_away_unfinished, say_if_slow


@dataclass
class Options:
    """Some of each kind."""

    rate: float = 0.5
    name: str | None = None
    words: list[str] | None = field(default=None)
    loud: bool = False
    settings: dict | str | None = field(default=None)

    def __post_init__(self):
        if self.rate < 0:
            raise ValueError(f"rate must be positive; got {self.rate}.")


@pytest.fixture
def parse(monkeypatch):
    def run(*words, defaults=None):
        monkeypatch.setattr(sys, "argv", ["recipe.py", *words])
        [options] = parse_arguments([Options], "A recipe.", defaults)
        return options

    return run


FILES = {
    "o.yaml": "rate: 5e-3\nwords: [a:1, b]\nloud: no\nname:\n",
    "o.yml": "rate: '0.005'\nwords:\n- a:1\n- b\n",
    "o.json": '{"rate": 0.005, "words": ["a:1", "b"], "loud": false, "name": null}',
}


@pytest.mark.parametrize("name", FILES)
def test_files_are_read_as_the_command_line_is(tmp_path, parse, name):
    """YAML's 5e-3 is a text and "no", quoted, a true one: a run would go on with either."""
    (tmp_path / name).write_text(FILES[name])
    assert parse(str(tmp_path / name)) == Options(rate=0.005, words=["a:1", "b"])


def test_quoted_words_and_objects_in_a_file(tmp_path, parse):
    """A number below zero is no option, and an object stays one."""
    (tmp_path / "o.yaml").write_text("name: -1e-3\nloud: 'no'\nsettings: {a: 1}\n")
    options = parse(str(tmp_path / "o.yaml"))
    assert (options.name, options.loud, options.settings) == ("-1e-3", False, '{"a": 1}')


def test_a_file_is_read_as_it_is_written(tmp_path, parse):
    """In YAML the country NO is false, a time of day is a number of seconds, and 010 is 8."""
    (tmp_path / "o.yaml").write_bytes(
        b"\xef\xbb\xbfname: no\nrate: 010\nwords: [12:30, 2024-01-01, null_and_void, 'null']\n"
    )
    words = ["12:30", "2024-01-01", "null_and_void", "null"]
    assert parse(str(tmp_path / "o.yaml")) == Options(name="no", rate=10.0, words=words)


def test_the_command_line_overrides_the_file_and_the_file_the_defaults(tmp_path, parse):
    """In any other order, what is typed would be quietly ignored."""
    (tmp_path / "o.yaml").write_text("name: file\n")
    defaults = {"name": "default", "rate": 0.25}
    assert parse(defaults=defaults) == Options(name="default", rate=0.25)
    assert parse(str(tmp_path / "o.yaml"), defaults=defaults) == Options(name="file", rate=0.25)
    assert parse(str(tmp_path / "o.yaml"), "--name", "typed", "--loud") == Options(name="typed", loud=True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--rat", "1"], "unknown option --rat; did you mean --rate?"),
        (["--raet=1"], "unknown option --raet=1; did you mean --rate?"),
        (["stray"], "unknown option stray."),
        (["--rate", "high"], "argument --rate: invalid float value: 'high'"),
        (["--rate", "-1"], "rate must be positive; got -1.0."),
        (["none.yaml"], "none.yaml"),
        (["broken.yaml"], "broken.yaml cannot be read: "),
        (["broken.json"], "broken.json cannot be read: "),
        (["list.yaml"], "list.yaml cannot be read: it holds no options; write one `name: value` a line."),
        (["typo.yaml"], "unknown option --raet=1; did you mean --rate?"),
        (["date.yaml"], "argument --rate: invalid float value: '2024-01-01'"),
        (["inner_date.yaml"], "inner_date.yaml cannot be read: Object of type date is not JSON serializable"),
        (["deep.yaml"], "deep.yaml cannot be read: it is nested too deeply."),
        (["deep.json"], "deep.json cannot be read: it is nested too deeply."),
        (["listed.yaml"], "listed.yaml: words lists ['a']; write a text or a number."),
        (["hidden.yaml"], "hidden.yaml: words lists '--loud'; write a text or a number."),
        (["twice.yaml"], "twice.yaml cannot be read: 'rate' is there twice."),
        (["twice.json"], "twice.json cannot be read: 'rate' is there twice."),
        (["laughs.yaml"], "laughs.yaml cannot be read: it has an alias (*name): write what it stands for."),
        (["digits.json"], "digits.json cannot be read: Exceeds the limit"),
        (["half.yaml"], "'--name=\\ud83d' holds NUL, half an emoji or bytes that are not UTF-8"),
        (["half.json"], "'--name=\\ud83d' holds NUL, half an emoji"),
        (["nul.yaml"], "'--name=a\\x00b' holds NUL"),
        (["--name", "caf\udce9"], "'caf\\udce9' holds NUL, half an emoji or bytes that are not UTF-8"),
        (["latin.yaml"], "latin.yaml cannot be read: 'utf-8' codec can't decode byte 0xe9"),
        (["control.yaml"], "control.yaml cannot be read: unacceptable character"),
        (["stamp.yaml"], "stamp.yaml cannot be read: "),
    ],
)
def test_bad_options_end_with_one_line(tmp_path, monkeypatch, parse, capsys, words, sentence):
    """A page of usage, or of traceback, hides the line that helps."""
    monkeypatch.chdir(tmp_path)
    contents = {
        "broken.yaml": "rate: [1\nname: x",
        "broken.json": "{'rate': 1}",
        "list.yaml": "- rate",
        "typo.yaml": "raet: 1",
        "date.yaml": "rate: 2024-01-01",
        "inner_date.yaml": "settings: {a: 2024-01-01}",
        "deep.yaml": "words: " + "[" * 5000 + "]" * 5000,
        "deep.json": '{"words": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "listed.yaml": "words: [[a]]",
        "hidden.yaml": "words: [a, --loud]",
        "twice.yaml": "rate: 1\nname: a\nrate: 2\n",
        "twice.json": '{"rate": 1, "rate": 2}',
        "laughs.yaml": "settings: {a: &a [1], b: *a}",
        "digits.json": '{"rate": ' + "1" * 5000 + "}",
        "half.yaml": 'name: "\\ud83d"',
        "half.json": '{"name": "\\ud83d"}',
        "nul.yaml": 'name: "a\\0b"',
        "latin.yaml": "name: caf\udce9",
        "control.yaml": "name: a\x01b",
        "stamp.yaml": "settings: {a: !!timestamp soon}",
    }
    for name, text in contents.items():
        (tmp_path / name).write_text(text, errors="surrogateescape")
    with pytest.raises(SystemExit) as ended:
        parse(*words)
    usage, *lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and usage.startswith("usage: recipe.py [settings.yaml]") and len(lines) == 1
    assert sentence in lines[0] and lines[0].startswith("recipe.py: error: ")


def test_what_the_user_can_mend_is_one_line():
    for error in (
        FileNotFoundError("there is no file x"),
        ConnectionError("no network"),
        ValueError("line 3 is short"),
        httpx.ReadError("cut"),
    ):
        with pytest.raises(SystemExit, match=f"^error: {error}$"), plain_errors():
            raise_from("hfdistill.data.tables", error)
    for error in (ValueError("own"), ImportError("own")):
        with pytest.raises(SystemExit, match="^error: own$"), plain_errors():
            raise_from("__main__", error)


def test_a_bug_keeps_its_traceback():
    """One line without a place cannot be mended by anybody."""
    for error in (ValueError("deep"), ImportError("deep"), RuntimeError("shapes"), KeyError("x")):
        with pytest.raises(type(error)) as kept, plain_errors():
            raise_from("torch.nn.functional", error)
        assert kept.value is error
    with pytest.raises(RuntimeError), plain_errors():
        raise_from("hfdistill.training.trainer", RuntimeError("a bug of ours"))
    with pytest.raises(ValueError, match="need at least one array"), plain_errors():
        np.concatenate([])


def test_a_clean_end_is_not_touched():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with plain_errors():
        pass
    with pytest.raises(SystemExit, match="3"), plain_errors():
        sys.exit(3)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("rank", ["0", "1"])
def test_an_interruption_is_one_line_on_one_process(monkeypatch, capsys, number, rank):
    """Two pages of traceback hide that nothing is lost; and of many processes one speaks."""
    monkeypatch.setenv("RANK", rank)
    put_away = []
    with pytest.raises(SystemExit) as ended, plain_errors("go on so"):
        put_away_unfinished(lambda: put_away.append(1))
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise RuntimeError("the peer is gone") from None
    assert ended.value.code == 128 + number and put_away == [1]
    assert capsys.readouterr().err.split("\n") == (["", "interrupted: go on so.", ""] if rank == "0" else [""])


def raise_from(module, error):
    """Raises it in code that belongs to a module of that name."""
    exec("def fail(error): raise error", space := {"__name__": module})
    space["fail"](error)


def test_hours_on_processors_are_warned_of(capsys):
    """SST-2 through a BERT is no matter of minutes without an accelerator; the demo is."""
    say_if_slow(12_000, 4_000_000)
    assert not capsys.readouterr().out
    say_if_slow(67_349, 109_000_000)
    assert "this can take hours; --demo" in capsys.readouterr().out


@dataclass
class WithDemo:
    """What a recipe may have."""

    train_file: str | None = option(None, "Texts.")
    student_name_or_path: str | None = option(None, "A student.")
    student_hidden_size: int | None = option(None, "Its width.")
    way: str = option("one", "Which.", choices=["one", "other"])
    names: list[str] = option(["a"], "Some.")
    demo: bool = option(False, "Generated.")


def test_the_demo_has_defaults_of_its_own(monkeypatch, capsys):
    """Those of a recipe without such an option are left out; what is typed goes before them."""

    def parse(*words):
        return parse_arguments([WithDemo], "A recipe.", demo={"way": "other", "baseline": True}, words=words)[0]

    assert parse().way == "one" and parse("--demo").way == "other" and parse("--demo", "--way", "one").way == "one"
    assert parse().names == ["a"] and parse().names is not parse().names
    refused = {
        ("--demo", "--train_file", "x"): "--train_file does nothing with --demo",
        ("--student_hidden_size", "0"): "--student_hidden_size must be a whole number of at least 1",
        (
            "--student_name_or_path",
            "x",
            "--student_hidden_size",
            "8",
        ): "--student_name_or_path has a shape of its own: leave --student_hidden_size out",
    }
    for words, sentence in refused.items():
        with pytest.raises(SystemExit):
            parse(*words)
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "launched", "command"),
    [
        ("recipes/sst2.py", True, "accelerate launch recipes/sst2.py --demo"),
        ("/home/me/recipes/sst2.py", False, "python recipes/sst2.py --demo"),
        ("/somewhere/hfdistill/__main__.py", True, "accelerate launch -m hfdistill --demo"),
        ("/somewhere/bin/hfdistill", False, "hfdistill --demo"),
        ("/somewhere/ipykernel_launcher.py", False, ""),
    ],
)
def test_the_command_is_what_was_run(monkeypatch, script, launched, command):
    """A card that tells of another is of no use to whoever repeats it, and of a home of too much."""
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if launched:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setattr(sys, "argv", [script, "--demo"])
    assert " ".join(own_command()) == command


def test_an_error_that_all_processes_have_is_told_by_one(tmp_path, monkeypatch):
    """Eight processes said the same eight times, before what the launcher says of each."""
    ends = []
    for rank in range(3):
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "attempt_0" / str(rank) / "error.json"))
        (tmp_path / "attempt_0" / str(rank)).mkdir(parents=True)
        with pytest.raises(SystemExit) as ended, plain_errors():
            raise FileNotFoundError("there is no x.csv" if rank < 2 else "another")
        ends.append(ended.value.code)
    assert ends == ["error: there is no x.csv", 1, "error: another"]


@pytest.mark.parametrize(
    ("words", "online", "folder"),
    [
        (["hfdistill/__main__.py", "translate", "--demo"], None, "demo-translate"),
        (["/usr/bin/hfdistill", "distill", "--demo"], "mutual", "demo-distill-mutual"),
        (["recipes/layers.py", "--demo"], None, "demo-layers"),
    ],
)
def test_each_demo_has_a_folder_of_its_own(monkeypatch, words, online, folder):
    """The second demo was refused, for the first one's folder held something."""
    monkeypatch.setattr("sys.argv", words)
    assert demo_folder([SimpleNamespace(online=online), SimpleNamespace()]) == folder


@pytest.mark.slow
def test_processes_part_in_order(tmp_path):
    """One that was done before the other, which still measured, aborted at times, and the launcher ended both."""
    assert results_of_two_ranks("leave_in_ranks.py", tmp_path) == [False, False]
