"""The options of the commands that train nothing, read without torch: wrong usage is told at once."""

from __future__ import annotations

import argparse

from hfdistill.commands.main import COMMANDS

MODEL = "folder of a model, or its name on the Hub"
FILE = "texts with labels: csv, tsv, json lines or parquet"


def compare_parser() -> argparse.ArgumentParser:
    """The options of `hfdistill compare`."""
    parser = _parser("compare", labels=True)
    parser.add_argument("teacher", metavar="TEACHER", help=MODEL)
    parser.add_argument("student", metavar="STUDENT", help=MODEL)
    parser.add_argument("file", metavar="FILE", help=FILE)
    parser.add_argument("--baseline", metavar="MODEL", help="the same student, trained without a teacher")
    parser.add_argument("--output_dir", metavar="FOLDER", help="also write all_results.json and report/ there")
    return _with_routing(parser)


def export_parser() -> argparse.ArgumentParser:
    """The options of `hfdistill export`."""
    parser = _parser("export", labels=True)
    parser.add_argument("model", metavar="MODEL", help=f"{MODEL}; a folder gets the files")
    checked = "texts to check the export on; with labels or translations, how good it is"
    kinds = "of a translator also .txt, a sentence a line, corpus.en corpus.de, .tmx"
    parser.add_argument("file", metavar="FILE", nargs="+", help=f"{checked}; {kinds}")
    parser.add_argument(
        "--formats", metavar="NAME", nargs="+", help="onnx, int8; of translators ctranslate2, too (default: all)"
    )
    parser.add_argument("--output_dir", metavar="FOLDER", help="write there, with config and tokenizer, instead")
    languages = parser.add_argument_group("a translator of many languages", "as its tokenizer writes them")
    _add_language_tags(languages)
    return parser


def soft_targets_parser() -> argparse.ArgumentParser:
    """The options of `hfdistill soft-targets`."""
    parser = _parser("soft-targets")
    parser.add_argument("teacher", metavar="TEACHER", nargs="?", help=f"{MODEL}; none with --from")
    parser.add_argument("file", metavar="FILE", help="texts, with labels or without")
    columns = "the rows with the columns teacher_logits and teacher_label"
    parser.add_argument("output", metavar="OUTPUT.parquet", help=columns)
    prompt = parser.add_argument_group("a language model, or an entailment model, as teacher")
    prompt.add_argument("--template", metavar="TEXT", help="the prompt, such as 'Review: {text}\\nSentiment:'")
    words = "the words of each label, such as positive=good,great; of an API, what it may say for a label"
    prompt.add_argument("--verbalizer", metavar="LABEL=WORD,...", nargs="+", help=words)
    liking = "take the model's liking for some words out (Zhao et al. 2021)"
    prompt.add_argument("--calibrate", action="store_true", help=liking)
    follows = "zero-shot: what is to follow from a text, such as 'This example is {}.'; with --label_names"
    prompt.add_argument("--hypothesis_template", metavar="TEXT", help=follows)
    given = parser.add_argument_group("predictions that FILE has, in place of a teacher")
    kinds = "what its columns hold: probabilities, log_probabilities, votes or top_logprobs"
    given.add_argument("--from", dest="kind", metavar="KIND", help=kinds)
    given.add_argument("--columns", metavar="NAME", nargs="+", help="one with all, or one of each label or annotator")
    weighed = "of votes: counts, each alike, or dawid_skene, by how often each annotator is wrong"
    given.add_argument("--combine", metavar="HOW", choices=["counts", "dawid_skene"], help=weighed)
    given.add_argument("--label_names", metavar="NAME", nargs="+", help="the labels, in the order of the numbers")
    return parser


def card_parser() -> argparse.ArgumentParser:
    """The options of `hfdistill card`."""
    parser = _parser("card", labels=True)
    parser.add_argument("teacher", metavar="TEACHER", help=MODEL)
    parser.add_argument("student", metavar="STUDENT", help="folder of the student; README.md is written there")
    parser.add_argument("file", metavar="FILE", help=FILE)
    parser.add_argument("--dataset_name", metavar="NAME", help="what to call the data, as its name on the Hub")
    return _with_routing(parser)


