"""Dawid & Skene: the EM of the paper written out, and annotators who err in ways of their own."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset

from hfdistill import dawid_skene, from_probabilities
from hfdistill.commands.main import main

NAMES = ["bad", "fair", "good"]
#: The first is nearly always right, the second guesses, the third takes good for bad and bad for good.
CONFUSIONS = np.array(
    [
        [[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]],
        [[0.34, 0.33, 0.33], [0.33, 0.34, 0.33], [0.33, 0.33, 0.34]],
        [[0.1, 0.05, 0.85], [0.05, 0.9, 0.05], [0.85, 0.05, 0.1]],
        [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]],
    ]
)


def annotated(rows=400, seed=0, missing=0.0):
    """True classes, and the votes of annotators with these confusion matrices, some of them missing."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, size=rows, p=[0.5, 0.2, 0.3])
    votes = np.array([[rng.choice(3, p=matrix[label]) for matrix in CONFUSIONS] for label in truth])
    votes[:, 1:][rng.random((rows, len(CONFUSIONS) - 1)) < missing] = -1
    return truth, votes


def naive(votes, classes, smoothing, rounds):
    """The expectation and the maximization, row by row and vote by vote; the penalized likelihood of each round."""
    rows, annotators = votes.shape
    posterior = [[sum(v == j for v in row) / sum(v >= 0 for v in row) for j in range(classes)] for row in votes]
    likelihoods = []
    for _ in range(rounds):
        prior = [sum(row[j] for row in posterior) / rows for j in range(classes)]
        confusion = [
            [
                [
                    smoothing + sum(posterior[i][j] for i in range(rows) if votes[i, k] == said)
                    for said in range(classes)
                ]
                for j in range(classes)
            ]
            for k in range(annotators)
        ]
        confusion = [[[one / sum(row) for one in row] for row in matrix] for matrix in confusion]
        total = smoothing * sum(np.log(one) for matrix in confusion for row in matrix for one in row)
        posterior = []
        for row in votes:
            joint = [
                prior[j] * np.prod([confusion[k][j][v] for k, v in enumerate(row) if v >= 0]) for j in range(classes)
            ]
            total += np.log(sum(joint))
            posterior.append([one / sum(joint) for one in joint])
        likelihoods.append(total)
    return np.array(posterior), likelihoods


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_it_is_the_em_of_the_paper(missing):
    _, votes = annotated(60, missing=missing)
    found = dawid_skene(votes, 3, 0.5)
    expected, likelihoods = naive(votes, 3, 0.5, 150)
    np.testing.assert_allclose(found.posterior, expected, atol=1e-4)
    assert np.diff(likelihoods).min() > -1e-9, "no round explains the votes worse"
    np.testing.assert_allclose(found.confusion.sum(2), 1)
    np.testing.assert_allclose(found.prior, expected.mean(0), atol=1e-4)


def test_it_finds_out_who_errs_how():
    """Counted alike, one who says the opposite does as much harm as another does good."""
    truth, votes = annotated(2000)
    found = dawid_skene(votes, 3)
    counted = np.array([np.bincount(row, minlength=3).argmax() for row in votes])
    right, naive_right = ((guess == truth).mean() for guess in (found.posterior.argmax(1), counted))
    assert right > naive_right + 0.1
    np.testing.assert_allclose(found.confusion, CONFUSIONS, atol=0.08)
    assert found.accuracy == pytest.approx([(votes[:, k] == truth).mean() for k in range(4)], abs=0.05)


def rows_of(votes):
    named = [[NAMES[v] if v >= 0 else None for v in row] for row in votes]
    columns = {f"a{k}": [row[k] for row in named] for k in range(votes.shape[1])}
    return Dataset.from_dict({"text": list(map(str, range(len(votes)))), "all": named, **columns})


