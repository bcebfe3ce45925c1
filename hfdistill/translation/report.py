"""What a translation student costs and what it keeps: BLEU, chrF, sizes, speed, and the translations themselves."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hfdistill.report import Comparison, ModelFigures, device_name, size_of
from hfdistill.report.cost import Size
from hfdistill.translation.ctranslate2_model import CTranslate2Model
from hfdistill.translation.metrics import corpus_scores, signatures

#: What can be asked for translations.
Translator = PreTrainedModel | CTranslate2Model

BATCH = 32
LATENCY_TEXTS = 20


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
    # Padding on the left would shift the texts' positions, each by what else is in the batch.
    inputs = processing_class(
        list(texts), padding=True, padding_side="right", truncation=True, max_length=max_length, return_tensors="pt"
    ).to(model.device)
    # A model's own `max_new_tokens` would come before `max_length`.
    settings: dict[str, Any] = {} if isinstance(model, CTranslate2Model) else {"max_new_tokens": None}
    with torch.inference_mode():
        tokens = translator.generate(**inputs, num_beams=num_beams, do_sample=False, max_length=max_length, **settings)
    tokens = getattr(tokens, "sequences", tokens)  # a config may ask for scores beside them
    decoded = processing_class.batch_decode(tokens, skip_special_tokens=True)
    return [text.strip() for text in decoded]


@dataclass(frozen=True)
class TranslatorFigures(ModelFigures):
    """One model's column: the metrics are `bleu` and `chrf` of beam search, `greedy_bleu` and `greedy_chrf`.

    Args:
        encoder_layers: Its encoder's layers.
        decoder_layers: Its decoder's layers.
        beam_per_second: Sentences a second with beam search, in batches of 32; `examples_per_second` is greedy.
    """

    encoder_layers: int = 0
    decoder_layers: int = 0
    beam_per_second: float = 0.0


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
        return flat

    def table_rows(self) -> tuple[list[str], list[list[str]]]:
        header = [f"{self.rows:,} {self.split} rows", *self.models]
        models = list(self.models.values())
        beam = f"beam {self.num_beams}"
        rows = [
            [f"{label}, {search}", *(f"{model.metrics[prefix + name]:.1f}" for model in models)]
            for name, label in (("bleu", "BLEU"), ("chrf", "chrF"))
            for prefix, search in (("", beam), ("greedy_", "greedy"))
        ]
        rows += [
            ["same translation as the teacher", *(_share(model.agreement) for model in models)],
            ["parameters", *(_millions(model.parameters) for model in models)],
            ["  of them embeddings", *(_millions(model.embedding_parameters) for model in models)],
            ["layers, encoder + decoder", *(f"{model.encoder_layers} + {model.decoder_layers}" for model in models)],
            ["size of the weights", *(f"{model.megabytes:.1f} MB" for model in models)],
            ["latency, one text, greedy", *(f"{model.latency_ms:.1f} ms" for model in models)],
            ["sentences a second, greedy", *(f"{model.examples_per_second:,.0f}" for model in models)],
            [f"sentences a second, {beam}", *(f"{model.beam_per_second:,.0f}" for model in models)],
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
    greedy = _Timed(models, tokenizers, sources, 1, max_length)
    beam = _Timed(models, tokenizers, sources, num_beams, max_length)
    figures = {
        role: TranslatorFigures(
            metrics={
                **corpus_scores(beam.texts[role], references),
                **{f"greedy_{name}": score for name, score in corpus_scores(greedy.texts[role], references).items()},
            },
            **asdict(_size(model, models["student"])),
            latency_ms=_latency_ms(model, tokenizers[role], sources, max_length),
            examples_per_second=greedy.per_second[role],
            agreement=None if role == "teacher" else _same(beam.texts[role], beam.texts["teacher"]),
            encoder_layers=_layers(model, "encoder"),
            decoder_layers=_layers(model, "decoder"),
            beam_per_second=beam.per_second[role],
        )
        for role, model in models.items()
    }
    texts = {"source": list(sources), "reference": list(references), **beam.texts}
    return TranslationComparison(
        figures, len(sources), split, device_name(models["student"].device), num_beams=num_beams, texts=texts
    )


class _Timed:
    """Every model's translations with one width of beam, and how many it makes a second."""

    def __init__(
        self,
        models: Mapping[str, Translator],
        tokenizers: Mapping[str, PreTrainedTokenizerBase],
        sources: Sequence[str],
        num_beams: int,
        max_length: int,
    ) -> None:
        self.texts: dict[str, list[str]] = {}
        self.per_second: dict[str, float] = {}
        for role, model in models.items():
            settings: dict[str, Any] = {"num_beams": num_beams, "max_length": max_length}
            translate_batch(model, tokenizers[role], sources[:BATCH], **settings)  # warm
            began = time.perf_counter()
            self.texts[role] = translate(model, tokenizers[role], sources, description=f"Asking the {role}", **settings)
            self.per_second[role] = len(sources) / (time.perf_counter() - began)


def _latency_ms(
    model: Translator, tokenizer: PreTrainedTokenizerBase, sources: Sequence[str], max_length: int
) -> float:
    times = []
    for text in sources[:LATENCY_TEXTS]:
        began = time.perf_counter()
        translate_batch(model, tokenizer, [text], num_beams=1, max_length=max_length)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def _size(model: Translator, student: Translator) -> Size:
    if isinstance(model, PreTrainedModel):
        return size_of(model)
    assert isinstance(student, PreTrainedModel)
    return replace(size_of(student), megabytes=model.megabytes)  # the same parameters, in another form


def _layers(model: Translator, side: str) -> int:
    config: Any = model.config
    names = {"encoder": ("encoder_layers", "num_layers"), "decoder": ("decoder_layers", "num_decoder_layers")}[side]
    return next(getattr(config, name) for name in names if isinstance(getattr(config, name, None), int))


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
    pages = ["# Translations side by side", f"One in {step} of {comparison.rows:,} {comparison.split} rows."]
    for row in range(0, comparison.rows, step)[:count]:
        lines = [f"| {role} | {_cell(texts[row])} |" for role, texts in comparison.texts.items()]
        pages.append("\n".join([f"| {row + 1} | |", "|---|---|", *lines]))
    (report / "translations.md").write_text("\n\n".join(pages) + "\n", encoding="utf-8")
    for role, texts in comparison.texts.items():
        _write_lines(Path(folder) / "_translations" / f"{role}.txt", texts)
    how = "; ".join(signatures().values())
    pages_and_lines = "[Translations side by side](translations.md); all of them, line by line, are in `_translations/`"
    return f"{pages_and_lines}. BLEU and chrF: sacreBLEU, `{how}`."


def _write_lines(path: Path, texts: Sequence[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{' '.join(text.splitlines())}\n" for text in texts), encoding="utf-8")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
