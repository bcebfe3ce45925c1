"""The first command of a person with a network: the recipes with no options, and a Hub that holds what they name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_layouts import CLASSIFIER, MULTI30K, PICKLED_CLASSIFIER, SST2, TRANSLATOR, fill
from hub_server import TOKEN, running_hub
from huggingface_hub import ModelCard
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

RECIPES = Path(__file__).parents[2] / "recipes"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hub():
    with running_hub() as hub:
        fill(hub)
        yield hub


@pytest.fixture
def first_run(hub, tmp_path):
    """`first_run(recipe, *words)`: what it printed; with `fails`, the line that it ended with."""

    def run(recipe, *words, fails=False):
        environment = {**os.environ, **hub.environment(tmp_path / "home"), "TQDM_DISABLE": "1", "HF_TOKEN": TOKEN}
        command = [sys.executable, str(RECIPES / f"{recipe}.py"), *words]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == int(fails) and "Traceback" not in done.stderr, done.stderr[-4000:]
        return done.stderr.splitlines()[-1] if fails else done.stdout

    return run


def pulled(hub, name, folder):
    """The files of a repository in a folder, and what its card says to the Hub."""
    for path, content in hub.repositories[name].files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return ModelCard.load(folder / "README.md").data


def test_a_classifier_with_no_options(hub, first_run, tmp_path):
    """Its classes have the data set's names, since the teacher has none; its license and language are the teacher's."""
    printed = first_run("sst2", "--push_to_hub")
    assert "10 validation rows" in printed and "Student, card and report are in distilled/." in printed
    card = pulled(hub, "tester/distilled", tmp_path / "pulled")
    assert (card.base_model, card.license, card.language) == (CLASSIFIER, "apache-2.0", ["en"])
    assert [f"datasets/{name}" for name in card.datasets] == [SST2]
    assert card.pipeline_tag == "text-classification"
    config = json.loads((tmp_path / "pulled" / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"} and config["num_hidden_layers"] == 1
    assert pipeline("text-classification", str(tmp_path / "pulled"))("is a joy")[0]["label"] in ("negative", "positive")


def test_a_translator_with_no_options(hub, first_run, tmp_path):
    """The student ends its translations as its teacher does, and is not allowed what the teacher is not."""
    printed = first_run("translation", "--push_to_hub")
    assert "30 pairs from 30 translated texts" in printed and "6 test rows" in printed
    assert json.loads((tmp_path / "distilled-translation/all_results.json").read_text())["teacher_bleu"] > 50
    card = pulled(hub, "tester/distilled-translation", tmp_path / "pulled")
    assert (card.base_model, card.license, card.language) == (TRANSLATOR, "cc-by-4.0", ["en", "de"])
    assert [f"datasets/{name}" for name in card.datasets] == [MULTI30K]
    settings = [
        hub.repositories[name].files["generation_config.json"] for name in (TRANSLATOR, "tester/distilled-translation")
    ]
    teacher, own = ({**json.loads(content), "transformers_version": ""} for content in settings)
    assert own == teacher and own["bad_words_ids"] == [[own["pad_token_id"]]]
    student = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "pulled")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "pulled")
    text = tokenizer("the film is dull", return_tensors="pt")
    written = student.generate(**text, max_length=12)[0].tolist()
    assert student.config.decoder_layers == 1 and tokenizer.pad_token_id not in written[1:]


def test_a_teacher_of_2020_and_a_connection_lost_at_the_end(hub, first_run, tmp_path):
    """Pickled weights, `vocab.txt`, neither card nor names: it works when it is named, and no license is claimed.

    What could not be pushed is whole on the disk, and is pushed without being trained again.
    """
    words = ("--teacher_name_or_path", PICKLED_CLASSIFIER, "--max_steps", "1", "--output_dir", "old", "--push_to_hub")
    hub.fail = "/commit/"
    line = first_run("sst2", *words, fails=True)
    assert line.startswith("error: the student is in old/, but could not be pushed")
    assert (tmp_path / "old" / "report" / "report.md").exists() and not hub.repositories["tester/old"].files
    hub.fail = None
    weights = (tmp_path / "old" / "model.safetensors").read_bytes()
    first_run("sst2", *words, "--resume_from_checkpoint", "true")
    card = pulled(hub, "tester/old", tmp_path / "pulled")
    assert card.base_model == PICKLED_CLASSIFIER and card.license is None
    assert json.loads((tmp_path / "pulled/config.json").read_text())["id2label"] == {"0": "negative", "1": "positive"}
    assert (tmp_path / "pulled" / "model.safetensors").read_bytes() == weights
