"""What a card says of the student's folder is so, and the lines that load it do."""

import re

import pytest
import torch
from huggingface_hub import ModelCard
from tiny import logits_of, make_args, make_model, make_rows, make_tokenizer, make_trainer
from transformers import AutoModelForSequenceClassification

from hfdistill.commands.main import main
from hfdistill.report.card_facts import described_arguments
from hfdistill.report.saved_form import saved_form

NAMES = {"id2label": {0: "ba{d", 1: "'fair'", 2: "```", 3: "d\n"}}
NAMES["label2id"] = {name: index for index, name in NAMES["id2label"].items()}


def trained(folder, student, **changes):
    trainer = make_trainer(folder, student, make_rows(8, num_labels=4), alpha=0.0, max_steps=1, **changes)
    trainer.train()
    trainer.save_model()
    trainer.create_model_card()
    return trainer, ModelCard.load(folder / "README.md")


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    """`adapter(base)`: a tuned prompt for a base model that was saved under this path, with a head of its own."""
    peft = pytest.importorskip("peft", reason="the extra `peft` is not installed")
    monkeypatch.chdir(tmp_path)

    def build(base):
        make_model(1).save_pretrained("base")
        head = {**NAMES, "ignore_mismatched_sizes": True}
        model = AutoModelForSequenceClassification.from_pretrained("base", **head)
        model.name_or_path = model.config.name_or_path = base  # as if it were loaded from there
        return peft.get_peft_model(model, peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2))

    return build


def test_an_adapters_card_describes_how_it_loads(tmp_path, adapter):
    """It was called a plain transformers model, and nobody could load it as one."""
    trainer, card = trained(tmp_path / "out", adapter("base"))
    assert card.data.library_name == "peft" and "prompt_tuning" in card.data.tags
    assert "plain transformers model" not in card.text and "`base`" in card.text
    assert "It is an adapter (PROMPT_TUNING)" in card.text
    [code] = re.findall(r"^`{3,}python\n(.*?)\n`{3,}\n", card.text, flags=re.S | re.M)
    loaded: dict = {}
    exec(code, loaded)
    expected, found = logits_of(trainer.model, make_rows(4)), logits_of(loaded["model"], make_rows(4))
    torch.testing.assert_close(found, expected)
    assert loaded["model"].config.id2label == NAMES["id2label"]
    assert loaded["tokenizer"].get_vocab() == make_tokenizer().get_vocab()


def test_the_base_of_an_adapter_is_that_of_the_card(tmp_path, adapter):
    """The teacher is another model; a folder of this machine is none on the Hub."""
    _, card = trained(tmp_path / "out", adapter("somebody/bert"))
    assert (card.data.base_model, card.data.base_model_relation) == ("somebody/bert", "adapter")
    _, card = trained(tmp_path / "local", adapter(str(tmp_path / "base")))
    assert "base_model" not in card.data.to_dict() and str(tmp_path) not in str(card) and "'base'" in card.text


def test_an_adapter_on_a_nameless_base(tmp_path, adapter):
    _, card = trained(tmp_path / "out", adapter(""))
    assert "has no name; merged into that (`merge_and_unload()`)" in card.text and "```python" not in card.text
    assert card.data.library_name == "peft" and "base_model" not in card.data.to_dict()


def test_an_adapter_that_is_merged_is_a_plain_model():
    """As `save_model` merges it."""
    peft = pytest.importorskip("peft", reason="the extra `peft` is not installed")
    model = peft.get_peft_model(make_model(1), peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))
    assert saved_form(model) == saved_form(make_model(1)) == saved_form(model.merge_and_unload())


def test_the_command_sees_an_adapter_too(tmp_path, adapter, quick_report):
    make_model(2, num_labels=3).save_pretrained("teacher")
    make_tokenizer().save_pretrained("teacher")
    peft = pytest.importorskip("peft")
    make_model(1).save_pretrained("base")
    base = AutoModelForSequenceClassification.from_pretrained("base")
    student = peft.get_peft_model(base, peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))
    for part in (student, make_tokenizer()):
        part.save_pretrained("student")
    (tmp_path / "test.csv").write_text("sentence,label\n" + "".join(f"w{i} w{i + 3},LABEL_{i % 3}\n" for i in range(9)))
    main(["card", "teacher", "student", "test.csv"])
    card = ModelCard.load(tmp_path / "student" / "README.md")
    assert card.data.library_name == "peft" and "It is an adapter (LORA)" in card.text


def test_what_is_no_transformers_model_is_not_called_one():
    form = saved_form(torch.nn.Linear(2, 2))
    assert form.library is None and "`Linear`" in form.sentence


def test_the_described_arguments_are_those_that_counted(tmp_path):
    """Three epochs stood in the card of a run of one step, and float32 in that of bfloat16 weights."""
    _, card = trained(tmp_path / "out", make_model(1, num_labels=4), student_dtype="bfloat16")
    assert "| max_steps | 1 |" in card.text and "num_train_epochs" not in card.text
    assert "| precision | bfloat16 |" in card.text
    assert "Trained on labels alone." in card.text and "a teacher" not in card.text and "learned from" not in card.text
    staged = make_args(tmp_path, stages=["labels:1 epochs=1", "labels:1 epochs=2"], alpha=0.0)
    assert not {"num_train_epochs", "max_steps"} & described_arguments(staged).keys()
