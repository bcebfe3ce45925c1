"""One contract for every kind of head: live = stored = naive, and no loss depends on how a batch is cut or padded."""

import math
import random

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, List
from processes import results_of_two_ranks
from tiny import WORDS, distance, make_args, make_tokenizer, naive_soft_target_loss, weights
from tiny_media import make_speaker, make_vit, quiet_listener
from torch.nn.functional import pad
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForTokenClassification,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    default_data_collator,
)

from hfdistill import DistillationTrainer, Objective, soft_targets
from hfdistill.losses import Labels, SoftTargets
from hfdistill.models.heads import head_of
from hfdistill.models.saved_weights import load_renamed
from hfdistill.models.sound import SoundCollator, SoundPadding

NAMES = ["O", "B-x", "I-x"]


def model_of(kind, seed=0, **changes):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.4}
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes, **quiet, **changes)
    return kind(config)


def tagger(seed=0, names=NAMES):
    return model_of(BertForTokenClassification, seed, id2label=dict(enumerate(names)), num_labels=len(names))


def finder(seed=0):
    return model_of(BertForQuestionAnswering, seed)


def texts(count=12):
    rng = random.Random(1)
    return [[2, *rng.choices(range(4, len(WORDS)), k=rng.randint(3, 9)), 3] for _ in range(count)]


def tagged_rows():
    """Labels of unequal number; the first and last token, and some others, have none."""
    rng, ids = random.Random(2), texts()
    labels = [[-100, *(rng.choice([0, 1, 2, -100]) for _ in row[2:]), -100] for row in ids]
    return Dataset.from_dict({"input_ids": ids, "labels": labels})


def answered_rows():
    """Where an answer begins and ends; of the last row it is not to be found."""
    rng, ids = random.Random(3), texts()
    starts = [rng.randrange(1, len(row) - 1) for row in ids]
    ends = [rng.randrange(start, len(row) - 1) for start, row in zip(starts, ids, strict=True)]
    starts[-1] = ends[-1] = -1
    return Dataset.from_dict({"input_ids": ids, "start_positions": starts, "end_positions": ends})


def seen_rows(count=12):
    pictures = np.random.default_rng(4).normal(size=(count, 3, 8, 8)).astype("float32")
    return Dataset.from_dict({"pixel_values": list(pictures), "labels": [row % 3 for row in range(count)]})


def sounds(count=12):
    rng = np.random.default_rng(5)
    return [rng.normal(size=length).astype("float32") for length in rng.integers(60, 120, size=count)]


def heard_rows():
    return Dataset.from_dict({"input_values": sounds(), "labels": [row % 3 for row in range(12)]})


def spoken_rows():
    """Letters of unequal number, equal ones next to each other among them; the last row has none."""
    rng = random.Random(6)
    letters = [rng.choices(range(1, 6), k=rng.randint(1, 4)) for _ in range(11)]
    return Dataset.from_dict({"input_values": sounds(), "labels": [*letters[:-1], [2, 2, 3], []]})


class MorePadding:
    """A collator of sounds that pads beyond the longest."""

    def __init__(self, collator, multiple):
        self.collator, self.multiple = collator, multiple

    def __call__(self, features):
        batch = self.collator(features)
        batch.setdefault("attention_mask", torch.ones_like(batch["input_values"], dtype=torch.int64))
        more = -batch["input_values"].shape[1] % self.multiple
        return batch | {name: pad(batch[name], (0, more)) for name in ("input_values", "attention_mask")}


def sound_collator(tokenizer, pad_to_multiple_of=None):
    return MorePadding(SoundCollator(SoundPadding.of(quiet_listener())), 7 * (pad_to_multiple_of or 1))


def picture_collator(tokenizer, pad_to_multiple_of=None):
    return default_data_collator


