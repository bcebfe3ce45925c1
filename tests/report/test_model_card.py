"""The card: true to what was trained and measured, and silent about where and by whom."""

import re

import pytest
from huggingface_hub import ModelCard, ModelCardData, metadata_load
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results
from tiny import accuracy, make_args, make_model, make_rows, make_trainer
from tiny_seq2seq import FAMILIES, make_pairs, make_seq2seq, make_seq2seq_trainer
from transformers import BertConfig, BertForTokenClassification, TrainerState
from transformers.modelcard import TASK_MAPPING

from hfdistill import Objective, Schedule
from hfdistill.losses import Labels, SoftTargets
from hfdistill.report import Comparison, ModelFigures
from hfdistill.report.card import model_card
from hfdistill.report.card_facts import (
    CardFacts,
    described_arguments,
    evaluation_of,
    measured_emissions,
    task_of,
    teacher_base,
    teacher_language,
    teacher_license,
)

HUB = {"teacher": "somebody/bert-large", "dataset": "stanfordnlp/sst2"}


@pytest.fixture
def comparison():
    def figures(accuracy, agreement=None):
        return ModelFigures({"accuracy": accuracy, "f1": accuracy / 3}, 100, 10, 1.0, 2.0, 10.0, agreement)

    models = {"teacher": figures(0.91), "student": figures(0.876543, 0.95), "baseline": figures(0.8, 0.9)}
    return Comparison(models, rows=400, split="validation", device="cpu, 1 threads")


def card_of(facts, objective=None, training=None):
    objective = objective or Objective({"labels": (1.0, Labels())})
    return model_card("my-student", objective.describe(), training or {"seed": 1}, facts)


def table_below(card, heading):
    """The cells of the first table below a heading or within what is folded, its header included."""
    _, _, below = card.text.partition(f"## {heading}\n")
    _, _, within = card.text.partition(f"<summary>{heading}</summary>")
    section = (below or within).partition("\n## ")[0].partition("</details>")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if not set("".join(row)) <= set("-: ")]


# ---- Metadata ----


def test_the_front_matter_is_read_back_from_the_file(tmp_path, comparison):
    """A Hub that cannot parse the metadata shows a model without a task, and pipeline(...) does not find it."""
    card_of(CardFacts(**HUB, comparison=comparison, license="apache-2.0")).save(tmp_path / "README.md")
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", "text-classification", "apache-2.0")
    assert data.base_model == "somebody/bert-large" and data.base_model_relation == "finetune"
    assert data.datasets == ["stanfordnlp/sst2"] and {"distillation", "hfdistill"} <= set(data.tags)
    assert data.metrics == ["accuracy", "f1"]


def test_the_model_index_holds_the_students_figures(tmp_path, comparison):
    """The teacher's figures under the student's name would be a lie that looks like a result."""
    card_of(CardFacts(**HUB, comparison=comparison)).save(tmp_path / "README.md")
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.model_name == "my-student"
    values = {result.metric_type: result.metric_value for result in data.eval_results}
    assert values == {"accuracy": 0.8765, "f1": pytest.approx(0.2922)}
    for result in data.eval_results:
        assert (result.dataset_type, result.dataset_split) == ("stanfordnlp/sst2", "validation")
        assert result.task_type == "text-classification"


def test_a_figure_that_is_not_a_number_is_not_claimed(comparison):
    """The Hub refuses a whole card for it."""
    comparison.models["student"].metrics["f1"] = float("nan")
    results = card_of(CardFacts(**HUB, comparison=comparison)).data.eval_results
    assert [result.metric_type for result in results] == ["accuracy"]


def test_without_a_comparison_nothing_is_claimed():
    """A card that the trainer writes during training has no figures yet."""
    card = card_of(CardFacts(**HUB))
    assert card.data.eval_results is None and "What was lost" not in card.text


