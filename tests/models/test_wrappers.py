"""What stands around a model changes nothing of what is trained, stored, measured or cut from it."""

import copy
import os

import numpy as np
import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from tiny import (
    MULTI,
    accuracy,
    distance,
    live,
    logits_of,
    logs_of,
    make_args,
    make_model,
    make_rows,
    make_tokenizer,
    make_trainer,
    weights,
)
from torch import nn
from transformers import TrainerCallback
from transformers.modeling_outputs import SequenceClassifierOutput

from hfdistill import DistillationTrainer, ModelTeacher, make_student, soft_targets
from hfdistill.models.wrappers import config_of, is_plain_module, is_quantized, unwrapped, without_adapters
from hfdistill.report import cost
from hfdistill.report.cost import size_of
from hfdistill.tasks.classification.metrics import classification_metrics
from hfdistill.tasks.classification.report import compare
from hfdistill.teachers import MovingAverageTeacher


@pytest.fixture(scope="module", autouse=True)
def _process_group():
    """One process, for DistributedDataParallel."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _short_measurements(quick_report, monkeypatch):
    monkeypatch.setattr(cost, "THROUGHPUT_BATCH", 4)


def lora(model, alpha=8):
    """Adapters that change its predictions."""
    torch.manual_seed(5)
    settings = {"r": 2, "lora_alpha": alpha, "target_modules": ["query", "value"], "init_lora_weights": False}
    config = LoraConfig(task_type=TaskType.SEQ_CLS, **settings)
    return get_peft_model(model, config).eval()


def quantized(model):
    """Its linear maps in eight bits."""
    return torch.ao.quantization.quantize_dynamic(model.eval(), {nn.Linear})


WRAPPERS = {
    "compiled": lambda model: torch.compile(model, backend="eager", dynamic=True),
    "ddp": nn.parallel.DistributedDataParallel,
    "data_parallel": nn.DataParallel,
    "compiled_ddp": lambda model: torch.compile(nn.parallel.DistributedDataParallel(model), backend="eager"),
    "ddp_of_compiled": lambda model: nn.parallel.DistributedDataParallel(torch.compile(model, backend="eager")),
    "lora": lora,
    "ddp_of_lora": lambda model: nn.parallel.DistributedDataParallel(lora(model)),
}
#: Those that change nothing of what the model says.
AROUND = [name for name in WRAPPERS if "lora" not in name]


@pytest.mark.parametrize("name", WRAPPERS)
def test_it_is_looked_through(name):
    model = make_model(2)
    wrapped = WRAPPERS[name](model)
    assert without_adapters(wrapped) is model and config_of(wrapped) is model.config
    assert (unwrapped(wrapped) is model) == (name in AROUND)


def test_a_plain_model_is_not_searched():
    """It is asked for a dozen times in a step, and a large model has hundreds of parts."""

    class Unsearched(nn.Sequential):
        def modules(self):
            raise AssertionError

    model = Unsearched(nn.Linear(1, 1))
    assert unwrapped(model) is model


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_teacher_teaches_live_and_stored(tmp_path, name):
    """It was refused as no model, or its fingerprint ended in an AttributeError."""
    rows, student = make_rows(8), make_model(1)
    expected = ModelTeacher(lora(make_model(2)) if "lora" in name else make_model(2))
    stored = soft_targets(WRAPPERS[name](make_model(2)), rows, make_tokenizer())
    np.testing.assert_allclose(stored["teacher_logits"], logits_of(expected.model, rows), atol=1e-5)
    losses = [
        make_trainer(tmp_path, student, data, teacher=teacher, given={"eval_dataset": data}).evaluate()
        for data, teacher in ((rows, WRAPPERS[name](make_model(2))), (stored, None))
    ]
    assert losses[0]["eval_soft_target_loss"] == pytest.approx(losses[1]["eval_soft_target_loss"], abs=1e-5)
    assert losses[0]["eval_soft_target_loss"] > 0.01


def test_other_adapters_are_another_teacher():
    """Their scale is in no weight: stored soft targets would be those of the other."""
    teachers, rows = [lora(make_model(2), alpha) for alpha in (8, 32)], make_rows(4)
    one, other = (soft_targets(teacher, rows, make_tokenizer())["teacher_logits"] for teacher in teachers)
    assert not np.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("name", ["compiled", "ddp", "data_parallel", "lora"])
def test_a_wrapped_student_trains_as_it_does_alone(tmp_path, name):
    """The columns were looked for in the wrapper's signature, so that all were dropped."""
    runs = []
    for wrap in (lora if name == "lora" else lambda model: model, WRAPPERS[name]):
        _, rows, teacher, settings = live(8)
        trainer = make_trainer(tmp_path, wrap(make_model(1)), rows, teacher=teacher, max_steps=2, **settings)
        trainer.train()
        runs.append(logs_of(trainer, "loss", "soft_target_loss"))
    np.testing.assert_allclose(*runs, atol=1e-5)


