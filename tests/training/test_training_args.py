"""`hfdistill.training.arguments`: values are checked, survive a file, and reach the command line."""

import argparse
import dataclasses
import json
import math
import re
from typing import get_args, get_type_hints

import pytest
from transformers import HfArgumentParser, TrainingArguments

from hfdistill import DistillationTrainingArguments, Schedule
from hfdistill.losses import DIVERGENCES, HIDDEN_STATE_LOSSES, PROJECTION_INITS
from hfdistill.losses.schedules import SHAPES
from hfdistill.teachers import COMBINATIONS
from hfdistill.training.arguments import DTYPES, RANGES, Seq2SeqDistillationTrainingArguments

#: Something other than the default for every field of its own.
CHANGED = {"temperature": 8.0, "temperature_end": 2.0, "temperature_schedule": "linear", "alpha": 0.9}
CHANGED |= {"alpha_end": 0.1, "alpha_schedule": "cosine", "label_weight": 0.25, "soft_target_weight": 1.5}
CHANGED |= {"divergence": "js", "js_beta": 0.1, "standardize_logits": True}
CHANGED |= {"terms": ["labels:0.3", "soft_targets:0.7"]}
CHANGED |= {"stages": ["hidden_states:1 minilm epochs=2 learning_rate=0.001", "labels:0.5 soft_targets:0.5 epochs=3"]}
CHANGED |= {"layer_map": ["1", "3"], "hidden_state_loss": "cosine", "projection_init": "least_squares"}
CHANGED |= {"relation_heads": 4, "teacher_layer": 2}
CHANGED |= {"teacher_dtype": "bfloat16", "student_dtype": "auto", "teacher_at_eval": False}
CHANGED |= {"teacher_combination": "logits", "teacher_weights": [1.0, 3.0], "labeled_share": 0.25}
CHANGED |= {"max_tokens_per_batch": 4096}

#: Numbers that each of these cannot be; of the others, what nothing can be.
BELOW = dict.fromkeys(RANGES, -1) | {"max_steps": -2, "save_total_limit": -2, "teacher_layer": -(2**31)}
BELOW |= {"alpha": -1.0}  # always a float
BEYOND = {
    **dict.fromkeys(("temperature", "temperature_end"), (0, 1e-30, 1e30)),
    **dict.fromkeys(("alpha", "alpha_end", "labeled_share", "js_beta"), (1.5,)),
    **dict.fromkeys(("labeled_share", "js_beta"), (0, 1)),
    **dict.fromkeys(("adam_beta1", "adam_beta2", "label_smoothing_factor"), (1, 1.5)),
    **dict.fromkeys(("label_weight", "soft_target_weight", "learning_rate"), (1e30,)),
    "adam_epsilon": (0, 1e-50),
    "gradient_accumulation_steps": (0, 2**40),
}
OUTSIDE = {name: (BELOW[name], math.nan, math.inf, *BEYOND.get(name, ())) for name in RANGES}


def own_fields():
    inherited = {field.name for field in dataclasses.fields(TrainingArguments)}
    return [field for field in dataclasses.fields(DistillationTrainingArguments) if field.name not in inherited]


@pytest.fixture
def make_args(tmp_path):
    def make(**settings):
        return DistillationTrainingArguments(str(tmp_path), **settings)

    return make


@pytest.fixture
def parser():
    return HfArgumentParser(DistillationTrainingArguments)


