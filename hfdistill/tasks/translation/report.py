"""What a translation student costs and what it keeps: BLEU, chrF, sizes, speed, and the translations themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.export.ctranslate2_model import CTranslate2Model
from hfdistill.models.families import size_in
from hfdistill.report import Comparison, ModelFigures, device_name, size_of
from hfdistill.report.cost import Size
from hfdistill.report.figures import quartile_figures
from hfdistill.report.markdown import escaped, markdown_table
from hfdistill.report.tables import spread_row
from hfdistill.report.timing import Job, Timings, interleaved, one_network, shape_of, speed_figures
from hfdistill.tasks.translation.metrics import corpus_scores, signatures

#: What can be asked for translations.
Translator = PreTrainedModel | CTranslate2Model

BATCH = 32
LATENCY_TURNS = 4
LATENCY_TEXTS = 5
THROUGHPUT_ROUNDS = 5


def translate(
    model: Translator,
    processing_class: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    num_beams: int = 1,
    max_length: int = 128,
    batch_size: int = BATCH,
    description: str = "Translating",
) -> list[str]:
    """A model's translations of some texts, in their order; the model is left in eval mode.

    Args:
        model: An encoder-decoder, or what `export_ctranslate2` made of one.
        processing_class: Its tokenizer.
        texts: The texts; those of like length go through the model together.
        num_beams: Width of the beam search; 1 is greedy.
        max_length: The most tokens of a text on either side.
        batch_size: Texts at once.
        description: What the progress bar says.
    """
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]), reverse=True)
    written: dict[int, str] = {}
    with tqdm(total=len(texts), desc=description, unit=" sentences", leave=False) as bar:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = translate_batch(model, processing_class, [texts[row] for row in rows], num_beams, max_length)
            written.update(zip(rows, batch, strict=True))
            bar.update(len(rows))
    return [written[row] for row in range(len(texts))]


def translate_batch(
    model: Translator,
    processing_class: PreTrainedTokenizerBase,
    texts: Sequence[str],
    num_beams: int,
    max_length: int,
) -> list[str]:
    """The translations of texts that go through the model together, as in `translate`."""
    translator: Any = model.eval()
    inputs = read_sources(model, processing_class, texts, max_length)
    # A model's own `max_new_tokens` would come before `max_length`.
    settings: dict[str, Any] = {} if isinstance(model, CTranslate2Model) else {"max_new_tokens": None}
    with torch.inference_mode():
        tokens = translator.generate(**inputs, num_beams=num_beams, do_sample=False, max_length=max_length, **settings)
    tokens = getattr(tokens, "sequences", tokens)  # a config may ask for scores beside them
    decoded = processing_class.batch_decode(tokens, skip_special_tokens=True)
    return [text.strip() for text in decoded]


def read_sources(
    model: Translator, processing_class: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int
) -> Any:
    """What a model reads of a batch of source texts, on its device."""
    # Padding on the left would shift the texts' positions, each by what else is in the batch.
    return processing_class(
        list(texts), padding=True, padding_side="right", truncation=True, max_length=max_length, return_tensors="pt"
    ).to(model.device)


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

    models: dict[str, TranslatorFigures]  # type: ignore[assignment]
    num_beams: int = 5
    texts: dict[str, list[str]] = field(default_factory=dict)

    def results(self) -> dict[str, float]:
        flat = super().results()
        for role, model in self.models.items():
            flat[f"{role}_decoder_layers"] = model.decoder_layers
            flat[f"{role}_beam_per_second"] = model.beam_per_second
            flat |= quartile_figures({f"{role}_beam_per_second": model.beam_per_second_quartiles})
        return flat

    def table_rows(self) -> tuple[list[str], list[list[str]]]:
        header = [f"{self.rows:,} {self.split} rows", *self.models]
        models = list(self.models.values())
        beam = f"beam {self.num_beams}"
        searches = [("", beam), ("greedy_", "greedy")][self.num_beams == 1 :]  # a beam of 1 is greedy
        rows = [
            [f"{label}, {search}", *(f"{model.metrics[prefix + name]:.1f}" for model in models)]
            for name, label in (("bleu", "BLEU"), ("chrf", "chrF"))
            for prefix, search in searches
        ]
        rows += [
            ["same translation as the teacher", *(_share(model.agreement) for model in models)],
            ["parameters", *(_millions(model.parameters) for model in models)],
            ["  of them embeddings", *(_millions(model.embedding_parameters) for model in models)],
            ["layers, encoder + decoder", *(f"{model.encoder_layers} + {model.decoder_layers}" for model in models)],
            ["size of the weights", *(f"{model.megabytes:.1f} MB" for model in models)],
            ["latency, one text, greedy", *(f"{model.latency_ms:.1f} ms" for model in models)],
            spread_row([model.latency_quartiles_ms for model in models], ".1f", " ms"),
            ["sentences a second, greedy", *(f"{model.examples_per_second:,.0f}" for model in models)],
            spread_row([model.examples_per_second_quartiles for model in models], ",.0f", ""),
        ]
        if self.num_beams > 1:
            rows += [
                [f"sentences a second, {beam}", *(f"{model.beam_per_second:,.0f}" for model in models)],
                spread_row([model.beam_per_second_quartiles for model in models], ",.0f", ""),
            ]
        return header, rows


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
        models: By role: `teacher`, `student`, and where there are such, `baseline` and the student as `ctranslate2`.
        tokenizers: Each model's tokenizer by role.
        dataset: The pairs.
        source: The column of the source texts.
        target: The column of the references.
        split: What to call the rows.
        num_beams: Width of the beam search.
        max_length: The most tokens of a text on either side.
    """
    sources, references = dataset[source][:], dataset[target][:]
    asked = _Asked(models, tokenizers, sources, max_length)
    greedy, greedy_speed = asked.translations(1), asked.per_second(1)
    beam, beam_speed = greedy, greedy_speed
    if num_beams > 1:
        beam, beam_speed = asked.translations(num_beams), asked.per_second(num_beams)
    latency = asked.latencies_ms()
    speed = speed_figures(latency, greedy_speed)
    figures = {
        role: TranslatorFigures(
            metrics={
                **corpus_scores(beam[role], references),
                **{f"greedy_{name}": score for name, score in corpus_scores(greedy[role], references).items()},
            },
            **asdict(_size(model, models["student"])),
            **speed[role],
            agreement=None if role == "teacher" else _same(beam[role], beam["teacher"]),
            encoder_layers=size_in(model.config, "layers", "encoder") or 0,
            decoder_layers=size_in(model.config, "layers", "decoder") or 0,
            beam_per_second=beam_speed[role].median,
            beam_per_second_quartiles=beam_speed[role].quartiles,
        )
        for role, model in models.items()
    }
    texts = {"source": list(sources), "reference": list(references), **beam}
    return TranslationComparison(
        figures,
        len(sources),
        split,
        device_name(models["student"].device),
        one_network=one_network(latency),
        num_beams=num_beams,
        texts=texts,
    )