@pytest.mark.parametrize("name", ["compiled", "data_parallel", "lora", "ddp_of_lora"])
def test_a_wrapped_model_is_compared(name):
    """A compiled one read nothing, one of LoRA ended in a traceback of numpy."""
    rows, student = make_rows(8), WRAPPERS[name](make_model(1))
    plain = compared(make_model(2), lora(make_model(1)) if "lora" in name else make_model(1), rows)
    figures, expected = compared(make_model(2), student, rows)["student"], plain["student"]
    assert figures.metrics == expected.metrics and figures.agreement == expected.agreement
    assert figures.parameters == expected.parameters and figures.megaflops == expected.megaflops


def compared(teacher, student, rows):
    metrics = classification_metrics(["accuracy"])
    return compare(teacher, student, rows, processing_class=make_tokenizer(), compute_metrics=metrics).models


def test_a_student_is_cut_from_what_is_within():
    teacher = make_model(2)
    for name in AROUND:
        student = make_student(WRAPPERS[name](teacher), 1)
        assert distance(weights(student), weights(make_student(teacher, 1))) == 0
    student = make_student(lora(make_model(2)), 1)
    assert distance(weights(student), weights(make_student(lora(make_model(2)).merge_and_unload(), 1))) == 0


@pytest.mark.parametrize("wrap", [lora, nn.DataParallel], ids=["lora", "data_parallel"])
def test_a_wrapped_student_is_not_its_own_teacher(tmp_path, wrap):
    """Adapters are put into the model itself: what is taught would be the teacher."""
    teacher = make_model(2)
    with pytest.raises(ValueError, match="the same object"):
        make_trainer(tmp_path, wrap(teacher), make_rows(), teacher=teacher)


# ---- Quantized teachers ----


def test_a_quantized_teacher_teaches_live_and_stored(tmp_path):
    """Its weights are packed, so that no hash of tensors was to be had."""
    rows, teacher = make_rows(8), quantized(make_model(2))
    assert is_quantized(teacher) and not is_quantized(make_model(2))
    stored = soft_targets(teacher, rows, make_tokenizer())
    assert not np.allclose(stored["teacher_logits"], logits_of(make_model(2), rows), atol=1e-6)
    again = soft_targets(quantized(make_model(2)), rows, make_tokenizer())
    assert again["teacher_logits"] == stored["teacher_logits"]
    trainer = make_trainer(tmp_path, make_model(1), rows, teacher=teacher, given={"eval_dataset": rows}, max_steps=1)
    live_loss = trainer.evaluate()["eval_soft_target_loss"]
    figures = make_trainer(tmp_path, make_model(1), stored, given={"eval_dataset": stored}).evaluate()
    assert figures["eval_soft_target_loss"] == pytest.approx(live_loss, abs=0.05)  # scaled by each batch's range
    trainer.train()
    compared(teacher, make_model(1), rows)