# ---- What is refused ----


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *[
            ({name: value}, f"^{re.escape(f'{name} must be {RANGES[name]}; got {value}.')}$")
            for name in sorted(
                RANGES.keys() & {field.name for field in dataclasses.fields(DistillationTrainingArguments)}
            )
            for value in OUTSIDE[name]
        ],
        *[
            ({name: value}, f"^{name} must be .*; got ")
            for name, value in (
                ("learning_rate", True),
                ("learning_rate", "1e-3"),
                ("temperature", None),
                ("max_steps", 10.0),
                ("teacher_weights", [1.0, math.nan]),
                ("teacher_weights", [1.0, 0.0]),
            )
        ],
        ({"divergence": "kl"}, f"divergence must be one of {', '.join(DIVERGENCES)}; got kl"),
        ({"teacher_dtype": "fp16"}, f"teacher_dtype must be one of {', '.join(DTYPES)}; got fp16"),
        ({"student_dtype": "int8"}, f"student_dtype must be one of {', '.join(DTYPES)}; got int8"),
        *[
            ({f"{name}_schedule": "step", f"{name}_end": 1.0}, f"{name}_schedule must be one of {', '.join(SHAPES)}")
            for name in ("temperature", "alpha")
        ],
        *[
            ({f"{name}_schedule": "linear"}, f"{name}_schedule 'linear' needs {name}_end, the value at the last step")
            for name in ("temperature", "alpha")
        ],
        *[
            ({f"{name}_end": 1.0}, f"{name}_end 1.0 has no effect on a constant schedule; choose linear or cosine")
            for name in ("temperature", "alpha")
        ],
        ({"label_weight": 0.0, "soft_target_weight": 0.0}, "are both 0: there is nothing to learn from"),
        ({"label_weight": 0.0, "alpha": 0.0}, "are both 0: there is nothing to learn from"),
    ],
    ids=str,
)
def test_refuses_what_no_formula_allows(make_args, settings, message):
    """Each of these trains without an error, to a student that is worse than it need be, or NaN."""
    with pytest.raises(ValueError, match=message):
        make_args(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature_end": 1.0, "temperature_schedule": "linear"}, "the losses of two temperatures cannot be"),
        ({"alpha_end": 0.1, "alpha_schedule": "linear"}, "the losses of two alphas cannot be compared"),
    ],
    ids=str,
)
def test_the_best_model_is_not_chosen_by_the_losses_of_a_schedule(make_args, settings, message):
    """The lowest loss may be that of the mildest temperature, and the model one of the first steps."""
    best = {"load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch"}
    with pytest.raises(ValueError, match=f"{message}.*: set metric_for_best_model to a metric of the task"):
        make_args(**settings, **best)
    make_args(**settings, metric_for_best_model="accuracy", **best)
    make_args(**best)


def test_every_numeric_argument_has_a_range():
    """A new one, ours or of another version of transformers, must be thought about: NaN is never a good number."""
    numbers = {
        name
        for name, kind in get_type_hints(Seq2SeqDistillationTrainingArguments).items()
        if {int, float, list[float]} & {kind, *get_args(kind)} and not {bool, str} & set(get_args(kind))
    }
    assert numbers - {"local_rank"} == set(RANGES)  # which the launcher sets


def test_a_number_too_long_to_be_written_is_refused_all_the_same(make_args):
    with pytest.raises(ValueError, match="^seed must be a whole number of at least 0; got a int of thousands"):
        make_args(seed=10**5000)


def test_a_learning_rate_of_0_is_no_peak_of_stages(make_args):
    """The schedule of each stage is a multiple of it."""
    make_args(learning_rate=0.0)
    with pytest.raises(ValueError, match="with stages learning_rate must be a number in .*; got 0.0"):
        make_args(learning_rate=0.0, stages=["labels epochs=1 learning_rate=1e-3"])


def test_a_transformers_error_comes_after_the_ranges(make_args):
    """`Trainer`'s own check of a number says nothing of its range, or comes as another library's traceback."""
    with pytest.raises(ValueError, match="^warmup_steps must be a number in"):
        make_args(warmup_steps=-0.1)


def test_values_set_later_are_checked_by_check_ranges(make_args):
    args = make_args()
    args.temperature = -1.0
    with pytest.raises(ValueError, match="temperature must be .* got -1.0"):
        args.check_ranges()


@pytest.mark.parametrize(
    "settings",
    [
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"temperature": 0.1},
        {"label_weight": 0.0},
        {"label_weight": 3.0, "soft_target_weight": 7.0},
        {"alpha": 0.0, "alpha_end": 1.0, "alpha_schedule": "linear"},
        # `terms` stand in place of the weights.
        {"label_weight": 0.0, "soft_target_weight": 0.0, "terms": ["labels"]},
    ],
    ids=str,
)
def test_allows_the_ends(make_args, settings):
    make_args(**settings)