@pytest.mark.parametrize(
    "local", ["/home/ann/bert", "~/models/bert", "../bert", "models/bert", "a small BERT / by me", "bert"]
)
def test_only_hub_names_become_base_model_and_dataset(tmp_path, monkeypatch, local):
    """A local folder as base_model links to somebody else's repository, or tells where files are kept."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "bert").mkdir(parents=True)
    metadata = card_of(CardFacts(teacher=local, dataset=local)).data.to_dict()
    assert not {"base_model", "base_model_relation", "datasets"} & metadata.keys()


# ---- What the world may read ----

PRIVATE = ["hf_x", "/home", "me/", "ann", "/data", "private", "..", "secret", "~", "C:"]
COMMANDS = [["--hub_token", "hf_x"], ["--hub_token=hf_x"], ["--hub-token", "hf_x"], ["--push_to_hub_token", "hf_x"]]
COMMANDS += [["--hub_model_id", "ann/bert"], ["--hub-model-id=ann/bert"], ["--train_file", "/home/me/x.csv"]]
COMMANDS += [["--train_file=/home/me/x.csv"], ["--train_file", "/data/private/train.csv"]]
COMMANDS += [["--test_file=../secret/x.tsv"], ["--test_file", "data/../../secret/x.tsv"]]
COMMANDS += [["--teacher_name_or_path=~ann/bert/"], ["--unlabeled_file", r"C:\Users\ann\x.csv"]]
COMMANDS += [["/home/ann/settings.yaml"], ["--train_file", "/home/me/x.tsv", "/data/private/x.tsv"]]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_command_shows_neither_paths_nor_tokens(words):
    """A card is public the moment it is pushed."""
    facts = CardFacts("/home/ann/bert", "/data/private/train.csv", command=["accelerate", *words, "--baseline"])
    text = str(card_of(facts))
    reproduce = text.partition(">Reproduce<")[2].partition("Versions")[0]
    assert not [word for word in PRIVATE if word in reproduce]
    assert not [word for word in PRIVATE if word in text.replace(reproduce, "").replace("formers", "")]
    assert "--baseline\n" in reproduce  # what follows is not swallowed
    if "token" not in words[0]:
        assert re.search(r"x\.csv|train\.csv|x\.tsv|bert|settings\.yaml", reproduce)


def test_what_is_no_secret_is_kept_word_for_word():
    """A command that lost a word does not reproduce anything."""
    words = ["accelerate", "launch", "recipes/sst2.py", "--train_file", "data/train.csv", "--text_column", "my tokens"]
    words += [
        "--include_num_input_tokens_seen",
        "all",
        "--text_pair_column=token",
        "--terms",
        "labels:0.3",
        "--baseline",
    ]
    card = card_of(CardFacts("somebody/bert", "train.csv", command=words))
    assert (
        "accelerate launch recipes/sst2.py --train_file data/train.csv --text_column 'my tokens' "
        "--include_num_input_tokens_seen all --text_pair_column=token --terms labels:0.3 --baseline\n"
    ) in card.text


# ---- What was trained ----


def test_the_terms_are_those_of_the_objective():
    """A card that tells other weights than were trained cannot be reproduced."""
    soft = SoftTargets(temperature=3.5, divergence="reverse_kl")
    objective = Objective({"labels": (0.3, Labels()), "soft_targets": (Schedule(0.9, 0.1, "linear"), soft)})
    header, labels, soft_targets = table_below(card_of(CardFacts("t", "d"), objective), "Objective")
    assert header == ["term", "weight", "settings", "from"]
    assert labels[:3] == ["labels", "0.3", ""] and "papers/1503.02531" in labels[3]
    assert soft_targets[0] == "soft_targets" and "0.9" in soft_targets[1] and "0.1" in soft_targets[1]
    assert "temperature = 3.5" in soft_targets[2] and "divergence = reverse_kl" in soft_targets[2]


def test_the_trainers_card_describes_what_it_trained(tmp_path):
    """The card is asked for at the end, when nobody reads it through."""
    changes = {"alpha": 0.7, "temperature": 3.0, "learning_rate": 0.25, "gradient_accumulation_steps": 2}
    rows = make_rows(4, teacher_logits=True)
    trainer = make_trainer(tmp_path / "tiny-student", make_model(), rows, **changes)
    trainer.create_model_card()
    card = ModelCard.load(tmp_path / "tiny-student" / "README.md")
    terms = {row[0]: row[1:3] for row in table_below(card, "Objective")[1:]}
    assert terms.keys() == {"labels", "soft_targets"}
    assert float(terms["labels"][0]) == pytest.approx(0.3) and float(terms["soft_targets"][0]) == pytest.approx(0.7)
    assert "temperature = 3" in terms["soft_targets"][1]
    training = dict(table_below(card, "Training")[1:])
    assert (
        training["learning_rate"] == "0.25"
        and training["examples a step"] == "16"
        and training["lr_scheduler_type"] == "constant"
    )
    assert card.text.lstrip().startswith("# tiny-student") and str(tmp_path) not in str(card)


def test_numbers_are_as_long_as_anybody_reads(tmp_path):
    """A search finds a learning rate of seventeen digits."""
    rate, alpha = 8.578473056712675e-05, 0.29700980657693
    trainer = make_trainer(tmp_path, make_model(), make_rows(4, teacher_logits=True), alpha=alpha, learning_rate=rate)
    trainer.create_model_card()
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| 8.578e-05 |" in text and "| 0.297 |" in text and "| 0.703 |" in text


def test_notes_stand_in_the_card(comparison):
    text = str(card_of(CardFacts(**HUB, comparison=comparison, notes=["It was chosen among 20."])))
    assert "It was chosen among 20." in text


def test_described_arguments_are_plain_values(tmp_path):
    """An enumeration would be told as SchedulerType.LINEAR."""
    described = described_arguments(make_args(tmp_path, lr_scheduler_type="cosine", bf16=True))
    assert described["lr_scheduler_type"] == "cosine" and described["precision"] == "bf16" and described["seed"] == 3


def test_the_rows_are_counted_with_and_without_labels(comparison):
    """Texts that the teacher labeled are no labeled data."""
    facts = CardFacts("t", "d", comparison=comparison, labeled_rows=12000, unlabeled_rows=3456)
    assert "12,000 rows with labels, and 3,456 without, labeled by the teacher alone." in card_of(facts).text
    assert "without" not in card_of(CardFacts("t", "d", labeled_rows=12000)).text.partition(">Training<")[2]


def test_the_figures_stand_beside_their_uncertainty(comparison):
    """Without the number of rows, a difference of one row passes for progress."""
    text = card_of(CardFacts("t", "d", comparison=comparison)).text
    assert comparison.markdown() in text
    assert "400 validation rows, once, for one seed" in text and "One row is 0.25 points of accuracy." in text
    assert "The baseline is the same student" in text
    for model in comparison.models.values():
        model.metrics.pop("accuracy")
    assert "points of accuracy" not in card_of(CardFacts("t", "d", comparison=comparison)).text


def test_the_card_begins_with_the_verdict_and_five_rows(comparison):
    """Whoever looks a student up reads so far and no further; the rest is folded."""
    card = card_of(CardFacts("t", "d", comparison=comparison, advice="To try first: more."))
    told, folded = card.text.split("<details>", 1)
    assert (
        told.index("**Keeps 96.3 % of the teacher's accuracy")
        < told.index("## What was lost")
        < told.index("## Limits")
    )
    header, *rows = table_below(card, "What was lost")
    assert header == ["400 validation rows", "teacher", "student", "baseline"]
    names = ["accuracy", "agrees with the teacher", "parameters", "size of the weights", "latency, one text"]
    assert [row[0] for row in rows] == names
    assert "f1" in folded and "To try first: more." in folded and told.count("To try first") == 0


def test_a_teacher_that_was_fine_tuned_here_brings_its_license(tmp_path, comparison):
    """Its weights began as somebody's, under a license that holds on."""
    facts = CardFacts(**HUB, license="cc-by-4.0", teacher_trained=True, comparison=comparison)
    assert "which was fine-tuned first and whose license (cc-by-4.0) holds here too" in card_of(facts).text
    base, teacher = tmp_path / "base" / "bert", tmp_path / "teacher"
    base.mkdir(parents=True), teacher.mkdir()
    (base / "README.md").write_text("---\nlicense: mit\n---\n")
    (teacher / "README.md").write_text("---\nbase_model: base/bert\n---\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # a folder in the place of the repository
        patch.setattr("hfdistill.report.card_facts.is_hub_name", lambda name: name == "base/bert")
        assert teacher_license("teacher") == "mit" and teacher_base("teacher") == "base/bert"


def test_the_metadata_go_the_way_of_the_hub_and_back(tmp_path, comparison):
    """What the Hub's own reader makes of the card is what it shows."""
    facts = CardFacts(**HUB, comparison=comparison, license="mit", language=["en"])
    card_of(facts).save(tmp_path / "README.md")
    found = metadata_load(tmp_path / "README.md")
    name, results = model_index_to_eval_results(found["model-index"])
    assert eval_results_to_model_index(name, results) == found["model-index"]
    assert ModelCardData(**ModelCard.load(tmp_path / "README.md").data.to_dict()).to_dict().keys() <= found.keys()
    assert found["license"] == "mit" and found["language"] == ["en"] and found["base_model_relation"] == "finetune"
    assert found["pipeline_tag"] in TASK_MAPPING and found["library_name"] == "transformers"


def test_the_license_is_the_teachers(tmp_path):
    """Weights that were taken from a teacher stay under its license; what cannot be known is not claimed."""
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert teacher_license(str(tmp_path)) == "mit"
    (tmp_path / "README.md").write_text("# no front matter\n")
    assert teacher_license(str(tmp_path)) is None
    (tmp_path / "bare").mkdir()
    assert teacher_license(str(tmp_path / "bare")) is None and teacher_language(str(tmp_path / "bare")) == []
    assert teacher_license("a small BERT / by me") is None


@pytest.mark.parametrize(("written", "languages"), [("en", ["en"]), ("[en, de]", ["en", "de"])])
def test_the_language_is_the_teachers(tmp_path, written, languages):
    """Whoever looks for a model of a language finds the student beside its teacher."""
    (tmp_path / "README.md").write_text(f"---\nlanguage: {written}\n---\n")
    assert teacher_language(str(tmp_path)) == languages


def test_measured_emissions_stand_in_the_card(tmp_path):
    """In grams, the runs of one folder together, and nothing of the machine and its place beside them."""
    assert measured_emissions(tmp_path) is None
    lines = ["run_id,emissions,country_name,latitude", "1,0.0015,Utopia,12.5", "2,0.0005,Utopia,12.5"]
    (tmp_path / "emissions.csv").write_text("\n".join(lines) + "\n")
    facts = CardFacts("t", "d", emissions_grams=measured_emissions(tmp_path))
    card = card_of(facts)
    assert card.data.to_dict()["co2_eq_emissions"]["emissions"] == 2.0 and "Utopia" not in str(card)
    assert "co2_eq_emissions" not in card_of(CardFacts("t", "d")).data.to_dict()


def test_limits_stand_in_the_card(comparison):
    """With figures or without, a reader learns what they do not say."""
    assert "## Limits" in card_of(CardFacts("t", "d", comparison=comparison)).text
    assert "Nothing was measured yet" in card_of(CardFacts("t", "d")).text


# ---- What the trainer knows, and what is passed to it ----


def card_in(folder):
    return ModelCard.load(folder / "README.md")


def test_without_a_comparison_the_card_has_the_last_evaluation(tmp_path):
    """A pushed student with figures in its logs would be shown as one that nobody has measured."""
    rows = make_rows(8)
    given = {"eval_dataset": rows, "compute_metrics": accuracy}
    trainer = make_trainer(tmp_path, make_model(1), rows, teacher=make_model(2), given=given)
    trainer.train()
    metrics = trainer.evaluate()
    trainer.create_model_card()
    header, *table = table_below(card_in(tmp_path), "On the evaluation set")
    assert header == ["figure", "student"]
    names = ["loss", "label_loss", "soft_target_loss", "agreement", "accuracy"]
    expected = {name: f"{metrics[f'eval_{name}']:.4g}" for name in names}
    assert dict(table) == {"step": "2", **expected}
    assert "Nothing was measured yet" not in card_in(tmp_path).text


def test_the_figures_are_those_of_the_model_that_is_there():
    """The last evaluation in training is not that of the best model, which took the last one's place at its end."""
    logs = [
        {"step": 2, "loss": 1.0},
        {"step": 2, "eval_a_loss": 0.5, "eval_a_runtime": 9.0},
        {"step": 2, "eval_b_loss": 0.6, "eval_b_samples_per_second": 9.0},
        {"step": 4, "eval_a_loss": 0.8},
        {"step": 4, "train_runtime": 1.0},
    ]
    state = TrainerState(log_history=logs, best_global_step=2)
    assert evaluation_of(state, best_is_loaded=True) == {"step": 2, "a_loss": 0.5, "b_loss": 0.6}
    assert evaluation_of(state, best_is_loaded=False) == {"step": 4, "a_loss": 0.8}
    state.log_history.append({"step": 4, "eval_a_loss": 0.4})
    assert evaluation_of(state, best_is_loaded=True) == {"step": 4, "a_loss": 0.4}
    assert evaluation_of(TrainerState(), best_is_loaded=True) == {}


def test_a_dataset_without_a_name_is_not_named(tmp_path):
    """An empty name in code marks is a hole in the first sentence."""
    teacher = make_model(2)
    make_trainer(tmp_path, make_model(1), make_rows(4), teacher=teacher).create_model_card()
    assert "A student distilled from `a teacher`. It is" in card_in(tmp_path).text
    teacher.config.name_or_path = "somebody/bert-large"
    make_trainer(tmp_path, make_model(1), make_rows(4), teacher=teacher).create_model_card()
    assert "A student distilled from `somebody/bert-large`. It is" in card_in(tmp_path).text
    assert card_in(tmp_path).data.base_model == "somebody/bert-large"


def test_each_of_several_teachers_is_named(tmp_path):
    """Names in one text would be shown as one path, of which the last part is left."""
    teachers = [make_model(2), make_model(3)]
    for teacher, name in zip(teachers, ("somebody/bert", "somebody/other"), strict=True):
        teacher.config.name_or_path = name
    make_trainer(tmp_path, make_model(1), make_rows(4), teacher=teachers).create_model_card()
    assert "distilled from `somebody/bert`, `somebody/other`. It is" in card_in(tmp_path).text
    assert card_in(tmp_path).data.base_model is None


@pytest.mark.parametrize("facts", [None, CardFacts("a word", "other/words", license="apache-2.0")])
def test_arguments_of_push_to_hub_stand_in_the_card(tmp_path, facts):
    """`Trainer` passes it on to the card: a license or a language that is dropped is missing in every search."""
    trainer = make_trainer(tmp_path, make_model(1), make_rows(4), teacher=make_model(2))
    trainer.card_facts = facts
    given = {"license": "mit", "tags": "tiny", "model_name": "Foo", "finetuned_from": "bert-base-uncased"}
    given |= {"tasks": ["token-classification", "fill-mask"], "dataset": "GLUE SST-2", "dataset_tags": "glue"}
    trainer.create_model_card("en", **given, dataset_args="sst2")
    card = card_in(tmp_path)
    data = card.data
    assert (data.language, data.license, data.datasets) == (["en"], "mit", ["glue"])
    assert (data.base_model, data.pipeline_tag) == ("bert-base-uncased", "token-classification")
    assert data.tags == ["distillation", "hfdistill", "tiny", "fill-mask"]
    assert "# Foo\n" in card.text and "on `GLUE SST-2` (`sst2`). It is" in card.text
    trainer.create_model_card(dataset=["somebody/one", "somebody/two"], finetuned_from=str(tmp_path))
    assert card_in(tmp_path).data.datasets == ["somebody/one", "somebody/two"]
    assert "on `somebody/one`, `somebody/two`. It is" in card_in(tmp_path).text
    assert str(tmp_path) not in str(card_in(tmp_path))


def test_the_task_is_that_of_the_models_class():
    """A pipeline takes its task from the card: that of a classifier of texts fails for one of tokens."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}

    class Own(BertForTokenClassification):
        pass

    assert task_of(make_model()) == "text-classification"
    assert task_of(Own(BertConfig(vocab_size=40, **sizes))) == "token-classification"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_decoder_is_no_classifier(tmp_path, family):
    """Whether it translates or summarizes is known to who trained it: no task is better than a wrong one."""
    make_seq2seq_trainer(
        tmp_path, make_seq2seq(family), make_pairs(4, family), teacher=make_seq2seq(family, 1)
    ).create_model_card()
    assert "pipeline_tag" not in card_in(tmp_path).data.to_dict()


def test_figures_of_another_file_are_not_those_of_the_training_texts(comparison):
    """A card that calls them figures of the training file would be taken for a card of leaked texts."""
    facts = CardFacts(teacher="me/teacher", dataset="train.tsv", measured_on="test.tsv", comparison=comparison)
    card = card_of(facts)
    assert "The figures are of test.tsv alone" in " ".join(card.text.split())
    assert {one.dataset_name for one in card.data.eval_results} == {"test.tsv"}
