"""Pseudo-translations: the teacher's, each once, whatever the batches."""

import sys

import pytest
import torch
from datasets import Dataset, DatasetDict
from processes import results_of_two_ranks
from texts import TEXTS
from tiny_seq2seq import make_translator

from hfdistill import StaleSoftTargets, pseudo_translations, soft_targets
from hfdistill.tasks.translation.pseudo_translations import TRANSLATIONS

SETTINGS = {"source_column": "en", "num_beams": 3, "max_length": 12}


@pytest.fixture
def translator():
    return make_translator()


@pytest.fixture
def texts():
    return Dataset.from_dict({"en": [*TEXTS, TEXTS[3]], "id": list(range(31))})


def made(rows):
    return [[candidate["text"] for candidate in row] for row in rows[TRANSLATIONS]]


def watch(monkeypatch, teacher):
    forwarded = []
    generate = teacher.generate
    monkeypatch.setattr(
        teacher, "generate", lambda **given: forwarded.append(len(given["input_ids"])) or generate(**given)
    )
    return forwarded


def test_they_are_what_the_teacher_writes(translator, texts):
    """Sorted by length and back: each row must have its own translation, the likeliest first."""
    teacher, tokenizer = translator
    rows = pseudo_translations(teacher, texts, tokenizer, num_candidates=2, **SETTINGS)
    for row in rows:
        inputs = tokenizer(row["en"], return_tensors="pt")
        written = teacher.generate(**inputs, num_beams=3, num_return_sequences=2, max_length=12, do_sample=False)
        assert [each["text"] for each in row[TRANSLATIONS]] == tokenizer.batch_decode(written, skip_special_tokens=True)
        assert [each["finished"] for each in row[TRANSLATIONS]] == [tokenizer.eos_token_id in w[1:11] for w in written]
    finished = {each["finished"] for row in rows[TRANSLATIONS] for each in row}
    assert finished == {True, False}, "the test must have seen both"
    assert len({tuple(row) for row in made(rows)}) > 8 and rows["id"] == texts["id"]


SCORES = {"return_dict_in_generate": True, "output_scores": True}


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"batch_size": 7}, {"batch_size": 100}, SCORES], ids=str)
def test_batches_and_scores_change_nothing(translator, texts, settings, tmp_path):
    """With scores `generate` gives an object, and its fields were decoded in place of the translations."""
    teacher, tokenizer = translator
    expected = made(pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "a", **SETTINGS))
    found = pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "b", **settings, **SETTINGS)
    assert made(found) == expected


def test_sources_are_padded_on_the_right(translator, texts, tmp_path):
    """A tokenizer that pads on the left shifts the positions of short texts, and another batch gave other texts."""
    teacher, tokenizer = translator
    expected = made(pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "right", **SETTINGS))
    tokenizer.padding_side = "left"
    found = pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "left", batch_size=7, **SETTINGS)
    assert made(found) == expected and tokenizer.padding_side == "left"


def test_the_teachers_own_limit_does_not_come_before_max_length(translator, texts, tmp_path):
    """A `max_new_tokens` in the teacher's generation config cut every translation, and `max_length` counted nothing."""
    teacher, tokenizer = translator
    expected = made(pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "a", **SETTINGS))
    teacher.generation_config.max_new_tokens = 3
    assert made(pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "b", **SETTINGS)) == expected


def test_settings_reach_the_teacher(translator, texts, tmp_path):
    """Those of the call come before the teacher's own, `None` among them, which a config does not pass on."""
    teacher, tokenizer = translator
    settings = {"no_repeat_ngram_size": None, "length_penalty": 5.0}
    expected = made(pseudo_translations(teacher, texts, tokenizer, **settings, **SETTINGS))
    assert expected != made(pseudo_translations(teacher, texts, tokenizer, **SETTINGS))
    teacher.generation_config.update(no_repeat_ngram_size=1, length_penalty=1.0)
    found = pseudo_translations(teacher, texts, tokenizer, store=tmp_path, **settings, **SETTINGS)
    assert made(found) == expected


