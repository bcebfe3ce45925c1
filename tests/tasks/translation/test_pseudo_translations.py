"""Pseudo-translations: the teacher's, each once, whatever the batches."""

import sys

import pytest
import torch
from datasets import Dataset, DatasetDict
from processes import results_of_two_ranks, run_script
from texts import TEXTS
from tiny_seq2seq import FAMILIES, make_pairs, make_seq2seq, make_translator, unlike_pair

from hfdistill import StaleSoftTargets, merge_stores, pseudo_translations, soft_targets
from hfdistill.models import progress
from hfdistill.tasks.translation.pseudo_translations import TRANSLATIONS
from hfdistill.teachers.translator_ensemble import TranslatorEnsemble

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


@torch.no_grad()
def naive_score(teachers, tokenizer, source, tokens):
    """The sum of the log-probabilities of target tokens, one after the other, by the mean of all teachers."""
    read, written, total = torch.tensor([tokenizer(source).input_ids]), [teachers[0].config.decoder_start_token_id], 0.0
    for token in tokens:
        given = {"input_ids": read, "decoder_input_ids": torch.tensor([written])}
        each = [teacher(**given).logits[0, -1].double().softmax(0)[token] for teacher in teachers]
        total += float(torch.stack(each).mean().log())
        written.append(token)
    return total


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("count", [1, 2], ids=["one", "several"])
def test_scores_are_a_naive_sum(texts, tmp_path, count, forced):
    """Of the tokens up to the first end, one that `max_length` forces not among them; padding counted once more."""
    pairs = [make_translator(seed) for seed in (3, 4)[:count]]
    teachers, tokenizer = [teacher for teacher, _ in pairs], pairs[0][1]
    end = tokenizer.eos_token_id
    for teacher in teachers:
        # A penalty changes the search's scores, and not how likely the teacher finds a text.
        teacher.generation_config.update(repetition_penalty=1.3, forced_eos_token_id=end if forced else None)
    given = teachers if count > 1 else teachers[0]
    how = {**SETTINGS, "num_candidates": 2, "batch_size": 7, "store": tmp_path}
    rows = pseudo_translations(given, texts, tokenizer, **how)
    model = TranslatorEnsemble(teachers) if count > 1 else teachers[0]
    for row in rows.select(range(0, 31, 3)):
        inputs = tokenizer(row["en"], return_tensors="pt")
        written = model.generate(**inputs, num_beams=3, num_return_sequences=2, max_length=12, do_sample=False)
        for one, (_, *tokens) in zip(row[TRANSLATIONS], written.tolist(), strict=True):
            tokens = tokens[: tokens.index(end) + 1] if end in tokens else tokens
            tokens = tokens[:10] if forced else tokens
            assert one["tokens"] == len(tokens)
            assert one["score"] == pytest.approx(naive_score(teachers, tokenizer, row["en"], tokens), abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_ensemble_writes_by_mean_probabilities(family):
    """Each step's mean, with caches that follow the beams as without any; members of other widths and depths."""
    models = [make_seq2seq(family, 1).eval(), unlike_pair(family)[1].eval()]
    rows = make_pairs(6, family)
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in rows["input_ids"]], batch_first=True)
    inputs = {"input_ids": padded, "attention_mask": (padded != 0).long()}
    both = TranslatorEnsemble(models)
    search = {"num_beams": 3, "num_return_sequences": 2, "max_length": 12, "do_sample": False}
    written = both.generate(**inputs, **search)
    assert written.tolist() == both.generate(**inputs, use_cache=False, **search).tolist()
    expected = sum(one(**inputs, decoder_input_ids=written[::2]).logits.double().softmax(-1) for one in models) / 2
    found = both(**inputs, decoder_input_ids=written[::2]).logits
    assert torch.allclose(found.double(), expected.log(), atol=1e-5)
    alone = TranslatorEnsemble([models[0], models[0]]).generate(**inputs, **search)
    assert alone.tolist() == models[0].generate(**inputs, **search).tolist() != written.tolist()


