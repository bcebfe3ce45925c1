"""Teachers in eight and four bits, of the libraries that make them."""

import importlib.util

import numpy as np
import pytest
import torch
from tiny import logits_of, make_model, make_rows, make_tokenizer, make_trainer
from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig, TorchAoConfig

from hfdistill import make_student, soft_targets
from hfdistill.models.fingerprints import describe_model
from hfdistill.models.loading import load_classifier
from hfdistill.models.wrappers import is_quantized
from hfdistill.training.run_settings import _fingerprint


def torchao():
    quantization = pytest.importorskip("torchao.quantization", reason="the extra `quantized` is not installed")
    return {"quantization_config": TorchAoConfig(quantization.Int8WeightOnlyConfig())}


def bitsandbytes(**settings):
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("the extra `quantized` is not installed")
    return {"quantization_config": BitsAndBytesConfig(**settings)}


#: On processors with AVX-512 it multiplies by weights of four bits in blocks of 32 outputs, which a head has not.
FOUR_BITS = {"load_in_4bit": True, "llm_int8_skip_modules": ["classifier"]}

KINDS = {
    "torchao": torchao,
    "eight_bits": lambda: bitsandbytes(load_in_8bit=True),
    "four_bits": lambda: bitsandbytes(**FOUR_BITS),
    # Its biases are bfloat16 until they are used.
    "half": lambda: {**bitsandbytes(**FOUR_BITS, bnb_4bit_quant_type="nf4"), "dtype": torch.bfloat16},
}


@pytest.fixture(params=KINDS)
def load(request, tmp_path):
    """Loads a classifier with quantized weights; `load()` is the same each time, `load(seed)` another."""
    settings = KINDS[request.param]()

    def loaded(seed=2):
        for part in (make_model(seed, hidden_size=64, intermediate_size=64), make_tokenizer()):
            part.save_pretrained(tmp_path / f"whole{seed}")
        return AutoModelForSequenceClassification.from_pretrained(tmp_path / f"whole{seed}", **settings).eval()

    return loaded


def test_it_teaches_live_and_stored(tmp_path, load):
    rows, teacher = make_rows(8), load()
    assert is_quantized(teacher)
    stored = soft_targets(teacher, rows, make_tokenizer())
    trainer = make_trainer(tmp_path, make_model(1), rows, teacher=teacher, given={"eval_dataset": rows}, max_steps=1)
    live = trainer.evaluate()["eval_soft_target_loss"]
    trainer.train()
    other = make_trainer(tmp_path, make_model(1), stored, given={"eval_dataset": stored})
    assert live == pytest.approx(other.evaluate()["eval_soft_target_loss"], abs=1e-3) and live > 0.01


def test_its_fingerprint_is_its_own_whether_it_was_run_or_not(load):
    """Of four bits in half precision a bias was another dtype once the model had run, and its soft targets stale."""
    whole, teacher = make_model(2, hidden_size=64, intermediate_size=64), load()
    for describe in (lambda model: describe_model(model)["teacher weights"], _fingerprint):
        before = describe(teacher)
        logits_of(teacher, make_rows(4))
        assert describe(teacher) == before == describe(load()) != describe(load(3))
        assert before != describe(whole)


def test_it_is_loaded_by_name_as_it_was_saved(tmp_path, load):
    """So that a command has a teacher in four bits without an option for it."""
    teacher, rows = load(), make_rows(4)
    expected = logits_of(teacher, rows)
    for part in (teacher, make_tokenizer()):
        part.save_pretrained(tmp_path / "saved")
    _, again = load_classifier(str(tmp_path / "saved"))
    assert is_quantized(again)
    np.testing.assert_allclose(logits_of(again, rows).float(), expected.float(), atol=0.05)


def test_what_it_cannot_be_is_refused(tmp_path, load):
    teacher = load()
    with pytest.raises(ValueError, match="quantized and cannot be cast to bfloat16"):
        make_trainer(tmp_path, make_model(1), make_rows(), teacher=teacher, teacher_dtype="bfloat16")
    with pytest.raises(ValueError, match="a quantized BertForSequenceClassification.*load it as it was before"):
        make_student(teacher, 1)


def test_logits_that_overflow_name_the_way_out(tmp_path):
    """In float16 they are infinite, and a student would learn NaN."""
    rows, teacher = make_rows(8), make_model(2)
    with torch.no_grad():
        teacher.classifier.weight.mul_(1e6)
    advice = "are not finite: .*; float16 ends at 65,504, which its layers exceed: run it in bfloat16 or float32"
    with pytest.raises(ValueError, match=rf"{advice} \(teacher_dtype\)"):
        make_trainer(tmp_path, make_model(1), rows, teacher=teacher.half()).train()
    with pytest.raises(ValueError, match=rf"{advice} \(dtype\)"):
        soft_targets(teacher, rows, make_tokenizer())
    teacher = make_model(2)
    with torch.no_grad():
        teacher.classifier.weight.mul_(1e6)
    assert np.isfinite(soft_targets(teacher, rows, make_tokenizer(), dtype="bfloat16")["teacher_logits"]).all()