def test_votes_become_its_posteriors():
    _, votes = annotated(60, missing=0.3)
    rows = rows_of(votes)
    expected = np.log(np.maximum(dawid_skene(votes, 3).posterior, 1e-6))
    for columns in (["a0", "a1", "a2", "a3"], "all"):
        found = from_probabilities(rows, columns, NAMES, kind="votes", combine="dawid_skene")
        np.testing.assert_allclose(found["teacher_logits"], expected, atol=1e-5)
    swapped = rows.add_column("label", [0] * 60).cast_column("label", ClassLabel(names=["good", "bad", "fair"]))
    other = from_probabilities(swapped, "all", kind="votes", combine="dawid_skene")
    assert other.features["teacher_label"].names == ["good", "bad", "fair"]
    np.testing.assert_allclose(np.array(other["teacher_logits"])[:, [1, 2, 0]], expected, atol=1e-5)


def test_the_command_combines_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = rows_of(annotated(30)[1])
    rows.remove_columns("all").to_csv("votes.csv")
    columns = ["a0", "a1", "a2", "a3"]
    main(
        [
            "soft-targets",
            "votes.csv",
            "out.parquet",
            "--from",
            "votes",
            "--columns",
            *columns,
            "--combine",
            "dawid_skene",
        ]
    )
    expected = from_probabilities(rows, columns, kind="votes", combine="dawid_skene")
    np.testing.assert_allclose(
        Dataset.from_parquet("out.parquet")["teacher_logits"], expected["teacher_logits"], atol=1e-6
    )
    with pytest.raises(SystemExit, match="--combine does nothing without --from votes"):
        main(["soft-targets", "some", "votes.csv", "out.parquet", "--combine", "dawid_skene"])


def test_what_it_cannot_weigh_is_refused():
    rows = Dataset.from_dict({"votes": [["bad", "good"], ["bad"]], "one": ["bad", "good"], "p": [[0.1, 0.9]] * 2})
    settings = {"label_names": ["bad", "good"], "combine": "dawid_skene"}
    for column, counts in (("votes", "1 to 2 a row"), ("one", "has 1 a row")):
        with pytest.raises(ValueError, match=f"the vote of each annotator at a place of its own.*{counts}"):
            from_probabilities(rows, column, kind="votes", **settings)
    with pytest.raises(ValueError, match="combine is one of counts, dawid_skene, and about votes"):
        from_probabilities(rows, "p", **settings)
    with pytest.raises(ValueError, match="combine is one of counts, dawid_skene"):
        from_probabilities(rows, "votes", kind="votes", combine="median")
    with pytest.raises(ValueError, match="Row 2 .*holds no vote"):
        from_probabilities(
            Dataset.from_dict({"v": [["a", "b"], [None, None]]}), "v", kind="votes", combine="dawid_skene"
        )


@pytest.mark.parametrize(
    ("votes", "said"),
    [
        ([[0, 7], [1, 1]], "annotator 1 says 7 of row 0, and the classes are 0 to 1, -1 for no vote"),
        ([[0, 1], [-1, -1]], "nobody voted for row 1"),
        ([[0], [1]], r"of two annotators at least; got int64 of shape \(2, 1\)"),
        ([[0, 0.5], [1, 1]], "takes classes, integers"),
        ([], "takes classes, integers"),
    ],
)
def test_votes_of_nothing_known_are_refused(votes, said):
    """They counted as no vote, or one row without any made all posteriors NaN; one annotator was always right."""
    with pytest.raises(ValueError, match=said):
        dawid_skene(np.array(votes), 2)


def test_the_annotators_accuracy_is_no_matter_of_smoothing():
    """Of 40 classes half a vote for each entry was most of a confusion matrix: 80 % of accuracy seemed to be half."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 40, 600)
    votes = np.stack([np.where(rng.random(600) < 0.8, truth, rng.integers(0, 40, 600)) for _ in range(3)], 1)
    found = dawid_skene(votes, 40)
    assert found.accuracy == pytest.approx([(votes[:, k] == truth).mean() for k in range(3)], abs=0.06)
