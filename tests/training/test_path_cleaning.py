"""Nothing that is saved or pushed tells where it was made, or by whom."""

import copy
import csv
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hub_server import TOKEN, running_hub
from texts import TEXTS, make_tokenizer
from tiny import make_args, make_model, make_rows, make_trainer
from tiny_seq2seq import make_translator
from transformers import TrainerCallback

from hfdistill import DistillationTrainingArguments
from hfdistill.report.card_facts import measured_emissions
from hfdistill.report.local_paths import without_places

USER = "annsecret"


def everything_in(content):
    """The bytes of a file, and those of all that is packed in it."""
    yield content
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            for name in packed.namelist():
                yield name.encode()
                yield from everything_in(packed.read(name))


def leaks_in(content, *secrets):
    """Which of the secrets are in a file, in any encoding of text."""
    needles = [secret.encode(code) for secret in secrets for code in ("utf-8", "utf-16-le", "utf-16-be")]
    return [needle for part in everything_in(content) for needle in needles if needle in part]


def assert_silent(folder, *secrets):
    leaks = {str(path): leaks_in(path.read_bytes(), *secrets) for path in folder.rglob("*") if path.is_file()}
    assert leaks and not {path: found for path, found in leaks.items() if found}


@pytest.fixture
def house(tmp_path):
    """The home of a person whose name nobody is to read."""
    home = tmp_path / "home" / USER
    home.mkdir(parents=True)
    return home


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/ann/x.csv", "x.csv"),
        ("/home/ann smith/a b.csv", "a b.csv"),
        ("~ann/bert/", "bert"),
        ("../secret/x.tsv", "x.tsv"),
        (r"C:\Users\ann\x.csv", "x.csv"),
        ("sqlite:////home/ann/study.db", "sqlite:study.db"),
        ('{"config": "/home/ann/k.json", "stage": 3}', '{"config": "k.json", "stage": 3}'),
        ("No such file: '/home/ann/x'", "No such file: 'x'"),
        ("https://huggingface.co/a/b", "https://huggingface.co/a/b"),
        ("data/train.csv", "data/train.csv"),
        ("somebody/bert", "somebody/bert"),
        ("10/s and/or 1/2", "10/s and/or 1/2"),
        ({"a": ["/x/y", 3], "b": None}, {"a": ["y", 3], "b": None}),
        (Path("/home/ann/x"), Path("x")),
    ],
)
def test_of_a_path_its_last_part_is_left(value, shown):
    assert without_places(value) == shown


def test_a_path_with_blanks_within_a_text(monkeypatch):
    """The home of "Ann Smith" is cut at the blank, and her name was left."""
    monkeypatch.setenv("HOME", "/home/Ann Smith")
    assert without_places("Not found: /home/Ann Smith/x.csv") == "Not found: x.csv"


def test_arguments_are_pickled_without_places_and_copied_with_them(house):
    args = DistillationTrainingArguments(
        str(house / "out"), report_to="none", run_name=str(house / "run"), temperature=3.0
    )
    loaded = pickle.loads(pickle.dumps(args))
    assert not leaks_in(pickle.dumps(args), USER) and loaded.output_dir == "out" and loaded.temperature == 3.0
    assert copy.deepcopy(args).output_dir == copy.copy(args).output_dir == str(house / "out")


def test_a_resumed_run_finds_its_best_checkpoint_by_its_name(house):
    """Its path stood in every checkpoint; without it the best model was forgotten."""
    best = {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch", "num_train_epochs": 3}
    rows = make_rows(16)
    given = {"eval_dataset": make_rows(8, seed=2)}
    whole = make_trainer(house / "out", make_model(1), rows, teacher=make_model(2), given=given, **best)
    whole.train()
    whole.save_model()
    whole.create_model_card()
    states = [json.loads(path.read_text()) for path in (house / "out").glob("checkpoint-*/trainer_state.json")]
    assert len(states) == 3 and all(state["best_model_checkpoint"].startswith("checkpoint-") for state in states)
    assert_silent(house / "out", USER)
    resumed = make_trainer(house / "out", make_model(1), rows, teacher=make_model(2), given=given, **best)
    resumed.train(resume_from_checkpoint=str(house / "out" / "checkpoint-4"))
    assert resumed.state.best_model_checkpoint == whole.state.best_model_checkpoint
    assert Path(resumed.state.best_model_checkpoint).is_dir()
    loaded = torch.load(house / "out" / "training_args.bin", weights_only=False)
    assert loaded.output_dir == "out" and loaded.learning_rate == make_args("x").learning_rate


def test_an_adapter_holds_no_path_of_its_base(house):
    """`base_model_name_or_path` is in its config, and in the card that `peft` writes."""
    peft = pytest.importorskip("peft", reason="the extra `peft` is not installed")
    make_model(1).save_pretrained(house / "base")
    base = type(make_model()).from_pretrained(house / "base")
    student = peft.get_peft_model(base, peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))
    trainer = make_trainer(house / "out", student, make_rows(8), alpha=0.0, save_strategy="epoch")
    trainer.train()
    trainer.save_model()
    assert_silent(house / "out", USER)
    configs = [json.loads(path.read_text()) for path in (house / "out").rglob("adapter_config.json")]
    assert len(configs) == 2 and {one["base_model_name_or_path"] for one in configs} == {"base"}, "of the checkpoints"
    assert student.peft_config["default"].base_model_name_or_path == str(house / "base"), "here it is needed whole"