# ---- What it makes of them ----


@pytest.mark.parametrize("terms", [{"labels": 0.3, "soft_targets": 0.7}, "labels:0.3 soft_targets:0.7"], ids=str)
def test_terms_become_words(make_args, terms):
    """The names of a mapping alone would each weigh 1, without a word."""
    args = make_args(terms=terms)
    assert args.terms == ["labels:0.3", "soft_targets:0.7"]
    later = make_args(terms=["labels:1"])
    before, later.terms = later.objective_settings, terms
    assert later.objective_settings == args.objective_settings != before
    assert next(iter(later.make_stages())).weights == {"labels": 0.3, "soft_targets": 0.7}


def test_one_stage_is_one_text(make_args):
    """Read letter by letter, it would be many stages of unknown terms."""
    assert make_args(stages="labels:0.5 soft_targets epochs=2").stages == ["labels:0.5 soft_targets epochs=2"]


@pytest.mark.parametrize("name", ["temperature", "alpha"])
def test_whole_numbers_become_floats(make_args, name):
    """A search casts each trial's value to the type that is there: an int would turn 2.7 into 2."""
    value = getattr(make_args(**{name: 1}), name)
    assert isinstance(value, float)
    assert value == 1.0


def test_alpha_weighs_the_soft_targets(make_args):
    """Half of the literature has it the other way round."""
    assert make_args(alpha=0.7).response_weights == pytest.approx({"labels": 0.3, "soft_targets": 0.7})


@pytest.mark.parametrize(
    ("settings", "labels", "soft_targets"),
    [
        ({"label_weight": 2.0}, 2.0, 0.75),
        ({"soft_target_weight": 3.0}, 0.25, 3.0),
        ({"label_weight": 2.0, "soft_target_weight": 3.0}, 2.0, 3.0),
        ({"label_weight": 0.0}, 0.0, 0.75),
        ({"soft_target_weight": 0.0}, 0.25, 0.0),
    ],
)
def test_the_two_weights_stand_in_place_of_alpha(make_args, settings, labels, soft_targets):
    """A weight of 0 that is taken for "not given" would leave on what was turned off."""
    weights = make_args(alpha=0.75, **settings).response_weights
    assert weights == {"labels": labels, "soft_targets": soft_targets}


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_schedules(make_args, shape):
    alpha = {"alpha": 0.75, "alpha_end": 0.25, "alpha_schedule": shape}
    args = make_args(temperature=8, temperature_end=2.0, temperature_schedule=shape, **alpha)
    assert args.temperature_over_time == Schedule(8.0, 2.0, shape)
    weights = args.response_weights
    assert weights == {"labels": Schedule(0.25, 0.75, shape), "soft_targets": Schedule(0.75, 0.25, shape)}
    for progress in (0.0, 0.3, 1.0):
        assert sum(weight.at(progress) for weight in weights.values()) == pytest.approx(1)
    assert make_args(label_weight=2.0, **alpha).response_weights["labels"] == 2.0


def test_without_schedules_they_are_numbers(make_args):
    assert make_args(temperature=3.0).temperature_over_time == 3.0


COOLING = {"temperature_end": 1.0, "temperature_schedule": "linear"}
HANDING_OVER = {"alpha_end": 0.1, "alpha_schedule": "linear"}


@pytest.mark.parametrize(
    ("settings", "others"),
    [
        *[
            ({}, {name: CHANGED[name]})
            for name in CHANGED
            if re.match("temperature$|alpha$|(label|soft_target)_weight|div|js|stand", name)
        ],
        ({}, {"terms": ["labels:0.3"]}),
        ({"terms": ["labels:0.3"]}, {"terms": ["labels:0.4"]}),
        ({}, {"stages": ["labels epochs=1"]}),
        ({}, {"layer_map": ["last"]}),
        ({}, {"hidden_state_loss": "cosine"}),
        ({}, {"projection_init": "least_squares"}),
        ({}, {"relation_heads": 2}),
        ({}, {"teacher_layer": 2}),
        ({}, {"label_smoothing_factor": 0.1}),
        ({}, COOLING),
        (COOLING, {**COOLING, "temperature_end": 1.5}),
        (COOLING, {**COOLING, "temperature_schedule": "cosine"}),
        ({}, HANDING_OVER),
        (HANDING_OVER, {**HANDING_OVER, "alpha_end": 0.2}),
        (HANDING_OVER, {**HANDING_OVER, "alpha_schedule": "cosine"}),
    ],
    ids=str,
)
def test_another_objective_has_other_settings(make_args, settings, others):
    """The trainer builds its objective anew when these differ: what they leave out, a search sets in vain."""
    assert make_args(**settings).objective_settings == make_args(**settings).objective_settings
    assert make_args(**settings).objective_settings != make_args(**others).objective_settings