def test_other_integers_are_another_teacher():
    """Only the float tensors in its state would tell, and they are the same."""
    from hfdistill.models.fingerprints import describe_model

    one, other = make_model(2), make_model(2)
    with torch.no_grad():
        other.classifier.weight.mul_(-1)
    hashes = [describe_model(quantized(model))["teacher weights"] for model in (one, one, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_quantized_model_is_neither_cast_nor_cut(tmp_path):
    """The one would end within its kernels, the other in a list of missing weights."""
    teacher = quantized(make_model(2))
    with pytest.raises(ValueError, match="quantized and cannot be cast to bfloat16"):
        make_trainer(tmp_path, make_model(1), make_rows(), teacher=teacher, teacher_dtype="bfloat16")
    with pytest.raises(ValueError, match="a quantized BertForSequenceClassification.*load it as it was before"):
        make_student(teacher, 1)


# ---- Students that are plain modules ----


class SmallLSTM(nn.Module):
    """As in Tang et al. 2019 (https://arxiv.org/abs/1903.12136), in one direction, so that it reads no padding."""

    def __init__(self, classes=3, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.words = nn.Embedding(40, 8)
        self.lstm = nn.LSTM(8, 16, batch_first=True)
        self.head = nn.Linear(16, classes)

    def forward(self, input_ids, attention_mask):
        hidden = self.lstm(self.words(input_ids))[0] * attention_mask[..., None]
        return SequenceClassifierOutput(logits=self.head(hidden.sum(1) / attention_mask.sum(1, keepdim=True)))


def naive_loss(student, teacher, rows, alpha, temperature):
    student_logits, teacher_logits = logits_of(student, rows), logits_of(teacher, rows)
    p = (teacher_logits / temperature).softmax(-1)
    soft = temperature**2 * (p * (p.log() - (student_logits / temperature).log_softmax(-1))).sum(-1).mean()
    hard = nn.functional.cross_entropy(student_logits, torch.tensor(rows["labels"]))
    return float(alpha * soft + (1 - alpha) * hard)


@pytest.mark.parametrize("stored", [False, True], ids=["live", "stored"])
def test_a_plain_module_learns_from_labels_and_teacher(tmp_path, stored):
    """It has no config, and its labels were dropped as nothing that its forward takes."""
    rows, teacher, student = make_rows(16), make_model(2), SmallLSTM()
    data = soft_targets(teacher, rows, make_tokenizer()) if stored else rows
    trainer = make_trainer(
        tmp_path,
        student,
        data,
        teacher=None if stored else teacher,
        given={"eval_dataset": data, "compute_metrics": accuracy},
        alpha=0.7,
        temperature=2.0,
        learning_rate=0.5,
        num_train_epochs=8,
    )
    before = trainer.evaluate()
    assert before["eval_loss"] == pytest.approx(naive_loss(student, teacher, rows, 0.7, 2.0), abs=1e-5)
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_loss"] < before["eval_loss"] and 0 <= after["eval_accuracy"] <= 1
    assert after["eval_loss"] == pytest.approx(naive_loss(student, teacher, rows, 0.7, 2.0), abs=1e-5)


def test_a_plain_modules_labels_are_the_rows(tmp_path):
    """Its teacher's stand in another order, which only the rows can tell."""
    from datasets import ClassLabel

    rows, teacher, other = make_rows(16), make_model(2), make_model(2)
    with torch.no_grad():
        for parameter in (other.classifier.weight, other.classifier.bias):
            parameter.copy_(parameter[[1, 2, 0]].clone())
    names = {"cold": 0, "mild": 1, "hot": 2}
    for model, order in ((teacher, list(names)), (other, ["mild", "hot", "cold"])):
        model.config.id2label = dict(enumerate(order))
        model.config.label2id = {name: index for index, name in enumerate(order)}
    rows = rows.cast_column("labels", ClassLabel(names=list(names)))
    losses = [
        make_trainer(tmp_path, SmallLSTM(), rows, teacher=model, given={"eval_dataset": rows}).evaluate()["eval_loss"]
        for model in (teacher, other)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_a_plain_module_of_many_labels(tmp_path):
    rows, teacher = make_rows(16, MULTI), make_model(2, problem_type=MULTI)
    trainer = make_trainer(tmp_path, SmallLSTM(), rows, teacher=teacher, given={"eval_dataset": rows}, alpha=0.0)
    expected = nn.functional.binary_cross_entropy_with_logits(
        logits_of(SmallLSTM(), rows), torch.tensor(rows["labels"])
    )
    assert trainer.evaluate()["eval_loss"] == pytest.approx(float(expected), abs=1e-5)


class _Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 2


def test_a_plain_module_is_saved_and_resumed_as_trainer_does(tmp_path):
    """A state dict, and no card that would call it a transformers model."""
    settings = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    whole = make_trainer(tmp_path / "whole", SmallLSTM(), make_rows(), teacher=make_model(2), **settings)
    whole.train()
    stopped = make_trainer(tmp_path / "one", SmallLSTM(), make_rows(), teacher=make_model(2), **settings)
    stopped.add_callback(_Stop())
    stopped.train()
    resumed = make_trainer(tmp_path / "one", SmallLSTM(seed=9), make_rows(), teacher=make_model(2), **settings)
    resumed.train(resume_from_checkpoint=True)
    assert distance(weights(whole.model), weights(resumed.model)) < 1e-6
    resumed.save_model()
    assert (tmp_path / "one" / "model.safetensors").exists() and not (tmp_path / "one" / "config.json").exists()
    resumed.create_model_card()
    assert not (tmp_path / "one" / "README.md").exists()


def test_what_a_plain_module_cannot_have_is_refused(tmp_path):
    class Bare(SmallLSTM):
        def forward(self, input_ids, attention_mask):
            return super().forward(input_ids, attention_mask).logits

    rows = make_rows()
    with pytest.raises(ValueError, match="the student, a Bare, has no logits in its output.*SequenceClassifierOutput"):
        make_trainer(tmp_path, Bare(), rows, teacher=make_model(2)).train()
    with pytest.raises(ValueError, match="a SmallLSTM is no transformers model.*leave terms on layers out"):
        make_trainer(tmp_path, SmallLSTM(), rows, teacher=make_model(2), terms=["labels", "minilm"]).train()
    with pytest.raises(TypeError, match="a teacher is a transformers model.*SmallLSTM"):
        MovingAverageTeacher(SmallLSTM())
    with pytest.raises(TypeError, match="teacher must be a model.*SmallLSTM"):
        make_trainer(tmp_path, make_model(1), rows, teacher=SmallLSTM())
    with pytest.raises(TypeError, match="compare measures transformers models.*SmallLSTM"):
        compared(make_model(2), SmallLSTM(), rows)
    assert is_plain_module(SmallLSTM()) and not is_plain_module(lora(make_model(2)))


def test_a_module_that_takes_anything_is_given_what_the_teacher_reads(tmp_path):
    """Its signature names nothing, so that every column would be another's."""

    class Anything(SmallLSTM):
        def forward(self, **inputs):
            return super().forward(inputs["input_ids"], inputs["attention_mask"])

    rows, teacher = make_rows(), make_model(2)
    trainer = DistillationTrainer(
        Anything(), make_args(tmp_path), teacher=teacher, eval_dataset=rows, processing_class=make_tokenizer()
    )
    expected = naive_loss(SmallLSTM(), teacher, rows, trainer.args.alpha, trainer.args.temperature)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, abs=1e-5)


# ---- Sizes ----


def test_a_quantized_model_has_the_parameters_it_stands_for_in_fewer_bytes():
    """Packed weights are no parameters of torch's: a quantized model seemed to be its embeddings alone."""
    model = make_model(2)
    plain, small = size_of(model), size_of(quantized(copy.deepcopy(model)))
    assert (small.parameters, small.embedding_parameters) == (plain.parameters, plain.embedding_parameters)
    linear = [module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear)]
    # Each keeps a scale and a zero point.
    assert plain.megabytes - small.megabytes == pytest.approx((3 * sum(linear) - 12 * len(linear)) / 1e6)


def test_quantized_embeddings_count_as_embeddings():
    settings = torch.ao.quantization.float_qparams_weight_only_qconfig
    model = nn.Sequential(nn.Embedding(10, 16), nn.Linear(16, 3))
    model[0].qconfig = settings
    small = torch.ao.quantization.convert(torch.ao.quantization.prepare(model.eval()))
    size = size_of(small)
    assert (size.parameters, size.embedding_parameters) == (10 * 16 + 16 * 3 + 3, 10 * 16)
    assert size.megabytes == pytest.approx((10 * 16 + 10 * 8 + 4 * (16 * 3 + 3)) / 1e6, rel=0.2)


class Packed(nn.Module):
    """Two weights of four bits in a byte, as several libraries keep them."""

    def __init__(self):
        super().__init__()
        self.in_features, self.out_features = 16, 8
        self.register_buffer("qweight", torch.zeros(16, 4, dtype=torch.uint8))
        self.register_buffer("scales", torch.ones(8))


def test_weights_in_buffers_are_counted():
    """GPTQ and AWQ keep none in parameters."""
    size = size_of(nn.Sequential(Packed(), nn.Linear(8, 3)))
    assert size.parameters == 16 * 8 + 8 * 3 + 3
    assert size.megabytes == pytest.approx((16 * 4 + 4 * 8 + 4 * 27) / 1e6)


class FourBits(nn.Parameter):
    """As bitsandbytes': the bytes, and the shape they stand for beside them."""

    @classmethod
    def of(cls, *shape):
        count = int(np.prod(shape))
        packed = cls(torch.zeros(count // 2, 1, dtype=torch.uint8), requires_grad=False)
        packed.quant_state = type("State", (), {"shape": torch.Size(shape)})()
        return packed


def test_a_parameter_of_four_bits_stands_for_two_in_a_byte():
    """Its `numel` is half the truth."""
    layer = nn.Linear(16, 8, bias=False)
    layer.weight = FourBits.of(8, 16)
    size = size_of(layer)
    assert (size.parameters, size.megabytes) == (128, 64 / 1e6)


def test_tied_tables_and_buffers_count_once():
    model = nn.Module()
    model.words, model.head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
    model.head.weight = nn.Parameter(model.words.weight.data)
    model.register_buffer("positions", torch.arange(6))
    size = size_of(model)
    assert (size.parameters, size.embedding_parameters) == (40, 40)
    assert size.megabytes == (40 * 4 + 6 * 8) / 1e6
