"""What became of a corpus that was cleaned: a table, a page, and a sample of what was dropped to look at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hfdistill.report.local_paths import places_out_of
from hfdistill.report.markdown import escaped, markdown_table, one_line

#: Pairs of each rule that are kept to look at.
SAMPLED = 20


class DroppedPair(NamedTuple):
    """A pair that was dropped.

    Attributes:
        rule: The rule.
        where: Where it stood, such as `Line 17 of corpus.en and corpus.de`.
        source: The source text.
        target: The target text.
    """

    rule: str
    where: str
    source: str
    target: str


@dataclass(frozen=True)
class CleaningReport:
    """What was dropped of a corpus, by rule; `str` of it is a table.

    Attributes:
        rows: The pairs that there were.
        dropped_rows: The numbers of the rows that each rule dropped, in the order in which the rules were asked: a pair
            counts for the first that it breaks.
        notes: Sentences on what was found, such as shifted blocks and their lines.
        samples: Some pairs of each rule, from all over the corpus.
        what: What was cleaned.
    """

    rows: int
    dropped_rows: Mapping[str, np.ndarray] = field(repr=False)
    notes: Sequence[str] = ()
    samples: Sequence[DroppedPair] = field(default=(), repr=False)
    what: str = "training pairs"

    @property
    def dropped(self) -> dict[str, int]:
        """How many pairs each rule dropped."""
        return {rule: len(rows) for rule, rows in self.dropped_rows.items()}

    @property
    def kept(self) -> int:
        """The pairs that are left."""
        return self.rows - sum(self.dropped.values())

    def sentence(self) -> str:
        """How many pairs were dropped, for a report on something else."""
        lost = self.rows - self.kept
        return f"Cleaning dropped {lost:,} of {self.rows:,} {self.what}: see `report/{self._name}.md`."

    def lines(self) -> list[tuple[str, str, str]]:
        """Rule, count and share of each line of the table."""
        counts = [*self.dropped.items(), ("kept", self.kept)]
        return [(rule, f"{count:,}", f"{100 * count / max(1, self.rows):.2f} %") for rule, count in counts]

    def __str__(self) -> str:
        lines = [("rule", "dropped", "share"), *(line for line in self.lines() if line[1] != "0")]
        widths = [max(len(line[column]) for line in lines) for column in range(3)]
        table = [f"{rule:<{widths[0]}}  {count:>{widths[1]}}  {share:>{widths[2]}}" for rule, count, share in lines]
        return "\n".join([f"Cleaning {self.rows:,} {self.what.removeprefix('training ')}:", *table, *self.notes])

    def to_dict(self) -> dict[str, object]:
        """Counts and notes, for JSON."""
        return {"rows": self.rows, "kept": self.kept, "dropped": self.dropped, "notes": self._public_notes()}

    def write(self, folder: str | Path) -> None:
        """Writes `cleaning.json`, `cleaning.md` and `cleaning_dropped.tsv` into a folder, which is made if need be.

        Of texts of one language they are `cleaning_texts.json` and so on.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        (folder / f"{self._name}.json").write_text(content + "\n", encoding="utf-8")
        (folder / f"{self._name}.md").write_text(self.markdown() + "\n", encoding="utf-8")
        rows = [DroppedPair._fields, *(pair._replace(where=places_out_of(pair.where)) for pair in self.samples)]
        lines = ["\t".join(map(one_line, row)) for row in rows]
        (folder / f"{self._name}_dropped.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def _name(self) -> str:
        return "cleaning" if self.what == "training pairs" else "cleaning_texts"

    def _public_notes(self) -> list[str]:
        """The notes without the folders of files, which are not for the world to read."""
        return list(map(places_out_of, self.notes))

    def markdown(self) -> str:
        """The page: the table, what was found, and a few dropped pairs of each rule."""
        table = markdown_table(["rule", "dropped", "share"], [list(line) for line in self.lines()])
        shown = [pair for rule in self.dropped for pair in [one for one in self.samples if one.rule == rule][:3]]
        parts = [f"# What was dropped of the {self.what}", table, *map(escaped, self._public_notes())]
        if shown:
            rows = [[pair.rule, pair.source[:120], pair.target[:120]] for pair in shown]
            parts += [
                f"More of them are in `{self._name}_dropped.tsv`.",
                markdown_table(["rule", "source", "target"], rows, "---"),
            ]
        return "\n\n".join(parts)
