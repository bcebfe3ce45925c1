"""The command `hfdistill`: what it leaves, what it says, how it ends."""

import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from huggingface_hub import ModelCard
from texts import TEXTS
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hfdistill.commands import help
from hfdistill.commands.early import SOURCES, name_of, option_names
from hfdistill.commands.main import COMMANDS, go_offline_without_hub, main

NAMES = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}


@pytest.fixture
def home(tmp_path, monkeypatch, tiny_bert, tokenizer, quick_report):
    """A folder with a teacher, a student and a file, in which the user stands."""
    monkeypatch.chdir(tmp_path)
    for folder, settings in (("teacher", {"seed": 1}), ("student", {"seed": 2, "num_hidden_layers": 1})):
        for part in (tiny_bert(num_labels=2, **NAMES, **settings), tokenizer):
            part.save_pretrained(tmp_path / folder)
    lines = [f"{text}\t{('bad', 'good')[len(text) % 2]}" for text in TEXTS]
    (tmp_path / "test.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    return tmp_path


def test_compare_prints_the_table_and_writes_the_report(home, capsys):
    words = ["compare", "teacher", "student", "test.tsv", "--baseline", "student", "--output_dir", "report_of"]
    main(words)
    printed = capsys.readouterr().out
    results = json.loads((home / "report_of" / "all_results.json").read_text())
    assert results["compared_rows"] == 30 and results["student_accuracy"] == results["baseline_accuracy"]
    assert f"{results['student_accuracy']:.4f}" in printed
    told, _, table = printed.partition("\n\n")
    assert told.startswith("Keeps") and "baseline" in table.splitlines()[0] and len(table.splitlines()) <= 14
    assert (home / "report_of" / "report" / "report.md").stat().st_size > 0
    assert not (home / "report_of" / "report" / "losses.png").exists(), "a picture of nothing"


def test_compare_chooses_a_threshold_on_other_texts(home, capsys):
    """Their columns may be called otherwise."""
    lines = [f"{('bad', 'good')[len(text) % 2]}\twell {text}" for text in TEXTS]
    (home / "validation.tsv").write_text("\n".join(["label\ttext", *lines]) + "\n")
    words = ["compare", "teacher", "student", "test.tsv", "--output_dir", "report_of"]
    main([*words, "--validation_file", "validation.tsv", "--max_share", "0.5"])
    results = json.loads((home / "report_of" / "all_results.json").read_text())
    assert 0 <= results["routing_threshold"] and results["routing_latency_ms"] >= results["student_latency_ms"]
    assert results["routing_accuracy_at_0"] == results["student_accuracy"]
    assert results["routing_accuracy_at_100"] == results["teacher_accuracy"]
    for wrong, sentence in ((["--max_share", "0.5"], "give that too"), (["--max_share", "20"], "give that too")):
        with pytest.raises(SystemExit, match=f"^error: .*{sentence}"):
            main([*words, *wrong])
    with pytest.raises(SystemExit, match=r"^error: tolerance is a difference .* got 0.005 and 20\."):
        main([*words, "--validation_file", "validation.tsv", "--max_share", "20"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_compare_measures_on_the_gpu(home):
    """The models were loaded onto the CPU, and its speed was told as theirs."""
    main(["compare", "teacher", "student", "test.tsv", "--output_dir", "report_of"])
    report = (home / "report_of" / "report" / "report.md").read_text(encoding="utf-8")
    assert torch.cuda.get_device_name() in report and "thread" not in report


@pytest.mark.parametrize("way", ["labels.txt", "--class_names", "parquet"])
def test_numbers_follow_the_class_names(home, way):
    """Numbered in another order than the student's, every prediction would be counted the other way round."""
    main(["compare", "teacher", "student", "test.tsv", "--output_dir", "named"])
    numbers = [int(len(text) % 2 == 0) for text in TEXTS]  # good is 0 here, and bad 1
    lines = [f"{text}\t{number}" for text, number in zip(TEXTS, numbers, strict=True)]
    (home / "other.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    file, given = "other.tsv", ["--class_names", "good", "bad"] if way == "--class_names" else []
    if way == "labels.txt":
        (home / "labels.txt").write_text("Good\nBad\n")
    elif way == "parquet":
        features = Features({"sentence": Value("string"), "label": ClassLabel(names=["good", "bad"])})
        Dataset.from_dict({"sentence": TEXTS, "label": numbers}, features=features).to_parquet("other.parquet")
        file = "other.parquet"
    main(["compare", "teacher", "student", file, *given, "--output_dir", "numbered"])
    one, other = (json.loads((home / name / "all_results.json").read_text()) for name in ("named", "numbered"))
    assert one["student_accuracy"] == other["student_accuracy"] not in (0.5, 0.0, 1.0)


def test_soft_targets_are_kept_beside_every_column(home, capsys):
    """The file is a dataset to train on: its rows, in their order, with the teacher's prediction to each."""
    main(["soft-targets", "teacher", "test.tsv", "soft.parquet"])
    rows = Dataset.from_parquet("soft.parquet")
    assert rows["sentence"][:] == TEXTS and rows.column_names == [
        "sentence",
        "label",
        "teacher_logits",
        "teacher_label",
    ]
    assert np.shape(rows["teacher_logits"][:]) == (30, 2) and "30 rows with teacher_logits" in capsys.readouterr().out


def test_the_card_is_written_into_the_students_folder(home, tiny_bert, capsys):
    (home / "teacher" / "README.md").write_text("---\nlicense: mit\n---\n\n# A teacher\n")
    main(["card", "teacher", "student", "test.tsv", "--dataset_name", "stanfordnlp/sst2"])
    card = ModelCard.load(home / "student" / "README.md")
    assert card.data.license == "mit" and card.data.datasets == ["stanfordnlp/sst2"]
    assert card.text.lstrip().startswith("# student") and "## What was lost" in card.text
    assert ">Objective<" not in card.text and ">Training<" not in card.text and str(home) not in str(card)


def test_export_writes_into_the_models_folder(home, capsys):
    """Where the Hub looks for it; what the exporters say of their steps stays out of the user's terminal."""
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    main(["export", "student", "test.tsv", "--formats", "onnx", "int8"])
    assert (home / "student" / "onnx" / "model.onnx").stat().st_size > 0
    printed = capsys.readouterr()
    *files, scores = printed.out.splitlines()
    assert [line.partition(", ")[0] for line in files] == [
        "onnx: student/onnx/model.onnx",
        "int8: student/onnx/model_quantized.onnx",
    ]
    model, labels = AutoModelForSequenceClassification.from_pretrained("student"), [len(text) % 2 for text in TEXTS]
    with torch.no_grad():
        inputs = AutoTokenizer.from_pretrained("student")(TEXTS, padding=True, return_tensors="pt")
        accuracy = (model(**inputs).logits.argmax(-1) == torch.tensor(labels)).float().mean().item()
    assert scores.startswith(f"accuracy: model {accuracy:.4f}, onnx {accuracy:.4f}, int8 ") and "; 30 rows" in scores
    assert "WARNING" not in printed.err and "torch.onnx" not in printed.err


MENDABLE = {
    "no such model": (["compare", "./nowhere", "student", "test.tsv"], r"no folder '\./nowhere'"),
    "no such file": (["soft-targets", "teacher", "tset.tsv", "x.parquet"], r"There is no file tset\.tsv"),
    "no such column": (["soft-targets", "teacher", "test.tsv", "x.parquet", "--text_column", "text"], "'text'"),
    "other labels": (["compare", "teacher", "student", "bad.tsv"], "Line 2 of bad.tsv.*'god'"),
    "not a parquet file": (["soft-targets", "teacher", "test.tsv", "x.csv"], r"x\.csv should end in \.parquet"),
    "a translator": (
        ["compare", "student", "translator", "test.tsv"],
        "a translator .MarianMTModel. and no classifier",
    ),
    "a translator of its own": (["export", "led", "test.tsv"], "a model of type 'led' cannot be "),
    "pairs of no named language": (
        ["export", "translator", "pairs.jsonl", "--formats", "onnx"],
        "texts of pairs.jsonl are in en and de: .*--text_column .*--text_pair_column",
    ),
    "no such format": (["export", "student", "test.tsv", "--formats", "onxx"], "no export format 'onxx'.*onnx, int8"),
    "no folder to write to": (["export", "some/model", "test.tsv"], "some/model|reached"),
}


@pytest.mark.parametrize("case", MENDABLE)
def test_what_the_user_can_mend_is_one_line_and_code_1(home, case, monkeypatch, tokenizer):
    """A page of traceback hides the line that helps."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (home / "translator").mkdir()
    (home / "translator/config.json").write_text('{"model_type": "marian", "architectures": ["MarianMTModel"]}')
    tokenizer.save_pretrained(home / "translator")
    (home / "led").mkdir()
    (home / "led/config.json").write_text('{"model_type": "led", "architectures": ["LEDForConditionalGeneration"]}')
    (home / "pairs.jsonl").write_text('{"translation": {"en": "a joy", "de": "eine Freude"}}\n')
    (home / "bad.tsv").write_text("sentence\tlabel\na joy\tgod\n")
    words, sentence = MENDABLE[case]
    with pytest.raises(SystemExit, match=f"^error: .*{sentence}") as ended:
        main(words)
    assert isinstance(ended.value.code, str) and "\n" not in ended.value.code  # Python ends with 1, and prints it


@pytest.mark.parametrize("words", [[], ["compare"], ["fly"], ["export", "student", "test.tsv", "--onnx"]])
def test_wrong_usage_is_code_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2 and capsys.readouterr().err.startswith("usage: hfdistill")


@pytest.mark.parametrize("command", [None, "compare", "export", "soft-targets", "review", "card"])
def test_help_reads_well(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*([command] if command else []), "--help"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0 and "None" not in printed and "==SUPPRESS==" not in printed
    if command is None:
        assert all(f"\n    {name}" in printed for name in COMMANDS)


def test_the_options_of_distill_stand_in_groups(capsys):
    usual, everything = help_of("distill", "--help", capsys), help_of("distill", "--help_all", capsys)
    assert len(usual.splitlines()) < 80 < len(everything.splitlines())
    assert "folder of a checkpoint" not in everything  # which begin_run refuses
    assert "\n  --temperature " in usual and "--js_beta" not in usual and "\n  --js_beta " in everything
    for line in usual.splitlines():
        assert len(line) <= 80 or line.startswith("usage"), line
    assert [line for line in everything.splitlines() if line.endswith(":") and line[0] != " "] == [
        "options:",
        "data:",
        "teacher:",
        "language model as teacher:",
        "student:",
        "few labels:",
        "search:",
        "export:",
        "training arguments:",
    ]


def help_of(command, option, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, option])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ["distill", "translate"])
def test_every_option_has_a_line_of_help(command, capsys):
    """Six of the most usual had none: another default had taken their text away."""
    lines = [*help_of(command, "--help_all", capsys).splitlines(), ""]
    told = [line for line in lines if re.match(r"  --.*\S {2,}\S", line)]
    told += [line for line, below in itertools.pairwise(lines) if line.startswith("  --") and below.startswith(" " * 9)]
    assert len(lines) > 200 and not [line for line in lines if line.startswith("  --") and line not in told]


@pytest.mark.parametrize("command", SOURCES)
def test_the_names_of_options_are_known_without_torch(command, monkeypatch):
    """One that was missing would be refused; one too many would be told of seconds later."""
    shown = []
    monkeypatch.setattr(help, "usual_help", lambda parser: shown.append(parser) or "")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    names = {name for one in shown[0]._actions for name in map(name_of, one.option_strings)} - {""}
    opposites = {name for name in option_names(command) if name.startswith("no_") and name not in names}
    assert option_names(command) - opposites == names


UNKNOWN = "unknown option --trainfile; did you mean --train_file?"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["distill", "--trainfile", "a.csv"], 2, f"hfdistill distill: error: {UNKNOWN}"),
        (["search", "settings.yaml"], 2, "unknown option --trainfile=a.csv; did you mean --train_file?"),
        (["translate", "none.yaml"], 2, "none.yaml"),
        (["distill", "--train-file=none.csv"], 1, "error: There is no file none.csv"),
        (["translate", "--test_file", "none.xls"], 1, "error: Cannot read none.xls: its ending must be one of .csv"),
        (["compare", "a", "b", "none.csv"], 1, "error: There is no file none.csv"),
        (["review", "--train_file", "none.csv"], 1, "error: There is no file none.csv"),
        (["card", "a"], 2, "the following arguments are required"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_before_torch_is_imported(words, code, sentence, tmp_path):
    """It took seven seconds to hear of a slip of the finger."""
    (tmp_path / "settings.yaml").write_text("trainfile: a.csv\n")
    text = "import sys\nfrom hfdistill.commands.main import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
    text += "    assert not {'torch', 'transformers', 'datasets', 'accelerate'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", text, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code and done.stderr.strip().splitlines()[-1].find(sentence) >= 0, done.stderr


def test_help_imports_no_torch():
    code = "import sys\nfrom hfdistill.commands.main import COMMANDS, main\ntry:\n    main(['--help'])\nfinally:\n"
    code += "    assert not {'torch', 'transformers', 'datasets', 'accelerate'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_no_network_is_said_at_once(monkeypatch, capsys):
    """It took half a minute of retries, before each file."""
    for name in ("HF_HUB_OFFLINE", "https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://nowhere.invalid")
    began = time.monotonic()
    go_offline_without_hub()
    assert time.monotonic() - began < 5 and "cannot be reached" in capsys.readouterr().err
    assert os.environ.pop("HF_HUB_OFFLINE") == "1"
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        go_offline_without_hub()
    assert not capsys.readouterr().err and "HF_HUB_OFFLINE" not in os.environ