def test_an_ensemble_is_refused_where_tokens_mean_something_else(translator, texts, tmp_path):
    teacher, tokenizer = translator
    for name, (model, own) in {"a": translator, "b": make_translator(4, [text + " zzz" for text in TEXTS])}.items():
        model.save_pretrained(tmp_path / name)
        own.save_pretrained(tmp_path / name)
    with pytest.raises(ValueError, match="must share one vocabulary, and those of teacher 1 and teacher 2 differ"):
        pseudo_translations([tmp_path / "a", tmp_path / "b"], texts, **SETTINGS)
    larger = make_translator(5)[0]
    larger.resize_token_embeddings(140)
    with pytest.raises(ValueError, match=r"they choose among \d+ and 140 tokens: train them with one tokenizer"):
        pseudo_translations([teacher, larger], texts, tokenizer, **SETTINGS)
    other = make_translator(5)[0]
    other.generation_config.eos_token_id = 7
    with pytest.raises(ValueError, match="their eos_token_id differ"):
        pseudo_translations([teacher, other], texts, tokenizer, **SETTINGS)


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_shards_merge_to_what_one_process_makes(translator, texts, tmp_path, monkeypatch, engine):
    """Each machine has a folder of its own and its own rows, every row one; the last call runs nothing."""
    pytest.importorskip("ctranslate2", reason="the extra `ctranslate2` is not installed")
    teacher, tokenizer = translator
    how = {**SETTINGS, "num_candidates": 2, "engine": engine}
    expected = pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "one", **how)
    parts = [
        pseudo_translations(teacher, texts, tokenizer, store=tmp_path / f"{n}", shard=f"{n}/3", **how)
        for n in (1, 2, 3)
    ]
    assert sorted(row for part in parts for row in part["id"]) == texts["id"] and min(map(len, parts)) > 3
    by_row = {row["id"]: row[TRANSLATIONS] for part in parts for row in part}
    folders = [tmp_path / str(n) for n in (1, 2, 3)]
    for _ in range(2):  # again, nothing is doubled
        merge_stores(folders, tmp_path / "all")
    assert len(list((tmp_path / "all").glob("part-*"))) == 3
    monkeypatch.setattr(teacher, "generate", None)
    monkeypatch.setattr("hfdistill.tasks.translation.ctranslate2_maker.convert", None)
    merged = pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "all", **how)
    for one, other in zip(expected[TRANSLATIONS], merged[TRANSLATIONS], strict=True):
        for left, right in zip(one, other, strict=True):
            assert left.pop("score") == pytest.approx(right["score"], abs=1e-4)
            assert left == {name: value for name, value in right.items() if name != "score"}
    assert [by_row[row] for row in texts["id"]] == merged[TRANSLATIONS][:]


def test_a_shard_goes_on_where_it_was_killed(translator, texts, monkeypatch, tmp_path):
    teacher, tokenizer = translator
    how = {**SETTINGS, "store": tmp_path, "shard": "2/2", "batch_size": 4}
    monkeypatch.setattr(sys.modules["hfdistill.soft_targets.precompute"], "SECONDS_A_PART", 0.0)
    forwarded, alive = watch(monkeypatch, teacher), teacher.generate

    def killed(**given):
        if len(forwarded) == 2:
            raise KeyboardInterrupt
        return teacher_generate(**given)

    teacher_generate = alive
    monkeypatch.setattr(teacher, "generate", killed)
    with pytest.raises(KeyboardInterrupt):
        pseudo_translations(teacher, texts, tokenizer, **how)
    monkeypatch.setattr(teacher, "generate", alive)
    rows = pseudo_translations(teacher, texts, tokenizer, **how)
    assert sum(forwarded) == len({*rows["en"]}) and len(forwarded) > 2


