"""Word-level distillation of encoder-decoders: one decision for each target token, over vocabularies of any size."""

from hfdistill.seq2seq.encoder_decoders import (
    Seq2SeqTeacher,
    as_seq2seq_teacher,
    check_translator,
    decoder_inputs,
    languages_agree,
    set_languages,
)
from hfdistill.seq2seq.token_soft_targets import token_soft_targets
from hfdistill.seq2seq.trainer import Seq2SeqDistillationTrainer

__all__ = [
    "Seq2SeqDistillationTrainer",
    "Seq2SeqTeacher",
    "as_seq2seq_teacher",
    "check_translator",
    "decoder_inputs",
    "languages_agree",
    "set_languages",
    "token_soft_targets",
]
