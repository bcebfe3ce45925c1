"""The comparison: what it measures equals what plain transformers gives, row by row."""

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from texts import TEXTS
from tiny_seq2seq import make_translator

from hfdistill.models.inference import predict_logits, token_rows
from hfdistill.report import timing
from hfdistill.soft_targets import soft_targets
from hfdistill.tasks.classification import report
from hfdistill.tasks.classification.metrics import classification_metrics
from hfdistill.tasks.classification.predictions import EXAMPLES
from hfdistill.tasks.classification.report import compare

NAMES = ["bad", "fair", "good"]
ORDER = ["good", "bad", "fair"]
SENTENCE = ("sentence",)


#: Speed is only looked at where a test says so.
pytestmark = pytest.mark.usefixtures("quick_report")


@pytest.fixture
def classifier(tiny_bert):
    """`classifier(seed, names=..., **config)`: a tiny BERT with named labels."""

    def build(seed: int = 0, names=NAMES, **config):
        labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
        return tiny_bert(seed=seed, num_labels=len(names), **labels, **config)

    return build


def measured(teacher, student, dataset, tokenizer, **settings):
    metrics = settings.pop("compute_metrics", classification_metrics(["accuracy"]))
    settings = {"text_columns": SENTENCE, **settings}
    return compare(teacher, student, dataset, tokenizer, compute_metrics=metrics, **settings)


@torch.no_grad()
def naive_predictions(model, tokenizer, texts):
    """The name of the largest logit of each text, one at a time."""
    logits = [model.eval()(**tokenizer(text, return_tensors="pt", truncation=True)).logits[0] for text in texts]
    return [model.config.id2label[int(row.argmax())] for row in logits]


def share_equal(first, second):
    return sum(one == other for one, other in zip(first, second, strict=True)) / len(first)


# ---- What is measured ----


def test_metrics_and_agreement_are_those_of_plain_transformers(classifier, tokenizer, text_dataset):
    """Predictions out of order, padding that counts, or labels matched by number give figures that look as good."""
    teacher, student, baseline = classifier(1, names=ORDER), classifier(2), classifier(5)
    comparison = measured(teacher, student, text_dataset, tokenizer, baseline=baseline)
    labels = [NAMES[label] for label in text_dataset["label"]]
    predictions = {
        role: naive_predictions(model, tokenizer, text_dataset["sentence"])
        for role, model in {"teacher": teacher, "student": student, "baseline": baseline}.items()
    }
    assert len({tuple(prediction) for prediction in predictions.values()}) == 3  # three models that differ
    for role, prediction in predictions.items():
        assert comparison.models[role].metrics == {"accuracy": pytest.approx(share_equal(prediction, labels))}
    for role in ("student", "baseline"):
        agreement = share_equal(predictions[role], predictions["teacher"])
        assert comparison.models[role].agreement == pytest.approx(agreement) and 0 < agreement < 1
    assert comparison.models["teacher"].agreement is None
    assert comparison.rows == len(text_dataset)


def test_the_teacher_reads_with_its_own_tokenizer(classifier, tokenizer, other_tokenizer, text_dataset):
    """Token ids of another vocabulary are valid ids: the teacher would predict for noise."""
    teacher, student = classifier(1), classifier(2)
    comparison = measured(teacher, student, text_dataset, tokenizer, teacher_processing_class=other_tokenizer)
    labels = [NAMES[label] for label in text_dataset["label"]]
    own = naive_predictions(teacher, other_tokenizer, text_dataset["sentence"])
    assert own != naive_predictions(teacher, tokenizer, text_dataset["sentence"])
    assert comparison.models["teacher"].metrics["accuracy"] == pytest.approx(share_equal(own, labels))