def test_the_bar_counts_sentences(translator, texts, capsys):
    pseudo_translations(*translator[:1], texts, translator[1], **SETTINGS)
    assert "sentences/s]" in capsys.readouterr().err


def test_each_text_is_translated_once(translator, texts, monkeypatch):
    """Neither a text that comes twice nor a second call is run again; a new text is run alone."""
    teacher, tokenizer = translator
    forwarded = watch(monkeypatch, teacher)
    first = pseudo_translations(teacher, texts, tokenizer, **SETTINGS)
    assert sum(forwarded) == 30
    shuffled = texts.shuffle(seed=1)
    again = pseudo_translations(teacher, shuffled, tokenizer, **SETTINGS)
    assert sum(forwarded) == 30
    by_text = dict(zip(first["en"], made(first), strict=True))
    assert made(again) == [by_text[text] for text in shuffled["en"]]
    more = Dataset.from_dict({"en": [*texts["en"], "a new joy"]})
    pseudo_translations(teacher, more, tokenizer, **SETTINGS)
    assert sum(forwarded) == 31


def test_other_settings_are_other_translations(translator, texts, tmp_path):
    """Translations of another beam must not be taken for these."""
    teacher, tokenizer = translator
    pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "store", **SETTINGS)
    with pytest.raises(StaleSoftTargets, match="the translations in .* are stale: they differ in generation"):
        pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "store", **{**SETTINGS, "num_beams": 2})
    with torch.no_grad():
        teacher.model.shared.weight.add_(1)
    with pytest.raises(StaleSoftTargets, match="teacher weights"):
        pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "store", **SETTINGS)


def test_a_killed_call_goes_on(translator, texts, monkeypatch, tmp_path):
    """What was written before the kill is kept, and nothing is lost or doubled."""
    teacher, tokenizer = translator
    expected = made(pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "whole", **SETTINGS))
    monkeypatch.setattr(sys.modules["hfdistill.soft_targets.precompute"], "SECONDS_A_PART", 0.0)
    forwarded = watch(monkeypatch, teacher)
    alive = teacher.generate

    def killed(**given):
        if len(forwarded) == 3:
            raise KeyboardInterrupt
        return alive(**given)

    monkeypatch.setattr(teacher, "generate", killed)
    with pytest.raises(KeyboardInterrupt):
        pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "cut", batch_size=4, **SETTINGS)
    monkeypatch.setattr(teacher, "generate", alive)
    rows = pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "cut", batch_size=4, **SETTINGS)
    assert made(rows) == expected and sum(forwarded) == 30


@pytest.mark.slow
def test_two_processes_make_what_one_makes(translator, texts, tmp_path):
    teacher, tokenizer = translator
    expected = made(pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "one", **SETTINGS))
    teacher.save_pretrained(tmp_path / "teacher")
    tokenizer.save_pretrained(tmp_path / "teacher")
    texts.save_to_disk(tmp_path / "texts")
    results = results_of_two_ranks("make_translations.py", tmp_path)
    assert [result["made"] for result in results] == [expected, expected]
    assert min(result["forwarded"] for result in results) > 0 and sum(result["forwarded"] for result in results) == 30


# ---- What it refuses ----