KINDS = {
    "tokens": (tagger, tagged_rows, DataCollatorForTokenClassification),
    "spans": (finder, answered_rows, DataCollatorWithPadding),
    "pictures": (lambda seed=0: make_vit(seed, quiet=True)[0], seen_rows, picture_collator),
    "sounds": (quiet_listener, heard_rows, sound_collator),
    "speech": (make_speaker, spoken_rows, sound_collator),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def train(tmp_path, kind, *, rows=None, teacher=True, stored=False, pad_to=None, side="right", run=True, **changes):
    make, make_rows, collator = KINDS[kind]
    rows, asked, tokenizer = rows or make_rows(), make(7) if teacher else None, make_tokenizer()
    tokenizer.padding_side = side
    if stored:
        reader = make_tokenizer() if "input_ids" in rows.column_names else None
        rows, asked = soft_targets(asked, rows, reader, store=tmp_path / "store"), None
    args = make_args(tmp_path / "out", **{"temperature": 2.0, "alpha": 0.5, "num_train_epochs": 1, **changes})
    trainer = DistillationTrainer(
        make(1),
        args,
        teacher=asked,
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=tokenizer,
        data_collator=collator(tokenizer, pad_to_multiple_of=pad_to),
    )
    if run:
        trainer.train()
    return trainer


def naive_ctc(logits, letters, blank=0):
    """`−log` of the sum over all ways to say the letters, frame by frame (Graves et al. 2006, section 3)."""
    states = [blank, *(state for letter in letters for state in (letter, blank))]
    p = logits.double().softmax(-1)
    alive = {0: p[0, blank].item(), 1: p[0, states[1]].item()}
    for frame in p[1:]:
        new = {}
        for place, state in enumerate(states):
            skips = state != blank and place > 1 and states[place - 2] != state
            sources = (place, place - 1, place - 2) if skips else (place, place - 1)
            new[place] = sum(alive.get(source, 0.0) for source in sources) * frame[state].item()
        alive = new
    return -math.log(alive[len(states) - 1] + alive[len(states) - 2])


@each_kind
@pytest.mark.parametrize("stored", [False, True])
def test_the_loss_is_that_of_a_loop_over_rows(tmp_path, kind, stored):
    trainer = train(tmp_path, kind, stored=stored, run=False)
    student, teacher = KINDS[kind][0](1).eval(), KINDS[kind][0](7).eval()
    hard, soft, rows = [], [], KINDS[kind][1]()
    read = rows.column_names[0]
    for row in rows:
        inputs = {read: torch.tensor([row[read]])}
        with torch.no_grad():
            one, other = student(**inputs), teacher(**inputs)
        if kind == "speech":
            hard += [naive_ctc(one.logits[0], row["labels"]) / len(row["labels"])] if row["labels"] else []
            items = [(*pair, -1) for pair in zip(one.logits[0], other.logits[0], strict=True)]
        elif kind in ("pictures", "sounds"):
            items = [(one.logits[0], other.logits[0], row["labels"])]
        elif kind == "tokens":
            items = [
                (one.logits[0, i], other.logits[0, i], label) for i, label in enumerate(row["labels"]) if label >= 0
            ]
        else:
            items = [
                (one[f"{end}_logits"][0], other[f"{end}_logits"][0], row[f"{end}_positions"])
                for end in ("start", "end")
            ]
        hard += [-s.double().log_softmax(0)[label].item() for s, _, label in items if label >= 0]
        soft += [naive_soft_target_loss(s[None], t[None], 2.0) for s, t, _ in items]
    metrics = trainer.evaluate()
    assert metrics["eval_label_loss"] == pytest.approx(np.mean(hard), rel=1e-5)
    assert metrics["eval_soft_target_loss"] == pytest.approx(np.mean(soft), rel=1e-5)


@each_kind
@pytest.mark.parametrize("stored", [False, True])
def test_the_weights_do_not_depend_on_the_cut(tmp_path, kind, stored):
    whole = train(tmp_path / "whole", kind, stored=stored)
    cuts = {
        "padded": {"pad_to": 16},
        "accumulated": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
    }
    for name, changes in cuts.items():
        other = train(tmp_path / name, kind, stored=stored, **changes)
        assert distance(weights(whole.model), weights(other.model)) < 1e-5, name


@pytest.mark.parametrize("kind", ["pictures", "sounds", "speech"])
def test_terms_on_layers_of_patches_and_frames_do_not_depend_on_the_cut(tmp_path, kind):
    terms = {"terms": ["hidden_states", "attentions", "minilm"]}
    whole = train(tmp_path / "whole", kind, **terms)
    cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    other = train(tmp_path / "cut", kind, pad_to=3, **terms, **cut)
    assert distance(weights(whole.model), weights(other.model)) < 1e-5
    assert distance(weights(whole.model), weights(train(tmp_path / "none", kind, alpha=0.0).model)) > 1e-3


@pytest.mark.parametrize("kind", ["tokens", "spans"])
def test_stored_soft_targets_stand_beside_their_tokens_on_either_side(tmp_path, kind):
    trainer = train(tmp_path, kind, stored=True, side="left", run=False)
    batch = next(iter(trainer.get_train_dataloader()))
    padding = batch["attention_mask"] == 0
    assert padding[:, 0].any() and not batch["teacher_logits"][padding].any()
    assert batch["teacher_logits"][~padding].any(-1).all()


@each_kind
def test_stored_and_live_teachers_train_the_same_student(tmp_path, kind):
    live, stored = train(tmp_path / "live", kind), train(tmp_path / "stored", kind, stored=True)
    untaught = train(tmp_path / "none", kind, teacher=False, alpha=0.0)
    assert distance(weights(live.model), weights(stored.model)) < 1e-5
    assert distance(weights(live.model), weights(untaught.model)) > 1e-3


@each_kind
def test_several_teachers_stored_are_several_teachers_live(tmp_path, kind):
    make, make_rows, _ = KINDS[kind]
    rows, teachers = make_rows(), [make(7), make(8)]
    reader = make_tokenizer() if "input_ids" in rows.column_names else None
    stored = soft_targets(teachers, rows, reader, store=tmp_path / "store")
    args = {"temperature": 2.0, "num_train_epochs": 1}
    both = [
        DistillationTrainer(
            make(1), make_args(tmp_path / name, **args), teacher=asked, train_dataset=data, eval_dataset=data,
            processing_class=make_tokenizer(), data_collator=KINDS[kind][2](make_tokenizer()),
        ).evaluate()
        for name, asked, data in (("live", teachers, rows), ("stored", None, stored))
    ]  # fmt: skip
    assert both[0]["eval_soft_target_loss"] == pytest.approx(both[1]["eval_soft_target_loss"], rel=1e-5)
    assert both[0]["eval_agreement"] == both[1]["eval_agreement"]


def test_labels_of_tokens_are_put_in_order_by_name(tmp_path):
    permuted = tagger(7, names=["I-x", "O", "B-x"])
    rows, order = tagged_rows(), [1, 2, 0]
    live = DistillationTrainer(
        tagger(1), make_args(tmp_path), teacher=permuted, train_dataset=rows, eval_dataset=rows,
        processing_class=make_tokenizer(),
    )  # fmt: skip
    stored = soft_targets(permuted, rows, make_tokenizer(), label_names=NAMES, store=tmp_path / "store")
    assert stored.features["teacher_label"] == List(ClassLabel(names=NAMES))
    ids = torch.tensor([rows[0]["input_ids"]])
    expected = permuted.eval()(input_ids=ids).logits[0][:, order]
    assert torch.allclose(torch.tensor(stored[0]["teacher_logits"]), expected, atol=1e-5)
    trainer = DistillationTrainer(
        tagger(1), make_args(tmp_path), train_dataset=stored, eval_dataset=stored, processing_class=make_tokenizer()
    )
    found = [one.evaluate()["eval_soft_target_loss"] for one in (live, trainer)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_an_item_mask_gives_tokens_without_a_label_soft_targets(tmp_path):
    rows = tagged_rows()
    unlabeled = rows.map(
        lambda row: {"labels": [-100] * len(row["labels"]), "item_mask": [label >= 0 for label in row["labels"]]}
    )
    masked, labeled = (
        train(tmp_path / str(n), "tokens", rows=one, run=False) for n, one in enumerate((unlabeled, rows))
    )
    found, expected = masked.evaluate(), labeled.evaluate()
    assert found["eval_soft_target_loss"] == pytest.approx(expected["eval_soft_target_loss"], rel=1e-5)
    assert "eval_label_loss" not in found


def test_rows_that_were_cut_after_soft_targets_are_refused(tmp_path):
    stored = soft_targets(tagger(7), tagged_rows(), make_tokenizer(), store=tmp_path / "store")
    cut = stored.map(lambda row: {name: row[name][:3] for name in ("input_ids", "labels")})
    with pytest.raises(ValueError, match="not one for each of its tokens"):
        train(tmp_path, "tokens", rows=cut, teacher=False)


@pytest.mark.parametrize(
    ("student", "teacher", "changes", "said"),
    [
        (make_speaker, finder, {}, "begins and ends, and the student a letter or a blank for each frame"),
        (make_speaker, lambda seed: make_speaker(seed, vocab_size=7), {}, "tells 7 letters apart"),
        (make_speaker, make_speaker, {"label_smoothing_factor": 0.1}, "no meaning for letters"),
        (make_speaker, make_speaker, {"terms": ["decoupled"]}, "no frame of sound has a label of its own"),
        (make_speaker, make_speaker, {"terms": ["patient"]}, "the first frame of a Wav2Vec2ForCTC is one like others"),
        (finder, tagger, {}, "decides a label for each token, and the student where an answer begins"),
        (tagger, finder, {}, "decides where an answer begins and ends, and the student a label for each token"),
        (finder, finder, {"label_smoothing_factor": 0.1}, "label_smoothing_factor is a mean over all classes"),
        (finder, finder, {"divergence": "mse"}, "divergence mse is a mean over all classes"),
    ],
)
def test_what_cannot_be_learned_is_refused(tmp_path, student, teacher, changes, said):
    with pytest.raises(ValueError, match=said):
        DistillationTrainer(
            student(1), make_args(tmp_path, **changes), teacher=teacher(7), train_dataset=answered_rows(),
            processing_class=make_tokenizer(),
        ).train()  # fmt: skip


def test_an_answer_beyond_its_text_is_none_whatever_the_padding(tmp_path):
    """In the padding of a long batch it would be a class that nothing can choose, with a loss of ten thousand."""
    rows = answered_rows()
    shortest = min(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]))
    beyond = [len(ids) if row == shortest else place for row, (ids, place) in
              enumerate(zip(rows["input_ids"], rows["end_positions"], strict=True))]  # fmt: skip
    none = [-1 if row == shortest else place for row, place in enumerate(beyond)]
    found = [
        train(tmp_path, "spans", rows=rows.remove_columns("end_positions").add_column("end_positions", ends), run=False)
        for ends in (beyond, none)
    ]
    losses = [trainer.evaluate()["eval_label_loss"] for trainer in found]
    assert losses[0] == pytest.approx(losses[1])


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"soft_targets": (1.0, SoftTargets(divergence="mse"))}, "divergence mse is a mean over all classes"),
        ({"soft_targets": (1.0, SoftTargets(standardize_logits=True))}, "standardize_logits is a mean"),
        ({"labels": (1.0, Labels(label_smoothing=0.1))}, "label_smoothing_factor is a mean"),
    ],
)
def test_a_given_objective_is_looked_at_too(tmp_path, terms, said):
    """Its terms bring what the arguments do not show: a loss that depends on the padding."""
    with pytest.raises(ValueError, match=said):
        DistillationTrainer(
            finder(1), make_args(tmp_path), teacher=finder(7), objective=Objective(terms),
            train_dataset=answered_rows(), processing_class=make_tokenizer(),
        )  # fmt: skip


