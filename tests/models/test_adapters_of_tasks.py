"""Whatever loads a model by its name loads an adapter's, with head and processor of either part, or refuses it."""

import pytest
import torch
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Image
from tiny import WORDS, make_model, make_tokenizer
from tiny_media import make_listener, make_speaker, make_vit, make_writer
from transformers import (
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCTC,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForSpeechSeq2Seq,
    BertForMaskedLM,
)

from hfdistill import (
    load_encoder,
    load_media_teacher,
    load_reranker,
    load_sentence_encoder,
    load_speech_student,
    load_speech_teacher,
    load_whisper,
)
from hfdistill.models.pooling import Pooling
from hfdistill.tasks.media.data import MediaData
from hfdistill.tasks.speech.data import SpeechData
from hfdistill.tasks.speech.demo import demo_speech_processor
from hfdistill.tasks.speech.whisper_demo import demo_whisper_processor

peft = pytest.importorskip("peft", reason="the extra `peft` is not installed")

MODULES = ["query", "value", "q_proj", "v_proj"]
TOKENS = {"input_ids": torch.tensor([[2, 7, 9, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
PICTURE = {"pixel_values": torch.linspace(-1, 1, 192).view(1, 3, 8, 8)}
SOUND = {"input_values": torch.linspace(-1, 1, 90)[None]}
HEARD = {"input_features": torch.linspace(-1, 1, 160).view(1, 8, 20), "decoder_input_ids": torch.tensor([[2, 5]])}


def make_masked():
    torch.manual_seed(4)
    return BertForMaskedLM(make_model().config)


def base_of(folder, model, *processors):
    for part in (model, *processors):
        part.save_pretrained(folder / "base")
    return folder / "base"


def adapted(folder, auto, task=None, head=(), **outputs):
    """An adapter of `base` with all weights at random, saved alone; and the model with it."""
    base = auto.from_pretrained(folder / "base", ignore_mismatched_sizes=True, **outputs)
    torch.manual_seed(5)
    config = peft.LoraConfig(
        task_type=task, r=2, target_modules=MODULES, modules_to_save=list(head), init_lora_weights=False
    )
    model = peft.get_peft_model(base, config).eval()
    model.save_pretrained(folder / "adapter", save_embedding_layers=False)
    return model


def assert_is(loaded, model, inputs):
    """The loaded one is plain, and says what the model says whose adapter was saved, not what its base says."""
    assert not hasattr(loaded, "peft_config") and "lora" not in " ".join(loaded.state_dict())
    with torch.no_grad():
        found, expected = loaded.eval()(**inputs)[0], model.base_model.model(**inputs)[0]
        with model.disable_adapter():
            without = model.base_model.model(**inputs)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (without - expected).abs().max() > 1e-3


def test_an_encoder_with_its_head_or_bare(tmp_path):
    base_of(tmp_path, make_masked(), make_tokenizer())
    model = adapted(tmp_path, type(make_masked()))
    tokenizer, loaded = load_encoder(str(tmp_path / "adapter"))
    assert type(loaded) is BertForMaskedLM and len(tokenizer) == len(WORDS)
    assert_is(loaded, model, TOKENS)
    model = adapted(tmp_path, AutoModel, task="FEATURE_EXTRACTION")
    assert_is(load_encoder(str(tmp_path / "adapter"))[1], model, TOKENS)


def test_a_sentence_encoder_pools_as_its_base_says(tmp_path):
    base = base_of(tmp_path, make_model().bert, make_tokenizer())
    Pooling("cls", normalize=True).write(base, 16, 24)
    model = adapted(tmp_path, AutoModel, task="FEATURE_EXTRACTION")
    tokenizer, loaded = load_sentence_encoder(str(tmp_path / "adapter"))
    assert Pooling.of_config(loaded.config) == Pooling("cls", normalize=True) and tokenizer.model_max_length == 24
    assert_is(loaded, model, TOKENS)


def test_a_reranker_has_its_head_of_the_adapter(tmp_path):
    base_of(tmp_path, make_model().bert, make_tokenizer())
    model = adapted(tmp_path, AutoModelForSequenceClassification, task="SEQ_CLS", num_labels=1)
    assert_is(load_reranker(str(tmp_path / "adapter"))[1], model, TOKENS)
    adapted(tmp_path, AutoModelForSequenceClassification, task="SEQ_CLS", num_labels=3)
    with pytest.raises(ValueError, match="adapter trained for SEQ_CLS does not fit"):
        load_reranker(str(tmp_path / "adapter"))


def media(kind):
    features = {"media": Image() if kind == "pictures" else Audio(), "label": ClassLabel(names=["a", "b", "c"])}
    rows = Dataset.from_dict({"media": [], "label": []}, features=Features(features))
    return MediaData(DatasetDict(train=rows), kind, "media")


@pytest.mark.parametrize("kind", ["pictures", "sounds"])
def test_what_sees_or_hears_has_head_and_labels_of_the_adapter(tmp_path, kind):
    """Such adapters name no task: `classifier` of another size, by itself, was an error of shapes, or a random one."""
    whole, processor = make_vit() if kind == "pictures" else make_listener()
    auto = AutoModelForImageClassification if kind == "pictures" else AutoModelForAudioClassification
    head = ["classifier"] if kind == "pictures" else ["projector", "classifier"]
    base_of(tmp_path, getattr(whole, whole.base_model_prefix), processor)
    model = adapted(tmp_path, auto, head=head, num_labels=3)
    loaded, own = load_media_teacher(str(tmp_path / "adapter"), media(kind))
    assert type(own) is type(processor) and loaded.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert_is(loaded, model, PICTURE if kind == "pictures" else SOUND)
    adapted(tmp_path, auto, num_labels=3)
    with pytest.raises(ValueError, match=r"neither the adapter .* has (projector|classifier).*would be random"):
        load_media_teacher(str(tmp_path / "adapter"), media(kind))


def spoken():
    rows = Dataset.from_dict({"audio": [], "text": []})
    return SpeechData(DatasetDict(train=rows), "audio")


def test_what_writes_letters_has_as_many_as_its_adapter(tmp_path):
    """Their number is `vocab_size` there: the base, pretrained without letters, has another or none."""
    processor = demo_speech_processor()
    letters = len(processor.tokenizer)
    base_of(tmp_path, make_speaker(vocab_size=32).wav2vec2, processor)
    model = adapted(tmp_path, AutoModelForCTC, head=["lm_head"], vocab_size=letters)
    loaded, own = load_speech_teacher(str(tmp_path / "adapter"), spoken())
    assert loaded.config.vocab_size == letters == len(own.tokenizer)
    assert_is(loaded, model, SOUND)
    student = load_speech_student(make_speaker(vocab_size=9), processor, spoken(), str(tmp_path / "adapter"))
    assert student.lm_head.out_features == 9
    torch.testing.assert_close(
        student.wav2vec2.encoder.layers[0].attention.q_proj.weight,
        loaded.wav2vec2.encoder.layers[0].attention.q_proj.weight,
    )


def test_a_whisper_with_an_adapter_is_one(tmp_path):
    base_of(tmp_path, make_writer(), demo_whisper_processor())
    model = adapted(tmp_path, AutoModelForSpeechSeq2Seq)
    loaded, processor = load_whisper(str(tmp_path / "adapter"), spoken())
    assert type(processor).__name__ == "WhisperProcessor"
    assert_is(loaded, model, HEARD)


def test_an_adapter_of_another_kind_of_model_is_refused(tmp_path):
    """PEFT puts it on with a warning at most: a bare encoder came without its adapter, a classifier with a new head."""
    base_of(tmp_path, make_masked(), make_tokenizer())
    adapted(tmp_path, AutoModelForSequenceClassification, task="SEQ_CLS", num_labels=3)
    for load in (load_encoder, load_sentence_encoder):
        with pytest.raises(ValueError, match="trained for SEQ_CLS does not fit .*base as a Bert"):
            load(str(tmp_path / "adapter"))
    adapted(tmp_path, AutoModel, task="FEATURE_EXTRACTION")
    with pytest.raises(ValueError, match="as a BertForSequenceClassification|would be random"):
        load_reranker(str(tmp_path / "adapter"))


def test_an_adapter_of_another_width_is_refused(tmp_path):
    base_of(tmp_path, make_masked(), make_tokenizer())
    adapted(tmp_path, AutoModel, task="FEATURE_EXTRACTION")
    make_model(hidden_size=24).bert.save_pretrained(tmp_path / "base")
    with pytest.raises(ValueError, match="FEATURE_EXTRACTION does not fit .*size mismatch"):
        load_sentence_encoder(str(tmp_path / "adapter"))
