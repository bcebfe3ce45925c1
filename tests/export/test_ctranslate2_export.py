"""The student in CTranslate2: the same translations, whoever runs it, and nothing left of a bad conversion."""

import math

import pytest
import torch
from datasets import Dataset
from texts import TEXTS
from tiny_seq2seq import FAMILIES
from tiny_translators import END, GERMAN, make_family, make_trained_translator, make_word_tokenizer, random_texts

from hfdistill import StaleSoftTargets, pseudo_translations
from hfdistill.export import base
from hfdistill.export import ctranslate2 as ctranslate2_export
from hfdistill.export.base import check_export
from hfdistill.export.ctranslate2 import export_ctranslate2
from hfdistill.models.generation import translate
from hfdistill.tasks.translation.report import compare_translations

ctranslate2 = pytest.importorskip("ctranslate2", reason="the extra `ctranslate2` is not installed")


@pytest.fixture(scope="module")
def trained():
    return make_trained_translator()


# ---- The same translations ----


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_converted_exactly(tmp_path, monkeypatch, family):
    """Without the rounding to int8 nothing may differ: norms, positions, scales, the start, the language, forbidden
    tokens; in batches, where short texts are padded."""
    monkeypatch.setattr(ctranslate2_export, "QUANTIZATION", "float32")
    model = make_family(family)
    _, parity = export_ctranslate2(model, make_word_tokenizer(), random_texts(), tmp_path, num_beams=3, max_length=12)
    assert parity["greedy"].identical == 1
    # The two beam searches do not stop alike, which random weights show more than others.
    assert parity["beam"].chrf > 80 and parity["beam"].rows == 24
    assert len(set(translate(model, make_word_tokenizer(), random_texts(), max_length=12))) > 3, "nothing to compare"


@pytest.mark.parametrize("forced", [None, END])
def test_a_translation_without_an_end_is_cut_at_the_same_token(tmp_path, monkeypatch, forced):
    """A forced end takes the place of the last word in one, and would follow it in the other."""
    monkeypatch.setattr(ctranslate2_export, "QUANTIZATION", "float32")
    model = make_family("marian")
    model.final_logits_bias[:, END] = -50.0
    model.generation_config.update(forced_eos_token_id=forced)
    converted, _ = export_ctranslate2(model, make_word_tokenizer(), random_texts(), tmp_path, max_length=9)
    inputs = make_word_tokenizer()(random_texts(4), padding=True, return_tensors="pt")
    search = {"num_beams": 1, "max_length": 9, "do_sample": False}
    expected, found = (one.generate(**inputs, **search) for one in (model, converted))
    assert found.tolist() == expected[:, : found.shape[1]].tolist()
    assert expected[:, found.shape[1] :].eq(END).all() and found.shape[1] == 9 - (forced is not None)


def test_int8_keeps_what_a_trained_model_says(tmp_path, trained):
    model, tokenizer = trained
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    converted, parity = export_ctranslate2(model, tokenizer, TEXTS, tmp_path, num_beams=3, max_length=32)
    assert min(one.identical for one in parity.values()) > 0.95
    assert "% of 30 translations are the same, chrF" in str(parity["beam"])
    assert translate(model, tokenizer, [TEXTS[0]], max_length=32) == [" ".join(reversed(TEXTS[0].split()))]
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 < converted.megabytes < 0.25
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not hasattr(model.config, "normalize_before"), "the model is left as it is"
    assert [path.name for path in tmp_path.iterdir()] == ["ctranslate2"]


def test_ctranslate2_alone_runs_the_folder(tmp_path, trained):
    """Whoever deploys it has the tokenizer and CTranslate2, and never the padding token among the words."""
    model, tokenizer = trained
    export_ctranslate2(model, tokenizer, TEXTS, tmp_path, max_length=32)
    translator = ctranslate2.Translator(str(tmp_path / "ctranslate2"))
    tokens = [tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) for text in TEXTS]
    predictions = [prediction.hypotheses[0] for prediction in translator.translate_batch(tokens, beam_size=1)]
    texts = [tokenizer.decode(tokenizer.convert_tokens_to_ids(prediction)) for prediction in predictions]
    assert texts == translate(model, tokenizer, TEXTS, max_length=32)
    assert not any("<pad>" in prediction for prediction in predictions)