def test_rows_that_bring_their_tokens_are_read_as_they_are(classifier, tokenizer, text_dataset):
    """A tokenized dataset and its texts are the same rows."""
    teacher, student = classifier(1), classifier(2)
    from_texts = measured(teacher, student, text_dataset, tokenizer)
    tokens = text_dataset.map(lambda row: tokenizer(row["sentence"])).rename_column("label", "labels")
    from_tokens = measured(teacher, student, tokens.remove_columns("sentence"), tokenizer, text_columns=())
    for role in ("teacher", "student"):
        assert from_tokens.models[role].metrics == from_texts.models[role].metrics
    assert from_tokens.models["student"].agreement == from_texts.models["student"].agreement


def test_pairs_of_texts_are_read_as_pairs(classifier, tokenizer, text_dataset):
    """Reading the first of two texts alone gives a prediction too."""
    teacher, student = classifier(1), classifier(2)
    rows = text_dataset.add_column("reply", text_dataset["sentence"][::-1])
    comparison = measured(teacher, student, rows, tokenizer, text_columns=("sentence", "reply"))
    with torch.no_grad():
        predictions = [
            NAMES[int(student(**tokenizer(row["sentence"], row["reply"], return_tensors="pt")).logits.argmax())]
            for row in rows
        ]
    labels = [NAMES[label] for label in rows["label"]]
    assert comparison.models["student"].metrics["accuracy"] == pytest.approx(share_equal(predictions, labels))


def test_sizes_are_exact(classifier, tokenizer, text_dataset):
    """Size is a figure people choose by: counted from the configuration, bytes at the dtype that runs."""
    student = classifier(2, num_hidden_layers=1)
    teacher = classifier(1, num_hidden_layers=3).half()
    models = measured(teacher, student, text_dataset, tokenizer).models
    width, inner, embeddings = 16, 24, (120 + 64 + 2) * 16
    layer = 4 * (width * width + width) + 2 * width * inner + width + inner + 4 * width
    rest = 2 * width + (width * width + width) + (3 * width + 3)  # the embeddings' norm, the pooler, the classifier
    for role, layers, bytes_each in (("teacher", 3, 2), ("student", 1, 4)):
        assert models[role].parameters == embeddings + layers * layer + rest
        assert models[role].embedding_parameters == embeddings
        assert models[role].megabytes == pytest.approx(models[role].parameters * bytes_each / 1e6)


def test_a_notebook_shows_a_table(classifier, tokenizer, text_dataset):
    """As the last line of a cell it was the source of a dataclass, of pages."""
    shown = measured(classifier(1), classifier(2), text_dataset, tokenizer)._repr_markdown_().splitlines()
    assert shown[0] == "| 30 test rows | teacher | student |" and 5 < len(shown) <= 14


def test_a_much_larger_model_is_slower(classifier, tokenizer, text_dataset, monkeypatch):
    """A clock that is read before the work is done would find all models alike."""
    monkeypatch.setattr(timing, "LATENCY_TURNS", 2)
    monkeypatch.setattr(timing, "LATENCY_ROWS", 10)
    monkeypatch.setattr(timing, "THROUGHPUT_ROUNDS", 3)
    teacher, student = classifier(1, num_hidden_layers=16, hidden_size=64), classifier(2, num_hidden_layers=1)
    comparison = measured(teacher, student, text_dataset, tokenizer)
    assert comparison.speedup > 2
    figures = comparison.models
    assert figures["student"].examples_per_second > figures["teacher"].examples_per_second > 0
    assert comparison.device.startswith("cpu")


def test_one_network_has_one_speed_and_each_speed_its_spread(classifier, tokenizer, text_dataset):
    """Student and baseline are one network: two speeds were noise told as a difference."""
    student, baseline = classifier(2, num_hidden_layers=1), classifier(3, num_hidden_layers=1)
    comparison = measured(classifier(1), student, text_dataset, tokenizer, baseline=baseline)
    results = comparison.results()
    assert comparison.one_network == [["student", "baseline"]]
    for name in ("latency_ms", "latency_p95_ms", "examples_per_second"):
        assert results[f"student_{name}"] == results[f"baseline_{name}"] != results[f"teacher_{name}"]
    for name in ("student_latency_ms", "teacher_latency_ms", "teacher_examples_per_second", "speedup"):
        assert 0 < results[f"{name}_q1"] <= results[f"{name}_q3"]
    assert results["student_latency_ms_q1"] <= results["student_latency_ms"] <= results["student_latency_ms_q3"]


