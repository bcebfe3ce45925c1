"""Pushes a tiny student to whatever HF_ENDPOINT names, or pulls one: `use_hub.py push|pull|soft_targets FOLDER ...`.

`use_hub.py load FOLDER NAME...` loads the classifier and the data set of each name, and tells what it got.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny import make_model, make_rows, make_tokenizer, make_trainer

from hfdistill import soft_targets
from hfdistill.commands.command_line import plain_errors

action, folder, *words = sys.argv[1:]
tokenizer = make_tokenizer()
texts = ["w1 w2 w3", "w9 w8", "w5 w5 w5 w5 w7"]


def predictions(model):
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    return model.eval()(**{name: inputs[name] for name in ("input_ids", "attention_mask")}).logits.tolist()


def push(**settings):
    teacher, student = make_model(1, num_hidden_layers=3), make_model(0)
    rows = make_rows(16)
    arguments = {"push_to_hub": True, "hub_token": words[0], "save_strategy": "epoch", **settings}
    trainer = make_trainer(folder, student, rows, teacher=teacher, **arguments)
    trainer.train()
    trainer.save_model()
    trainer.push_to_hub()
    return {"predictions": predictions(trainer.model)}


def pull():
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    model = AutoModelForSequenceClassification.from_pretrained(words[0])
    label = pipeline("text-classification", words[0])(texts[0])[0]["label"]
    return {
        "predictions": predictions(model),
        "label": label,
        "vocabulary": len(AutoTokenizer.from_pretrained(words[0])),
    }


def push_soft_targets():
    from datasets import load_dataset

    rows = soft_targets(make_model(1), make_rows(8), tokenizer)
    rows.push_to_hub("tester/soft", token=words[0])
    back = load_dataset("tester/soft", split="train")
    return {"there": rows["teacher_logits"][:], "back": back["teacher_logits"][:]}


def load():
    from hfdistill.data.hub import load_hub_dataset
    from hfdistill.models.loading import load_classifier

    return {name: [attempt(load_classifier, name), attempt(load_hub_dataset, name)] for name in words}


def attempt(loaded, name):
    try:
        return type(loaded(name)).__name__
    except OSError as error:
        return f"{type(error).__name__}: {error}"


with plain_errors():
    done = {
        "push": push,
        "push_checkpoints": lambda: push(hub_strategy="all_checkpoints", hub_always_push=True),
        "pull": pull,
        "soft_targets": push_soft_targets,
        "load": load,
    }[action]()
print(json.dumps(done))
