"""Tiny models and data sets in the layouts of repositories of the real Hub: the same files, columns and settings.

Each function returns what a repository holds, by path. The names are those of the repositories that the recipes take
when they are told nothing, and of one with an older layout.
"""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sentencepiece
import torch
from datasets import Dataset
from hub_server import Hub, Repository
from texts import TEXTS, make_tokenizer
from transformers import BertConfig, BertForSequenceClassification, MarianConfig, MarianMTModel, MarianTokenizer

SST2, MULTI30K = "datasets/stanfordnlp/sst2", "datasets/bentrevett/multi30k"
CLASSIFIER, PICKLED_CLASSIFIER = "yoshitomo-matsubara/bert-base-uncased-sst2", "textattack/bert-base-uncased-SST-2"
TRANSLATOR = "Helsinki-NLP/opus-mt-en-de"

_BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_BERT |= {"max_position_embeddings": 512, "initializer_range": 0.5}
_MARIAN = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 3, "encoder_attention_heads": 2}
_MARIAN |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}


def fill(hub: Hub) -> None:
    """Puts all of them into a hub."""
    for name, made in LAYOUTS.items():
        files = made()
        hub.repositories[name] = Repository(files, {path for path in files if path.endswith(LFS)})


# ---- Data sets ----


def sst2() -> dict[str, bytes]:
    """Parquet, split by the README's front matter, classes that only it names, and a test split without labels."""
    splits = {"train": TEXTS, "validation": TEXTS[::3], "test": TEXTS[::4]}
    infos = "\n".join(
        f"  - name: {split}\n    num_bytes: 1\n    num_examples: {len(rows)}" for split, rows in splits.items()
    )
    paths = "\n".join(f"  - split: {split}\n    path: data/{split}-*" for split in splits)
    files = {"README.md": SST2_CARD.format(splits=infos, paths=paths).encode()}
    for split, texts in splits.items():
        labels = [-1 if split == "test" else len(text) % 2 for text in texts]
        rows = Dataset.from_dict(
            {"idx": range(len(texts)), "sentence": [f"{text} " for text in texts], "label": labels}
        )
        files[f"data/{split}-00000-of-00001.parquet"] = _written(lambda path, rows=rows: rows.to_parquet(path))
    return files


SST2_CARD = """---
language:
- en
license:
- unknown
task_categories:
- text-classification
dataset_info:
  features:
  - name: idx
    dtype: int32
  - name: sentence
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': negative
          '1': positive
  splits:
{splits}
  download_size: 3
  dataset_size: 3
configs:
- config_name: default
  data_files:
{paths}
---
# Dataset Card for [Dataset Name]
"""


def multi30k() -> dict[str, bytes]:
    """JSON lines in files whose names say the split, `val` being the validation."""
    splits = {"train": TEXTS, "val": TEXTS[::4], "test": TEXTS[::5]}
    files = {
        f"{split}.jsonl": "".join(json.dumps({"en": text, "de": _german(text)}) + "\n" for text in texts).encode()
        for split, texts in splits.items()
    }
    card = "---\ntask_categories:\n- translation\nlanguage:\n- en\n- de\nsize_categories:\n- 10K<n<100K\n---\n"
    return {"README.md": (card + "# Multi30k\n").encode(), **files}


def _german(text: str) -> str:
    return " ".join(f"{word}en" for word in reversed(text.split()))


# ---- Models ----


def classifier() -> dict[str, bytes]:
    """A BERT with safetensors, a fast tokenizer, a license, and classes without names."""
    files = {
        **_bert_files("sst2"),
        "model.safetensors": _written(lambda path: _bert().save_pretrained(path), "model.safetensors"),
        "tokenizer_config.json": _json(
            {
                **{"do_lower_case": True, "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]"},
                **{"cls_token": "[CLS]", "mask_token": "[MASK]", "tokenize_chinese_chars": True, "strip_accents": None},
                **{"do_lower": True, "model_max_length": 512, "special_tokens_map_file": None},
                "name_or_path": "bert-base-uncased",
            }
        ),
        "tokenizer.json": make_tokenizer().backend_tokenizer.to_str().encode(),
    }
    front = "language: en\ntags:\n- bert\n- sst2\n- glue\n- torchdistill\nlicense: apache-2.0\ndatasets:\n- sst2\n"
    card = f"---\n{front}metrics:\n- accuracy\n---\n\n`bert-base-uncased` fine-tuned on SST-2\n"
    return {**files, "pytorch_model.bin": _pickled(_bert().state_dict()), "README.md": card.encode()}


def pickled_classifier() -> dict[str, bytes]:
    """A BERT of 2020: weights pickled in the old format, a buffer among them, `vocab.txt`; no card, no names."""
    weights = {"bert.embeddings.position_ids": torch.arange(512)[None], **_bert().state_dict()}
    return {
        **_bert_files("sst-2"),
        "pytorch_model.bin": _pickled(weights, _use_new_zipfile_serialization=False),
        "tokenizer_config.json": b'{"do_lower_case": true, "model_max_length": 512}',
    }


def _bert() -> BertForSequenceClassification:
    torch.manual_seed(1)
    return BertForSequenceClassification(BertConfig(vocab_size=120, **_BERT)).eval()


