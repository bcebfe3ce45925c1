"""`hfdistill review` on files and models, and its corrections in `hfdistill distill`."""

import csv
import json
import shutil

import pytest
from classification_runs import NAMES, ROWS, save_model, write_table
from datasets import Dataset
from texts import TEXTS, make_tokenizer
from tiny_prompts import make_bpe, make_causal

from hfdistill import load_classifier
from hfdistill.commands.main import main
from hfdistill.models.inference import predict_logits, token_rows

OUT = ("--output", "review.csv")


@pytest.fixture
def reader(home):
    """The folder of `home`, with a second model whose labels stand in another order."""
    save_model(home / "student", make_tokenizer(), names=NAMES[::-1], num_hidden_layers=1)
    return home


def reviewed(*words, out="review.csv"):
    main(["review", *words, "--output", out])
    with open(out, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def predicted(folder, texts):
    """The names that plain transformers gives."""
    tokenizer, model = load_classifier(folder)
    logits = predict_logits(model, tokenizer, token_rows(model, tokenizer, Dataset.from_dict({"t": texts}), ["t"]))
    return [model.config.id2label[int(row.argmax())] for row in logits]


def test_models_and_labels_are_compared_row_by_row(reader, capsys):
    words = ("--train_file", "train.csv", "--teacher_name_or_path", "teacher", "--student_name_or_path", "student")
    found = reviewed(*words, "--test_file", "test.tsv", "--rows", "1000")
    texts = [text for text, _ in ROWS] + [f"really {text}" for text, _ in ROWS[:11]]
    labels = [label for _, label in ROWS] + [label for _, label in ROWS[:11]]
    each = {name: dict(zip(texts, predicted(name, texts), strict=True)) for name in ("teacher", "student")}
    label_of = dict(zip(texts, labels, strict=True))
    assert found and {one["file"] for one in found} == {"train.csv", "test.tsv"}
    for one in found:
        assert one["label"] == label_of[one["text"]] and one["corrected"] == ""
        assert [one[name] for name in each] == [each[name][one["text"]] for name in each]
        own = ROWS if one["file"] == "train.csv" else [(f"really {text}", label) for text, label in ROWS]
        assert own[int(one["row"]) - 1][0] == one["text"] and one["reason"]
    listed = {one["text"] for one in found}
    assert all(text in listed for text in texts if each["teacher"][text] != each["student"][text])
    printed = capsys.readouterr().out
    assert "repeats their errors" in printed and "hfdistill distill --corrections review.csv" in printed


def test_texts_without_labels_need_two_models(reader):
    write_table(reader / "more.csv", [(text, 9) for text in TEXTS])
    words = ("--unlabeled_file", "more.csv", "--teacher_name_or_path", "teacher")
    with pytest.raises(SystemExit, match=r"^error: no row has a label, and teacher is one model"):
        reviewed(*words)
    found = reviewed(*words, "student")
    assert {one["label"] for one in found} == {""} and all("teacher_1 " in one["reason"] for one in found)


def test_soft_targets_that_a_file_carries(reader):
    main(["soft-targets", "student", "train.csv", "soft.parquet"])
    found = reviewed("--train_file", "soft.parquet", "--rows", "1000")
    named = dict(zip(TEXTS, predicted("student", TEXTS), strict=True))
    assert found and all(one["soft_targets"] == named[one["text"]] for one in found)
    with pytest.raises(SystemExit, match="only one of soft.parquet and train.csv has teacher_label, teacher_logits"):
        reviewed("--train_file", "soft.parquet", "--validation_file", "train.csv", out="other.csv")


def test_prompts_are_models_of_their_own(reader):
    for part in (make_causal(), make_bpe()):
        part.save_pretrained(reader / "lm")
    prompts = ("--template", "{text} is", "it is {text} :", "--verbalizer", "bad", "good")
    found = reviewed("--train_file", "train.csv", "--teacher_name_or_path", "lm", *prompts)
    assert found and {"prompt_1", "prompt_2_probability"} <= set(found[0])


def test_corrections_go_back_in(reader, distill):
    """They change the labels that are trained on, are counted, and the card tells."""
    main(["review", "--train_file", "train.csv", "--teacher_name_or_path", "teacher", "--output", "review.jsonl"])
    rows = [json.loads(line) for line in open("review.jsonl", encoding="utf-8")]
    for one in rows:
        one["corrected"] = one["suggested_label"]
    Dataset.from_list(rows).to_csv("reviewed.csv")
    own = ("--teacher_name_or_path", "teacher", "--train_file", "train.csv", "--student_num_hidden_layers", "1")
    told = distill(*own, "--output_dir", "out", "--max_steps", "1", "--corrections", "reviewed.csv")
    changed = sum(one["label"] != one["suggested_label"] for one in rows)
    line, *_ = [line for line in told.splitlines() if line.startswith("Labels corrected by a person (reviewed.csv): ")]
    counts = [int(part.split(" in ")[0]) for part in line.rstrip(".").partition("): ")[2].split(", ")]
    assert sum(counts) == changed > 0
    assert "Labels corrected by a person" in (reader / "out" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "there is nothing to review"),
        (("--train_file", "train.csv", "--folds", "3"), "--template and --folds are of a model"),
        (("--train_file", "train.csv", "--learning_rate", "1"), "--learning_rate does nothing without --folds"),
        (("--train_file", "train.csv", "--alpha", "0.5"), "--alpha does nothing in a review"),
        (("--train_file", "train.csv", "--output", "review.xlsx"), "review.xlsx should end in .csv"),
        (("--train_file", "train.csv", "--output", "test.tsv"), "test.tsv should end in"),
        (
            ("--train_file", "train.csv", "--output", "train.csv"),
            "train.csv is there already, perhaps with corrections",
        ),
        (("--train_file", "train.csv", "--verbalizer", "a"), "--template and --verbalizer go together"),
    ],
)
def test_what_does_not_go_together_is_refused(reader, words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["review", *words])
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_no_model_is_refused(reader):
    with pytest.raises(SystemExit, match="^error: a review compares labels with models"):
        reviewed("--train_file", "train.csv")


FOLDS = ("--train_file", "train.csv", "--teacher_name_or_path", "teacher", "--folds", "3", "--max_steps", "2")


def test_folds_train_models_that_did_not_see_their_rows(reader, capsys):
    found = reviewed(*FOLDS, "--rows", "1000", "--output_dir", "parts")
    printed = capsys.readouterr().out
    assert "Part 3 of 3: 10 rows, by a model of the other 20." in printed and "repeats their errors" not in printed
    models = [load_classifier(str(reader / "parts" / "teacher" / f"part_{part}" / "_teacher")) for part in (1, 2, 3)]
    assert len(models) == 3 and found
    shutil.move("review.csv", "first.csv")
    again = reviewed(*FOLDS, "--rows", "1000", "--output_dir", "parts", "--resume_from_checkpoint", "true")
    assert again == found
    with pytest.raises(SystemExit, match="^error: parts already holds something"):
        main(["review", *FOLDS, "--output", "other.csv", "--output_dir", "parts"])
