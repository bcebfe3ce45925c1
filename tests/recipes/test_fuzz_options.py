"""Whatever is typed or stands in a settings file: it is taken, or refused in a line that says which option."""

import dataclasses
import json
import os
import random
import sys
import time
import typing

import pytest
from fuzzing import FACTOR, HALVES, NUMBERS, WORDS, damaged, json_value

from hfdistill import ClassificationTrainingArguments
from hfdistill.commands import distill_options, translate_options
from hfdistill.commands.options import RANGES

NUMERIC = {int, float, list[int], list[float], int | None, float | None, list[int] | None, list[float] | None}
#: They turn on what this process cannot turn off, or start another program.
LEFT_OUT = {"deepspeed", "tf32", "full_determinism", "report_to", "push_to_hub", "local_rank", "torch_compile"}
LEFT_OUT |= {"torch_compile_backend", "torch_compile_mode", "fp16", "bf16", "log_level", "log_level_replica"}
WORDS_OF_TERMS = ["labels:0.3", "soft_targets", "labels:nan", "labels:1e99", "odd:1", "labels:-1", "labels epochs=1"]
WORDS_OF_TERMS += [
    "labels steps=9 learning_rate=0",
    "labels epochs=1e999",
    "soft_targets:0 epochs=2",
    "=",
    ":",
    "a=b=c",
]


#: By command: its module of options, and the dataclasses that they are read into.
COMMANDS = {
    "distill": (distill_options, (distill_options.Options, ClassificationTrainingArguments)),
    "translate": (translate_options, translate_options.GROUPS),
}


@pytest.fixture(params=COMMANDS)
def options(request):
    return COMMANDS[request.param]


def test_every_number_of_a_command_has_a_range(options):
    kinds = [typing.get_type_hints(group) for group in options[1][:-1]]
    numbers = {name for group in kinds for name, kind in group.items() if kind in NUMERIC}
    assert numbers - {"max_latency_ms"} <= set(RANGES)  # which a `Budget` checks


def command_line(draw, options, folder):
    fields = [field for kind in options[1] for field in dataclasses.fields(kind)]
    chosen = draw.sample([field for field in fields if field.name not in LEFT_OUT], draw.choice([1, 1, 2, 3]))
    given = {field.name: value(draw, field) for field in chosen}
    if draw.random() < 0.15:
        given |= {draw.choice(["terms", "stages", "layer_map"]): draw.sample(WORDS_OF_TERMS, draw.randint(1, 3))}
    words = ["--demo"] * (draw.random() < 0.1)
    if draw.random() < 0.4:
        return [settings_file(draw, given, folder), *words]
    for name, text in given.items():
        text = text if isinstance(text, list) else [text]
        words += [f"--{name}={text[0]}"] if draw.random() < 0.5 else [f"--{name}", *text]
    if draw.random() < 0.1:
        words.insert(draw.randrange(len(words) + 1), draw.choice(WORDS[1:]))
    return [word.replace("\0", "") for word in words if word not in ("-h", "--help")]


def value(draw, field):
    """Half of the time one that may be right."""
    if draw.random() < 0.6:
        if field.metadata.get("choices"):
            return draw.choice(field.metadata["choices"])
        known = {bool: ["true", "no"], int: ["1", "4", "20"], float: ["0", "0.5", "1"]}
        return draw.choice(known.get(field.type, ["1", "3"] if isinstance(field.default, (int, float)) else ["word"]))
    text = draw.choice(draw.choice([NUMBERS, NUMBERS, WORDS, HALVES, ["linear", "epoch", "steps", "{", "adafactor"]]))
    return [text, draw.choice(NUMBERS)] if draw.random() < 0.1 else text


ODD_YAML = ["2024-01-01", "12:30", "{a: 2024-01-01}", "[[1]]", "&a [*a]", "!!timestamp x", "!!python/object:os.x {}"]
ODD_YAML += ["? a", "[" * 700, "|\n  a\n  b", "- a", "!!binary x", "%", "null"]


def settings_file(draw, given, folder):
    odd = draw.random() * 0.4
    if draw.random() < 0.5:
        rows = {name: json_value(draw) if draw.random() < odd else json.dumps(text) for name, text in given.items()}
        text = "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in rows.items()) + "}"
    else:
        rows = {
            name: draw.choice(ODD_YAML) if draw.random() < odd else json.dumps(text) for name, text in given.items()
        }
        text = "\n".join(f"{name}: {value}" for name, value in rows.items())
    content = text.encode("utf-8", "surrogatepass")
    path = folder / f"settings.{draw.choice(['json', 'yaml', 'yml']) if text[0] == '{' else 'yaml'}"
    path.write_bytes(damaged(content, draw) if draw.random() < 0.2 else content)
    return str(path)


@pytest.mark.slow
def test_command_lines_of_all_kinds_are_taken_or_refused(options, tmp_path, monkeypatch, capsys):
    environment = dict(os.environ)
    refused, total = 0, int(250 * FACTOR)
    for seed in range(total):
        draw = random.Random(seed)
        words = command_line(draw, options, tmp_path)
        monkeypatch.setattr(sys, "argv", ["recipe.py", *words])
        began = time.monotonic()
        try:
            options[0].read_options()
        except SystemExit as ended:
            refused += 1
            assert_one_line(ended, capsys.readouterr().err, words, seed)
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__} {str(error)[:200]} of {words!r:.500}") from error
        assert time.monotonic() - began < 10, f"seed {seed} takes too long"
    assert 0.3 * total < refused < 0.95 * total, "too tame, or so wild that nothing is taken"
    os.environ.update(environment)


def assert_one_line(ended, printed, words, seed):
    _, _, line = printed.partition(": error: ")
    line = line.strip()
    listing = "the terms are" in line
    if ended.code != 2 or not line or ("\n" in line and not listing) or len(line) > 5000 or "Traceback" in printed:
        raise AssertionError(f"seed {seed}: code {ended.code}, {line[:500]!r} ({len(line)}) for {words!r:.500}")
