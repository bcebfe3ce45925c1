"""How fast one translator translates one sentence in each engine: PyTorch, ONNX Runtime, CTranslate2.

    python recipes/benchmarks/translator_engines.py --output engines.json

The student has the shape of a small Marian (3 + 1 layers, a vocabulary of 8,000 or 16,000 tokens) and random weights:
what it says has no sense, but a token takes as long. Greedy search never ends before `--tokens` tokens, so that all
engines write as many. One thread, engines in turns; the figures are the ratios to PyTorch of the same round.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerFast

from hfdistill import export_translator

FORMATS = ["onnx", "int8", "ctranslate2"]


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[8000, 16000])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def main() -> None:
    """Measures every size, and prints and writes the figures."""
    options = parse_options()
    torch.set_num_threads(1)
    found = {size: measured(size, options) for size in options.vocabularies}
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def measured(size: int, options: argparse.Namespace) -> dict:
    """Milliseconds for one sentence and megabytes of each engine, and how many times as fast as PyTorch it is."""
    model, tokenizer = translator(size, options.width), word_tokenizer(size)
    texts = [" ".join(random.Random(seed).choices(list(tokenizer.get_vocab())[4:], k=15)) for seed in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        how = {"num_beams": 1, "max_length": options.tokens}
        exported = export_translator(model, tokenizer, texts, folder, formats=FORMATS, **how)
        engines = {"pytorch": model, **exported}
        megabytes = {name: one.megabytes for name, one in exported.items()}
        times = {name: [] for name in engines}
        for number in range(-2, options.rounds):  # two to warm up
            inputs = tokenizer(texts[number % len(texts)], return_tensors="pt")
            for name, engine in engines.items():
                start = time.perf_counter()
                written = engine.generate(**inputs, num_beams=1, do_sample=False, max_length=options.tokens)
                assert written.shape[1] >= options.tokens - 1, "it ended before the others"
                if number >= 0:
                    times[name].append(1000 * (time.perf_counter() - start))
    megabytes["pytorch"] = sum(weight.numel() for weight in model.parameters()) * 4 / 1e6
    return {name: figures(size, name, times, megabytes[name]) for name in engines}


def figures(size: int, name: str, times: dict[str, list[float]], megabytes: float) -> dict:
    """What was measured of an engine, printed."""
    ratios = np.array(times["pytorch"]) / np.array(times[name])
    low, median, high = np.percentile(ratios, (25, 50, 75))
    milliseconds = float(np.median(times[name]))
    print(f"{size:,} {name}: {milliseconds:.1f} ms, {median:.1f} x ({low:.1f} to {high:.1f}), {megabytes:.1f} MB")
    return {"ms": milliseconds, "ratio": median, "quartiles": [low, high], "megabytes": megabytes}


def translator(size: int, width: int) -> MarianMTModel:
    """A Marian of 3 + 1 layers that never ends a translation."""
    torch.manual_seed(0)
    config = MarianConfig(
        vocab_size=size,
        decoder_vocab_size=size,
        d_model=width,
        encoder_layers=3,
        decoder_layers=1,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        forced_eos_token_id=None,
        decoder_start_token_id=0,
        scale_embedding=True,
        activation_function="swish",
    )
    model = MarianMTModel(config).eval()
    model.final_logits_bias[:, :3] = -1e4
    model.generation_config.update(bad_words_ids=[[0]], max_length=None)
    return model


def word_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """One that takes `w7` for a token."""
    names = {name: id_ for id_, name in enumerate(["<pad>", "</s>", "<unk>", *(f"w{n}" for n in range(size - 3))])}
    core = Tokenizer(models.WordLevel(names, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, model_input_names=["input_ids", "attention_mask"], **names)


if __name__ == "__main__":
    main()