class Codecarbon(TrainerCallback):
    """Writes at the end of the training what codecarbon writes."""

    def on_train_end(self, args, state, control, **kwargs):
        path = Path(args.output_dir) / "emissions.csv"
        begun = path.exists()
        with path.open("a", newline="") as file:
            rows = csv.writer(file)
            rows.writerows([] if begun else [["emissions", "country_name", "region", "longitude", "cpu_model"]])
            rows.writerow([0.001, "Utopia", "north, by sea", 12.5, "a, b"])


def test_emissions_hold_no_place(house):
    for _ in range(2):
        trainer = make_trainer(house, make_model(1), make_rows(8), alpha=0.0, given={"callbacks": [Codecarbon()]})
        trainer.train()
    text = (house / "emissions.csv").read_text()
    assert "Utopia" not in text and "north" not in text and "12.5" not in text and '"a, b"' in text
    assert measured_emissions(house) == pytest.approx(2.0)


def classification(house):
    """A teacher and texts in a home, and the words that name them."""
    names = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    tokenizer = make_tokenizer()
    model = make_model(1, num_labels=2, vocab_size=120, max_position_embeddings=64, **names)
    for part in (model, tokenizer):
        part.save_pretrained(house / "teacher")
    lines = ["sentence,label", *(f"{text},{('bad', 'good')[len(text) % 2]}" for text in TEXTS)]
    (house / "train.csv").write_text("\n".join(lines) + "\n")
    words = ["--teacher_name_or_path", str(house / "teacher"), "--train_file", str(house / "train.csv")]
    return [*words, "--student_num_hidden_layers", "1", "--export", "onnx"]


def translation(house):
    """Likewise, with pairs of texts."""
    for part in make_translator():
        part.save_pretrained(house / "teacher")
    pairs = [{"translation": {"en": text, "de": " ".join(reversed(text.split()))}} for text in TEXTS]
    (house / "train.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    words = ["--teacher_name_or_path", str(house / "teacher"), "--train_file", str(house / "train.jsonl")]
    return [*words, "--max_length", "20", "--num_beams", "2", "--export", "ctranslate2"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["distill", "translate"])
def test_a_pushed_repository_holds_no_local_paths(house, command):
    """Every byte of it, of a run whose folders, files and caches all lie in somebody's home."""
    words = {"distill": classification, "translate": translation}[command](house)
    with running_hub() as hub:
        command = [sys.executable, "-m", "hfdistill", command, *words, "--output_dir", str(house / "my-student")]
        command += ["--push_to_hub", "--hub_token", TOKEN, "--hub_strategy", "all_checkpoints", "--baseline"]
        command += ["--hub_always_push", "--save_strategy", "epoch", "--eval_strategy", "epoch"]
        command += ["--load_best_model_at_end", "--num_train_epochs", "1", "--disable_tqdm", "true"]
        own = {"HOME": str(house), "USER": USER, "LOGNAME": USER, "TQDM_DISABLE": "1", "PYTHONUTF8": "1"}
        environment = {**os.environ, **hub.environment(house / "cache"), **own}
        done = subprocess.run(command, env=environment, cwd=house, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr[-4000:]
    files = hub.repositories["tester/my-student"].files
    assert {"model.safetensors", "training_args.bin", "README.md", "report/report.md", "all_results.json"} <= set(files)
    assert any(path.startswith("checkpoint-") for path in files)
    secrets = (USER, str(house), str(house.parent), str(Path(__file__).parents[2]), TOKEN)
    assert not {path: leaks for path, content in files.items() if (leaks := leaks_in(content, *secrets))}
    assert_silent(house / "my-student", USER, TOKEN)
