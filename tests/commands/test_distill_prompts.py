"""`hfdistill distill` with a language model, or an entailment model, as teacher."""

import json

import numpy as np
import pytest
from classification_runs import assert_complete, save_model, write_table
from texts import TEXTS
from texts import make_tokenizer as make_words
from tiny_prompts import make_bpe, make_causal, make_entailment, make_wordpiece

from hfdistill import PromptTeacher, soft_targets
from hfdistill.commands.early import refuse_early
from hfdistill.tasks.classification.data import text_classification_dataset
from hfdistill.tasks.classification.prompted import calibrated, load_prompted_teachers

PROMPT = r"Review: {text}\nSentiment:"
WORDS = ("--verbalizer", "bad=bad,very dull", "good")
ASKED = ("--template", PROMPT, "--teacher_name_or_path", "lm", "--student_name_or_path", "small", "--output_dir", "out")
ASKED += ("--train_file", "train.csv", "--max_steps", "2")


@pytest.fixture
def home(home):
    """A folder with a language model, an entailment model, a small model and texts."""
    for folder, parts in (("lm", (make_causal(), make_bpe())), ("nli", (make_entailment(), make_wordpiece()))):
        for part in parts:
            part.save_pretrained(home / folder)
    save_model(home / "small", make_words())
    write_table(home / "texts.csv", [(text,) for text in TEXTS], columns=("sentence",))
    return home


@pytest.mark.parametrize("stored", ["true", "false"])
def test_a_language_model_teaches(home, distill, stored):
    printed = distill(*ASKED, *WORDS, "--soft_targets", stored, "--calibrate", "--baseline")
    _, results = assert_complete(home / "out", ("teacher", "student", "baseline"))
    assert 0 <= results["teacher_accuracy"] <= 1 and "lm" in printed
    config = json.loads((home / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "good"} and config["model_type"] == "bert"


def test_texts_without_labels_are_labeled_by_it(home, distill):
    """The names are the verbalizer's, or --class_names; the rest of the recipe llm_teacher.py is this command."""
    files = ("--train_file", "texts.csv", "--validation_file", "train.csv")
    distill(*ASKED, *files, *WORDS)
    assert_complete(home / "out")
    distill(*ASKED, *files, "--class_names", "bad", "good", "--output_dir", "other")
    assert_complete(home / "other")


def test_an_entailment_model_teaches(home, distill):
    asked = ("--hypothesis_template", "it was {} .", "--teacher_name_or_path", "nli", "--student_name_or_path", "small")
    distill(*asked, "--train_file", "train.csv", "--output_dir", "out", "--max_steps", "2")
    assert_complete(home / "out")


def test_its_words_stand_in_the_order_of_the_labels(home):
    """By another order every soft target would be the other label's."""
    data = text_classification_dataset(home / "train.csv")
    one, other = (
        load_prompted_teachers(["lm"], data, template=PROMPT, verbalizer=words)[0]
        for words in (["bad=dull", "good=fair"], ["GOOD=fair", "bad=dull"])
    )
    rows = data.dataset["train"]
    expected = PromptTeacher(
        make_causal(), make_bpe(), PROMPT.replace("\\n", "\n"), {"bad": "dull", "good": "fair"}, "sentence"
    )
    for teacher in (one, other):
        found = soft_targets(teacher, rows)["teacher_logits"]
        np.testing.assert_allclose(found, soft_targets(expected, rows)["teacher_logits"], atol=1e-4)
    [fitted] = calibrated([one], data, 0)
    assert fitted.model.bias != [0.0, 0.0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--verbalizer", "a", "b"), "--verbalizer does nothing without --template"),
        (("--calibrate",), "--calibrate does nothing without --template"),
        ((*ASKED, "--hypothesis_template", "{}"), "--template and --hypothesis_template are two kinds of teachers"),
        ((*ASKED, "--train_teacher"), "--train_teacher fine-tunes a classifier, and --template asks one that is there"),
        ((*ASKED, "--online", "one"), "--online has no teacher"),
        (("--template", PROMPT, "--demo"), "--demo trains a classifier of its own (recipes/llm_teacher.py --demo"),
        (("--template", PROMPT), "--template asks a language model: name one with --teacher_name_or_path"),
        (ASKED[:4], "--template has none: name a small model to start from with --student_name_or_path"),
        ((*ASKED, "--template", "Sentiment:"), "'Sentiment:' has no place for the text: write {text} there"),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(home, refusal, capfd, words, message):
    """Before torch is imported, and by the command itself, where a launcher starts it."""
    with pytest.raises(SystemExit, match="2"):
        refuse_early("distill", words)
    told = " ".join(capfd.readouterr().err.split())
    assert message in told and told.split("error: ")[1] in refusal(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--class_names", "bad", "good", "--verbalizer", "bad", "fine"),
            "--verbalizer has words for bad, fine, and the labels of the texts are",
        ),
        (("--terms", "labels", "minilm"), ", and a language model's are of its prompt"),
    ],
)
def test_what_its_texts_tell_is_refused(home, refusal, words, message):
    assert message in refusal(*ASKED, *words)


def test_numbered_labels_need_names(home, refusal):
    write_table(home / "numbers.csv", [(text, len(text) % 2) for text in TEXTS])
    message = refusal(*ASKED, "--train_file", "numbers.csv")
    assert "is asked for labels by their names, and the texts' have none" in message
