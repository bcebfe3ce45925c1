"""Teachers: frozen, in eval mode, in their own dtype and order, and in nobody's checkpoint."""

import os

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers import BertModel, T5Config, T5ForSequenceClassification

from hfdistill import ModelTeacher
from hfdistill.models.inputs import max_positions
from hfdistill.teachers import Teacher, TeacherSignal, as_teacher, check_finite

TEXTS = ["the film is a joy", "that song never ends", "this play is dull and the long and winding last act is too"]


@pytest.fixture
def batch(tokenizer):
    """Three texts of different lengths."""
    return dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))


@pytest.fixture
def make_accelerator():
    """`make_accelerator(mixed_precision)`: a new one on the CPU, as each trial of a search makes it."""

    def make(mixed_precision="no"):
        AcceleratorState._reset_state()
        return Accelerator(cpu=True, mixed_precision=mixed_precision)

    yield make
    AcceleratorState._reset_state()


# ---- Frozen ----


def test_the_logits_are_the_models(tiny_bert, batch):
    """Columns that are not the teacher's, such as labels, would change what it predicts, or cost a loss."""
    model = tiny_bert()
    teacher = ModelTeacher(model)
    extra = {"labels": torch.tensor([0, 1, 2]), "teacher_logits": torch.zeros(3, 3)}
    signal = teacher({**batch, **extra}, frozenset({"hidden_states"}))
    expected = model(**batch, output_hidden_states=True)
    torch.testing.assert_close(signal.logits, expected.logits)
    torch.testing.assert_close(signal.hidden_states, expected.hidden_states)
    assert signal.available == {"logits", "hidden_states"}
    assert teacher(batch).available == {"logits"}


def test_no_gradient_reaches_it(tiny_bert, batch):
    """The teacher would drift towards the student, and its graph would fill the memory."""
    model = tiny_bert()
    teacher = ModelTeacher(model)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    model.requires_grad_(True)  # as a script that trains the teacher first may leave it
    assert not teacher(batch).logits.requires_grad


@pytest.mark.parametrize("part", [lambda model: model, lambda model: model.bert.encoder])
def test_it_is_in_eval_mode_at_every_call(tiny_bert, batch, part):
    """Dropout in the soft targets, since somebody called `train()` on the teacher in the meantime."""
    model = tiny_bert(hidden_dropout_prob=0.5)
    teacher = ModelTeacher(model)
    expected = teacher(batch).logits
    part(model).train()
    assert not torch.equal(model(**batch).logits, model(**batch).logits)  # a canary: the dropout is seen
    torch.testing.assert_close(teacher(batch).logits, expected)


def test_dtype_is_kept_or_cast(tiny_bert, batch):
    """A half-precision teacher loaded as float32 takes twice its memory; `teacher_dtype` would be passed over."""
    assert ModelTeacher(tiny_bert().bfloat16())(batch).logits.dtype == torch.bfloat16
    assert ModelTeacher(tiny_bert(), dtype="auto")(batch).logits.dtype == torch.float32
    assert ModelTeacher(tiny_bert(), dtype="bfloat16").model.dtype == torch.bfloat16
    assert as_teacher(ModelTeacher(tiny_bert()), "bfloat16").model.dtype == torch.bfloat16


# ---- Beside an accelerator ----


def test_it_is_in_no_checkpoint(tiny_bert, make_accelerator, tmp_path):
    """Every checkpoint would carry the teacher, ten times the student."""
    accelerator = make_accelerator()
    student = accelerator.prepare(tiny_bert(hidden_size=8))
    teacher = ModelTeacher(tiny_bert())
    teacher.prepare(accelerator)
    assert accelerator._models == [student]
    accelerator.save_state(tmp_path)
    assert [path.name for path in tmp_path.glob("model*")] == ["model.safetensors"]


def test_a_compiled_teacher_is_in_no_checkpoint_either(tiny_bert, batch, tmp_path):
    """Accelerate keeps the model itself and returns the compiled one, which is not found among those to forget."""
    AcceleratorState._reset_state()
    accelerator = Accelerator(cpu=True, dynamo_backend="eager")
    try:
        student = accelerator.prepare_model(tiny_bert(hidden_size=8))
        kept = list(accelerator._models)
        teacher = ModelTeacher(tiny_bert())
        expected = teacher(batch).logits
        teacher.prepare(accelerator)
        assert accelerator._models == kept and isinstance(student, torch._dynamo.OptimizedModule)
        torch.testing.assert_close(teacher(batch).logits, expected)
    finally:
        AcceleratorState._reset_state()