def test_no_such_shard_and_stores_of_others_are_refused(translator, texts, tmp_path):
    teacher, tokenizer = translator
    for shard in ("0/16", "17/16"):
        with pytest.raises(ValueError, match=f"no shard {shard}: number them from 1/16 to 16/16"):
            pseudo_translations(teacher, texts, tokenizer, shard=shard, **SETTINGS)
    with pytest.raises(ValueError, match="such as 3/16; got '3 of 16'"):
        pseudo_translations(teacher, texts, tokenizer, shard="3 of 16", **SETTINGS)
    with pytest.raises(ValueError, match=r"shard \d/9 has none of the 1 rows: name fewer shards"):
        for number in (1, 2):
            pseudo_translations(teacher, texts.select([0]), tokenizer, shard=f"{number}/9", **SETTINGS)
    pseudo_translations(teacher, texts, tokenizer, shard="1/2", store=tmp_path / "a", **SETTINGS)
    other = {**SETTINGS, "num_beams": 2}
    pseudo_translations(teacher, texts, tokenizer, shard="2/2", store=tmp_path / "b", **other)
    with pytest.raises(StaleSoftTargets, match="/b was made otherwise than in .*/a: they differ in generation"):
        merge_stores([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    with pytest.raises(ValueError, match="/c holds no translations or soft targets"):
        merge_stores([tmp_path / "a", tmp_path / "c"], tmp_path / "all")
    assert not (tmp_path / "all").exists()


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


def test_the_bar_counts_sentences(translator, texts, capsys, monkeypatch):
    monkeypatch.setattr(progress, "_BY_LINES", [])  # a command that was tested before has lines
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
    with pytest.raises(StaleSoftTargets) as stale:
        pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "store", **{**SETTINGS, "num_beams": 2})
    assert str(stale.value) == (
        f"the translations in {tmp_path / 'store'} are stale: they differ in generation num_beams (3 there, 2 now). "
        "Name another folder for the new ones, or delete this one."
    )
    with pytest.raises(StaleSoftTargets, match=r"generation length_penalty \(default there, 2.0 now\)\. Name"):
        pseudo_translations(teacher, texts, tokenizer, store=tmp_path / "store", length_penalty=2.0, **SETTINGS)
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


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path):
    """Of texts that come again and again, so that the teacher has little to do; 180,000 rows more took 170 MB more."""
    peaks = []
    for count in (20_000, 200_000):
        files = [tmp_path / f"{count}.{language}" for language in ("en", "de")]
        for number, file in enumerate(files):
            file.write_text("\n".join(f"{text} {'very ' * number}" for text in (TEXTS * (count // 30 + 1))[:count]))
        done = run_script("translate_corpus.py", *files, HF_HOME=str(tmp_path / "home"))
        assert done.returncode == 0, done.stderr[-3000:]
        rows, peak = done.stdout.split()
        assert int(rows) > count / 10
        peaks.append(float(peak))
    assert peaks[1] - peaks[0] < 80


def test_the_rows_stay_as_they_are(translator, texts):
    """Their order, other columns, split and format, of rows that are chosen from others, too."""
    some = Dataset.from_dict(texts[:], split="train").shuffle(seed=1).select(range(5, 25)).with_format("numpy", ["id"])
    rows = pseudo_translations(*translator[:1], some, translator[1], **SETTINGS)
    assert rows.format == {**some.format, "columns": ["id", TRANSLATIONS]} and rows.split == "train"
    plain = rows.with_format(None)
    assert [row["id"] for row in plain] == [row["id"] for row in some.with_format(None)]
    again = pseudo_translations(*translator[:1], plain, translator[1], **SETTINGS)
    assert again.column_names == ["en", "id", TRANSLATIONS] and again[:] == plain[:]


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
    with pytest.raises(ValueError, match="got 'vllm'; a server, such as vLLM's, translates with api_translations"):
        pseudo_translations(teacher, texts, tokenizer, engine="vllm", **SETTINGS)
    with pytest.raises(ValueError, match="num_candidates must be 1 or more, got 0"):
        pseudo_translations(teacher, texts, tokenizer, num_candidates=0, **SETTINGS)
    with pytest.raises(ValueError, match="column 'id' holds values of the type int64: name a column of texts"):
        pseudo_translations(teacher, texts, tokenizer, **{**SETTINGS, "source_column": "id"})
    with pytest.raises(ValueError, match=r"takes a Dataset, not a DatasetDict: .* such as dataset\['train'\]"):
        pseudo_translations(teacher, DatasetDict(train=texts), tokenizer, **SETTINGS)
    with pytest.raises(ValueError, match="the list of teachers is empty: name one or more"):
        pseudo_translations([], texts, tokenizer, **SETTINGS)
    teacher.generation_config.eos_token_id = None
    with pytest.raises(ValueError, match="no eos_token_id, so that it can never stop"):
        pseudo_translations(teacher, texts, tokenizer, **SETTINGS)


def test_settings_that_would_do_nothing_are_refused(translator, texts):
    """A misspelled name was ignored in silence, and one that other arguments decide ended in a TypeError."""
    teacher, tokenizer = translator
    with pytest.raises(ValueError, match="lenght_penalty: no such setting of transformers.GenerationConfig"):
        pseudo_translations(teacher, texts, tokenizer, lenght_penalty=5.0, **SETTINGS)
    for name, value in {"max_new_tokens": 9, "num_return_sequences": 2}.items():
        with pytest.raises(ValueError, match=f"{name} cannot be set: num_candidates translations of at most max_len"):
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
