"""A tokenizer as transformers.js reads one, `tokenizer.json`, where its Python class has only SentencePiece files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase

#: Marian has one vocabulary and two SentencePiece models. A token that is the target's alone must not be found in a
#: source text; but it has to be there to be written: its score, for each of its characters, makes any other way better.
_FOREIGN = -100.0
#: SentencePiece's number for models that maximize the likelihood of unigrams.
_UNIGRAM = 1


def browser_tokenizer(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tokenizer | None:
    """What has to be saved as `tokenizer.json` beside a tokenizer's own files; `None` where these have it already.

    Args:
        tokenizer: The tokenizer.
        texts: On which the two must agree.

    Raises:
        ValueError: when it cannot be made, or reads one of 100 texts otherwise.
    """
    if isinstance(getattr(tokenizer, "backend_tokenizer", None), Tokenizer):
        return None
    files, vocabulary = getattr(tokenizer, "spm_files", None), getattr(tokenizer, "encoder", None)
    if not files or not vocabulary or getattr(tokenizer, "separate_vocabs", False):
        raise ValueError(
            f"a {type(tokenizer).__name__} has no tokenizer.json, which transformers.js reads, and none can be made of "
            "its files: take a tokenizer that has one (PreTrainedTokenizerFast), or export for ctranslate2."
        )
    made = _of_marian(tokenizer, files[0], vocabulary)
    unlike = [text for text in texts if made.encode(text).ids != tokenizer(text).input_ids]
    if len(unlike) > len(texts) / 100:
        raise ValueError(
            f"the tokenizer.json made of a {type(tokenizer).__name__} reads {len(unlike):,} of {len(texts):,} texts "
            f"otherwise, such as {unlike[0][:80]!r}: take a tokenizer that has one, or export for ctranslate2."
        )
    return made


def _of_marian(tokenizer: Any, file: str, vocabulary: dict[str, int]) -> Tokenizer:
    trained = _sentencepiece_model(file)
    if trained.trainer_spec.model_type != _UNIGRAM:
        raise ValueError(f"{file} is no unigram model of SentencePiece, so no tokenizer.json can be made of it.")
    scores = {one.piece: one.score for one in trained.pieces}
    tokens = {number: token for token, number in vocabulary.items()}
    names = [tokens.get(number, f"<unused_{number}>") for number in range(max(tokens) + 1)]
    made = Tokenizer(
        models.Unigram(
            [(name, scores.get(name, _FOREIGN * len(name))) for name in names], vocabulary[str(tokenizer.unk_token)]
        )
    )
    made.normalizer = normalizers.Sequence(list(_normalizers(trained.normalizer_spec.precompiled_charsmap)))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    end = str(tokenizer.eos_token)
    made.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A $B {end}", special_tokens=[(end, vocabulary[end])]
    )
    special = [*tokenizer.all_special_tokens, *tokenizer.supported_language_codes]
    made.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return made


def _normalizers(characters: bytes) -> Iterator[Any]:
    if characters:
        yield normalizers.Precompiled(characters)
    yield normalizers.Strip()
    yield normalizers.Replace(Regex(" {2,}"), " ")


def _sentencepiece_model(file: str) -> Any:
    from sentencepiece import sentencepiece_model_pb2

    protocol: Any = sentencepiece_model_pb2
    model = protocol.ModelProto()
    with open(file, "rb") as opened:
        model.ParseFromString(opened.read())
    return model