def _bert_files(task: str) -> dict[str, bytes]:
    """What both have: no `id2label` is in their configs, and `vocab.txt` lists a token a line."""
    config = {"_name_or_path": "bert-base-uncased", "architectures": ["BertForSequenceClassification"]}
    config |= {"attention_probs_dropout_prob": 0.1, "finetuning_task": task, "gradient_checkpointing": False}
    config |= {"hidden_act": "gelu", "hidden_dropout_prob": 0.1, "layer_norm_eps": 1e-12, "model_type": "bert"}
    config |= {"pad_token_id": 0, "type_vocab_size": 2, "vocab_size": 120, **_BERT}
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    vocabulary = make_tokenizer().get_vocab()
    return {
        "config.json": _json(config),
        "special_tokens_map.json": _json(special),
        "vocab.txt": "".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.__getitem__)).encode(),
    }


def translator() -> dict[str, bytes]:
    """A Marian: pickled weights, a SentencePiece model a side, one `vocab.json` that ends with the padding token.

    Its generation settings stand in its config as well, forbid the padding token, and ask for six beams.
    """
    sides = {"source.spm": TEXTS, "target.spm": [_german(text) for text in TEXTS]}
    files = {name: _sentence_pieces(texts) for name, texts in sides.items()}
    pieces = [piece for model in files.values() for piece in _pieces_of(model) if not piece.startswith("<")]
    vocabulary = list(dict.fromkeys(["</s>", "<unk>", *pieces, "<pad>"]))
    pad = len(vocabulary) - 1
    generation = {"bad_words_ids": [[pad]], "bos_token_id": 0, "decoder_start_token_id": pad, "eos_token_id": 0}
    generation |= {"forced_eos_token_id": 0, "max_length": 512, "num_beams": 6, "pad_token_id": pad}
    config: dict[str, Any] = {
        "_name_or_path": "/tmp/Helsinki-NLP/opus-mt-en-de",
        "_num_labels": 3,
        "activation_dropout": 0.0,
        "activation_function": "swish",
        "add_bias_logits": False,
        "add_final_layer_norm": False,
        "architectures": ["MarianMTModel"],
        "attention_dropout": 0.0,
        "classif_dropout": 0.0,
        "classifier_dropout": 0.0,
        "decoder_layerdrop": 0.0,
        "decoder_vocab_size": pad + 1,
        "dropout": 0.1,
        "encoder_layerdrop": 0.0,
        "extra_pos_embeddings": pad + 1,
        "id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"},
        "init_std": 0.02,
        "is_encoder_decoder": True,
        "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2},
        "max_position_embeddings": 512,
        "model_type": "marian",
        "normalize_before": False,
        "normalize_embedding": False,
        "num_hidden_layers": _MARIAN["encoder_layers"],
        "scale_embedding": True,
        "share_encoder_decoder_embeddings": True,
        "static_position_embeddings": True,
        "transformers_version": "4.22.0.dev0",
        "use_cache": True,
        "vocab_size": pad + 1,
        **_MARIAN,
        **generation,
    }
    files["vocab.json"] = _json({piece: id_ for id_, piece in enumerate(vocabulary)})
    files["tokenizer_config.json"] = b'{"target_lang": "de", "source_lang": "en"}'
    return {
        **files,
        "config.json": _json(config),
        "generation_config.json": _json(
            {**generation, "renormalize_logits": True, "transformers_version": "4.32.0.dev0"}
        ),
        "pytorch_model.bin": _pickled(_marian_weights(files, config)),
        "README.md": b"---\ntags:\n- translation\nlicense: cc-by-4.0\n---\n\n### opus-mt-en-de\n",
    }


def _marian_weights(files: dict[str, bytes], config: dict) -> dict[str, torch.Tensor]:
    """Those of a model that has learned its sentences by heart, its padding token as the conversion from Marian adds
    it.

    That token's embedding and bias are zero, and training knows nothing of it.
    """
    torch.manual_seed(0)
    model, pad = MarianMTModel(MarianConfig(**config)), config["pad_token_id"]
    shared: Any = model.get_input_embeddings()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad and weight.dim() > 1:
                weight.normal_(std=_MARIAN["d_model"] ** -0.5)
        shared.weight[pad] = 0.0
        model.final_logits_bias[:, :pad] = -3.0
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        tokenizer = MarianTokenizer.from_pretrained(folder)
        batch = tokenizer(TEXTS, text_target=[_german(text) for text in TEXTS], padding=True, return_tensors="pt")
    labels = batch.pop("labels")
    labels[labels == pad] = -100
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(80):
        logits = model(**batch, labels=labels).logits[..., :pad]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
        shared.weight.grad[pad] = 0.0
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict()


def _sentence_pieces(texts: Iterable[str]) -> bytes:
    model = io.BytesIO()
    settings = {"vocab_size": 60, "hard_vocab_limit": False, "character_coverage": 1.0, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=model, **settings)
    return model.getvalue()


def _pieces_of(model: bytes) -> list[str]:
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [pieces.id_to_piece(index) for index in range(pieces.get_piece_size())]


# ---- Files ----


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode()


def _pickled(weights: dict[str, torch.Tensor], **settings: object) -> bytes:
    file = io.BytesIO()
    torch.save(weights, file, **settings)
    return file.getvalue()


def _written(write, name: str | None = None) -> bytes:
    """What a function writes to a path, or to a file of this name in a folder."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "written"
        write(path)
        return (path / name if name else path).read_bytes()


#: What the Hub keeps beside git.
LFS = (".safetensors", ".bin", ".parquet", ".spm")
LAYOUTS = {
    SST2: sst2,
    MULTI30K: multi30k,
    CLASSIFIER: classifier,
    PICKLED_CLASSIFIER: pickled_classifier,
    TRANSLATOR: translator,
}
