"""The options of `hfdistill distill`: how they are read, and what is refused."""

import json
import re

import pytest
import yaml
from classification_runs import NAMES, OWN, ROWS, SIZE, assert_complete, save_model, write_table
from texts import make_tokenizer
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, BertModel

from hfdistill.tasks.classification import demo, sources
from hfdistill.tasks.demo import DEMO_NOTICE

# ---- How its options are read ----


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_settings_from_a_file(home, distill, ending):
    """YAML reads 5e-3 as a text and "no" as a word; a number and false are meant."""
    settings = {"teacher_name_or_path": "teacher", "train_file": "train.csv", "output_dir": "out"}
    settings |= {"terms": ["labels:0.25", "soft_targets:0.5"], "weight_decay": "1e-3", "baseline": "no", "seed": 5}
    text = yaml.safe_dump(settings) if ending == "yaml" else json.dumps(settings)
    (home / f"settings.{ending}").write_text(text)
    distill(f"settings.{ending}", "--seed", "7")
    assert_complete(home / "out")
    card = (home / "out" / "README.md").read_text(encoding="utf-8")
    assert "| labels | 0.25 |" in card and "| soft_targets | 0.5 |" in card
    assert "| weight_decay | 0.001 |" in card and "| seed | 7 |" in card  # the command line has the last word
    assert f"-m hfdistill distill settings.{ending} --seed 7" in card


def test_the_demo(home, distill, monkeypatch):
    """The demo needs no options, no files and no network; what the user asks for beside it is done all the same."""
    whole = demo.demo_dataset
    monkeypatch.setattr(sources, "demo_dataset", lambda: whole(num_train=96, num_eval=24))
    printed = distill("--demo", "--output_dir", "out", "--max_steps", "2", "--temperature", "9")
    _, results = assert_complete(home / "out", ("teacher", "student", "baseline"))
    assert results["compared_rows"] == 24 and DEMO_NOTICE in printed
    for text in ("README.md", "report/report.md"):
        assert "generated" in (home / "out" / text).read_text(encoding="utf-8")
    assert "temperature = 9" in (home / "out" / "README.md").read_text(encoding="utf-8")


# ---- What it refuses ----


def test_a_folder_that_holds_a_run(home, distill, capfd):
    """A second run would overwrite the first one's student."""
    distill(*OWN)
    before = {path: path.stat().st_mtime_ns for path in (home / "out").rglob("*")}
    with pytest.raises(
        SystemExit, match="^error: out already holds a finished run: choose another --output_dir"
    ) as ended:
        distill(*OWN)
    assert "\n" not in str(ended.value)
    assert {path: path.stat().st_mtime_ns for path in (home / "out").rglob("*")} == before