def test_a_compiled_teacher_is_run_uncompiled_and_says_so(tiny_bert, batch, caplog):
    """Who compiled it would wonder where the speed went."""
    model = tiny_bert()
    teacher = ModelTeacher(torch.compile(model, backend="eager"))
    assert teacher.model is model and "torch_compile=True compiles it and the student" in caplog.text
    caplog.clear()
    torch.testing.assert_close(teacher(batch).logits, ModelTeacher(tiny_bert())(batch).logits)
    assert not caplog.records


def test_a_new_accelerator_prepares_it_again(tiny_bert, batch, make_accelerator):
    """Each trial of a search makes a new accelerator: autocast would be wrapped around autocast, or stay for ever."""
    model = tiny_bert()
    teacher = ModelTeacher(model)
    plain, decorators = teacher(batch).logits, depth(model.forward)
    first = make_accelerator("bf16")
    teacher.prepare(first)
    once = model.forward
    rough = teacher(batch).logits
    assert 1e-4 < (rough - plain).abs().max() < 0.5
    teacher.prepare(first)
    assert model.forward is once
    teacher.prepare(make_accelerator("bf16"))
    assert depth(model.forward) == depth(once) > decorators
    torch.testing.assert_close(teacher(batch).logits, rough)
    teacher.prepare(make_accelerator("no"))
    torch.testing.assert_close(teacher(batch).logits, plain)
    teacher.prepare(make_accelerator("no"))
    assert depth(model.forward) == decorators  # its own are not taken off with the autocast


def depth(function):
    return 1 + depth(function.__wrapped__) if hasattr(function, "__wrapped__") else 0


def test_a_prepared_model_makes_a_new_teacher(tiny_bert, batch, make_accelerator):
    """The inputs are read off `forward`, which an accelerator replaces: the teacher would be run on nothing."""
    model = tiny_bert()
    expected = ModelTeacher(model)(batch).logits
    ModelTeacher(model).prepare(make_accelerator("bf16"))
    teacher = ModelTeacher(model)
    assert teacher.inputs == ("input_ids", "attention_mask", "token_type_ids", "position_ids", "inputs_embeds")
    torch.testing.assert_close(teacher(batch).logits, expected)


# ---- What it reads ----


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("mask", [True, False])
def test_shared_ids_are_cut_to_its_positions(tiny_bert, tokenizer, caplog, side, mask):
    """Longer batches crash it; cut in the wrong place it reads padding, or a text without its last [SEP]."""
    teacher = ModelTeacher(tiny_bert(max_position_embeddings=8))
    texts = TEXTS if mask else TEXTS[2:]
    batch = dict(tokenizer(texts, padding=True, padding_side=side, return_tensors="pt"))
    short = tokenizer(texts, padding=True, truncation=True, max_length=8, return_tensors="pt")
    longer = int((batch["attention_mask"].sum(1) > 8).sum())
    batch = batch if mask else {"input_ids": batch["input_ids"]}
    for _ in range(2):
        torch.testing.assert_close(teacher(batch).logits, teacher.model(**short).logits)
    teacher({name: torch.cat([tensor, tensor]) for name, tensor in batch.items()})
    assert caplog.text.count("reads at most 8 tokens") == 1
    assert f"{longer} texts of this batch are cut" in caplog.text


def test_padding_beyond_its_positions_is_no_cut(tiny_bert, tokenizer, caplog):
    """`padding="max_length"` would warn of texts that were read whole."""
    teacher = ModelTeacher(tiny_bert(max_position_embeddings=30))
    batch = tokenizer(TEXTS, padding="max_length", max_length=64, return_tensors="pt")
    plain = tokenizer(TEXTS, padding=True, return_tensors="pt")
    torch.testing.assert_close(teacher(batch).logits, teacher.model(**plain).logits)
    assert not caplog.records


def test_the_length_it_can_read(tiny_bert, tokenizer):
    """The smaller of two limits counts, and a model without any has none."""
    assert max_positions(tiny_bert(), tokenizer) == 64
    assert max_positions(tiny_bert(max_position_embeddings=40), tokenizer) == 40
    tokenizer.model_max_length = 20
    assert max_positions(tiny_bert(), tokenizer) == 20
    relative = T5ForSequenceClassification(
        T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    )
    tokenizer.model_max_length = int(1e30)  # what tokenizers without a limit say
    teacher = ModelTeacher(relative, tokenizer, ["text"])
    assert len(teacher.reader({"text": ["dull " * 900]})["input_ids"][0]) > 900


