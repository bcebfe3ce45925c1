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
    """

    posterior: np.ndarray
    confusion: np.ndarray
    prior: np.ndarray

    @property
    def accuracy(self) -> np.ndarray:
        """How often each annotator is right by this account, shape `(annotators,)`: `Σ_j p_j π_jj`."""
        right: np.ndarray = (self.confusion.diagonal(axis1=1, axis2=2) * self.prior).sum(1)
        return right


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

    References: Dawid & Skene 1979, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm,
        https://doi.org/10.2307/2346806.

    Example:
        >>> votes = np.array([[0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1], [1, 1, 0]])
        >>> dawid_skene(votes, 2).posterior.argmax(1)
        array([0, 1, 0, 1, 0, 1])
    """
    said = votes[..., None] == np.arange(classes)  # (rows, annotators, classes)
    posterior = said.sum(1) / said.sum((1, 2))[:, None]
    for _ in range(ROUNDS):
        confusion, prior = _parameters(posterior, said, smoothing)
        log_p = np.log(prior) + np.einsum("ikl,kjl->ij", said, np.log(confusion))
        log_p -= log_p.max(1, keepdims=True)
        earlier, posterior = posterior, np.exp(log_p) / np.exp(log_p).sum(1, keepdims=True)
        if np.abs(posterior - earlier).max() < TOLERANCE:
            break
    return Annotators(posterior, *_parameters(posterior, said, smoothing))


def _parameters(posterior: np.ndarray, said: np.ndarray, smoothing: float) -> tuple[np.ndarray, np.ndarray]:
    """The annotators' confusion matrices and the classes' frequencies, of the rows' posteriors."""
    counts = smoothing + np.einsum("ij,ikl->kjl", posterior, said)
    prior = np.maximum(posterior.mean(0), np.finfo(float).tiny)  # of a class that nobody says
    return counts / counts.sum(2, keepdims=True), prior
