"""Translators: small ones from scratch, what they are worth and cost, and their way to CTranslate2."""

from hfdistill.translation.ctranslate2_export import check_ctranslate2, export_ctranslate2
from hfdistill.translation.ctranslate2_model import CTranslate2Model
from hfdistill.translation.from_scratch import joint_tokenizer, small_marian, untrained_like
from hfdistill.translation.metrics import check_sacrebleu, corpus_scores, sentence_bleu, translation_metrics
from hfdistill.translation.report import compare_translations, translate, write_translations

__all__ = [
    "CTranslate2Model",
    "check_ctranslate2",
    "check_sacrebleu",
    "compare_translations",
    "corpus_scores",
    "export_ctranslate2",
    "joint_tokenizer",
    "sentence_bleu",
    "small_marian",
    "translate",
    "translation_metrics",
    "untrained_like",
    "write_translations",
]
