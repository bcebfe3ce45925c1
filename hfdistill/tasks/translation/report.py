"""What a translation student costs and what it keeps: BLEU, chrF, sizes, speed, and the translations themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from hfdistill.models.families import size_in
from hfdistill.models.generation import BATCH, translate, translate_batch
from hfdistill.models.inference import Translator
from hfdistill.report.comparison import check_models, compare_models
from hfdistill.report.failures import Attempts
from hfdistill.report.figures import Comparison, ModelFigures, quartile_figures, size_rows
from hfdistill.report.markdown import escaped, markdown_table
from hfdistill.report.quality import PairedTest
from hfdistill.report.tables import figure_row, spread_row
from hfdistill.report.timing import latencies_ms, throughput
from hfdistill.tasks.translation.metrics import TRANSLATION_METRICS, corpus_scores, signatures

#: Fewer than for classifiers: a translation takes a forward pass for each of its tokens.
LATENCY_ROUNDS = {"rounds": 4, "each": 5, "warm_up": 1}
THROUGHPUT_ROUNDS = 5
#: How many translations that differ are kept for the report.
EXAMPLES = 100
#: How often the rows are resampled.
RESAMPLINGS = 1000


@dataclass(frozen=True)
class TranslatorFigures(ModelFigures):
    """One model's column: the metrics are `bleu` and `chrf` of beam search, `greedy_bleu` and `greedy_chrf`.

    Args:
        encoder_layers: Its encoder's layers.
        decoder_layers: Its decoder's layers.
        beam_per_second: Median sentences a second with beam search, in batches of 32; `examples_per_second` is greedy.
        beam_per_second_quartiles: Between which half of the batches' speeds lie.
    """

    encoder_layers: int = 0
    decoder_layers: int = 0
    beam_per_second: float = 0.0
    beam_per_second_quartiles: tuple[float, float] | None = None


@dataclass(frozen=True)
class TranslationComparison(Comparison):
    """Teacher, student and baseline on the same texts.

    Args:
        num_beams: Width of the beam search.
        texts: The source texts and the references, by those names, and each model's beam translations by role.
    """

    points: ClassVar[float] = 1.0

    models: dict[str, TranslatorFigures]  # type: ignore[assignment]
    num_beams: int = 5
    texts: dict[str, list[str]] = field(default_factory=dict)

    def examples(self) -> list[dict[str, str]]:
        """Texts that teacher and student translate otherwise, the least alike first, with all translations."""
        rows = [dict(zip(self.texts, row, strict=True)) for row in zip(*self.texts.values(), strict=True)]
        differing = [row for row in rows if row["teacher"] != row["student"]]
        return sorted(differing, key=lambda row: _likeness(row["teacher"], row["student"]))[:EXAMPLES]

    def results(self) -> dict[str, float]:
        flat = super().results()
        for role, model in self.models.items():
            flat[f"{role}_decoder_layers"] = model.decoder_layers
            flat[f"{role}_beam_per_second"] = model.beam_per_second
            flat |= quartile_figures({f"{role}_beam_per_second": model.beam_per_second_quartiles})
        return flat

    def table_rows(self) -> tuple[list[str], list[list[str]]]:
        models = list(self.models.values())
        beam = f"beam {self.num_beams}"
        searches = [("", beam), ("greedy_", "greedy")][self.num_beams == 1 :]  # a beam of 1 is greedy
        rows = [
            [f"{metric.label}, {search}", *(f"{model.metrics[prefix + name]:.1f}" for model in models)]
            for name, metric in TRANSLATION_METRICS.items()
            for prefix, search in searches
        ]
        intervals = [model.intervals.get("bleu") for model in models]
        rows.insert(
            1, ["  95 % interval", *("" if one is None else f"{one[0]:.1f} to {one[1]:.1f}" for one in intervals)]
        )
        *parameters, megabytes = size_rows(models)
        rows += [
            figure_row("same translation as the teacher", models, "agreement", "{:.1f} %", 100),
            *parameters,
            ["layers, encoder + decoder", *(f"{model.encoder_layers} + {model.decoder_layers}" for model in models)],
            megabytes,
            figure_row("latency, one text, greedy", models, "latency_ms", "{:.1f} ms"),
            spread_row(models, "latency_quartiles_ms", ".1f", " ms"),
            figure_row("sentences a second, greedy", models, "examples_per_second", "{:,.0f}"),
            spread_row(models, "examples_per_second_quartiles", ",.0f", ""),
        ]
        if self.num_beams > 1:
            rows += [
                figure_row(f"sentences a second, {beam}", models, "beam_per_second", "{:,.0f}"),
                spread_row(models, "beam_per_second_quartiles", ",.0f", ""),
            ]
        return self.header, [cells for cells in rows if any(cells[1:])]


def compare_translations(
    models: Mapping[str, Translator],
    tokenizers: Mapping[str, PreTrainedTokenizerBase],
    dataset: Dataset,
    *,
    source: str,
    target: str,
    split: str = "test",
    num_beams: int = 5,
    max_length: int = 128,
) -> TranslationComparison:
    """Measures the models on the same pairs of texts: BLEU, chrF, size and speed, greedy and with beam search.

    Models that are one network, as student and baseline, are timed once, on the first one's translations. A beam of 1
    is greedy search, and measured as that alone.

    Args:
        models: By role: `teacher`, `student`, and where there are such, `baseline` and the exports of the student.
        tokenizers: Each model's tokenizer by role.
        dataset: The pairs.
        source: The column of the source texts.
        target: The column of the references.
        split: What to call the rows.
        num_beams: Width of the beam search.
        max_length: The most tokens of a text on either side.

    Raises:
        TypeError: for a name or path in place of a model.
    """
    sources, references = dataset[source][:], dataset[target][:]
    check_models(
        {role: model for role, model in models.items() if not hasattr(model, "engine")}, "AutoModelForSeq2SeqLM"
    )
    greedy = {role: MeasuredTranslator(model, tokenizers[role], sources, max_length) for role, model in models.items()}
    beams = {role: replace(one, num_beams=num_beams) for role, one in greedy.items()} if num_beams > 1 else greedy
    greedy_texts = {role: one.translations(role) for role, one in greedy.items()}
    beam_texts = {role: one.translations(role) for role, one in beams.items()} if num_beams > 1 else greedy_texts
    size = min(BATCH, len(sources))
    latency, per_second = latencies_ms(greedy, **LATENCY_ROUNDS), throughput(greedy, size, THROUGHPUT_ROUNDS)
    beam_per_second = throughput(beams, size, THROUGHPUT_ROUNDS) if num_beams > 1 else per_second

    attempt = Attempts()
    intervals, paired = attempt("the test of BLEU", partial(resampled_bleu, beam_texts, references)) or ({}, None)

    def quality(role: str) -> dict[str, Any]:
        greedy_scores = corpus_scores(greedy_texts[role], references)
        return {
            "metrics": {
                **corpus_scores(beam_texts[role], references),
                **{f"greedy_{name}": score for name, score in greedy_scores.items()},
            },
            "intervals": {"bleu": intervals[role]} if role in intervals else {},
            "agreement": None if role == "teacher" else _agreement(beam_texts[role], beam_texts["teacher"]),
            "encoder_layers": size_in(models[role].config, "layers", "encoder") or 0,
            "decoder_layers": size_in(models[role].config, "layers", "decoder") or 0,
            "beam_per_second": beam_per_second[role].median,
            "beam_per_second_quartiles": beam_per_second[role].quartiles,
        }

    return compare_models(
        greedy,
        quality,
        latency,
        per_second,
        rows=len(sources),
        split=split,
        attempt=attempt,
        kinds=(TranslationComparison, TranslatorFigures),
        paired=paired,
        num_beams=num_beams,
        texts={"source": list(sources), "reference": list(references), **beam_texts},
    )


@dataclass(frozen=True)
class MeasuredTranslator:
    """A translator to be timed, and the texts that it translates."""

    model: Translator
    processing_class: PreTrainedTokenizerBase
    sources: Sequence[str]
    max_length: int
    num_beams: int = 1

    @property
    def inputs(self) -> object:
        """The tokenizer: the texts are the same for all."""
        return self.processing_class

    def predict(self, number: int, count: int) -> None:
        """Translates the `number`-th `count` texts; after the last comes the first."""
        texts = [self.sources[index % len(self.sources)] for index in range(number * count, (number + 1) * count)]
        translate_batch(self.model, self.processing_class, texts, self.num_beams, self.max_length)

    def translations(self, role: str) -> list[str]:
        """The translations of all texts."""
        search: dict[str, Any] = {"num_beams": self.num_beams, "max_length": self.max_length}
        return translate(self.model, self.processing_class, self.sources, description=f"Running the {role}", **search)


def resampled_bleu(
    translations: Mapping[str, Sequence[str]], references: Sequence[str]
) -> tuple[dict[str, tuple[float, float]], PairedTest | None]:
    """The 95 % interval of each model's BLEU over resampled rows, and the paired test of student against baseline.

    References: paired bootstrap resampling as sacreBLEU has it, Koehn 2004, https://aclanthology.org/W04-3250.
    """
    from sacrebleu import BLEU
    from sacrebleu.significance import PairedTest as Resampling

    # Whoever is first is what the others are tested against.
    roles = sorted(translations, key=lambda role: role != "baseline")
    named = [(role, translations[role]) for role in roles]
    metric = BLEU(references=[list(references)])
    _, scores = Resampling(named, {"BLEU": metric}, None, test_type="bs", n_samples=RESAMPLINGS)()
    found: dict[str, Any] = dict(zip(roles, scores["BLEU"], strict=True))
    intervals = {role: (one.mean - one.ci, one.mean + one.ci) for role, one in found.items()}
    if "baseline" not in found:
        return intervals, None
    # Of no difference at all sacreBLEU says p = 0.001: no resample shows a larger one than none.
    same = found["student"].score == found["baseline"].score
    return intervals, PairedTest(None, None, 1.0 if same else float(found["student"].p_value))


def _likeness(one: str, other: str) -> float:
    """The share of words that two texts have in common, in their order."""
    return SequenceMatcher(None, one.split(), other.split(), autojunk=False).ratio()


def _agreement(student: Sequence[str], teacher: Sequence[str]) -> float:
    return sum(one == other for one, other in zip(student, teacher, strict=True)) / len(student)


def write_translations(folder: str | os.PathLike[str], comparison: TranslationComparison, count: int = 30) -> str:
    """Writes the models' translations for people and for other metrics.

    `report/translations.md` shows some of them side by side. `_translations/` has a text file for `source`, `reference`
    and each model, a line for each row, as `sacrebleu` and `comet-score` read them; it stays here when the folder is
    pushed to the Hub, as the texts may not be yours to publish.

    Args:
        folder: The folder of a run.
        comparison: The measured models.
        count: How many texts to show, spread evenly over the rows.

    Returns:
        A sentence for the report, with a link to the page and how the figures were measured.
    """
    report = Path(folder) / "report"
    report.mkdir(parents=True, exist_ok=True)
    step = max(1, comparison.rows // count)
    pages = ["# Translations side by side", f"One in {step} of {comparison.rows:,} {escaped(comparison.split)} rows."]
    for row in range(0, comparison.rows, step)[:count]:
        lines = [[role, texts[row]] for role, texts in comparison.texts.items()]
        pages.append(markdown_table([f"{row + 1}", ""], lines, align="---"))
    (report / "translations.md").write_text("\n\n".join(pages) + "\n", encoding="utf-8")
    for role, texts in comparison.texts.items():
        _write_lines(Path(folder) / "_translations" / f"{role}.txt", texts)
    how = "; ".join(signatures().values())
    pages_and_lines = "[Translations side by side](translations.md); all of them, line by line, are in `_translations/`"
    return f"{pages_and_lines}. BLEU and chrF: sacreBLEU, `{how}`."


def _write_lines(path: Path, texts: Sequence[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{' '.join(text.splitlines())}\n" for text in texts), encoding="utf-8")
