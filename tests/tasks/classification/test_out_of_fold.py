"""How rows are split into parts, each predicted by a model of the others."""

from collections import Counter

import pytest

from hfdistill.tasks.classification.out_of_fold import fold_numbers


def test_parts_are_even_in_each_class_and_equal_texts_stay_together():
    """A text that is in two parts would be predicted by a model that learned its label."""
    texts = [f"t{row % 50}" for row in range(70)]
    labels = [[0, 1, 1, -100][int(text[1:]) % 4] for text in texts]
    numbers = fold_numbers(texts, labels, 5)
    assert all(len({number for one, number in zip(texts, numbers, strict=True) if one == text}) == 1 for text in texts)
    for label in (0, 1, -100):
        distinct = {text: number for text, own, number in zip(texts, labels, numbers, strict=True) if own == label}
        counts = Counter(distinct.values())
        assert max(counts.values()) - min(counts[part] for part in range(5)) <= 1
    turned = fold_numbers(texts[::-1], labels[::-1], 5)
    assert turned[::-1].tolist() == numbers.tolist()


@pytest.mark.parametrize(("labels", "folds"), [([0, 1, 1], 1), ([0, 1, 1], 4), ([-100, -100, 1], 2), ([], 2)])
def test_too_few_texts_are_refused(labels, folds):
    with pytest.raises(ValueError, match=f"different labeled texts cannot be split into {folds} parts"):
        fold_numbers([f"t{row}" for row in range(len(labels))], labels, folds)
    assert fold_numbers(["a", "b", "c"], [0, 1, 1], 3).tolist()
