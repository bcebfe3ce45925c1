"""Word-level distillation: every target token once, whatever the family, the padding and the cut of the batch."""

import copy

import numpy as np
import pytest
import torch
from both_trainers import both
from tiny import assert_logs_alike, distance, logs_of, make_model, make_tokenizer, weights
from tiny_seq2seq import (
    END,
    FAMILIES,
    PAD,
    compute_few_at_once,
    make_pairs,
    make_seq2seq,
    make_seq2seq_args,
    make_seq2seq_trainer,
    naive_losses,
    token_logits,
)
from transformers import DataCollatorForSeq2Seq

from hfdistill import DistillationTrainingArguments, ModelTeacher, Seq2SeqDistillationTrainer, Seq2SeqTeacher
from hfdistill.tasks.translation.metrics import translation_metrics

NAMES = ("loss", "label_loss", "soft_target_loss")


def pair(family="marian", **changes):
    return make_seq2seq(family, 1, **changes), make_seq2seq(family, 2)


# ---- The loss ----


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_every_token_alone(tmp_path, family):
    """A mask by padding ids drops the first token of Marian and T5; a shift by hand misses mBART's language."""
    student, teacher = pair(family)
    rows = make_pairs(8, family)
    (label_loss, soft_target_loss, _), tokens = naive_losses(student, teacher, family, rows)
    trainer = make_seq2seq_trainer(tmp_path, student, rows, teacher=teacher, max_steps=1)
    trainer.train()
    expected = [0.4 * soft_target_loss + 0.6 * label_loss, label_loss, soft_target_loss]
    assert logs_of(trainer, *NAMES)[0] == pytest.approx(expected, rel=1e-4)
    assert tokens == sum(map(len, rows["labels"]))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("divergence", ["reverse_kl", "js", "tv"])
def test_chunked_and_whole_loss_train_one_student(tmp_path, monkeypatch, family, divergence):
    """The loss that holds few logits must be the loss that holds all of them, in every family's own projection."""
    compute_few_at_once(monkeypatch)
    runs = []
    for chunked in (True, False):
        student, teacher = pair(family)
        trainer = make_seq2seq_trainer(
            tmp_path, student, make_pairs(8, family), teacher=teacher, divergence=divergence, max_steps=3
        )
        trainer._projects_plainly = None if chunked else False
        before = weights(student)
        trainer.train()
        assert trainer._projects_plainly is chunked
        runs.append((trainer, weights(student)))
        assert distance(before, weights(student)) > 0.003
    assert distance(runs[0][1], runs[1][1]) < 2e-6
    assert_logs_alike(runs[0][0], runs[1][0], *NAMES, "grad_norm")


@pytest.mark.parametrize("family", FAMILIES)
def test_chunked_and_whole_loss_train_one_student_in_mixed_precision(tmp_path, family):
    """Logits rounded to bfloat16 were taken for more than a projection, and those of whole batches held."""
    losses = []
    for chunked in (None, False):
        student, teacher = pair(family)
        trainer = make_seq2seq_trainer(
            tmp_path, student, make_pairs(8, family), teacher=teacher, max_steps=3, bf16=True
        )
        trainer._projects_plainly = chunked
        trainer.train()
        assert trainer._projects_plainly is (chunked is None)
        losses.append(logs_of(trainer, *NAMES))
    assert losses[0] == [pytest.approx(row, rel=5e-3) for row in losses[1]]


def test_a_label_of_minus_100_is_the_only_mask(tmp_path):
    """A padding id among the labels is a token like any other, and a token without a label counts for neither term."""
    rows = make_pairs(4)
    labels = [[PAD, *ids] for ids in rows["labels"]]
    with_pads = rows.remove_columns("labels").add_column("labels", labels)
    holed = [[*ids[:1], -100, *ids[1:]] for ids in rows["labels"]]
    with_holes = rows.remove_columns("labels").add_column("labels", holed)
    for dataset, counted in ((with_pads, sum(map(len, labels))), (with_holes, sum(map(len, rows["labels"])))):
        student, teacher = pair()
        trainer = make_seq2seq_trainer(tmp_path, student, dataset, teacher=teacher)
        batch = next(iter(trainer.get_train_dataloader()))
        assert trainer.current_objective.counts([batch]).tolist() == [counted, counted]


def test_a_teacher_that_starts_with_another_token_gets_its_own(tmp_path):
    """A Marian teacher that is started like a BART student has never seen such a beginning."""
    student, teacher = make_seq2seq("marian", 1, start=END), make_seq2seq("marian", 2)
    rows = make_pairs(8)
    (_, soft_target_loss, _), _ = naive_losses(student, teacher, "marian", rows)
    trainer = make_seq2seq_trainer(tmp_path, student, rows, teacher=teacher, max_steps=1)
    trainer.train()
    assert logs_of(trainer, "soft_target_loss")[0][0] == pytest.approx(soft_target_loss, rel=1e-4)


