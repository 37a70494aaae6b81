"""What a layer's best adapter can reach at a given λ, before anything is trained."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pclora_lab.methods.factorization import truncation_error
from pclora_lab.methods.input_moments import InputMoments, double

__all__ = ["PredictedErrors", "best_fit_error", "predicted_errors"]


class PredictedErrors(NamedTuple):
    """Errors of a layer's output, as shares of the teacher's output; see :func:`predicted_errors`.

    Attributes:
        as_it_is: with the base at λ.
        without_base: of the same adapter, if the base were removed now.
    """

    as_it_is: float
    without_base: float


def best_fit_error(weight: Tensor, bias: Tensor | None, moments: InputMoments, rank: int) -> float:
    """Relative error e of the best rank-r layer ``B(A x) + C`` in place of ``W x + b``.

    ``e² = min E‖W x + b − B A x − C‖² / E‖W x + b‖² = Σ_{i>r} σᵢ² / (Σᵢ σᵢ² + ‖W μ + b‖²)``, with σ
    the singular values of ``W L``, ``L Lᵀ`` the covariance and μ the mean of the inputs. Without a
    bias and for inputs with mean 0 and covariance I this is
    :func:`~pclora_lab.methods.factorization.truncation_error` of W itself.

    Args:
        weight: W, ``(out_features, in_features)``.
        bias: b, ``(out_features,)``; None is 0.
        moments: mean and covariance of the layer's input.
        rank: r, from 0.

    Returns:
        0 to 1; 0 where the outputs are 0.

    Raises:
        ValueError: a negative rank.

    Source:
        Eckart and Young, Psychometrika 1, 1936, for ``W L``; computed for this package.

    Example:
        >>> moments = InputMoments(2)
        >>> moments.update(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
        >>> round(best_fit_error(torch.diag(torch.tensor([4.0, 3.0])), None, moments, rank=1), 6)
        0.6
    """
    W = double(weight)
    # The squares of the singular values of W L, also where no L exists.
    energy = torch.linalg.eigvalsh(W @ moments.covariance @ W.T).clamp_min(0)
    mean = W @ moments.mean + (0 if bias is None else double(bias))
    varying, total = energy.sum().item(), (energy.sum() + mean.square().sum()).item()
    share = math.sqrt(varying / total) if total else 0.0
    return share * truncation_error(energy.sqrt(), rank)


def predicted_errors(error: float, lam: float) -> PredictedErrors:
    """Errors of PC-LoRA's layer at λ with its best adapter, from the paper's start.

    The base gives λ of the output, so the adapter is fitted to the other 1 − λ of it: the best one
    is ``(1 − λ)`` times the best rank-r layer, whose relative error is e.

    * as it is: ``(1 − λ) · e``
    * without the base: ``√(e² + λ² (1 − e²))``, because that layer's error is uncorrelated with its
      output.

    Exact for one linear layer whose inputs do not change, with the mean squared error to the
    teacher's output as the only loss, and an optimizer that keeps up with λ.

    Args:
        error: e of :func:`best_fit_error`, or
            :func:`~pclora_lab.methods.factorization.truncation_error` of W where the layer has no
            bias and its inputs have mean 0 and covariance I.
        lam: λ in [0, 1].

    Raises:
        ValueError: e or λ outside [0, 1].

    Source:
        The layer is PC-LoRA's, arXiv:2406.09117; computed for this package.

    Example:
        >>> predicted_errors(0.6, lam=1.0)
        PredictedErrors(as_it_is=0.0, without_base=1.0)
        >>> predicted_errors(0.6, lam=0.0)
        PredictedErrors(as_it_is=0.6, without_base=0.6)
    """
    if not 0 <= error <= 1:
        raise ValueError(f"the relative error is {error}: that of a best fit is in [0, 1]")
    if not 0 <= lam <= 1:
        raise ValueError(f"λ is {lam}: it must be in [0, 1]")
    return PredictedErrors((1 - lam) * error, math.sqrt(error**2 + lam**2 * (1 - error**2)))
