"""Makes training rows of a corpus by translations: `translate_corpus.py FILE FILE`; prints rows and peak."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from measure_peak_memory import peak_mib
from tiny_seq2seq import make_translator

from hfdistill import pseudo_translations, transfer_set, translation_dataset
from hfdistill.commands.translate import student_texts

data = translation_dataset(sys.argv[1:])
teacher, tokenizer = make_translator()
rows = pseudo_translations(teacher, data.sources, tokenizer, source_column="en", max_length=12)
learned, _ = transfer_set(rows, "en", "de")
assert sum(1 for _ in student_texts(data, data.with_train(learned))) == 2 * len(learned) + len(rows)
print(len(learned), peak_mib())
