"""Votes of annotators who err in ways of their own, weighed without labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: How little the posteriors still change, and after how many rounds it ends anyway.
TOLERANCE, ROUNDS = 1e-6, 1000
#: In place of the vote of an annotator who has not voted.
NO_VOTE = -1


@dataclass(frozen=True)
class Annotators:
    """What votes say of the rows and of those who voted.

    Args:
        posterior: The probability of each class for each row, shape `(rows, classes)`.
        confusion: How likely an annotator says a class where another is true, shape `(annotators, true, said)`.
        prior: How frequent each class is, shape `(classes,)`.
        accuracy: How often each annotator is right by this account, shape `(annotators,)`: the mean posterior of what
            was said. No smoothing is in it, which of many classes would be most of a confusion matrix.
    """

    posterior: np.ndarray
    confusion: np.ndarray
    prior: np.ndarray
    accuracy: np.ndarray


def dawid_skene(votes: np.ndarray, classes: int, smoothing: float = 0.5) -> Annotators:
    """The likeliest confusion matrices of annotators and classes of rows, by expectation maximization.

    Of row `i` with votes `v_ik`, the posterior of class `j` and the parameters follow from one another until neither
    changes, starting from the shares of the votes:

    `T_ij ∝ p_j Π_k π^k[j, v_ik]`, `π^k[j, l] ∝ s + Σ_i T_ij [v_ik = l]`, `p_j = Σ_i T_ij / rows`.

    An annotator who errs at random counts for little, one who always says the opposite as much as one who is right. It
    takes several annotators who err independently of each other: of two nobody can tell which one is better, and what
    most of them have wrong stays so.

    Args:
        votes: The class that each annotator says each row has, `NO_VOTE` where there is none, int of shape
            `(rows, annotators)`; each row has one at least.
        classes: How many classes there are.
        smoothing: `s`, votes that each entry of a confusion matrix has beforehand: without any, what an annotator was
            never seen to do would be impossible.

    Raises:
        ValueError: for other votes than these classes, a row that nobody voted for, or fewer than two annotators.

    References: Dawid & Skene 1979, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm,
        https://doi.org/10.2307/2346806.

    Example:
        >>> votes = np.array([[0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1], [1, 1, 0]])
        >>> dawid_skene(votes, 2).posterior.argmax(1)
        array([0, 1, 0, 1, 0, 1])
    """
    _check(votes, classes)
    said = (votes[..., None] == np.arange(classes)).astype(float)  # (rows, annotators, classes)
    posterior = said.sum(1) / said.sum((1, 2))[:, None]
    for _ in range(ROUNDS):
        confusion, prior = _parameters(posterior, said, smoothing)
        log_p = np.log(prior) + np.tensordot(said, np.log(confusion), ((1, 2), (0, 2)))
        log_p -= log_p.max(1, keepdims=True)
        earlier, posterior = posterior, np.exp(log_p) / np.exp(log_p).sum(1, keepdims=True)
        if np.abs(posterior - earlier).max() < TOLERANCE:
            break
    accuracy = np.einsum("ij,ikj->k", posterior, said) / np.maximum(said.sum((0, 2)), 1)
    return Annotators(posterior, *_parameters(posterior, said, smoothing), accuracy)


def _check(votes: np.ndarray, classes: int) -> None:
    if votes.ndim != 2 or votes.shape[1] < 2 or not len(votes) or not np.issubdtype(votes.dtype, np.integer):
        raise ValueError(
            "dawid_skene takes classes, integers of shape (rows, annotators), of two annotators at least; got "
            f"{votes.dtype} of shape {votes.shape}."
        )
    unknown = (votes != NO_VOTE) & ((votes < 0) | (votes >= classes))
    if unknown.any():
        row, annotator = np.argwhere(unknown)[0]
        raise ValueError(
            f"annotator {annotator} says {votes[row, annotator]} of row {row}, and the classes are 0 to {classes - 1}, "
            f"{NO_VOTE} for no vote."
        )
    silent = (votes == NO_VOTE).all(1)
    if silent.any():
        raise ValueError(f"nobody voted for row {int(silent.argmax())}: leave such rows out.")


def _parameters(posterior: np.ndarray, said: np.ndarray, smoothing: float) -> tuple[np.ndarray, np.ndarray]:
    """The annotators' confusion matrices and the classes' frequencies, of the rows' posteriors."""
    counts = smoothing + np.tensordot(said, posterior, ((0,), (0,))).swapaxes(1, 2)
    prior = np.maximum(posterior.mean(0), np.finfo(float).tiny)  # of a class that nobody says
    return counts / counts.sum(2, keepdims=True), prior