def test_bad_input_is_refused(translator, texts):
    teacher, tokenizer = translator
    with pytest.raises(ValueError, match="no column 'text' to translate; the columns are"):
        pseudo_translations(teacher, texts, tokenizer, **{**SETTINGS, "source_column": "text"})
    empty = Dataset.from_dict({"en": ["a joy", " ", "is dull", ""]})
    with pytest.raises(ValueError, match="row 1 of column 'en' is empty, and 1 more"):
        pseudo_translations(teacher, empty, tokenizer, **SETTINGS)
    with pytest.raises(ValueError, match="num_candidates=4 are more than a beam of 3"):
        pseudo_translations(teacher, texts, tokenizer, num_candidates=4, **SETTINGS)
    with pytest.raises(ValueError, match="needs the teacher's tokenizer"):
        pseudo_translations(teacher, texts, **SETTINGS)
    with pytest.raises(ValueError, match="num_candidates must be 1 or more, got 0"):
        pseudo_translations(teacher, texts, tokenizer, num_candidates=0, **SETTINGS)
    with pytest.raises(ValueError, match="column 'id' holds values of the type int64: name a column of texts"):
        pseudo_translations(teacher, texts, tokenizer, **{**SETTINGS, "source_column": "id"})
    with pytest.raises(ValueError, match=r"takes a Dataset, not a DatasetDict: .* such as dataset\['train'\]"):
        pseudo_translations(teacher, DatasetDict(train=texts), tokenizer, **SETTINGS)
    teacher.generation_config.eos_token_id = None
    with pytest.raises(ValueError, match="no eos_token_id, so that it can never stop"):
        pseudo_translations(teacher, texts, tokenizer, **SETTINGS)


def test_settings_that_would_do_nothing_are_refused(translator, texts):
    """A misspelled name was ignored in silence, and one that other arguments decide ended in a TypeError."""
    teacher, tokenizer = translator
    with pytest.raises(ValueError, match="lenght_penalty: no such setting of transformers.GenerationConfig"):
        pseudo_translations(teacher, texts, tokenizer, lenght_penalty=5.0, **SETTINGS)
    for name, value in {"max_new_tokens": 9, "do_sample": True, "num_return_sequences": 2}.items():
        with pytest.raises(ValueError, match=f"{name} cannot be set: a beam search makes num_candidates"):
            pseudo_translations(teacher, texts, tokenizer, **{name: value}, **SETTINGS)


def test_max_length_is_within_the_teachers_positions(translator, texts):
    """Beyond them the teacher's positions ended in an IndexError, maybe after hours."""
    teacher, tokenizer = translator
    settings = {**SETTINGS, "max_length": 33}
    with pytest.raises(ValueError, match="max_length=33 is more than the 32 positions of the teacher"):
        pseudo_translations(teacher, texts, tokenizer, **settings)
    teacher.final_logits_bias[:, tokenizer.eos_token_id] = -50.0
    rows = pseudo_translations(teacher, texts, tokenizer, **{**settings, "max_length": 32})
    assert not any(each["finished"] for row in rows[TRANSLATIONS] for each in row)


@pytest.mark.parametrize("name, most", [("min_length", 10), ("min_new_tokens", 9)])
def test_a_translation_must_have_room_to_end(translator, texts, name, most):
    """Where no text may end before `max_length`, all of them were made for nothing: not one is finished."""
    teacher, tokenizer = translator
    teacher.final_logits_bias[:, tokenizer.eos_token_id] = 50.0
    setattr(teacher.generation_config, name, most)
    rows = pseudo_translations(teacher, texts, tokenizer, **SETTINGS)
    assert all(each["finished"] for row in rows[TRANSLATIONS] for each in row)
    setattr(teacher.generation_config, name, most + 1)
    with pytest.raises(ValueError, match=f"max_length=12 leaves .* no room to end by itself: raise it to 13.*{name}"):
        pseudo_translations(teacher, texts, tokenizer, **SETTINGS)
    setattr(teacher.generation_config, name, None)
    with pytest.raises(ValueError, match="max_length=2 leaves .* no room to end by itself: raise it to 3"):
        pseudo_translations(teacher, texts, tokenizer, **{**SETTINGS, "max_length": 2})


def test_soft_targets_points_to_translations(translator, texts):
    """One distribution a row is not what a translator gives."""
    with pytest.raises(ValueError, match="MarianMTModel predicts for each target token.*pseudo_translations"):
        soft_targets(*translator[:1], texts, translator[1], text_columns=["en"])
