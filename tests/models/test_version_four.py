"""What a trainer saves is read by `transformers` 4 as by version 5: the same tokens, the same logits."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
import torch
from processes import run_script
from scripts.predict_in_version_four import predict
from texts import TEXTS, make_tokenizer
from tiny import make_args
from tiny_seq2seq import make_seq2seq_args, make_translator
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertTokenizer,
    GPTNeoXConfig,
    LlamaConfig,
    ModernBertConfig,
)

from hfdistill import DistillationTrainer, Seq2SeqDistillationTrainer, make_student, trim_vocabulary
from hfdistill.models.version_four import make_readable_by_version_4
from hfdistill.tasks.classification.demo import demo_student
from hfdistill.tasks.demo import demo_tokenizer

SIZES = {"vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
SMALL = {**SIZES, "intermediate_size": 48, "max_position_embeddings": 64, "pad_token_id": 0, "num_labels": 3}
SPECIAL = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
READ = TEXTS[:3]


def _classifier(config, dtype=torch.float32):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.2)  # wide enough that positions matter
    return model.to(dtype)


def _demo():
    tokenizer = demo_tokenizer(TEXTS)
    return tokenizer, demo_student(tokenizer)


def _bert():
    words = sorted({word for text in TEXTS for word in text.lower().split()})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    tokenizer = BertTokenizer(vocab={token: index for index, token in enumerate(tokens)})
    config = AutoConfig.for_model("bert", **{**SMALL, "vocab_size": len(tokens)})
    return tokenizer, make_student(_classifier(config), num_hidden_layers=2)


def _trimmed():
    """Ends stand last, so that each has another id than before."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<left>"]})
    teacher = _classifier(AutoConfig.for_model("bert", **{**SMALL, "vocab_size": len(tokenizer)}))
    student, trimmed = trim_vocabulary(teacher, tokenizer, TEXTS, 75)
    return trimmed, student


def _extra_tokens():
    tokenizer, student = _demo()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<left>", "<right>"]})
    student.resize_token_embeddings(len(tokenizer))
    return tokenizer, student


def _modernbert():
    """Bases that are not the default, and every other layer global instead of every third."""
    kinds = ["full_attention", "sliding_attention"]
    bases = {kind: {"rope_type": "default", "rope_theta": base} for kind, base in zip(kinds, (50.0, 20.0), strict=True)}
    config = ModernBertConfig(**SMALL, **SPECIAL, layer_types=2 * kinds, rope_parameters=bases, local_attention=8)
    return demo_tokenizer(TEXTS), make_student(_classifier(config), layers=[0, 1, 2])


def _gpt_neox():
    rotary = {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.5}
    return demo_tokenizer(TEXTS), _classifier(GPTNeoXConfig(**SMALL, rope_parameters=rotary))


def _llama():
    rotary = {"rope_type": "linear", "rope_theta": 50.0, "factor": 2.0}
    return demo_tokenizer(TEXTS), _classifier(LlamaConfig(**SMALL, rope_parameters=rotary))


STUDENTS = {
    make.__name__.strip("_"): make for make in (_demo, _bert, _trimmed, _extra_tokens, _modernbert, _gpt_neox, _llama)
}


@pytest.fixture(scope="module")
def version_four(tmp_path_factory):
    """A folder with the newest `transformers` 4 and what it needs in other versions; all else is shared."""
    folder = tmp_path_factory.mktemp("version_four")
    wanted = ("transformers>=4.57,<5", "tokenizers>=0.22,<0.23", "huggingface_hub>=0.34,<1")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *wanted]
    if importlib.util.find_spec("pip") is None or subprocess.run(install, capture_output=True).returncode:
        pytest.skip("transformers 4 is not to be installed here: pip finds no index that has it")
    return folder


def _save(folder, name):
    if name == "marian":
        student, tokenizer = make_translator()
        trainer = Seq2SeqDistillationTrainer(student, make_seq2seq_args(folder), processing_class=tokenizer)
    else:
        tokenizer, student = STUDENTS[name]()
        trainer = DistillationTrainer(student, make_args(folder, alpha=0.0), processing_class=tokenizer)
    trainer.save_model()
    return tokenizer, trainer.model.eval()


@pytest.mark.slow
def test_every_student_predicts_the_same_in_version_4(tmp_path, version_four):
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps(READ), encoding="utf-8")
    saved = {name: _save(tmp_path / name, name) for name in (*STUDENTS, "marian")}
    folders = [tmp_path / name for name in saved]
    done = run_script("predict_in_version_four.py", texts, *folders, PYTHONPATH=str(version_four))
    assert done.returncode == 0, done.stderr[-4000:]
    for name, (tokenizer, student) in saved.items():
        found = json.loads((tmp_path / name / "version_four.json").read_text(encoding="utf-8"))
        assert found["version"].startswith("4.") and found["dtype"] == "torch.float32"
        for text, old in zip(READ, found["predictions"], strict=True):
            new = predict(tokenizer, student, text)
            assert old["ids"] == new["ids"], name
            torch.testing.assert_close(torch.tensor(old["logits"]), torch.tensor(new["logits"]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", STUDENTS)
def test_version_5_reads_what_it_read_before(tmp_path, name):
    tokenizer, student = _save(tmp_path, name)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(READ)["input_ids"] == tokenizer(READ)["input_ids"]
    assert again.all_special_tokens == tokenizer.all_special_tokens
    before, config = student.config.to_dict(), AutoConfig.from_pretrained(tmp_path).to_dict()
    shared = (before.keys() & config.keys()) - {"_name_or_path"}
    assert {name: config[name] for name in shared} == {name: before[name] for name in shared}


def test_names_are_those_of_version_4(tmp_path):
    """What version 4 passes over it would compute otherwise, without a word."""
    _save(tmp_path, "modernbert")
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    expected = {"global_rope_theta": 50.0, "local_rope_theta": 20.0, "global_attn_every_n_layers": 2}
    assert {name: config[name] for name in expected} == expected
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_a_folder_without_such_files_is_left_alone(tmp_path):
    make_readable_by_version_4(tmp_path)
    assert not list(tmp_path.iterdir())
