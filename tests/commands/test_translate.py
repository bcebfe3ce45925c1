"""`hfdistill translate`: what each of its options does, what it leaves behind, what it refuses."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from chat_server import KEY, serve_chat
from datasets import Dataset, DatasetDict
from script_runs import last_line, logged_losses
from texts import TEXTS, make_tokenizer
from tiny import distance, make_model, weights
from tiny_seq2seq import make_translator
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MarianMTModel
from translators import BASICS, OWN, PAIRS, complete, translator_home

from hfdistill import Endpoint, api_translations, pseudo_translations, transfer_set, translation_dataset
from hfdistill.commands.main import main
from hfdistill.commands.translate_options import read_options
from hfdistill.tasks.translation.demo import TRANSLATION_DEMO
from hfdistill.tasks.translation.report import translate


@pytest.fixture
def home(tmp_path, monkeypatch, quick_report):
    return translator_home(tmp_path, monkeypatch)


@pytest.fixture
def command(home, monkeypatch, capfd):
    """`command(*words)`: runs it in this process; what it printed."""

    def run(*words):
        words = ["translate", *BASICS, *words]
        monkeypatch.setattr(sys, "argv", ["hfdistill", *words])
        capfd.readouterr()
        main(words)
        return capfd.readouterr().out

    return run


@pytest.fixture
def refusal(home, command, capfd):
    """`refusal(*words)`: the one line that it ends with."""

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            command(*words)
        line = last_line(ended, capfd)
        assert "\n" not in line
        return line

    return run


def test_all_three_methods_with_a_baseline(home, command):
    printed = command(*OWN, "--test_file", "test.tsv", "--baseline", "--student_num_decoder_layers", "1")
    student, tokenizer, results = complete(home / "out", ("teacher", "student", "baseline"))
    assert results["compared_rows"] == 7 and student.config.decoder_layers == 1
    assert logged_losses(home / "out") == {"loss", "label_loss", "soft_target_loss"}
    assert logged_losses(home / "out" / "_baseline") == {"loss", "label_loss"}
    assert "pairs from 27 translated texts" in printed
    card = (home / "out" / "README.md").read_text(encoding="utf-8")
    assert "pairs from 27 translated texts" in card and "rows with labels" not in card
    table = printed.split("\n\n")[-2]
    assert "7 test rows" in table and "BLEU, beam 2" in table and f"{results['student_bleu']:.1f}" in table
    page = (home / "out" / "report" / "translations.md").read_text(encoding="utf-8")
    for row in range(7):
        source, target = PAIRS[row]
        own = translate(student, tokenizer, [f"really {source}"], num_beams=2, max_length=20)[0]
        assert f"| source | really {source} |" in page and f"| reference | {target} really |" in page
        assert f"| student | {own} |" in page


def test_other_metrics_find_all_translations(home, command):
    """A line a row, as command-line metrics read them; on these files sacreBLEU's own says the same."""
    command(*OWN, "--test_file", "test.tsv", "--methods", "word")
    folder = home / "out" / "_translations"
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.txt" for name in ("source", "reference", "teacher", "student")
    }
    assert (folder / "source.txt").read_text(encoding="utf-8") == "".join(f"really {one}\n" for one, _ in PAIRS[:7])
    command = [
        sys.executable,
        "-m",
        "sacrebleu",
        folder / "reference.txt",
        "-i",
        folder / "teacher.txt",
        "-b",
        "-w",
        "6",
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    results = json.loads((home / "out" / "all_results.json").read_text(encoding="utf-8"))
    assert float(printed) == pytest.approx(results["teacher_bleu"], abs=1e-5)


def test_the_student_for_ctranslate2_has_a_column(home, command):
    """What is deployed is what is measured, beside the student; one that has learned nothing wavers, and is kept."""
    pytest.importorskip("ctranslate2", reason="the extra `ctranslate2` is not installed")
    words = ("--methods", "word", "--test_file", "test.tsv", "--export", "ctranslate2")
    table = command(*OWN, *words).split("\n\n")[-2]
    _, _, results = complete(home / "out", ("teacher", "student", "ctranslate2"))
    assert table.splitlines()[0].split()[-1] == "ctranslate2" and (home / "out/ctranslate2/model.bin").exists()
    assert results["ctranslate2_megabytes"] < results["student_megabytes"] / 2
    report = (home / "out/report/report.md").read_text(encoding="utf-8")
    assert "ctranslate2 against the student: greedy" in report and "% of 7 translations are the same" in report


def test_a_named_student_goes_on_from_its_weights(home, command):
    student, tokenizer = make_translator(seed=5)
    for part in (student, tokenizer):
        part.save_pretrained("student")
    command(*OWN, "--methods", "word", "--student_name_or_path", "student", "--max_steps", "3")
    trained, _, _ = complete(home / "out", ("teacher", "student"))
    assert 0 < distance(weights(trained), weights(student)) < 0.01


def test_a_named_student_of_other_words_learns_from_translations_alone(home, command, refusal):
    """Word by word its words would be compared with others of the teacher's."""
    student, tokenizer = make_translator(seed=5, texts=TEXTS[::2])
    for part in (student, tokenizer):
        part.save_pretrained("student")
    words = ("--student_name_or_path", "student", "--max_steps", "1")
    assert "vocabular" in refusal(*OWN, "--methods", "word", *words)
    command(*OWN[:-1], "other", "--methods", "sequence", *words)
    _, saved, _ = complete(home / "other", ("teacher", "student"))
    assert saved.get_vocab() == tokenizer.get_vocab()


def test_a_student_with_fewer_of_its_teachers_tokens(home, command):
    size = ("--student_vocab_size", "40", "--test_file", "test.tsv", "--student_num_decoder_layers", "1")
    command(*OWN, "--methods", "sequence", "shrink", *size)
    student, tokenizer, results = complete(home / "out", ("teacher", "student"))
    whole = AutoTokenizer.from_pretrained(home / "teacher").get_vocab()
    assert student.config.vocab_size == len(tokenizer) == 40 and tokenizer.get_vocab().keys() < whole.keys()
    assert student.config.decoder_layers == 1 and results["student_parameters"] < results["teacher_parameters"]
    card = (home / "out" / "README.md").read_text(encoding="utf-8")
    assert f"is trimmed to 40 of {len(whole)} tokens" in card


@pytest.mark.slow
def test_a_student_with_words_of_its_own_and_more_texts(home, command):
    Path("more.csv").write_text("en\n" + "\n".join(f"truly {text}" for text, _ in PAIRS) + "\n", encoding="utf-8")
    words = ("--methods", "sequence", "--student_vocab_size", "60", "--student_hidden_size", "32")
    printed = command(*OWN, *words, "--unlabeled_file", "more.csv")
    student, tokenizer, _ = complete(home / "out", ("teacher", "student"))
    assert student.config.vocab_size == len(tokenizer) == 60
    assert "from 57 translated texts" in printed


@pytest.mark.slow
def test_a_teacher_trained_first(home, command):
    sizes = ("--train_teacher", "--teacher_size", "1", "1", "32", "--vocab_size", "80", "--teacher_dropout", "0.3")
    printed = command(*OWN[2:], *sizes, "--methods", "word", "--predict_with_generate", "true")
    assert "Training the teacher." in printed
    complete(home / "out", ("teacher", "student"))
    teacher = AutoModelForSeq2SeqLM.from_pretrained(home / "out" / "_teacher")
    assert (teacher.config.encoder_layers, teacher.config.decoder_layers, teacher.config.d_model) == (1, 1, 32)
    assert teacher.config.dropout == 0.3 and teacher.config.vocab_size <= 80


@pytest.mark.slow
def test_a_server_is_distilled_by_a_teacher_of_its_translations(home, command, monkeypatch):
    """It cannot be run in the comparison; the translations that it gave led nowhere."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve_chat() as chat:
        how = {"source_column": "en", "store": "answers"}
        sources = translation_dataset("train.jsonl").sources
        rows = api_translations(sources, Endpoint(chat.url, "small"), "Translate:\n{en}", **how)
    transfer_set(rows, "en", "de")[0].to_json("translated.jsonl")
    files = ("--train_file", "translated.jsonl", "--test_file", "test.tsv", *OWN[4:])
    sizes = ("--teacher_size", "1", "1", "32", "--vocab_size", "80")
    printed = command(*files, "--train_teacher", *sizes, "--methods", "word", "--baseline")
    _, _, results = complete(home / "out", ("teacher", "student", "baseline"))
    assert results["compared_rows"] == 7 and "translated.jsonl" in (home / "out" / "README.md").read_text("utf-8")
    assert "Training the same student without a teacher." in printed


@pytest.mark.slow
def test_a_named_teacher_is_trained_on(home, command):
    """A new one in its place would pass over what the user named."""
    command(*OWN, "--train_teacher", "--methods", "word")
    student, _, _ = complete(home / "out", ("teacher", "student"))
    before = AutoModelForSeq2SeqLM.from_pretrained(home / "teacher")
    after = AutoModelForSeq2SeqLM.from_pretrained(home / "out" / "_teacher")
    assert after.config.d_model == before.config.d_model
    one, other = (dict(model.named_parameters()) for model in (before, after))
    assert one.keys() == other.keys()
    furthest = max((one[name] - other[name]).abs().max().item() for name in one)
    assert 0 < furthest < 0.1, "trained, and from where it was"


@pytest.mark.parametrize("method", ["sampled", "top_k"])
def test_soft_targets_are_precomputed(home, command, method):
    """Run once, before training; a teacher that is still run in every step would report its agreement."""
    command(*OWN, "--methods", "word", "--soft_targets", method, "--student_hidden_size", "32", "--temperature", "1.5")
    complete(home / "out", ("teacher", "student"))
    assert logged_losses(home / "out") == {"loss", "label_loss", "soft_target_loss"}
    [state] = (home / "out").glob("checkpoint-*/trainer_state.json")
    assert "eval_soft_target_loss" in state.read_text() and "eval_agreement" not in state.read_text()


REFUSED = {
    "terms of no words": (("--methods", "sequence", "--terms", "decoder_minilm"), "--terms is about learning word by"),
    "a named student to shrink": (("--student_name_or_path", "teacher"), "leave shrink out of --methods"),
    "a named student of a size": (
        ("--methods", "word", "--student_name_or_path", "teacher", "--student_num_decoder_layers", "1"),
        "has a shape of its own",
    ),
    "a divergence of no words": (
        ("--methods", "sequence", "--divergence", "tv"),
        "--divergence is about learning word",
    ),
    "a column of no rule": (("--clean", "--score_column", "score_of_mine"), "needs --min_score: give both"),
    "nothing of the teacher": (("--methods", "word", "--alpha", "0"), "learns from labels alone, and nothing from the"),
    "a part of another loss": (
        ("--methods", "word", "--soft_targets", "top_k", "--divergence", "js"),
        "forward_kl or ce",
    ),
    "a part at all temperatures": (
        ("--soft_targets", "top_k", "--temperature_end", "2", "--temperature_schedule", "linear"),
        "at one temperature",
    ),
    "a part of the layers": (
        ("--soft_targets", "top_k", "--terms", "soft_targets", "decoupled"),
        "the terms labels and",
    ),
    "the closest of one": (("--choose", "closest", "--num_beams", "1"), "nothing to choose from with --num_beams 1"),
    "texts of one's own in the demo": (("--demo",), "--train_file does nothing with --demo"),
    "predictions to no words": (("--soft_targets", "top_k", "--methods", "sequence"), "go with --methods word"),
    "the closest of nothing": (("--choose", "mbr", "--methods", "word"), "goes with --methods sequence"),
    "an engine for nothing": (("--engine", "ctranslate2", "--methods", "word"), "--engine runs the teacher for its"),
    "several of nothing": (("--n_best", "2", "--methods", "word"), "--n_best is of the teacher's translations"),
    "one and several": (("--choose", "mbr", "--n_best", "2"), "takes one of the teacher's candidates and --n_best"),
    "quality by nobody": (("--choose", "quality"), "--choose quality and --quality_command, which says how"),
    "quality for nothing": (("--quality_command", "comet-score"), "--quality_command, which says how good"),
    "quality by what is not there": (
        ("--choose", "quality", "--quality_command", "comet-of-nobody {sources} {translations} {scores}"),
        "no program 'comet-of-nobody' to estimate quality: install it in an environment of its own",
    ),
    "more than the beam": (("--n_best", "3"), "--n_best 3 are more candidates than --num_beams 2 has"),
    "close to what is not there": (
        ("--choose", "closest", "--unlabeled_file", "train.jsonl"),
        "--unlabeled_file has none: mbr and quality need none",
    ),
    "several word by word": (("--teacher_name_or_path", "teacher", "teacher"), "are not asked word by word: name --me"),
    "several to train": (("--teacher_name_or_path", "a", "b", "--train_teacher"), "--train_teacher trains one teacher"),
    "no such shard": (("--shard", "17/16"), "there is no shard 17/16: number them from 1/16 to 16/16"),
    "a shard of nothing": (("--shard", "1/2", "--methods", "word"), "--shard is of the teacher's translations"),
    "a shard of no teacher": (("--shard", "1/2", "--train_teacher"), "each would train one of its own: train it first"),
    "a shard of several": (("--shard", "1/2", "--translations", "a", "b"), "--shard writes to one folder"),
    "translations of nobody": (("--translations", "a", "b"), "b holds no translations or soft targets"),
    "samples of nothing": (("--sample", "--methods", "word"), "--sample is of the teacher's translations"),
    "weights of no engine": (("--engine_dtype", "int8"), "--engine_dtype int8 is of --engine ctranslate2: add that"),
    "no beam": (("--num_beams", "0"), "--num_beams must be a whole number of at least 1; got 0"),
    "a size of a named teacher": (("--teacher_size", "3", "3", "256"), "--teacher_size is of a new teacher"),
    "a dropout of a named teacher": (("--teacher_dropout", "0"), "--teacher_dropout is of a new teacher"),
    "words of a named teacher": (("--train_teacher", "--vocab_size", "80"), "--vocab_size is of a new teacher"),
    "word with another vocabulary": (
        ("--student_vocab_size", "60"),
        "goes with --methods sequence (a new vocabulary) or",
    ),
    "shrink to another width": (("--student_hidden_size", "16"), "exclude one another"),
    "texts nobody translates": (
        ("--unlabeled_file", "train.jsonl", "--methods", "word"),
        "goes with --methods sequence",
    ),
    "unknown export": (("--export", "onxx"), "no export format 'onxx'; the formats are ctranslate2, onnx, int8"),
    "unknown method": (("--methods", "words"), "invalid choice: 'words'"),
    "no such language": (("--target_lang", "fr"), "has the languages en, de and not 'fr'"),
    "a tag for one language": (("--source_tag", "en", "--target_tag", "de"), "knows no language tags"),
    "half a pair of tags": (("--source_tag", "en"), "--source_tag and --target_tag go together"),
    "more tokens than positions": (("--max_length", "33"), "more than the 32 positions"),
    "the same before any text is read": (
        ("--max_length", "33", "--target_lang", "fr"),
        "more than the 32 positions",
    ),
    "nothing left of a text": (("--max_length", "3", "--methods", "word"), "max_length 3 cuts every training pair"),
    "no such file": (("--test_file", "tset.tsv"), "There is no file tset.tsv"),
    "too many layers": (("--student_num_decoder_layers", "3"), "num_decoder_layers=3 is not possible"),
    "no such teacher": (("--teacher_name_or_path", "./nowhere"), "There is no folder './nowhere'"),
    "a folder of something else": (("--teacher_name_or_path", "."), "'.' holds no model, tokenizer or dataset of the"),
    "a teacher that does not translate": (("--teacher_name_or_path", "classifier"), "for this kind of AutoModel"),
}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--teacher_size", "3", "256"), "--teacher_size takes three numbers"),
        (("--teacher_size", "3", "0", "256"), "--teacher_size must be a whole number of at least 1; got 0"),
        (("--source_tag", "en", "--target_tag", "de"), "are of a teacher of many languages"),
        (("--teacher_dropout", "1"), "--teacher_dropout must be a number in [0, 1); got 1.0"),
    ],
)
def test_no_teacher_can_be_made_so(refusal, words, sentence):
    assert sentence in refusal(*OWN[2:], "--train_teacher", *words)


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_one_line(refusal, case):
    make_model().save_pretrained("classifier")
    make_tokenizer().save_pretrained("classifier")
    words, sentence = REFUSED[case]
    assert sentence in refusal(*OWN, *words)


@pytest.mark.parametrize("method", ["word", "sequence"])
def test_a_teacher_that_cannot_stop_is_refused(refusal, method):
    settings = json.loads(Path("teacher/generation_config.json").read_text(encoding="utf-8"))
    Path("teacher/generation_config.json").write_text(json.dumps({**settings, "eos_token_id": None}), encoding="utf-8")
    assert "no eos_token_id, so that its translations could never end" in refusal(*OWN, "--methods", method)


def test_empty_lines_are_refused_without_skip_empty(refusal):
    with Path("train.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"translation": {"en": "a", "de": ""}}))
    assert "Line 31 of train.jsonl: a side of the pair is empty" in refusal(*OWN, "--skip_empty", "false")


def test_several_candidates_are_several_pairs(command):
    """The likeliest alone is what is learned from otherwise."""
    words = ("--methods", "sequence", "--student_hidden_size", "32", "--max_steps", "1")
    printed = [command(*OWN[:-1], name, *words, *more) for name, more in (("one", ()), ("two", ("--n_best", "2")))]
    one, two = (int(re.search(r"translations: (\d+) pairs from 27 translated texts", text)[1]) for text in printed)
    assert one < two <= 54


def test_samples_are_learned_from(command):
    """As many as are wanted, whatever the beam is, and others than it writes."""
    words = (*OWN, "--methods", "sequence", "--student_hidden_size", "32", "--max_steps", "1", "--n_best", "4")
    printed = command(*words, "--sample", "--seed", "3", "--translations", "sampled")
    pairs = re.search(r"translations: (\d+) pairs from 27 translated texts", printed)[1]
    assert int(pairs) > 27
    manifest = json.loads(Path("sampled/manifest.json").read_text(encoding="utf-8"))
    assert manifest["seed"] == 3 and json.loads(manifest["generation"])["num_return_sequences"] == 4


def test_an_engine_has_weights_of_its_own(command):
    """`--teacher_dtype` has no int8, for nothing else can run it."""
    pytest.importorskip("ctranslate2", reason="the extra `ctranslate2` is not installed")
    words = (*OWN, "--methods", "sequence", "--student_hidden_size", "32", "--max_steps", "1")
    command(*words, "--engine", "ctranslate2", "--engine_dtype", "int8", "--translations", "kept")
    assert json.loads(Path("kept/manifest.json").read_text(encoding="utf-8"))["engine"] == "ctranslate2 int8"


def test_the_candidate_of_minimum_bayes_risk(home, command):
    """Another one than the likeliest for some texts, and one for each."""
    command(*OWN, "--methods", "sequence", "--student_hidden_size", "32", "--max_steps", "1", "--choose", "mbr")
    assert "27 translated texts" in (home / "out" / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_candidate_of_best_quality(home, command):
    program = Path(__file__).parents[1] / "scripts" / "estimate_quality.py"
    files = "-s {sources} -t {translations} --to_json {scores} --model kiwi --log scored.txt"
    words = ("--choose", "quality", "--quality_command", shlex.join([sys.executable, str(program)]) + f" {files}")
    printed = command(*OWN, "--methods", "sequence", "--student_hidden_size", "32", "--max_steps", "1", *words)
    assert "from 27 translated texts" in printed and (home / "scored.txt").read_text("utf-8") == "54\n"


def test_shards_of_machines_are_one_run(home, command, monkeypatch):
    """Each leaves a folder and no run; put together they are all that the run needs, and what it makes alone."""
    words = ("--methods", "sequence", "--student_hidden_size", "32", "--max_steps", "1", "--n_best", "2")
    alone = command(*OWN, *words, "--translations", "alone")
    shares = 0
    for number in ("1", "2"):
        printed = command(*OWN[:-1], "other", *words, "--shard", f"{number}/2", "--translations", f"part{number}")
        told = re.search(rf"Shard {number}/2: (\d+) of 27 texts are translated, and kept in part{number}\.", printed)
        shares += int(told[1])
    assert shares == 27 and not (home / "other").exists()
    monkeypatch.setattr(MarianMTModel, "generate", None)
    with monkeypatch.context() as nothing:
        nothing.setattr("hfdistill.commands.translate.report_translation_run", lambda *_, **__: None)
        joined = command(*OWN[:-1], "joined", *words, "--translations", "part1", "part2")
    assert [re.search(r"translations: .*", text)[0] for text in (alone, joined)] == 2 * [
        re.search(r"translations: .*", alone)[0]
    ]


def test_several_teachers_translate_together(home, command):
    """The report measures them together, the card names both; what is learned is what the mean of both writes."""
    model, _ = make_translator(4)
    model.save_pretrained("other")
    AutoTokenizer.from_pretrained("teacher").save_pretrained("other")
    words = ("--teacher_name_or_path", "teacher", "other", *OWN[2:], "--methods", "sequence", "shrink")
    command(*words, "--student_num_decoder_layers", "1", "--test_file", "test.tsv", "--translations", "kept")
    student, _, results = complete(home / "out", ("teacher", "student"))
    assert results["teacher_parameters"] == 2 * results["student_parameters"] and student.config.decoder_layers == 1
    assert "teacher and other" in (home / "out" / "README.md").read_text(encoding="utf-8")
    one, other = (AutoModelForSeq2SeqLM.from_pretrained(name) for name in ("teacher", "other"))
    data = Dataset.from_dict({"en": [source for source, _ in PAIRS]})
    how = {"source_column": "en", "num_beams": 2, "max_length": 20, "store": "kept"}
    rows = pseudo_translations([one, other], data, AutoTokenizer.from_pretrained("teacher"), **how)
    assert len(rows) == 30, "the same translations, by their fingerprint"


def test_a_teacher_of_many_languages_needs_tags(home, refusal, monkeypatch):
    """Without a language it would translate into whichever it likes."""
    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.src_lang", None, raising=False)
    assert "name two with --source_tag and --target_tag" in refusal(*OWN)
    assert "the teacher has no language 'xx'" in refusal(*OWN, "--source_tag", "xx", "--target_tag", "yy")


def test_the_baseline_has_the_students_budget(home, command):
    """Texts that are dropped, or added for the teacher to translate, gave one of them more steps than the other."""
    Path("more.csv").write_text("en\n" + "\n".join(f"truly {text}" for text, _ in PAIRS) + "\n", encoding="utf-8")
    words = ("--methods", "sequence", "--unlabeled_file", "more.csv", "--student_hidden_size", "32", "--baseline")
    command(*OWN, *words)
    states = [json.loads(path.read_text()) for path in home.glob("out/**/trainer_state.json")]
    steps = [state["global_step"] for state in states if state["global_step"] == state["max_steps"]]
    assert len(steps) == 2 and len(set(steps)) == 1


def test_the_teacher_translates_in_the_given_dtype(home, command, monkeypatch):
    """The option did nothing where the student learns from translations."""
    seen = []
    generate = MarianMTModel.generate
    monkeypatch.setattr(
        MarianMTModel,
        "generate",
        lambda self, *args, **kwargs: seen.append(self.dtype) or generate(self, *args, **kwargs),
    )
    command(*OWN, "--methods", "sequence", "--teacher_dtype", "bfloat16", "--student_hidden_size", "32")
    assert seen[0] == torch.bfloat16


def test_an_export_that_is_refused_costs_no_report(home, command, monkeypatch):
    """After hours of training nothing of it would be told."""
    pytest.importorskip("ctranslate2", reason="the extra `ctranslate2` is not installed")
    for name in ("LEAST_CHRF", "MOST_NATS"):
        monkeypatch.setattr(f"hfdistill.export.translator.{name}", 101.0 if name == "LEAST_CHRF" else -1.0)
    command(*OWN, "--methods", "word", "--test_file", "test.tsv", "--export", "ctranslate2")
    complete(home / "out", ("teacher", "student"))
    for page in ("report/report.md", "README.md"):
        text = (home / "out" / page).read_text(encoding="utf-8")
        assert "**Not made: the export.** the ctranslate2 export is broken" in text


def test_the_words_of_a_student_are_those_it_reads(home, command):
    """Letters that only the texts for the teacher have would be unknown to its student."""
    Path("more.csv").write_text("en\n" + "\n".join(f"ωραίο {text}" for text, _ in PAIRS) + "\n", encoding="utf-8")
    words = ("--methods", "sequence", "--student_vocab_size", "90", "--student_hidden_size", "32")
    command(*OWN, *words, "--unlabeled_file", "more.csv")
    tokenizer = AutoTokenizer.from_pretrained(home / "out")
    assert tokenizer.unk_token_id not in tokenizer("ωραίο").input_ids


def test_a_validation_file_is_read_beside_the_hubs_training_pairs(home, command, monkeypatch):
    """The Hub's own was taken in its place, and nothing said."""
    hub = DatasetDict(train=Dataset.from_list([dict(zip(("en", "de"), pair, strict=True)) for pair in PAIRS]))
    monkeypatch.setattr("hfdistill.tasks.translation.sources.load_hub_dataset", lambda *_: hub)
    hub["validation"] = hub["train"].select(range(20))
    words = ("--teacher_name_or_path", "teacher", "--output_dir", "out", "--methods", "word")
    assert "7 validation rows" in command(*words, "--validation_file", "test.tsv")


def test_the_demo_shrinks_its_teacher():
    """Its student's width is for one that starts untrained; with it the third method was refused."""
    for methods, width in ((["shrink"], None), (["word"], TRANSLATION_DEMO["student_hidden_size"])):
        assert read_options(["--demo", "--methods", *methods]).student.student_hidden_size == width


def test_an_evaluation_translates_no_further_than_the_teacher_did():
    """A student has its teacher's own limit of 512 tokens, and writes them all as long as it has learned nothing."""
    for words, limit in (([], 128), (["--max_length", "20"], 20), (["--generation_max_length", "30"], 30)):
        assert read_options(words).training.generation_max_length == limit


def test_help_groups_the_options_by_what_they_are_for(capsys):
    with pytest.raises(SystemExit):
        main(["translate", "--help"])
    groups = re.findall(r"^([a-z ]+):$", capsys.readouterr().out, re.MULTILINE)
    assert groups[-6:] == ["texts", "teacher", "methods", "student", "outcome", "distillation and training"]