def test_it_has_a_column_beside_the_student(tmp_path, trained):
    from datasets import Dataset

    model, tokenizer = trained
    converted, _ = export_ctranslate2(model, tokenizer, TEXTS, tmp_path, max_length=32)
    rows = Dataset.from_dict({"en": TEXTS[:8], "de": [" ".join(reversed(text.split())) for text in TEXTS[:8]]})
    models_ = {"teacher": model, "student": model, "ctranslate2": converted}
    comparison = compare_translations(
        models_, dict.fromkeys(models_, tokenizer), rows, source="en", target="de", num_beams=2, max_length=32
    )
    results = comparison.results()
    assert results["ctranslate2_bleu"] == pytest.approx(results["student_bleu"], abs=2)
    assert results["ctranslate2_parameters"] == results["student_parameters"]
    assert results["ctranslate2_megabytes"] < results["student_megabytes"] / 2
    assert "ctranslate2" in comparison.table()


# ---- What it refuses ----


def test_a_wrong_conversion_is_refused_and_the_earlier_one_stays(tmp_path, monkeypatch, trained):
    """A norm in the wrong place raises nothing in the converter; only the translations show it."""
    model, tokenizer = trained
    export_ctranslate2(model, tokenizer, TEXTS, tmp_path, max_length=32)
    kept = (tmp_path / "ctranslate2" / "model.bin").read_bytes()
    wrong = ("BartLoader", {"normalize_before": True, "normalize_embedding": False})
    monkeypatch.setattr(ctranslate2_export, "_LOADERS", {"marian": wrong})
    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(ValueError, match=r"ctranslate2 .*leave (it|the export) out"):
            export_ctranslate2(model, tokenizer, TEXTS, folder, max_length=32)
    assert (tmp_path / "ctranslate2" / "model.bin").read_bytes() == kept
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "config.json",
        "ctranslate2",
        "model.bin",
        "new",
        "shared_vocabulary.json",
    ]


