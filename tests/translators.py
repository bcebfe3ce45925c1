"""A folder with a tiny translator and files, and what a run on them must leave behind."""

import json
from pathlib import Path

from safetensors.torch import load_file
from texts import TEXTS
from tiny_seq2seq import make_translator
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

PAIRS = [(text, " ".join(reversed(text.split()))) for text in TEXTS]
#: Texts of fewer than 20 characters, of which no language is told, and of as few tokens as the tiny translator reads.
SHORT_PAIRS = list(
    dict.fromkeys((source[:16].rpartition(" ")[0], target[-16:].partition(" ")[2]) for source, target in PAIRS)
)
OWN = ("--teacher_name_or_path", "teacher", "--train_file", "train.jsonl", "--output_dir", "out")
BASICS = (
    *("--num_train_epochs", "1", "--per_device_train_batch_size", "8", "--learning_rate", "1e-3"),
    *("--max_length", "20", "--num_beams", "2", "--disable_tqdm", "true"),
)


def translator_home(folder, monkeypatch):
    """The folder, in which the user stands."""
    monkeypatch.chdir(folder)
    for part in make_translator():
        part.save_pretrained("teacher")
    lines = [json.dumps({"translation": {"en": source, "de": target}}) for source, target in PAIRS]
    Path("train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    test = ["en\tde", *(f"really {source}\t{target} really" for source, target in PAIRS[:7])]
    Path("test.tsv").write_text("\n".join(test) + "\n", encoding="utf-8")
    return folder


def complete(folder, roles):
    """All that a run promises to leave in its folder; the student, its tokenizer and the figures."""
    for name in ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "README.md"):
        assert (folder / name).stat().st_size > 0
    results = json.loads((folder / "all_results.json").read_text(encoding="utf-8"))
    names = ("bleu", "chrf", "greedy_bleu", "greedy_chrf", "parameters", "decoder_layers", "beam_per_second")
    assert {f"{role}_{name}" for role in roles for name in names} | {"agreement", "speedup"} <= results.keys()
    assert ("baseline" in roles) == any(key.startswith("baseline") for key in results)
    student = AutoModelForSeq2SeqLM.from_pretrained(folder)
    assert set(load_file(folder / "model.safetensors")) <= set(student.state_dict())
    report = (folder / "report" / "report.md").read_text(encoding="utf-8")
    assert "nrefs:1" in report and "translations.md" in report
    assert "pipeline_tag: translation" in (folder / "README.md").read_text(encoding="utf-8")
    return student, AutoTokenizer.from_pretrained(folder), results
