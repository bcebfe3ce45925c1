"""Translators that say something, for what runs them elsewhere: of each family over words, and one that has learned."""

import io
import random
from contextlib import redirect_stdout
from types import SimpleNamespace

import torch
from texts import TEXTS
from tiny_seq2seq import FAMILIES, make_seq2seq
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from hfdistill.commands.main import main
from hfdistill.export.onnx_translator_model import SUFFIXES, OnnxTranslator
from hfdistill.tasks.translation.from_scratch import joint_tokenizer, small_marian

BEGIN, PADDING, END, UNKNOWN, GERMAN = range(5)  # the order of BART, mBART and M2M100
WORDS = [f"w{number}" for number in range(40)]
#: The most tokens that the trained translator reads and writes, and what it makes of `TEXTS`.
LENGTH = 32
BACKWARDS = [" ".join(reversed(text.split())) for text in TEXTS]


def make_word_tokenizer():
    names = ["<s>", "<pad>", "</s>", "<unk>", "__de__", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({name: id_ for id_, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )


def make_family(family, seed=1, **changes):
    """Random weights over that vocabulary and a few rows more, as where embeddings are padded to a round size."""
    size = 48
    start = PADDING if FAMILIES[family][2]["start"] == 0 else END
    tokens = {"pad_token_id": PADDING, "eos_token_id": END, "bos_token_id": BEGIN, "start": start}
    both = {"decoder_vocab_size": size} if family == "marian" else {}
    model = make_seq2seq(family, seed, vocab_size=size, **tokens, **both, **changes).eval()
    never = [PADDING, UNKNOWN, *range(5 + len(WORDS), size)]
    model.generation_config.update(bad_words_ids=[[token] for token in never], early_stopping=True)
    if family in ("mbart", "m2m100"):
        model.generation_config.update(forced_bos_token_id=GERMAN)
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias[:, PADDING] = 50.0  # which the generation config forbids
        model.final_logits_bias[:, END] = 2.0
    return model


def random_texts(count=24):
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(count)]


def make_trained_translator():
    """A Marian that has learned to write short texts backwards, so that its predictions are as sure as a real one's."""
    tokenizer = joint_tokenizer(TEXTS, vocab_size=120, max_length=LENGTH)
    torch.manual_seed(0)
    model = small_marian(tokenizer, 1, 1, width=64, dropout=0.0, max_length=LENGTH)
    batch = tokenizer(TEXTS, text_target=BACKWARDS, padding=True, return_tensors="pt")
    batch["labels"].masked_fill_(batch["labels"] == tokenizer.pad_token_id, -100)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return model.eval(), tokenizer


def save_trained_translator(folder, name):
    """It and its tokenizer, in a folder of that name, beside `pairs.tsv` with what it has learned."""
    model, tokenizer = make_trained_translator()
    for part in (model, tokenizer):
        part.save_pretrained(folder / name)
    rows = "\n".join(f"{text}\t{other}" for text, other in zip(TEXTS, BACKWARDS, strict=True))
    (folder / "pairs.tsv").write_text(f"en\tde\n{rows}\n", encoding="utf-8")
    return model, tokenizer


def export_by_command(folder):
    """The trained translator in `folder/student`, in the files that `hfdistill export` makes, and what that printed."""
    model, tokenizer = save_trained_translator(folder, "student")
    words = ["export", str(folder / "student"), str(folder / "pairs.tsv"), "--formats", "onnx", "int8"]
    with redirect_stdout(io.StringIO()) as printed:
        main([*words, "--text_column", "en", "--text_pair_column", "de"])
    exported = {name: OnnxTranslator.from_pretrained(folder / "student", name) for name in SUFFIXES}
    parts = {"folder": folder / "student", "model": model, "tokenizer": tokenizer, "exported": exported}
    return SimpleNamespace(**parts, printed=printed.getvalue().splitlines())