def test_several_teachers_are_an_ensemble(tmp_path):
    """A list of models was taken for classifiers."""
    student, rows = make_seq2seq(seed=1), make_pairs(8)
    models = [make_seq2seq(seed=2), make_seq2seq(seed=3)]
    for part in (models[0], make_tokenizer()):
        part.save_pretrained(tmp_path / "one")
    losses = []
    for teachers in ([tmp_path / "one", models[1]], [Seq2SeqTeacher(model) for model in models]):
        trainer = make_seq2seq_trainer(tmp_path, copy.deepcopy(student), rows, teacher=teachers, max_steps=1)
        trainer.train()
        losses.append(logs_of(trainer, *NAMES)[0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    with pytest.raises(ValueError, match="chooses among 48 tokens and the student among 40"):
        other = Seq2SeqTeacher(make_seq2seq(seed=3, vocab_size=48), make_tokenizer())
        make_seq2seq_trainer(tmp_path, student, rows, teacher=[models[0], other])


def test_a_model_with_another_way_to_its_logits_is_not_computed_in_parts(tmp_path):
    """A head that does more than multiply would be trained on a loss of logits it never gives."""

    class Doubled(type(make_seq2seq("bart"))):
        def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
            output = super().forward(input_ids, attention_mask, labels=labels, **kwargs)
            output.logits = 2 * output.logits
            return output

    student, teacher = make_seq2seq("bart", 1), make_seq2seq("bart", 2)
    student.__class__ = Doubled
    trainer = make_seq2seq_trainer(tmp_path, student, make_pairs(8), teacher=teacher, max_steps=2)
    trainer.train()
    assert trainer._projects_plainly is False
    assert logs_of(trainer, "label_loss")


def test_labels_alone_need_no_teacher_and_smooth(tmp_path):
    """The baseline runs on the same path; label smoothing is of target tokens."""
    student = make_seq2seq(seed=1)
    rows = make_pairs(4)
    logits = [token_logits(student, "marian", row) for row in rows]
    losses = [
        torch.nn.functional.cross_entropy(each, torch.tensor(row["labels"]), label_smoothing=0.1, reduction="sum")
        for each, row in zip(logits, rows, strict=True)
    ]
    trainer = make_seq2seq_trainer(tmp_path, student, rows, alpha=0.0, label_smoothing_factor=0.1, max_steps=1)
    trainer.train()
    expected = (sum(losses) / sum(map(len, rows["labels"]))).item()
    assert logs_of(trainer, "label_loss")[0][0] == pytest.approx(expected, rel=1e-5)


def test_rows_are_padded_without_a_collator_of_the_users(tmp_path):
    """The default collator of Trainer pads no labels."""
    student, teacher = pair()
    args = make_seq2seq_args(tmp_path, max_steps=1)
    trainer = Seq2SeqDistillationTrainer(
        student, args, teacher=teacher, train_dataset=make_pairs(8), processing_class=make_tokenizer()
    )
    trainer.train()
    assert logs_of(trainer, *NAMES)


# ---- Evaluation ----


@pytest.mark.parametrize("generate", [True, False])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_evaluation_reports_the_losses_of_all_tokens(tmp_path, generate, batch_size):
    """Stock `predict_with_generate` reports the model's own cross-entropy, a mean of batch means."""
    student, teacher = pair()
    rows = make_pairs(11)
    (label_loss, soft_target_loss, agreement), _ = naive_losses(student, teacher, "marian", rows)
    seen = []

    def metrics(prediction):
        seen.append(prediction)
        return {}

    given = {"eval_dataset": rows, "compute_metrics": metrics}
    trainer = make_seq2seq_trainer(
        tmp_path,
        student,
        rows,
        teacher=teacher,
        given=given,
        predict_with_generate=generate,
        per_device_eval_batch_size=batch_size,
    )
    found = trainer.evaluate()
    names = ("eval_loss", "eval_label_loss", "eval_soft_target_loss", "eval_agreement")
    expected = [0.4 * soft_target_loss + 0.6 * label_loss, label_loss, soft_target_loss, agreement]
    assert [found[name] for name in names] == pytest.approx(expected, rel=1e-4)
    assert seen[0].predictions.ndim == (2 if generate else 3)
    if generate:
        for row, written in zip(rows, seen[0].predictions, strict=True):
            alone = student.generate(torch.tensor([row["input_ids"]]))[0].tolist()
            assert [token for token in written.tolist() if token != -100][: len(alone)] == alone


def test_bleu_of_the_students_translations(tmp_path):
    """The metrics are of what the student writes, with as many beams as were asked for."""
    student, teacher = pair()
    rows = make_pairs(6)
    given = {"eval_dataset": rows, "compute_metrics": translation_metrics(make_tokenizer())}
    settings = {"predict_with_generate": True, "generation_num_beams": 2, "generation_max_length": 9}
    trainer = make_seq2seq_trainer(tmp_path, student, rows, teacher=teacher, given=given, **settings)
    metrics = trainer.evaluate()
    assert {"eval_bleu", "eval_chrf", "eval_soft_target_loss"} <= metrics.keys()
    written = trainer.predict(rows, num_beams=1).predictions
    assert (written[:, 9:] == PAD).all() and np.issubdtype(written.dtype, np.integer)


@pytest.mark.parametrize("settings", [{"num_return_sequences": 3, "num_beams": 3}, {"max_new_tokens": 4}, {}])
def test_predictions_are_those_of_seq2seq_trainer(tmp_path, settings):
    """Of several translations a row, those of the last batch were lost; shorter ones were padded with -100."""
    rows, seen = make_pairs(10), []
    given = {"model": lambda: make_seq2seq("t5", 1), "eval_dataset": lambda: rows}
    given |= {"compute_metrics": lambda prediction: seen.append(prediction) or {}, "predict_with_generate": True}
    for trainer in both(tmp_path, seq2seq=True, **given):
        trainer.evaluate(**settings)
    assert len(seen[0].predictions) == 10 * settings.get("num_return_sequences", 1)
    assert seen[0].predictions.tolist() == seen[1].predictions.tolist()
    assert seen[0].label_ids.tolist() == seen[1].label_ids.tolist()


# ---- What it refuses ----


#: Rows and a teacher, by what is said of them.
REFUSED = {
    "vocabulary has 44 entries and the student's 40.*pseudo_translations": lambda: (
        make_pairs(4),
        make_seq2seq(seed=2, vocab_size=44, decoder_vocab_size=44),
    ),
    "BertForSequenceClassification is no encoder-decoder": lambda: (make_pairs(4), make_model()),
    "vocabulary of its own.*pseudo_translations": lambda: (
        make_pairs(4),
        ModelTeacher(make_seq2seq(seed=2), make_tokenizer(), ["sentence"]),
    ),
    "train_dataset carries teacher_logits": lambda: (
        make_pairs(4).add_column("teacher_logits", [[0.0, 1.0]] * 4),
        make_seq2seq(seed=2),
    ),
    "no column labels.*text_target": lambda: (make_pairs(4).remove_columns("labels"), None),
}


@pytest.mark.parametrize("message", REFUSED)
def test_rows_and_teachers_that_do_not_fit_are_refused(tmp_path, message):
    rows, teacher = REFUSED[message]()
    with pytest.raises(ValueError, match=message):
        make_seq2seq_trainer(tmp_path, make_seq2seq(), rows, teacher=teacher)


def test_terms_on_layers_of_neither_side_are_refused(tmp_path):
    """A term that finds no hidden states under the name it knows must not pass for one that was learned from."""
    student, teacher = pair()
    terms = ["labels:1", "hidden_states:1"]
    with pytest.raises(ValueError, match="encoder-decoder take encoder_hidden_states, decoder_hidden_states"):
        make_seq2seq_trainer(tmp_path, student, make_pairs(4), teacher=teacher, terms=terms, max_steps=1).train()


def test_labels_padded_on_the_left_are_refused(tmp_path):
    """The decoder would read the padding as the beginning of the text."""
    rows = make_pairs(4)
    labels = [[-100, *ids] for ids in rows["labels"]]
    trainer = make_seq2seq_trainer(
        tmp_path, make_seq2seq(), rows.remove_columns("labels").add_column("labels", labels), alpha=0.0
    )
    with pytest.raises(ValueError, match="row 0 of the batch begin with -100"):
        trainer.train()


def test_plain_arguments_are_refused(tmp_path):
    with pytest.raises(TypeError, match="must be Seq2SeqDistillationTrainingArguments"):
        Seq2SeqDistillationTrainer(make_seq2seq(), DistillationTrainingArguments(str(tmp_path)))


def test_a_teacher_by_name_is_a_translator(tmp_path):
    make_seq2seq(seed=2).save_pretrained(tmp_path / "teacher")
    make_tokenizer().save_pretrained(tmp_path / "teacher")
    student = make_seq2seq(seed=1)
    trainer = make_seq2seq_trainer(tmp_path, student, make_pairs(4), teacher=str(tmp_path / "teacher"))
    assert isinstance(trainer.teacher, Seq2SeqTeacher)
    assert distance(weights(trainer.teacher.model), weights(make_seq2seq(seed=2))) == 0


@pytest.mark.parametrize("brings", [True, False])
def test_a_collator_that_pads_on_the_left_is_refused(tmp_path, brings):
    """Where labels are of one length only the sources are padded, and a text's loss depended on the batch."""
    student, tokenizer = make_seq2seq(), make_tokenizer()
    tokenizer.padding_side = "left"
    collator = DataCollatorForSeq2Seq(tokenizer, model=student) if brings else None
    with pytest.raises(ValueError, match="pads on the left.*set tokenizer.padding_side = 'right'"):
        Seq2SeqDistillationTrainer(
            student,
            make_seq2seq_args(tmp_path, alpha=0.0),
            train_dataset=make_pairs(4),
            processing_class=tokenizer,
            data_collator=collator,
        )
