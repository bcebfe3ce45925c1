#!/usr/bin/env python3
"""A program with the interface and the output of `comet-score`: a translation is good where it is its source backwards.

`--fault` makes it fail as real ones do.
"""

import argparse
import difflib
import json
import os
import sys

parser = argparse.ArgumentParser()
parser.add_argument("-s", "--sources", required=True)
parser.add_argument("-t", "--translations", nargs="+", required=True)
parser.add_argument("--to_json", required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--quiet", action="store_true")
parser.add_argument("--only_system", action="store_true")
parser.add_argument("--fault", default="")
parser.add_argument("--log")
options = parser.parse_args()
if options.fault == "crash":
    sys.exit("CUDA out of memory")
if "WORLD_SIZE" in os.environ:
    sys.exit("waiting for the other processes")
texts = []
for name in (options.sources, options.translations[0]):
    with open(name, encoding="utf-8") as file:
        texts.append([line.strip() for line in file])
rows = []
for source, translation in zip(*texts, strict=True):
    likeness = difflib.SequenceMatcher(None, source.split()[::-1], translation.split()).ratio()
    rows.append({"src": source, "mt": translation, "COMET": likeness})
if options.fault == "fewer":
    rows.pop()
if options.fault == "nan":
    rows[1]["COMET"] = float("nan")
if options.log:
    with open(options.log, "a", encoding="utf-8") as log:
        log.write(f"{len(rows)}\n")
if options.fault != "nothing":
    with open(options.to_json, "w", encoding="utf-8") as file:
        json.dump({options.translations[0]: rows}, file, ensure_ascii=False, indent=4)
print(f"{options.translations[0]}\tscore: 0.5000")