def test_fewer_rows_than_are_timed(classifier, tokenizer, text_dataset):
    comparison = measured(classifier(1), classifier(2), text_dataset.select([0]), tokenizer)
    assert comparison.rows == 1 and np.isfinite(comparison.speedup)


def test_texts_beyond_a_models_positions_are_cut(classifier, tokenizer, text_dataset):
    """One long text must not end a run after its training."""
    rows = text_dataset.map(lambda row: {"sentence": " ".join([row["sentence"]] * 30)})
    comparison = measured(classifier(1), classifier(2, max_position_embeddings=20), rows, tokenizer)
    assert comparison.rows == len(rows)


def test_nothing_more_is_needed_than_models_rows_and_tokenizer(classifier, tiny_bert, tokenizer, text_dataset):
    """The metrics follow from the head, the text from the rows: a default for another problem would be no figure."""
    teacher, student = classifier(1), classifier(2)
    comparison = compare(teacher, student, text_dataset, tokenizer)
    assert list(comparison.models["student"].metrics) == ["accuracy", "f1_macro"]
    expected = measured(teacher, student, text_dataset, tokenizer)
    assert comparison.models["student"].metrics["accuracy"] == expected.models["student"].metrics["accuracy"]
    assert comparison.disagreements == expected.disagreements and str(comparison) == comparison.table()
    two = text_dataset.map(lambda row: {"label": row["label"] % 2})
    binary = [classifier(seed, names=["no", "yes"]) for seed in (1, 2)]
    assert "matthews_correlation" in compare(*binary, two, tokenizer).models["student"].metrics
    scores = text_dataset.map(lambda row: {"label": len(row["sentence"]) / 7})
    regression = [tiny_bert(num_labels=1, seed=seed) for seed in (1, 2)]
    assert list(compare(*regression, scores, tokenizer).models["student"].metrics) == ["pearson", "spearmanr", "mse"]


def test_soft_targets_are_taken_in_their_own_order(classifier, tokenizer, text_dataset, monkeypatch):
    """The pass over the test split that made the soft targets was made a second time."""
    teacher, student = classifier(1, names=ORDER), classifier(2)
    rows = soft_targets(teacher, text_dataset, tokenizer, text_columns=SENTENCE)
    expected = measured(teacher, student, text_dataset, tokenizer)
    run = []
    monkeypatch.setattr(
        report, "predict_logits", lambda *a, description, **k: (run.append(description), predict_logits(*a, **k))[1]
    )
    comparison = measured(teacher, student, rows, tokenizer, reuse_soft_targets=True)
    assert run == ["Running the student"] and expected.models["student"].agreement < 1
    for role in ("teacher", "student"):
        assert comparison.models[role].metrics == expected.models[role].metrics
    assert comparison.models["student"].divergence == pytest.approx(expected.models["student"].divergence, rel=1e-5)
    by_own_names = soft_targets(teacher, text_dataset, tokenizer, text_columns=SENTENCE, label_names=ORDER)
    again = measured(teacher, student, by_own_names, tokenizer, reuse_soft_targets=True)
    assert again.models["teacher"].metrics == expected.models["teacher"].metrics
    with pytest.raises(ValueError, match="needs rows with teacher_logits: make them with soft_targets"):
        measured(teacher, student, text_dataset, tokenizer, reuse_soft_targets=True)


def test_rows_are_tokenized_once_for_models_that_read_alike(classifier, tokenizer, text_dataset, monkeypatch):
    read = []
    monkeypatch.setattr(report, "token_rows", lambda model, *a: (read.append(model), token_rows(model, *a))[1])
    teacher, student = classifier(1), classifier(2, max_position_embeddings=20)
    measured(teacher, student, text_dataset, tokenizer, baseline=classifier(3, max_position_embeddings=20))
    assert read == [teacher, student]