def test_for_labels_only(make_args, tmp_path):
    """A baseline that still learns from the teacher is no baseline, and one in the student's folder overwrites it."""
    args = make_args(alpha=0.7, label_weight=0.1, learning_rate=1e-3, push_to_hub=True)
    baseline = args.for_labels_only(str(tmp_path / "baseline"), num_train_epochs=7)
    assert next(iter(baseline.make_stages())).weights == {"labels": 1.0}
    assert (baseline.output_dir, baseline.push_to_hub) == (str(tmp_path / "baseline"), False)
    assert (baseline.num_train_epochs, baseline.learning_rate) == (7, 1e-3)
    assert (args.output_dir, args.push_to_hub, args.terms, args.num_train_epochs) == (str(tmp_path), True, None, 3.0)


# ---- Files and the command line ----


def test_no_field_is_left_out_here():
    assert list(CHANGED) == [field.name for field in own_fields()]
    assert all(CHANGED[field.name] != field.default for field in own_fields())


def test_keeps_the_defaults_of_transformers(tmp_path):
    stock, ours = TrainingArguments(str(tmp_path)), DistillationTrainingArguments(str(tmp_path))
    changed = [name for name, value in stock.to_dict().items() if ours.to_dict()[name] != value]
    assert changed == []


def test_survives_a_dict_and_a_json_file(make_args, parser, tmp_path):
    """What a run is repeated from must say all of it."""
    args = make_args(learning_rate=1e-3, **CHANGED)
    (path := tmp_path / "args.json").write_text(json.dumps(args.to_dict()))
    for (read,) in (parser.parse_dict(args.to_dict()), parser.parse_json_file(str(path))):
        assert {name: getattr(read, name) for name in CHANGED} == CHANGED
        assert read.to_dict() == args.to_dict()


def test_the_command_line_sets_every_field(parser, tmp_path):
    words = ["--output_dir", str(tmp_path)]
    for name, value in CHANGED.items():
        words += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    (args,) = parser.parse_args_into_dataclasses(words)
    assert {name: getattr(args, name) for name in CHANGED} == CHANGED


def test_help_renders(parser):
    """A bare % in a help text is an error only when somebody asks for help."""
    text = parser.format_help()
    for field in own_fields():
        assert f"--{field.name}" in text


@pytest.mark.parametrize("field", own_fields(), ids=lambda field: field.name)
def test_every_field_has_help_and_its_choices(field, parser):
    assert field.metadata["help"].endswith(".")
    choices = {"divergence": list(DIVERGENCES), "teacher_dtype": list(DTYPES), "student_dtype": list(DTYPES)}
    choices |= {"hidden_state_loss": list(HIDDEN_STATE_LOSSES), "projection_init": list(PROJECTION_INITS)}
    choices["teacher_combination"] = list(COMBINATIONS)
    choices |= dict.fromkeys(("temperature_schedule", "alpha_schedule"), list(SHAPES))
    action: argparse.Action = next(action for action in parser._actions if action.dest == field.name)
    assert (list(action.choices) if action.choices and field.name in choices else None) == choices.get(field.name)


def test_docstring_names_the_fields_in_their_order():
    """Two texts on one thing drift apart."""
    documented = re.findall(
        r"^        (\w+): ", DistillationTrainingArguments.__doc__.split("Raises:")[0], re.MULTILINE
    )
    assert documented == [field.name for field in own_fields()]
