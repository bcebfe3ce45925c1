"""What the fuzz tests share: nasty values, and how many inputs a run takes."""

import json
import os
import random

#: Ten of it is the long run: 20,000 files and 5,000 command lines.
FACTOR = float(os.environ.get("HFDISTILL_FUZZ", "1"))

LONG = "x" * 20_000
NUMBERS = ["0", "1", "-1", "-100", "2", "0.5", "1e-3", "1e30", "-0", "007", "1e400", "nan", "inf", "-inf", "NaN", "1_0"]
NUMBERS += ["9" * 19, "9" * 400, "9" * 5000, str(2**31), str(2**63), str(2**64), "0x10", "٣", "1,5", "1" * 9000 + "x"]
WORDS = ["", " ", "a joy", "bad", "good", "None", "null", "true", "no", "\0", "a\0b", "\r", "\n", "\t", '"', "'", ","]
WORDS += ["-"]
WORDS += ["😀", "\ufeff", "\u2028", "e\u0301", "\x1b[31m", "%s %d", "{0}", "$5-$10", "../..", "~", "[", "{", "\\"]
WORDS += [LONG]
HALVES = ["\ud83d", "cut \ud83d", "\udc00\ud800"]
OBJECTS = [{"a": 1}, {"a": {"b": ["c"]}}, ["a", "b"], [1], [[0, 1]], {"en": "a", "de": "b"}]


def json_value(draw: random.Random) -> str:
    """Anything that may stand in JSON, or is meant to."""
    kinds = [
        lambda: draw.choice(NUMBERS),
        lambda: json.dumps(draw.choice(WORDS + HALVES)),
        lambda: draw.choice(["true", "false", "null", "NaN", "Infinity", "-Infinity", "{}", "[]", "[1, null]", '"']),
        lambda: json.dumps(draw.choice(OBJECTS)),
        lambda: "[" * (depth := draw.choice([2, 40, 60, 3000])) + "]" * depth,
        lambda: '{"a": ' * (depth := draw.choice([2, 40, 60, 3000])) + "1" + "}" * depth,
        lambda: '{"a": 1, "a": 2}',
    ]
    return draw.choice(kinds)()


PUT_IN = [b"\0", b"\r", b"\n", b'"', b"\xff", b"\xef\xbb\xbf", b"\\u", b","]


def damaged(content: bytes, draw: random.Random) -> bytes:
    """A few bytes changed, cut, repeated or put in, or another encoding."""
    for _ in range(draw.randint(1, 3)):
        content = _changed(content, draw)
    return content


def _changed(content: bytes, draw: random.Random) -> bytes:
    at, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    other = draw.choice(["utf-16", "utf-16-le", "utf-8-sig", "cp037"])
    ways = [
        content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :],
        content[:at],
        content[:at] + content[end:],
        content[:end] + content[at:end] * draw.randint(1, 3) + content[end:],
        content[:at] + draw.choice(PUT_IN) + content[at:],
        content.decode("utf-8", "replace").encode(other, "replace"),
        content.replace(b"\n", draw.choice([b"\r", b"\r\n", b"\n\n", b" "])),
        content.replace(b'"', b"'"),
    ]
    return draw.choice(ways)