def test_one_column_may_be_named_by_its_name(classifier, tokenizer, text_dataset):
    comparison = measured(classifier(1), classifier(2), text_dataset, tokenizer, text_columns="sentence")
    assert comparison.rows == len(text_dataset) and comparison.disagreements[0].text in text_dataset["sentence"]


# ---- What is refused ----


def test_what_cannot_be_read_is_refused(classifier, tokenizer, text_dataset):
    """A user would meet a KeyError, or an error of numpy, far from what was wrong."""
    teacher, student = classifier(1), classifier(2)
    with pytest.raises(TypeError, match="measures transformers models, and as teacher it got str: load it first"):
        measured("somebody/bert", student, text_dataset, tokenizer)
    pairs = text_dataset.add_column("reply", text_dataset["sentence"])  # neither is chosen by itself
    with pytest.raises(ValueError, match="found no column input_ids; the rows have sentence, label, reply: tokenize"):
        measured(teacher, student, pairs, tokenizer, text_columns=())
    with pytest.raises(ValueError, match="found no column text; the rows have sentence, label: name the columns"):
        measured(teacher, student, text_dataset, tokenizer, text_columns=["text"])
    with pytest.raises(ValueError, match="needs rows to measure on, and the dataset has none"):
        measured(teacher, student, text_dataset.select([]), tokenizer)


def test_translators_are_shown_their_own_comparison(classifier, tokenizer, text_dataset):
    """Their logits are of tokens, and would be read as classes."""
    translator, own = make_translator()
    with pytest.raises(ValueError, match="which writes texts: compare those with compare_translations"):
        compare(translator, translator, text_dataset, own)


def test_rows_without_labels_are_refused(classifier, tokenizer, text_dataset):
    with pytest.raises(ValueError, match="needs a column label or labels; the rows have sentence"):
        measured(classifier(1), classifier(2), text_dataset.remove_columns("label"), tokenizer)


@pytest.mark.parametrize("order", [["bad", "fair", "good"], ["good", "bad", "fair"], ["Fair", "GOOD", "bad"]], ids=str)
def test_the_labels_of_the_rows_are_found_by_name(classifier, tokenizer, text_dataset, order):
    """Of a dataset that numbers its classes otherwise every figure would be another one."""
    teacher, student, baseline = classifier(1), classifier(2), classifier(5, names=["good", "bad", "fair"])
    folded = [name.casefold() for name in order]
    numbers = [folded.index(NAMES[label]) for label in text_dataset["label"]]
    numbers[3] = -1  # and there is none
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=order)})
    rows = Dataset.from_dict({"sentence": text_dataset["sentence"][:], "label": numbers}, features=features)
    comparison = measured(teacher, student, rows, tokenizer, baseline=baseline)
    kept = [row for row in range(len(rows)) if row != 3]
    truth = [NAMES[text_dataset["label"][row]] for row in kept]
    texts = [text_dataset["sentence"][row] for row in kept]
    for role, model in (
        ("teacher", teacher),
        ("student", student),
        ("baseline", classifier(5, names=["good", "bad", "fair"])),
    ):
        accuracy = share_equal(naive_predictions(model, tokenizer, texts), truth)
        assert comparison.models[role].metrics["accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([0, 1, 7], "label of row 2 in column 'labels' of the rows, 7, is no class of the model, which has 3"),
        (["bad", "bad", "fair"], "column 'labels' of the rows holds texts, such as 'bad', where numbers are"),
    ],
)
def test_labels_that_are_none_of_the_students_are_refused(classifier, tokenizer, labels, sentence):
    rows = Dataset.from_dict({"sentence": TEXTS[:3], "labels": labels})
    with pytest.raises(ValueError, match=sentence):
        measured(classifier(1), classifier(2), rows, tokenizer)