def test_a_batch_without_its_columns_is_named(tiny_bert, tokenizer, batch):
    """A bare StopIteration would not say that the teacher's own columns are missing."""
    with pytest.raises(ValueError, match="reads teacher_input_ids, which the batch lacks; it has input_ids, "):
        ModelTeacher(tiny_bert(), tokenizer, ["text"])(batch)


def test_a_model_without_a_head_has_layers_and_no_logits(tiny_bert, batch):
    """Hidden states that were taken for logits would be compared in silence."""
    signal = ModelTeacher(BertModel(tiny_bert().config))(batch, frozenset({"hidden_states"}))
    assert signal.available == {"hidden_states"}


def test_text_columns_are_one_or_a_pair(tiny_bert, tokenizer):
    """A string would be taken apart into letters; the tokenizer takes a third text for a translation's target."""
    assert ModelTeacher(tiny_bert(), tokenizer, "sentence").text_columns == ("sentence",)
    with pytest.raises(ValueError, match="one column of text, or a pair; got a, b, c"):
        ModelTeacher(tiny_bert(), tokenizer, ["a", "b", "c"])
    with pytest.raises(ValueError, match="needs its tokenizer: pass processing_class"):
        ModelTeacher(tiny_bert(), text_columns=["a"])


# ---- Its labels ----


def named(model, *names):
    model.config.id2label = dict(enumerate(names))
    return model


def test_labels_are_put_into_the_students_order_by_name(tiny_bert, batch):
    """Class 0 of one is class 2 of the other: the student learns the opposite."""
    model = named(tiny_bert(), "Good", "BAD", "fair")
    teacher = ModelTeacher(model)
    teacher.align(named(tiny_bert(), "bad", "fair", "good").config)
    torch.testing.assert_close(teacher(batch).logits, model(**batch).logits[:, [1, 2, 0]])
    teacher.align(model.config)
    torch.testing.assert_close(teacher(batch).logits, model(**batch).logits)


def test_other_labels_are_refused(tiny_bert):
    teacher = ModelTeacher(named(tiny_bert(), "joy", "anger", "fear"))
    with pytest.raises(ValueError, match="joy, anger, fear against bad, fair, good"):
        teacher.align(named(tiny_bert(), "bad", "fair", "good").config)
    with pytest.raises(ValueError, match="3 labels and the student 2"):
        teacher.align(tiny_bert(num_labels=2).config)


# ---- Whatever a user names one by ----


def test_from_a_folder(tiny_bert, tokenizer, batch, tmp_path):
    """Without its tokenizer it could not read text; a checkpoint in half precision would be widened."""
    model = tiny_bert().bfloat16()
    model.save_pretrained(tmp_path)
    assert as_teacher(tmp_path).processing_class is None  # and not one that knows no word
    tokenizer.save_pretrained(tmp_path)
    for teacher in (
        as_teacher(str(tmp_path)),
        as_teacher([os.fspath(tmp_path)]),
        ModelTeacher.from_pretrained(tmp_path),
    ):
        assert teacher.model.dtype == torch.bfloat16
        assert teacher.processing_class.get_vocab() == tokenizer.get_vocab()
        torch.testing.assert_close(teacher(batch).logits, ModelTeacher(model)(batch).logits)
    assert ModelTeacher.from_pretrained(tmp_path, ["sentence"], "float32").model.dtype == torch.float32


def test_a_folder_that_is_not_there_is_named(tmp_path):
    """A mistyped path would be taken for a name on the Hub, and complained of as one."""
    with pytest.raises(FileNotFoundError, match="There is no folder '.*nothing'.*check its spelling"):
        as_teacher(str(tmp_path / "nothing"))


def test_what_is_a_teacher_and_what_is_not(tiny_bert):
    """The wrong object would fail at its first forward pass, after the data was prepared."""

    class Silent(Teacher):
        def __call__(self, batch, outputs=frozenset(), context=None):
            return TeacherSignal()

    silent, model = Silent(), tiny_bert()
    assert as_teacher(None) is None and as_teacher(silent) is silent and as_teacher([silent]) is silent
    assert as_teacher(model).model is model
    assert as_teacher([model, silent]).members[1] is silent
    with pytest.raises(TypeError, match="a model, a name or path, a Teacher, a list of these or None, got dict"):
        as_teacher({"model": model})
    with pytest.raises(TypeError, match="got NoneType"):
        as_teacher([model, None])


def test_logits_that_are_not_finite_are_refused():
    """One NaN in the soft targets makes all of the student's weights NaN."""
    check_finite(torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"row 1 of the batch are not finite: \[1.0, inf\].*teacher_dtype"):
        check_finite(torch.tensor([[0.0, 1.0], [1.0, float("inf")], [float("nan"), 0.0]]))