@dataclass(frozen=True)
class _Asked:
    """The models, and the texts that they are to translate."""

    models: Mapping[str, Translator]
    tokenizers: Mapping[str, PreTrainedTokenizerBase]
    sources: Sequence[str]
    max_length: int

    def translations(self, num_beams: int) -> dict[str, list[str]]:
        """Every model's translations of all texts."""
        settings: dict[str, Any] = {"num_beams": num_beams, "max_length": self.max_length}
        return {
            role: translate(model, self.tokenizers[role], self.sources, description=f"Running the {role}", **settings)
            for role, model in self.models.items()
        }

    def per_second(self, num_beams: int) -> dict[str, Timings]:
        """Texts a second, in batches of texts as they come."""
        size = min(BATCH, len(self.sources))
        times = interleaved(self._jobs(size, num_beams), rounds=THROUGHPUT_ROUNDS)
        return {role: one.map(lambda seconds: size / seconds) for role, one in times.items()}

    def latencies_ms(self) -> dict[str, Timings]:
        """Milliseconds for one text, greedy."""
        times = interleaved(self._jobs(1, 1), rounds=LATENCY_TURNS, each=LATENCY_TEXTS, warm_up=1)
        return {role: one.map(lambda seconds: 1000 * seconds) for role, one in times.items()}

    def _jobs(self, count: int, num_beams: int) -> dict[str, Job]:
        tokenizers = [self.tokenizers[role] for role in self.models]
        return {
            role: Job(
                shape_of(model, tokenizers.index(self.tokenizers[role])),
                partial(self._translate, role, count=count, num_beams=num_beams),
            )
            for role, model in self.models.items()
        }

    def _translate(self, role: str, number: int, count: int, num_beams: int) -> None:
        texts = [self.sources[index % len(self.sources)] for index in range(number * count, (number + 1) * count)]
        translate_batch(self.models[role], self.tokenizers[role], texts, num_beams, self.max_length)


def _size(model: Translator, student: Translator) -> Size:
    if isinstance(model, PreTrainedModel):
        return size_of(model)
    assert isinstance(student, PreTrainedModel)
    return replace(size_of(student), megabytes=model.megabytes)  # the same parameters, in another form


def _same(mine: Sequence[str], theirs: Sequence[str]) -> float:
    return sum(one == other for one, other in zip(mine, theirs, strict=True)) / len(mine)


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _millions(value: int) -> str:
    return f"{value / 1e6:.2f} M"


def write_translations(folder: str | os.PathLike[str], comparison: TranslationComparison, count: int = 30) -> str:
    """Leaves the models' translations for people and for other metrics, and says so in a sentence.

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