BAD_FILES = {
    "unknown label": ("sentence,label\na joy,good\nis dull,god\n", r"Line 3 of bad\.csv.*'god'.*did you mean 'good'"),
    "missing column": ("sentence,mark\na joy,good\n", r"bad\.csv has no column 'label'.*'mark'"),
    "ragged line": ("sentence,label\na joy,good\nis dull\n", r"Line 3 of bad\.csv has 1 columns, expected 2"),
    "empty file": ("", r"bad\.csv is empty"),
    "no rows": ("sentence,label\n", r"bad\.csv has a header but no rows"),
    "another number of labels": (
        "sentence,label\na joy,1\nis dull,2\n",
        r"Line 3 of bad\.csv: label 2 is out of range",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line(home, refusal, case):
    """Fifty lines of traceback hide the one that says what to do."""
    content, sentence = BAD_FILES[case]
    (home / "bad.csv").write_text(content)
    assert re.search(sentence, refusal(*OWN, "--train_file", "bad.csv"))


BAD_OPTIONS = {
    "unknown option": (("--traim_file", "x"), r"unknown option --traim_file; did you mean --train_file\?"),
    "not a number": (("--temperature", "fast"), "invalid float value: 'fast'"),
    "out of range": (("--alpha", "1.5"), r"alpha must be a number in \[0, 1\].*got 1\.5"),
    "no such file": (("--test_file", "tset.tsv"), r"There is no file tset\.tsv"),
    "no kind of texts": (("--unlabeled_file", "more.tmx"), r"Cannot read more\.tmx: its ending .* \.parquet, \.txt \("),
    "no such column": (("--text_column", "review"), r"train\.csv has no column 'review'.*check text_column"),
    "the label for a text": (("--text_column", "label"), r"train\.csv: 'label' is the label, and cannot be the text"),
    "no such teacher": (("--teacher_name_or_path", "./nowhere"), r"There is no folder '\./nowhere'"),
    "a folder of something else": (
        ("--teacher_name_or_path", "."),
        r"'\.' holds no model, tokenizer or dataset of the",
    ),
    "too many layers": (("--student_num_hidden_layers", "9"), "9.*2"),
    "a budget too small": (
        ("--max_parameters", "5k"),
        r"the smallest, nano, has [\d,]+ parameters",
    ),
    "a budget and a shape beyond it": (
        ("--max_parameters", "6k", "--student_num_hidden_layers", "2"),
        r"nano, with --student_num_hidden_layers 2 has 7,234 parameters.*, or give a smaller shape with",
    ),
    "a vocabulary beside layers": (
        ("--student_vocab_size", "60", "--terms", "soft_targets:1", "minilm:1"),
        "--student_vocab_size gives the student tokens of its own, and the term minilm .*leave one of the two out, and "
        "trim the finished student in a second run, as its teacher; or take terms on whole texts",
    ),
    "a size twice": (("--size", "tiny", "--max_latency_ms", "3"), "--size names the student that"),
    "a size of a named student": (
        ("--size", "tiny", "--student_name_or_path", "teacher"),
        "--student_name_or_path has a shape of its own",
    ),
    "a choice before training": (
        ("--unlabeled_file", "train.csv", "--unlabeled_fraction", "0.5", "--soft_targets", "false"),
        "--unlabeled_fraction chooses by what the teacher has said before training, and --soft_targets false",
    ),
    "a choice beside layers": (
        ("--unlabeled_file", "train.csv", "--unlabeled_fraction", "0.5", "--terms", "soft_targets:1", "minilm:1"),
        "for which the teacher is run in every step, and --unlabeled_fraction chooses",
    ),
    "a choice of all": (("--keep_by", "entropy"), "--keep_by does nothing without --unlabeled_fraction"),
    "no teacher": (("--num_teachers", "0"), "--num_teachers must be a whole number of at least 1.*; got 0"),
    "no layer": (("--student_num_hidden_layers", "0"), "--student_num_hidden_layers must be a whole number .*got 0"),
    "no copy": (("--augment", "n_grams", "--augment_copies", "0"), "--augment_copies must be a whole number .*got 0"),
    "a model of no augmenter": (
        ("--augment", "masking", "--augment_model", "teacher"),
        "--augment_model does nothing without --augment word_replacement",
    ),
    "no token": (("--max_length", "0"), "--max_length must be a whole number of at least 3.*; got 0"),
    "texts of one's own in the demo": (("--demo",), "--train_file does nothing with --demo, which generates"),
    "students of no peers": (("--num_students", "3"), "--num_students does nothing without --online"),
    "weights of one teacher": (("--learn_teacher_weights", "true"), "weighs several teachers, and there is one"),
    "two shapes": (("--student_name_or_path", "teacher", *SIZE), "--student_name_or_path has a shape of its own"),
    "unknown term": (
        ("--terms", "labels:0.3", "sof_targets:0.7"),
        r"'sof_targets' is unknown[^$]*\n  labels[^$]*\n  soft_targets",
    ),
    "no such format": (("--export", "onxx"), "no export format 'onxx'; the formats are onnx, int8"),
    "not a count": (("--search_trials", "1", "--max_parameters", "few"), "'few' should be a number, such as 5M"),
    "names of classes as of a column": (("--label_names", "bad", "good"), "name the classes .*in labels.txt"),
    "bad weight": (("--terms", "labels:much"), "'labels:much' should read labels:WEIGHT"),
}


def test_a_size_goes_with_layers_where_it_keeps_all_tokens(home, distill, refusal):
    """What it takes for fewer tokens is said where there are more."""
    words = ("--size", "nano", "--terms", "soft_targets:1", "minilm:1", "patient:1", "--max_steps", "1")
    distill(*OWN[:-1], "whole", *words)
    student, _ = assert_complete(home / "whole")
    assert student.config.vocab_size == AutoConfig.from_pretrained(home / "teacher").vocab_size
    save_model(home / "teacher", make_tokenizer(), vocab_size=7001)
    assert re.search(
        "the size nano gives the student tokens of its own, and the term minilm .* token by token: give "
        "--student_num_hidden_layers 2 in place of the size, and trim the finished student in a second run",
        refusal(*OWN, *words),
    )


def test_a_student_over_the_budget_is_refused_before_training(home, refusal):
    """Its classes are known when the texts are read, after its size was found by the two of what it starts from."""
    write_table(home / "train.csv", [(text, len(text) % 9) for text, _ in ROWS])
    most = AutoModelForSequenceClassification.from_pretrained(home / "teacher").num_parameters()
    said = refusal(*OWN, "--train_teacher", "--max_parameters", str(most))
    assert f"the student has {most + 7 * 17:,} parameters, and --max_parameters allows {most:,}" in said


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_a_bad_option_is_refused_in_one_line(refusal, case):
    words, sentence = BAD_OPTIONS[case]
    assert re.search(sentence, refusal(*OWN, *words))


def test_what_cannot_be_measured_is_refused_before_training(home, refusal):
    """After hours of it there would be no report."""
    unlabeled = "sentence,label\n" + "".join(f"a joy {number},-1\n" for number in range(20))
    (home / "unlabeled.csv").write_text(unlabeled)
    assert "unlabeled.csv has rows but no label" in refusal(*OWN, "--test_file", "unlabeled.csv")
    words = ("--train_file", "unlabeled.csv", "--validation_file", "train.csv")
    assert "no row has a label" in refusal(*OWN, *words, "--baseline")


def test_a_folder_without_a_tokenizer_is_refused(home, refusal):
    """`transformers` makes one up to which every word is unknown, and a student would be trained on it."""
    for path in (home / "teacher").glob("tokenizer*"):
        path.unlink()
    assert "'teacher' has no tokenizer" in refusal(*OWN)


@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_that_cannot_be_reached(refusal, monkeypatch, offline):
    """Whoever has no network is told of the two ways that need none; nothing is quietly replaced."""

    def no_network(*args, **kwargs):
        raise ConnectionError("no network here")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    for words in (("--teacher_name_or_path", "teacher"), OWN[2:], (*OWN, "--student_name_or_path", "some/small")):
        line = refusal(*words, "--output_dir", "out")
        assert "the Hugging Face Hub cannot be reached" in line and "--demo" in line and "--train_file" in line


def test_a_teacher_that_cannot_classify_is_refused_in_one_line(home, refusal):
    """Its made-up LABEL_0 was taken for a label name; many labels at once ended within torch."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(home / "base")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    BertModel(BertConfig(vocab_size=120, **sizes)).save_pretrained(home / "base")
    save_model(home / "many", tokenizer, problem_type="multi_label_classification")
    own = ("--train_file", "train.csv", "--output_dir", "out", "--teacher_name_or_path")
    assert "base is a BertModel, which was not trained to classify: fine-tune it" in refusal(*own, "base")
    assert "holds 'good', one label; where a text may have several write a list" in refusal(*own, "many")


def test_numbered_classes_take_the_names_of_a_file_beside_them(home, distill, caplog):
    """A student that predicts LABEL_0 is of no use to whoever has not seen its training texts."""
    save_model(home / "teacher", make_tokenizer(), names=["LABEL_0", "LABEL_1"])
    write_table(home / "train.csv", [(text, NAMES.index(label)) for text, label in ROWS])
    assert "The classes have no names, so the student will predict LABEL_0" in distill(*OWN, *SIZE, "--max_steps", "1")
    (home / "labels.txt").write_text("\n".join(NAMES) + "\n")
    printed = distill(*OWN, *SIZE, "--max_steps", "1", "--output_dir", "named")
    assert "labels.txt: bad, good." in caplog.text and "have no names" not in printed
    assert AutoConfig.from_pretrained(home / "named").id2label == {0: "bad", 1: "good"}
