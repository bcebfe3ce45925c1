"""What `clean_pairs` finds of faults that are planted in a clean corpus, and what it drops besides.

For each seed, of the pairs of a corpus

| fault | how many | what is planted | the rule for it |
|---|---:|---|---|
| copy | 5 % | the source in place of the target | `copy` |
| swapped | 3 % | source and target exchanged | `swapped` |
| wrong language | 2 % | another source in place of the target | `wrong language` |
| cut | 2 % | the first third of the target's words | `length` |
| shifted | 500 | the targets of one passage, one row further down | `misaligned` |

Recall is the share of planted faults that are dropped, by the rule for them and by any. Precision is the share of
planted faults of its own among what a rule drops: what it drops besides are other planted faults, and pairs that were
not as clean.

    python recipes/benchmarks/cleaning.py --train_file europarl/train.en.gz europarl/train.de.gz \\
        --output_dir recipes/benchmarks/results/cleaning
"""

import argparse
import random
from pathlib import Path

from bench import over_seeds, percent, publish
from datasets import Dataset

from hfdistill import clean_pairs
from hfdistill.tasks.translation.reading import read_pairs

SHARES = {"copy": 0.05, "swapped": 0.03, "wrong language": 0.02, "cut": 0.02}
RULES = {**{fault: fault for fault in SHARES}, "cut": "length", "shifted": "misaligned"}
SHIFTED = 500
#: Shorter texts are in no language in particular.
LEAST = 20

Pairs = list[tuple[str, str]]


def planted(pairs: Pairs, seed: int, shifted: int) -> tuple[Pairs, dict[str, set[int]]]:
    """The pairs with faults among them, and in which rows these are."""
    rng = random.Random(seed)
    start = rng.randrange(len(pairs) - shifted)
    passage = range(start, start + shifted)
    faulty = {"shifted": set(passage)}
    found = list(pairs)
    for row in passage:  # the last one's target comes first
        found[row] = (pairs[row][0], pairs[row - 1 if row > start else passage[-1]][1])
    free = [row for row in range(len(pairs)) if row not in passage and min(map(len, pairs[row])) >= LEAST]
    rng.shuffle(free)
    for fault, share in SHARES.items():
        rows, free = free[: round(share * len(pairs))], free[round(share * len(pairs)) :]
        faulty[fault] = set(rows)
        for row in rows:
            found[row] = broken(fault, *pairs[row], other=pairs[rng.choice(free)][0])
    return found, faulty


def broken(fault: str, source: str, target: str, other: str) -> tuple[str, str]:
    """A pair with a fault."""
    words = target.split()
    targets = {"copy": source, "swapped": source, "wrong language": other, "cut": " ".join(words[: len(words) // 3])}
    return (target if fault == "swapped" else source), targets[fault]


def measured(pairs: Pairs, seed: int, shifted: int) -> dict[str, float]:
    """Recall and precision of each rule."""
    found, faulty = planted(pairs, seed, shifted)
    rows = {rule: set(rows.tolist()) for rule, rows in dropped(found).items()}
    anything = set().union(*rows.values())
    figures = {}
    for fault, rule in RULES.items():
        hits, wanted = faulty[fault] & rows[rule], len(faulty[fault])
        figures[f"{fault}: recall by its rule"] = len(hits) / wanted
        figures[f"{fault}: recall by any rule"] = len(faulty[fault] & anything) / wanted
        figures[f"{fault}: precision of its rule"] = len(hits) / max(1, len(rows[rule]))
    sound = len(pairs) - len(set().union(*faulty.values()))
    figures["sound pairs dropped"] = len(anything - set().union(*faulty.values())) / sound
    return figures


def dropped(pairs: Pairs) -> dict:
    """The numbers of the rows that each rule drops."""
    sources, targets = zip(*pairs, strict=True)
    return clean_pairs(Dataset.from_dict({"en": sources, "de": targets}), skip=["duplicate"])[1].dropped_rows


def main() -> None:
    options = parse_options()
    rows = read_pairs(options.train_file, "train", ("en", "de")).dataset
    pairs = list(zip(rows["en"], rows["de"], strict=True))
    folder = Path(options.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    clean = {rule: len(rows) for rule, rows in dropped(pairs).items()}
    lines = ["| rule | dropped of the corpus as it is |", "|---|---:|"]
    lines += [f"| {rule} | {count} |" for rule, count in clean.items()]
    figures = over_seeds(options.seeds, lambda seed: measured(pairs, seed, options.shifted))
    lines += [
        "",
        "| fault, in per cent | recall by its rule | by any rule | precision of its rule |",
        "|---|---:|---:|---:|",
    ]
    for fault in RULES:
        names = [f"{fault}: {what}" for what in ("recall by its rule", "recall by any rule", "precision of its rule")]
        lines.append(f"| {fault} | {' | '.join(percent(figures[name]) for name in names)} |")
    lines += ["", f"Sound pairs dropped: {percent(figures['sound pairs dropped'])} %."]
    publish(folder, lines)


def parse_options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--train_file", nargs="+", required=True, help="English and German: two files, or json lines")
    options.add_argument("--output_dir", required=True, help="for the table")
    options.add_argument("--shifted", type=int, default=SHIFTED, help="rows of the shifted passage")
    options.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0")
    return options.parse_args()


if __name__ == "__main__":
    main()