def test_models_of_different_questions_are_refused(classifier, tokenizer, text_dataset):
    """Comparing good/bad with spam/ham gives a number, too."""
    with pytest.raises(ValueError, match="name their labels differently"):
        measured(classifier(1, names=["a", "b", "c"]), classifier(2), text_dataset, tokenizer)
    with pytest.raises(ValueError, match="the teacher has 2 labels and the student 3"):
        measured(classifier(1, names=["bad", "good"]), classifier(2), text_dataset, tokenizer)


def test_texts_of_the_fixtures_have_many_lengths():
    """The tests of order above would prove nothing on texts of one length."""
    assert len({len(text.split()) for text in TEXTS}) > 3


# ---- What follows from the predictions ----


def test_only_labeled_rows_are_scored(classifier, tokenizer, text_dataset):
    """A row without a label would count as a wrong prediction of every model."""
    teacher, student, baseline = classifier(1), classifier(2), classifier(5)
    hidden = text_dataset.remove_columns("label").add_column("labels", [-100] * 10 + text_dataset["label"][10:])
    known = text_dataset.select(range(10, 30))
    with_hidden = measured(teacher, student, hidden, tokenizer, baseline=baseline)
    without = measured(teacher, student, known, tokenizer, baseline=baseline)
    assert with_hidden.paired == without.paired and with_hidden.classes == without.classes
    for role, model in without.models.items():
        assert with_hidden.models[role].calibration.error == pytest.approx(model.calibration.error)
    assert sum(part.rows for part in with_hidden.lengths) == 20 and with_hidden.rows == 30


def test_where_the_models_differ(classifier, tokenizer, text_dataset):
    """Examples of rows on which the two agree, or beside another row's text, would lead nowhere."""
    teacher, student = classifier(1), classifier(2)
    comparison = measured(teacher, student, text_dataset, tokenizer)
    predictions = {
        text: tuple(naive_predictions(model, tokenizer, [text])[0] for model in (teacher, student))
        for text in text_dataset["sentence"]
    }
    names = dict(zip(text_dataset["sentence"], (NAMES[label] for label in text_dataset["label"]), strict=True))
    differing = [text for text, (one, other) in predictions.items() if one != other]
    assert len(comparison.disagreements) == min(EXAMPLES, len(differing)) > 1
    for example in comparison.disagreements:
        assert (example.predictions["teacher"], example.predictions["student"]) == predictions[example.text]
        assert example.predictions["label"] == names[example.text] and example.text in differing
    assert comparison.confusion.sum() == len(text_dataset)
    assert comparison.confusion.sum() - comparison.confusion.trace() == len(differing)
    for row, column in zip(*np.nonzero(comparison.confusion), strict=True):
        pair = (NAMES[row], NAMES[column])
        assert comparison.confusion[row, column] == sum(prediction == pair for prediction in predictions.values())


def test_each_problem_type_has_figures_of_its_own(tiny_bert, tokenizer, text_dataset):
    """A regression has no classes, and many labels no confusion; neither must stop the report."""
    texts = text_dataset.remove_columns("label")
    scores = texts.add_column("label", [len(text) / 7 for text in texts["sentence"]])
    regression = {"problem_type": "regression"}
    models = [tiny_bert(num_labels=1, seed=seed, **regression) for seed in (1, 2)]
    metrics = classification_metrics(**regression)
    found = measured(*models, scores, tokenizer, compute_metrics=metrics, baseline=models[0])
    assert found.confusion is None and not found.classes and not found.lengths and found.paired is not None
    assert "pearson" in found.models["student"].metrics and "agreement" not in found.results()
    assert float(found.disagreements[0].predictions["student"]) and found.models["student"].divergence is None
    many = {"problem_type": "multi_label_classification"}
    models = [tiny_bert(num_labels=3, seed=seed, **many) for seed in (1, 2)]
    rows = texts.add_column("label", [[float(len(text) % 2), 1.0, 0.0] for text in texts["sentence"]])
    found = measured(*models, rows, tokenizer, compute_metrics=classification_metrics(**many))
    assert found.confusion is None and not found.classes and found.lengths and found.models["student"].divergence > 0
    assert "LABEL_1" in found.disagreements[0].predictions["label"]
