"""More text for the teacher to label, made of the text there is.

A student learns a teacher's predictions, not the truth, so texts need not be good or even grammatical: whatever the
teacher predicts for them is a lesson. That is why augmentation helps distillation far more than plain training.

An `Augmenter` makes another text of each text. What it makes depends on the seed, the row's number and the copy's, and
on nothing else: neither on batches nor on other rows.
"""
