"""`make_student`: a smaller model out of a teacher's weights."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from hfdistill.models.adapters import can_merge, load_model, merged_copy
from hfdistill.models.families import SIDES, no_layer_stack, size_in
from hfdistill.models.wrappers import is_quantized, unwrapped
from hfdistill.students.layers import cut_layers
from hfdistill.students.low_rank_embeddings import with_low_rank_embeddings
from hfdistill.students.vocabulary import TrimmedVocabulary, with_vocabulary
from hfdistill.students.widths import choose_widths


def make_student(
    teacher: PreTrainedModel | str | os.PathLike[str],
    num_hidden_layers: int | None = None,
    layers: str | Sequence[int] = "uniform",
    *,
    num_encoder_layers: int | None = None,
    num_decoder_layers: int | None = None,
    encoder_layers: str | Sequence[int] = "alternating",
    decoder_layers: str | Sequence[int] = "alternating",
    hidden_size: int | None = None,
    intermediate_size: int | None = None,
    num_attention_heads: int | None = None,
    importance_batch: Mapping[str, Tensor] | None = None,
    embedding_size: int | None = None,
    vocabulary: TrimmedVocabulary | None = None,
) -> PreTrainedModel:
    """Make a student with fewer layers, narrower ones, or fewer tokens, out of its teacher.

    Embeddings, pooler and head are copied too, so every weight of the student comes from the teacher, and a
    student with all the layers gives the teacher's own logits. A narrower student keeps some of the hidden
    dimensions, neurons and heads: it starts from what they were, and has to be trained before it predicts well.

    A model whose first layer is built unlike the others can only start with that one (ModernBERT's has no
    attention norm). There, the words of `layers` keep teacher layer 0 as the student's first layer, in place
    of the one that `choose_layers` names, and a list that begins with another layer is refused.

    Args:
        teacher: any `PreTrainedModel`, compiled or not, that keeps its layers in one list, or an encoder-decoder that
            keeps them in two, left as it is; or the name or path of a sequence classification model, which is then
            loaded.
        num_hidden_layers: the student's number of layers, from 1 to the teacher's; may be left out when
            `layers` is a list.
        layers: which teacher layers the student takes: `"uniform"`, `"last"`, `"first"`, or a list of indices
            (see `choose_layers`).
        num_encoder_layers: for an encoder-decoder, in place of `num_hidden_layers`; all of the teacher's by default.
        num_decoder_layers: likewise. A decoder runs once for each token it writes and an encoder once for each text,
            so speed is gained by a shallow decoder.
        encoder_layers: for an encoder-decoder, in place of `layers`.
        decoder_layers: likewise.
        hidden_size: the student's hidden dimensions; by default the teacher's.
        intermediate_size: neurons between the two maps of a layer; by default in the teacher's proportion.
        num_attention_heads: by default as many heads as leave them about as wide as the teacher's.
        importance_batch: tokenized text, a few hundred examples, on which it is measured which dimensions,
            neurons and heads matter (see `hfdistill.students.widths`); without it the first ones are kept, and a
            student on SST-2 is 2.3 points worse for it after 4,200 steps.
        embedding_size: dimensions of a factorized embedding of tokens, positions and token types, fewer than
            `hidden_size`, with a projection from there (see `hfdistill.students.low_rank_embeddings`): for BERT,
            ELECTRA and DeBERTa. A BERT becomes an ELECTRA, whose head for sequences BERT's fits only nearly.
        vocabulary: some of the teacher's tokens, chosen by `TrimmedVocabulary.choose(teacher, tokenizer, texts, size)`:
            the student reads with `vocabulary.tokenizer`, and its teacher with its own tokenizer (`text_columns`, or
            stored soft targets).

    Returns:
        A plain transformers model of the teacher's class (of ELECTRA's, for a BERT with an `embedding_size`) that
        shares no tensor with it: in float32 whatever the teacher's dtype, on the default device, in train mode, not
        frozen.

    Raises:
        TypeError: `teacher` is not a transformers model.
        ValueError: the layers cannot be chosen so (see `choose_layers`), or the teacher cannot be cut: layers
            that share their weights (ALBERT), adapters that cannot be merged, quantized weights, or weights that are
            not at hand; or the widths are not possible, or its parts are not understood well enough to make them
            narrower.

    References:
        DistilBERT, section 3: https://huggingface.co/papers/1910.01108.
        Shrink and fine-tune: https://huggingface.co/papers/2010.13002.
    """
    teacher = _as_model(teacher)
    widths = (hidden_size, intermediate_size, num_attention_heads)
    sides = (num_encoder_layers, encoder_layers), (num_decoder_layers, decoder_layers)
    if teacher.config.is_encoder_decoder:
        if (num_hidden_layers, layers) != (None, "uniform"):
            raise ValueError(
                f"{type(teacher).__name__} has an encoder and a decoder: give num_encoder_layers and "
                "num_decoder_layers (or encoder_layers and decoder_layers) in place of num_hidden_layers and layers."
            )
        if importance_batch is not None or any(size is not None for size in (*widths, embedding_size)):
            raise ValueError(
                f"a student of {type(teacher).__name__} can have fewer layers here, not narrower ones: train a narrow "
                "one from its own config, on the teacher's translations (pseudo_translations)."
            )
        student = _of_two_sides(teacher, dict(zip(SIDES, sides, strict=True)))
        return student if vocabulary is None else with_vocabulary(student, vocabulary)
    if (num_encoder_layers, num_decoder_layers) != (None, None):
        raise ValueError(f"{type(teacher).__name__} has one stack of layers: give num_hidden_layers.")
    if size_in(teacher.config, "layers") is None:
        raise no_layer_stack(teacher)
    narrower = any(size is not None for size in widths)
    if importance_batch is not None and not narrower:
        raise ValueError("importance_batch is for narrower students: give hidden_size or intermediate_size too.")
    otherwise_smaller = narrower or embedding_size is not None or vocabulary is not None
    if otherwise_smaller and isinstance(layers, str) and num_hidden_layers is None:
        num_hidden_layers = teacher.config.num_hidden_layers
    chosen_widths = choose_widths(teacher.config, *widths) if narrower else None
    student = cut_layers(teacher, {"": (num_hidden_layers, layers)}, chosen_widths, importance_batch)
    if vocabulary is not None:  # first: the directions of an embedding are then those of the tokens that are kept
        student = with_vocabulary(student, vocabulary)
    return student if embedding_size is None else with_low_rank_embeddings(student, embedding_size)


def _of_two_sides(
    teacher: PreTrainedModel, sides: Mapping[str, tuple[int | None, str | Sequence[int]]]
) -> PreTrainedModel:
    """A student of an encoder-decoder; a side without a number or a list keeps all its layers."""
    wanted = {}
    for side, (count, how) in sides.items():
        total = size_in(teacher.config, "layers", side)
        if total is None:
            raise no_layer_stack(teacher, side)
        wanted[side] = (total if count is None and isinstance(how, str) else count, how)
    return cut_layers(teacher, wanted)


def _as_model(teacher: PreTrainedModel | str | os.PathLike[str]) -> PreTrainedModel:
    if isinstance(teacher, (str, os.PathLike)):
        teacher = load_model(AutoModelForSequenceClassification, teacher)
    teacher = unwrapped(teacher)
    if can_merge(teacher):
        teacher = merged_copy(teacher)
    if not isinstance(teacher, PreTrainedModel):
        raise TypeError(
            f"teacher is a {type(teacher).__name__}, not a transformers PreTrainedModel or a name or path: "
            "take what is within it, or merge its adapters, first."
        )
    if any(one.is_meta for one in teacher.parameters()):
        raise ValueError(
            f"parts of the {type(teacher).__name__} lie elsewhere than where they are run (device_map): load it "
            "without device_map, and make the student of that."
        )
    if is_quantized(teacher):
        raise ValueError(
            f"the teacher is a quantized {type(teacher).__name__}, whose weights are integers that no student can be "
            "trained from: load it as it was before (in float32 or bfloat16) and make the student of that."
        )
    return teacher