def test_other_translations_are_refused(tmp_path, monkeypatch, trained):
    model, tokenizer = trained
    monkeypatch.setattr(ctranslate2_export, "_NEVER", 1e9)  # what must never be said is all that is said
    with pytest.raises(ValueError, match=r"its translations are not the model's \(greedy: 0.0 % of 30"):
        export_ctranslate2(model, tokenizer, TEXTS, tmp_path, max_length=32)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(base.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install .*\[ctranslate2\]'"):
        check_export(["ctranslate2"], "translation", "marian")


def test_another_architecture_is_refused():
    with pytest.raises(ValueError, match="type 'led' cannot be converted.*marian, bart"):
        check_export(["ctranslate2"], "translation", "led")


def test_an_activation_that_it_lacks_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot convert this MarianMTModel \(KeyError: 'tanh'\)"):
        export_ctranslate2(make_family("marian", activation_function="tanh"), make_word_tokenizer(), ["w1"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_end_is_refused(tmp_path):
    model = make_family("marian")
    model.generation_config.eos_token_id = model.config.eos_token_id = None
    with pytest.raises(ValueError, match="no eos_token_id, so that a translation cannot begin or end"):
        export_ctranslate2(model, make_word_tokenizer(), ["w1"], tmp_path)


def test_pseudo_translations_are_those_of_generate(tmp_path, trained):
    """In float32 but for hypotheses of like score; each candidate in its place, and known to have ended or not."""
    model, tokenizer = trained
    texts = Dataset.from_dict({"en": [*TEXTS, TEXTS[0]]})
    settings = {"source_column": "en", "num_beams": 3, "num_candidates": 2, "max_length": 12}
    expected, found, small = (
        pseudo_translations(model, texts, tokenizer, store=tmp_path / str(number), **how, **settings)
        for number, how in enumerate(({}, {"engine": "ctranslate2"}, {"engine": "ctranslate2", "dtype": "int8"}))
    )
    first = [[row[0] for row in rows["teacher_translations"]] for rows in (expected, found, small)]
    scores = [[one.pop("score") for one in each] for each in first]
    assert first[1] == first[0] and {one["finished"] for one in first[0]} == {True, False}
    # Tokens that may never be chosen have a probability in the one alone.
    assert scores[1] == pytest.approx(scores[0], abs=1e-3) and min(scores[0]) < -0.03
    assert all(len(row) == 2 for row in found["teacher_translations"])
    assert sum(one == other for one, other in zip(first[2], first[0], strict=True)) > len(texts) // 2
    with pytest.raises(StaleSoftTargets, match="engine"):
        pseudo_translations(model, texts, tokenizer, store=tmp_path / "0", engine="ctranslate2", **settings)


@pytest.mark.parametrize("forced", [None, END], ids=["cut", "forced"])
@pytest.mark.parametrize(
    "family, count",
    [("marian", 1), ("m2m100", 1), ("bart", 1), ("mbart", 1), ("t5", 1), ("marian", 2), ("mbart", 3)],
)
def test_scores_are_a_naive_sum(tmp_path, family, count, forced):
    """Of the probability of a language and of a forced end nothing is in them; of several teachers by their mean."""
    models, tokenizer = [make_family(family, seed) for seed in range(1, count + 1)], make_word_tokenizer()
    for model in models:
        model.generation_config.update(forced_eos_token_id=forced)
    settings_of = models[0].generation_config
    never = [token for [token] in settings_of.bad_words_ids]
    settings = {"source_column": "en", "num_beams": 3, "num_candidates": 2, "max_length": 8, "store": tmp_path}
    texts = Dataset.from_dict({"en": random_texts()})
    rows = pseudo_translations(models, texts, tokenizer, engine="ctranslate2", **settings)
    ended = set()
    for row in rows:
        for one in row["teacher_translations"]:
            # Which is no special token here, and is in the text.
            prefix = [] if settings_of.forced_bos_token_id is None else [GERMAN]
            words = tokenizer(one["text"], add_special_tokens=False).input_ids[len(prefix) :]
            tokens = [*words, *([END] if one["finished"] else [])]
            assert one["tokens"] == len(tokens)
            given = {
                "input_ids": torch.tensor([tokenizer(row["en"]).input_ids]),
                "decoder_input_ids": torch.tensor([[settings_of.decoder_start_token_id, *prefix, *tokens]]),
            }
            each = [model(**given).logits[0, len(prefix) : -1].detach().double() for model in models]
            shares = [logits.index_fill(1, torch.tensor(never), -torch.inf).softmax(1) for logits in each]
            naive = sum(
                math.log(sum(share[place, token] for share in shares) / count) for place, token in enumerate(tokens)
            )
            assert one["score"] == pytest.approx(naive, abs=1e-4)
            ended.add(one["finished"])
    both = family in ("marian", "m2m100", "bart")  # the others, untrained, hardly ever end
    assert ended == {True, False} or not both, "the test must have seen both"


def test_several_translators_order_what_each_writes(tmp_path):
    """By the mean of their probabilities at each token, divided by the length as the search does."""
    models, tokenizer = [make_family("marian", seed) for seed in (1, 2)], make_word_tokenizer()
    texts = Dataset.from_dict({"en": random_texts()})
    how = {"source_column": "en", "num_beams": 3, "max_length": 12}
    own = [
        pseudo_translations(model, texts, tokenizer, engine="ctranslate2", store=tmp_path / str(n), **how)
        for n, model in enumerate(models)
    ]
    rows = pseudo_translations(
        models, texts, tokenizer, engine="ctranslate2", store=tmp_path / "both", num_candidates=3, **how
    )
    from_second = 0
    for row, one, other in zip(*(each["teacher_translations"] for each in (rows, *own)), strict=True):
        shares = [candidate["score"] / candidate["tokens"] for candidate in row]
        assert shares == sorted(shares, reverse=True) and len({candidate["text"] for candidate in row}) == 3
        from_second += row[0]["text"] == other[0]["text"] != one[0]["text"]
    assert from_second, "one translator alone would have written all of them"


def test_what_ctranslate2_would_not_honor_is_refused(tmp_path, trained):
    model, tokenizer = trained
    texts = Dataset.from_dict({"en": TEXTS})
    for settings, said in (
        ({"min_length": 3}, "CTranslate2 does not honor min_length"),
        ({"dtype": "float64"}, "CTranslate2 keeps weights in float32, bfloat16, float16, int8; got dtype='float64'"),
    ):
        with pytest.raises(ValueError, match=said):
            pseudo_translations(
                model, texts, tokenizer, source_column="en", engine="ctranslate2", store=tmp_path, **settings
            )
    with pytest.raises(ValueError, match="engine must be transformers or ctranslate2, got 'onnx'"):
        pseudo_translations(model, texts, tokenizer, source_column="en", engine="onnx", store=tmp_path)
