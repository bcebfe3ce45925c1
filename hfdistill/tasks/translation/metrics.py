"""BLEU and chrF as `evaluate` metrics that need no network, through sacreBLEU (the extra `translation`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import evaluate
import numpy as np
from datasets import Features, Value
from datasets import Sequence as ListOf
from transformers import EvalPrediction, PreTrainedTokenizerBase

from hfdistill.losses import IGNORED
from hfdistill.models.extras import install_hint


def check_sacrebleu() -> None:
    """Refuses to go on without sacreBLEU, before anything expensive is begun.

    Raises:
        ImportError: saying what to install.
    """
    _sacrebleu()


def _sacrebleu() -> Any:
    try:
        import sacrebleu
    except ImportError as error:
        raise ImportError(f"BLEU and chrF need sacreBLEU: {install_hint('translation')}.") from error
    return sacrebleu


class _CorpusMetric(evaluate.Metric):
    """A metric of translations and of one reference, or several, for each."""

    key = ""
    #: What a table calls it.
    label = ""

    def _info(self) -> evaluate.MetricInfo:
        one, several = Value("string"), ListOf(Value("string"))
        features = [Features({"predictions": Value("string"), "references": kind}) for kind in (one, several)]
        return evaluate.MetricInfo(description=str(self.__doc__), citation="", features=features)

    def _scorer(self) -> Any:
        raise NotImplementedError

    def _compute(self, predictions: list[str], references: list[Any]) -> dict[str, Any]:
        scorer = self._scorer()
        each = [[text] if isinstance(text, str) else text for text in references]
        if len({len(texts) for texts in each}) > 1:
            raise ValueError(f"{self.key} needs as many references for each translation; pad none, drop the others.")
        score = scorer.corpus_score(predictions, [list(texts) for texts in zip(*each, strict=True)])
        return {self.key: float(score.score), f"{self.key}_signature": str(scorer.get_signature())}


class Bleu(_CorpusMetric):
    """Corpus BLEU from 0 to 100, as sacreBLEU computes it, with the signature to cite it by (Post 2018)."""

    key = "bleu"
    label = "BLEU"

    def _scorer(self) -> Any:
        return _sacrebleu().BLEU()


class Chrf(_CorpusMetric):
    """chrF2 from 0 to 100: character n-grams, so that a wrong ending costs less than a wrong word (Popović 2015)."""

    key = "chrf"
    label = "chrF"

    def _scorer(self) -> Any:
        return _sacrebleu().CHRF()


#: By name; the first is the main metric, see `Comparison.main_metric`.
TRANSLATION_METRICS: dict[str, type[_CorpusMetric]] = {metric.key: metric for metric in (Bleu, Chrf)}


def corpus_scores(translations: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """BLEU and chrF of translations against one reference each, both from 0 to 100."""
    scores: dict[str, float] = {}
    for name, metric in TRANSLATION_METRICS.items():
        result = metric(keep_in_memory=True).compute(predictions=list(translations), references=list(references))
        scores[name] = result[name]
    return scores


def signatures() -> dict[str, str]:
    """What sacreBLEU calls these settings, to be cited along with a score."""
    metrics = {name: metric(keep_in_memory=True) for name, metric in TRANSLATION_METRICS.items()}
    return {
        name: metric.compute(predictions=["a"], references=["a"])[f"{name}_signature"]
        for name, metric in metrics.items()
    }


def sentence_bleu(translation: str, reference: str) -> float:
    """Smoothed BLEU of one sentence, from 0 to 100."""
    return float(_sacrebleu().sentence_bleu(translation, [reference]).score)


def sentence_chrf(translation: str, reference: str) -> float:
    """chrF2 of one sentence, from 0 to 100."""
    return float(_sacrebleu().sentence_chrf(translation, [reference]).score)


def translation_metrics(tokenizer: PreTrainedTokenizerBase) -> Callable[[EvalPrediction], dict[str, float]]:
    """Make a `compute_metrics` for a `Seq2SeqDistillationTrainer` with `predict_with_generate`: BLEU and chrF.

    Args:
        tokenizer: The student's, to turn tokens into text.

    Raises:
        ImportError: If sacreBLEU is not installed. The function returned raises `ValueError` for logits.
    """
    _sacrebleu()

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        if np.ndim(prediction.predictions) != 2:
            raise ValueError("BLEU is measured on translations: set predict_with_generate=True in the arguments.")
        texts = [_texts(tokenizer, ids) for ids in (prediction.predictions, prediction.label_ids)]
        return corpus_scores(*texts)

    return compute_metrics


def _texts(tokenizer: PreTrainedTokenizerBase, ids: Any) -> list[str]:
    padded = np.where(np.asarray(ids) == IGNORED, tokenizer.pad_token_id, ids)
    return [text.strip() for text in tokenizer.batch_decode(padded, skip_special_tokens=True)]