def _with_routing(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser with the options of when the student passes a text on to its teacher."""
    routing = parser.add_argument_group("the teacher for texts that the student is not sure of")
    other = "other texts with labels: below which confidence the student passes a text on is chosen there"
    routing.add_argument("--validation_file", metavar="FILE", help=other)
    far = "how far below the teacher's the main metric may be then (default: 0.005)"
    routing.add_argument("--tolerance", metavar="POINTS", type=float, default=0.005, help=far)
    most = "pass on at most this share of the texts, even where that is too little (default: 1)"
    routing.add_argument("--max_share", metavar="SHARE", type=float, default=1.0, help=most)
    return parser


def clean_parser() -> argparse.ArgumentParser:
    """The options of `hfdistill clean`."""
    parser = argparse.ArgumentParser(prog="hfdistill clean", description=COMMANDS["clean"][2], allow_abbrev=False)
    kinds = "two files with a sentence a line, corpus.en corpus.de, or one: tmx, tsv, csv, json lines, parquet"
    parser.add_argument("file", metavar="FILE", nargs="+", help=kinds)
    written = "clean.en, clean.de and the report are written there"
    parser.add_argument("--output_dir", metavar="FOLDER", required=True, help=written)
    parser.add_argument("--source_lang", metavar="NAME", default="en", help="column of the source texts, or language")
    parser.add_argument("--target_lang", metavar="NAME", default="de", help="likewise of the target texts")
    held_out = "pairs to measure on, whose texts and near copies are dropped"
    parser.add_argument("--held_out", metavar="FILE", nargs="+", help=held_out)
    parser.add_argument("--skip", metavar="RULE", nargs="+", default=[], help="rules that are not asked")
    parser.add_argument("--min_score", type=float, metavar="NUMBER", help="drop pairs whose score is lower")
    parser.add_argument("--score_column", metavar="NAME", default="score", help="column of the score, in a table")
    parser.add_argument("--unique_sources", action="store_true", help="keep one translation of each source")
    two = parser.add_argument_group("two translators", "which see texts that have nothing to do with one another")
    both = "one of each direction; the report has how well they agree on pairs (dual cross-entropy)"
    two.add_argument("--translators", metavar="MODEL", nargs=2, help=both)
    least = "drop pairs on which they agree less, from 0 to 1 (default: 0)"
    two.add_argument("--min_adequacy", metavar="NUMBER", type=float, default=0.0, help=least)
    _add_language_tags(two)
    _add_remote_code(two)
    return parser


def _parser(name: str, labels: bool = False) -> argparse.ArgumentParser:
    """A command's parser with the options that all have; with `labels`, those of labels too."""
    parser = argparse.ArgumentParser(prog=f"hfdistill {name}", description=COMMANDS[name][2], allow_abbrev=False)
    _add_remote_code(parser)
    columns = parser.add_argument_group("columns of FILE", "found by their names where they are not given")
    columns.add_argument("--text_column", metavar="NAME", help="the text")
    columns.add_argument("--text_pair_column", metavar="NAME", help="the second text of a pair")
    if labels:
        columns.add_argument("--label_column", metavar="NAME", help="the label")
        names = "of the numbered classes, or a file of one a line (default: labels.txt beside FILE)"
        columns.add_argument("--class_names", metavar="NAME", nargs="+", help=names)
    return parser


def _add_remote_code(group: argparse._ActionsContainer) -> None:
    told = "run code that comes with a named model; read it first"
    group.add_argument("--trust_remote_code", action="store_true", help=told)


def _add_language_tags(group: argparse._ActionsContainer) -> None:
    group.add_argument("--source_tag", metavar="TAG", help="the source language of a model of many, such as eng_Latn")
    group.add_argument("--target_tag", metavar="TAG", help="the target language")


PARSERS = {
    "clean": clean_parser,
    "compare": compare_parser,
    "export": export_parser,
    "soft-targets": soft_targets_parser,
    "card": card_parser,
}
