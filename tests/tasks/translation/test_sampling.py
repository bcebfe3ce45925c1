"""Sampled translations: drawn from the teacher's distribution, the same for each text wherever it stands."""

from collections import Counter

import pytest
import torch
from datasets import Dataset
from tiny_translators import END, make_family, make_word_tokenizer, random_texts

from hfdistill import StaleSoftTargets, pseudo_translations
from hfdistill.tasks.translation.sampling import _STEP, _mixed

SAMPLED = {"source_column": "en", "do_sample": True, "max_length": 8}
ENGINES = ["transformers", "ctranslate2"]


@pytest.fixture
def translator():
    return make_family("marian"), make_word_tokenizer()


@pytest.fixture
def texts():
    return Dataset.from_dict({"en": random_texts()})


def sampled(translator, texts, store, **how):
    rows = pseudo_translations(translator[0], texts, translator[1], store=store, **{**SAMPLED, **how})
    return dict(zip(rows["en"], rows["teacher_translations"], strict=True))


def written(rows):
    return {source: [one["text"] for one in each] for source, each in rows.items()}


@torch.no_grad()
def distribution(models, tokenizer, source, words=(), left_out=True):
    """Log-probabilities of the next token by the mean of models, perhaps without those that may never be chosen."""
    known = [models[0].generation_config.decoder_start_token_id, *words]
    given = {"input_ids": torch.tensor([tokenizer(source).input_ids]), "decoder_input_ids": torch.tensor([known])}
    found = torch.stack([model(**given).logits[0, -1].double().log_softmax(0) for model in models]).logsumexp(0)
    never = [token for [token] in models[0].generation_config.bad_words_ids]
    return found.index_fill(0, torch.tensor(never), -torch.inf).log_softmax(0) if left_out else found


NARROWED = [{}, {"temperature": 0.6}, {"top_k": 3}, {"top_p": 0.7}]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("settings", NARROWED, ids=str)
def test_samples_have_the_teachers_distribution(translator, texts, tmp_path, engine, settings):
    """How often a word comes first, of 2,000 samples; a teacher's own settings of sampling do not narrow it."""
    pytest.importorskip("ctranslate2", reason="the extra `ctranslate2` is not installed")
    model, tokenizer = translator
    model.generation_config.update(temperature=0.1, top_k=2)
    one = texts.select([1])
    how = {"num_candidates": 2000, "max_length": 4, "engine": engine, **settings}
    [candidates] = sampled(translator, one, tmp_path, **how).values()
    firsts = Counter(tokenizer(each["text"]).input_ids[0] for each in candidates)
    logits = distribution([model], tokenizer, one["en"][0]) / settings.get("temperature", 1.0)
    expected, order = logits.softmax(0), logits.argsort(descending=True)
    kept = settings.get("top_k", len(order))
    if "top_p" in settings:
        kept = int((expected[order].cumsum(0) < settings["top_p"]).sum()) + 1
    expected[order[kept:]] = 0.0
    expected /= expected.sum()
    found = torch.tensor([firsts[token] / 2000 for token in range(len(expected))])
    assert (found - expected).abs().sum() / 2 < 0.08 and not found[expected == 0].any()
    shares = [each["score"] for each in candidates]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_scores_are_of_the_whole_distribution(translator, texts, tmp_path, engine):
    """Neither a temperature nor `top_k` is in them."""
    pytest.importorskip("ctranslate2", reason="the extra `ctranslate2` is not installed")
    model, tokenizer = translator
    how = {"num_candidates": 2, "temperature": 0.5, "top_k": 4, "engine": engine}
    checked = 0
    for source, candidates in sampled(translator, texts.select(range(6)), tmp_path, **how).items():
        for one in candidates:
            tokens = [*tokenizer(one["text"], add_special_tokens=False).input_ids, *([END] if one["finished"] else [])]
            each = [
                distribution([model], tokenizer, source, tokens[:place], engine == "ctranslate2")[token]
                for place, token in enumerate(tokens)
            ]
            if len(tokens) == one["tokens"]:  # an end in the last place makes no text a finished one, and counts
                assert one["score"] == pytest.approx(float(sum(each)), abs=1e-4)
                checked += 1
    assert checked > 6


def test_a_text_has_the_same_samples_wherever_it_stands(translator, texts, tmp_path):
    """Whatever the batches, the other rows, the shard, and how many more are drawn; another seed draws others."""
    expected = written(sampled(translator, texts, tmp_path / "all", num_candidates=2))
    for name, how in {"1": {"batch_size": 1}, "7": {"batch_size": 7}, "shard": {"shard": "1/2"}}.items():
        found = written(sampled(translator, texts.shuffle(seed=1), tmp_path / name, num_candidates=2, **how))
        assert found == {text: expected[text] for text in found} and len(found) > 5
    more = written(sampled(translator, texts.select(range(4)), tmp_path / "more", num_candidates=5))
    assert all(not Counter(expected[text]) - Counter(each) for text, each in more.items())
    other = written(sampled(translator, texts, tmp_path / "other", num_candidates=2, seed=1))
    assert sum(other[text] != expected[text] for text in other) > len(other) / 2
    with pytest.raises(StaleSoftTargets, match="seed"):
        sampled(translator, texts, tmp_path / "all", num_candidates=2, seed=1)


def test_numbers_are_those_of_split_mix():
    """Against the first ones of its published code from 1234567, of which the signs are other ones here."""
    found = _mixed(torch.tensor(1234567) + torch.arange(1, 4) * _STEP)
    assert [one % 2**64 for one in found.tolist()] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_several_teachers_are_sampled_together(texts, tmp_path):
    pytest.importorskip("ctranslate2", reason="the extra `ctranslate2` is not installed")
    models, tokenizer = [make_family("marian", seed) for seed in (1, 2)], make_word_tokenizer()
    candidates = sampled((models, tokenizer), texts.select([1]), tmp_path, num_candidates=2000, max_length=4)
    firsts = Counter(tokenizer(one["text"]).input_ids[0] for [each] in [candidates.values()] for one in each)
    expected = distribution(models, tokenizer, texts["en"][1]).exp()
    found = torch.tensor([firsts[token] / 2000 for token in range(len(expected))])
    assert (found - expected).abs().sum() / 2 < 0.08
    with pytest.raises(ValueError, match="CTranslate2 cannot sample from the mean of several translators"):
        sampled((models, tokenizer), texts, tmp_path / "other", engine="ctranslate2")


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"do_sample": False, "temperature": 0.9}, "temperature would do nothing in a beam search: sample with do_sam"),
        ({"do_sample": False, "top_k": 5, "min_p": 0.1}, "top_k, min_p would do nothing in a beam search"),
        ({"num_beams": 4}, "num_beams=4 is of a beam search, and do_sample=True has none"),
        ({"typical_p": 0.5}, "typical_p cannot be set: samples are narrowed by temperature, top_k and top_p"),
        ({"temperature": 0.0}, "temperature must be above 0, .*; got temperature=0.0, top_k=0, top_p=1.0"),
        ({"top_p": 1.5}, r"top_p in \(0, 1\]; got"),
    ],
    ids=str,
)
def test_what_would_do_nothing_is_refused(translator, texts, tmp_path, settings, said):
    with pytest.raises(ValueError, match=said):
        sampled(translator, texts, tmp_path, **settings)
