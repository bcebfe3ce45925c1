"""A Whisper small enough for generated recordings of one word each, and its processor: a second at a time, few tokens.

Where in a sentence each word is said, what `tasks.speech.demo` asks for, takes an encoder-decoder from random weights
more than a demo's minutes to find.
"""

from __future__ import annotations

from typing import Any

from transformers import (
    GenerationConfig,
    PreTrainedModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from hfdistill.models.speech_prompts import START, set_speech_task
from hfdistill.tasks.speech.demo import LETTERS

#: What a recipe does with `--demo`, where nothing else is given.
WHISPER_DEMO: dict[str, Any] = {
    "train_teacher": True,
    "baseline": True,
    "resample": True,
    "per_device_train_batch_size": 16,
    # At 2e-3 it tells few of the words apart.
    "learning_rate": 7e-4,
    "num_train_epochs": 14,
    "warmup_steps": 0.1,
}
_END = "<|endoftext|>"
#: In the order of Whisper's own: the languages, of which it knows some hundred, right behind the start.
_LANGUAGES = ("<|en|>", "<|zh|>", "<|de|>")
_TASKS = {"translate": "<|translate|>", "transcribe": "<|transcribe|>"}
_OTHERS = ("<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")
#: Of a recording, and of what hears it.
_SECONDS, _BANDS, _HOP, _TOKENS = 1, 40, 320, 16


def demo_whisper_processor() -> WhisperProcessor:
    """What makes spectra of recordings, and tokens of their words, a letter each."""
    vocabulary = {letter: number for number, letter in enumerate(["Ġ", *LETTERS])}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[], pad_token=_END, model_max_length=_TOKENS)
    tokenizer.add_tokens([START, *_LANGUAGES, *_TASKS.values(), *_OTHERS], special_tokens=True)
    tokenizer.set_prefix_tokens("en", "transcribe", predict_timestamps=False)
    extractor = WhisperFeatureExtractor(feature_size=_BANDS, hop_length=_HOP, chunk_length=_SECONDS)
    return WhisperProcessor(extractor, tokenizer)


def demo_whisper(width: int, encoder_layers: int, decoder_layers: int, processor: WhisperProcessor) -> PreTrainedModel:
    """A Whisper of random weights for these recordings, of three languages by name, that transcribes.

    Args:
        width: Hidden dimensions.
        encoder_layers: Layers of its encoder.
        decoder_layers: Layers of its decoder.
        processor: Whose tokens it writes.
    """
    tokenizer, extractor = processor.tokenizer, processor.feature_extractor
    id_of, heads = tokenizer.convert_tokens_to_ids, max(1, width // 8)
    ends = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), id_of(_END))
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=_BANDS,
        d_model=width,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        max_source_positions=extractor.nb_max_frames // 2,
        max_target_positions=_TOKENS,
        decoder_start_token_id=id_of(START),
        suppress_tokens=None,
        begin_suppress_tokens=None,
        init_std=0.1,
        **ends,
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=id_of(START),
        max_length=_TOKENS,
        is_multilingual=True,
        lang_to_id={language: id_of(language) for language in _LANGUAGES},
        task_to_id={task: id_of(token) for task, token in _TASKS.items()},
        no_timestamps_token_id=id_of("<|notimestamps|>"),
        alignment_heads=[[layer, 0] for layer in range(decoder_layers)],
        **ends,
    )
    set_speech_task(model, processor, "en")
    return model