def test_a_checkpoint_in_several_files_is_loaded_whole(tmp_path):
    trainer = train(tmp_path, "pictures")
    trainer.model.save_pretrained(tmp_path / "shards", max_shard_size="2KB")
    other = KINDS["pictures"][0](3)
    assert (tmp_path / "shards" / "model.safetensors.index.json").exists() and load_renamed(other, tmp_path / "shards")
    assert distance(weights(other), weights(trainer.model)) == 0


def test_metrics_of_answers_get_both_ends_as_from_trainer(tmp_path):
    shapes = []

    def metrics(prediction):
        shapes.append([one.shape for one in (*prediction.predictions, *prediction.label_ids)])
        return {}

    trainer = train(tmp_path, "spans", run=False)
    trainer.compute_metrics = metrics
    trainer.evaluate()
    assert [len(shape) for shape in shapes[0]] == [2, 2, 1, 1]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return results_of_two_ranks("train_heads_in_ranks.py", tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize("stored", [False, True])
def test_two_ranks_train_the_student_of_one(ranks, tmp_path, kind, stored):
    alone = train(tmp_path, kind, stored=stored)
    expected = alone.evaluate()
    for found in (rank[kind, stored] for rank in ranks):
        assert distance(found["weights"], weights(alone.model)) < 1e-5
        for name in ("eval_loss", "eval_label_loss", "eval_soft_target_loss", "eval_agreement"):
            assert found["metrics"][name] == pytest.approx(expected[name], rel=1e-4)


@each_kind
@pytest.mark.parametrize("stored", [False, True])
def test_a_killed_run_goes_on_to_the_same_student(tmp_path, kind, stored):
    changes = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 1, "stored": stored}
    whole = train(tmp_path, kind, **changes)
    resumed = train(tmp_path, kind, run=False, **changes)
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"))
    assert resumed.state.global_step == 4 and distance(weights(whole.model), weights(resumed.model)) < 1e-6


@each_kind
def test_the_saved_student_is_a_plain_model(tmp_path, kind):
    trainer = train(tmp_path, kind)
    trainer.save_model()
    loaded = type(trainer.model).from_pretrained(trainer.args.output_dir)
    assert distance(weights(loaded), weights(trainer.model)) == 0
    classifies = head_of(trainer.model).classifies
    assert getattr(loaded.config, "problem_type", None) == ("single_label_classification" if classifies else None)


def test_the_best_model_of_a_renamed_family_is_loaded_whole(tmp_path):
    """`Trainer` itself finds no layer of a ViT in its checkpoint, and says so in a warning."""
    changes = {"num_train_epochs": 2, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps"}
    trainer = train(tmp_path, "pictures", save_steps=1, load_best_model_at_end=True, learning_rate=1.0, **changes)
    best = type(trainer.model).from_pretrained(trainer.state.best_model_checkpoint)
    assert trainer.state.best_global_step < 4 and distance(weights(best), weights(trainer.model)) == 0
