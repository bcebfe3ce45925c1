"""The terms an objective is made of, by the names that `--terms` knows."""

from hfdistill.losses.attention import Attentions, AttentionScores, MiniLM, MiniLMv1
from hfdistill.losses.base import COUNTED_ROWS, Batch, StudentOutput, Term
from hfdistill.losses.ctc import CTCLabels
from hfdistill.losses.divergences import DIVERGENCES
from hfdistill.losses.embedding import CosineEmbedding
from hfdistill.losses.encoder_decoder import (
    DecoderEmbeddings,
    DecoderHiddenStates,
    DecoderMiniLM,
    EncoderDecoderTerm,
    EncoderEmbeddings,
    EncoderHiddenStates,
    EncoderMiniLM,
)
from hfdistill.losses.exemplars import Contrastive, Exemplars
from hfdistill.losses.feature import HIDDEN_STATE_LOSSES, PROJECTION_INITS, Embeddings, HiddenStates, Patient
from hfdistill.losses.graph import InstanceGraph
from hfdistill.losses.ranking import MarginMSE
from hfdistill.losses.relation import ProbabilisticTransfer, RelationalAngle, RelationalDistance, SimilarityPreserving
from hfdistill.losses.response import (
    IGNORED,
    SPARSE_DIVERGENCES,
    DecoupledSoftTargets,
    Labels,
    SoftTargets,
    decided_items,
    has_token_labels,
    infer_problem_type,
    labeled,
)

_TERMS: tuple[type[Term], ...] = (
    *(Labels, SoftTargets, DecoupledSoftTargets, CosineEmbedding, MarginMSE),
    *(HiddenStates, Embeddings, Patient, AttentionScores, Attentions, MiniLM, MiniLMv1),
    *(RelationalDistance, RelationalAngle, SimilarityPreserving, ProbabilisticTransfer),
    *(InstanceGraph, Exemplars, Contrastive),
    *(EncoderHiddenStates, EncoderEmbeddings, EncoderMiniLM),
    *(DecoderHiddenStates, DecoderEmbeddings, DecoderMiniLM),
)
TERMS: dict[str, type[Term]] = {term.name: term for term in _TERMS}
#: The same for students that hear, whose labels are letters of which nobody knows the frames.
SPEECH_TERMS: dict[str, type[Term]] = {**TERMS, "labels": CTCLabels}

__all__ = [
    "COUNTED_ROWS",
    "DIVERGENCES",
    "HIDDEN_STATE_LOSSES",
    "IGNORED",
    "PROJECTION_INITS",
    "SPARSE_DIVERGENCES",
    "SPEECH_TERMS",
    "TERMS",
    "AttentionScores",
    "Attentions",
    "Batch",
    "CTCLabels",
    "Contrastive",
    "CosineEmbedding",
    "DecoderEmbeddings",
    "DecoderHiddenStates",
    "DecoderMiniLM",
    "DecoupledSoftTargets",
    "Embeddings",
    "EncoderDecoderTerm",
    "EncoderEmbeddings",
    "EncoderHiddenStates",
    "EncoderMiniLM",
    "Exemplars",
    "HiddenStates",
    "InstanceGraph",
    "Labels",
    "MarginMSE",
    "MiniLM",
    "MiniLMv1",
    "Patient",
    "ProbabilisticTransfer",
    "RelationalAngle",
    "RelationalDistance",
    "SimilarityPreserving",
    "SoftTargets",
    "StudentOutput",
    "Term",
    "decided_items",
    "has_token_labels",
    "infer_problem_type",
    "labeled",
]
