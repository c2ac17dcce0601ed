"""Predict an architecture's learned objective, with its uncertainty.

An exact Gaussian process (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006) whose covariance is
the sum of three parts: every choice adds its share (linear in the choices), size matters (Matérn 5/2 in the features:
MACs, parameters, latency), and architectures that differ in few choices are alike (exponential in the distance between
choices). A handful of hyperparameters is fitted by marginal likelihood with weak priors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, lapack, solve_triangular
from scipy.optimize import minimize

Floats = NDArray[np.float64]

_ROOT_FIVE = np.sqrt(5.0)
_LEAST_NOISE = 1e-4
# A coarse optimum is enough: the next trials move the hyperparameters by more than the rest of the way.
_ENDING = {"maxiter": 25, "ftol": 1e-4}
# Logarithms of the variances of the linear, feature and choice parts and of the noise, then of the length scale of the
# choices, then of one length scale for each feature. assumption: means and widths of weak log-normal priors.
_PRIOR_MEAN = np.log([0.5, 0.5, 0.3, 0.01, 1.0])
_PRIOR_STD = np.array([1.5, 1.5, 1.5, 1.5, 1.0])
_FEATURE_MEAN, _FEATURE_STD = np.log(1.5), 0.8


@dataclass(frozen=True)
class Inputs:
    """What the model sees of n architectures, all scaled.

    `linear` (n, p) are columns with a linear effect, `codes` (n, c) have squared distances that grow with the number of
    choices that differ, and `features` (n, f) are quantities such as log MACs.
    """

    linear: Floats
    codes: Floats
    features: Floats

    def __len__(self) -> int:
        return len(self.linear)

    def take(self, rows: NDArray[np.int64]) -> Inputs:
        """The inputs of some architectures."""
        return Inputs(self.linear[rows], self.codes[rows], self.features[rows])

    def joined(self, other: Inputs) -> Inputs:
        """These inputs, followed by the others."""
        return Inputs(
            np.concatenate([self.linear, other.linear]),
            np.concatenate([self.codes, other.codes]),
            np.concatenate([self.features, other.features]),
        )


class _Distances:
    """Pairwise products and distances of inputs: all that needs no hyperparameter, computed once for a whole fit."""

    def __init__(self, inputs: Inputs) -> None:
        self.dot = inputs.linear @ inputs.linear.T
        self.choices = _squared_distances(inputs.codes, inputs.codes)
        # (f, n, n): the squared distances in each feature.
        self.features = (inputs.features.T[:, :, None] - inputs.features.T[:, None, :]) ** 2

    def gradients(self, log_parameters: Floats, matrix: Floats, parts: tuple[Floats, Floats, Floats]) -> Floats:
        """The sum of `matrix` times the covariance's derivative by each logarithm (0 for the noise's)."""
        linear, feature, choice = parts
        _, feature_variance, _, _, choice_length = np.exp(log_parameters[:5])
        lengths = np.exp(log_parameters[5:])
        gradient = np.zeros(len(log_parameters))
        gradient[0] = (matrix * linear).sum()
        gradient[1] = (matrix * feature).sum()
        weighted = matrix * choice
        gradient[2] = weighted.sum()
        gradient[4] = (weighted * self.choices).sum() / choice_length
        scaled = np.sqrt(np.tensordot(lengths**-2.0, self.features, axes=1))
        slope = matrix * (5 / 3 * feature_variance * (1 + _ROOT_FIVE * scaled) * np.exp(-_ROOT_FIVE * scaled))
        gradient[5:] = np.tensordot(self.features, slope, axes=2) * lengths**-2.0
        return gradient

    def parts(self, log_parameters: Floats) -> tuple[Floats, Floats, Floats]:
        linear, feature, choice, _, choice_length = np.exp(log_parameters[:5])
        scaled = _ROOT_FIVE * np.sqrt(np.tensordot(np.exp(-2.0 * log_parameters[5:]), self.features, axes=1))
        return (
            linear * self.dot,
            feature * (1 + scaled + scaled * scaled / 3) * np.exp(-scaled),
            choice * np.exp(-self.choices / choice_length),
        )


def covariance(a: Inputs, b: Inputs, log_parameters: Floats) -> Floats:
    """The covariance of each input of `a` with each of `b`: (n, m)."""
    linear, feature, choice, _, choice_length = np.exp(log_parameters[:5])
    lengths = np.exp(log_parameters[5:])
    scaled = np.sqrt(5 * _squared_distances(a.features / lengths, b.features / lengths))
    total: Floats = _squared_distances(a.codes, b.codes)
    total /= -choice_length
    np.exp(total, out=total)
    total *= choice
    total += (linear * a.linear) @ b.linear.T
    total += feature * (1 + scaled + scaled * scaled / 3) * np.exp(-scaled)
    return total


def _squared_distances(a: Floats, b: Floats) -> Floats:
    squares: Floats = a @ (-2 * b.T)
    squares += (a**2).sum(1)[:, None]
    squares += (b**2).sum(1)
    return np.maximum(squares, 0.0, out=squares)


@dataclass(frozen=True)
class GaussianProcess:
    """A Gaussian process conditioned on `inputs`. Its values are warped: mean near 0, spread near 1."""

    inputs: Inputs
    log_parameters: Floats
    offset: float
    factor: Floats
    weights: Floats
    noise: Floats

    def predict(self, inputs: Inputs) -> tuple[Floats, Floats]:
        """Mean and standard deviation (n,) of the noise-free value at each."""
        across = covariance(self.inputs, inputs, self.log_parameters)
        mean = self.offset + across.T @ self.weights
        solved = solve_triangular(self.factor, across, lower=True, check_finite=False, overwrite_b=True)
        linear, feature, choice = np.exp(self.log_parameters[:3])
        own = linear * (inputs.linear**2).sum(1) + feature + choice
        return mean, np.sqrt(np.maximum(own - (solved**2).sum(0), 1e-10))

    def believing(self, inputs: Inputs) -> GaussianProcess:
        """The model conditioned on its own predictions at `inputs` (Ginsbourger et al., 2010: "kriging believer")."""
        mean, _ = self.predict(inputs)
        joined = self.inputs.joined(inputs)
        targets = np.concatenate([self._targets(), mean])
        noise = np.concatenate([self.noise, np.full(len(inputs), self.noise.min())])
        return condition(joined, targets, self.log_parameters, noise)

    def _targets(self) -> Floats:
        targets: Floats = self.offset + self.factor @ (self.factor.T @ self.weights)
        return targets


def fit(inputs: Inputs, targets: Floats) -> Floats:
    """The logarithms of the maximum a posteriori hyperparameters for `targets`."""
    distances = _Distances(inputs)
    count = inputs.features.shape[1]
    mean = np.concatenate([_PRIOR_MEAN, np.full(count, _FEATURE_MEAN)])
    std = np.concatenate([_PRIOR_STD, np.full(count, _FEATURE_STD)])
    centred = targets - targets.mean()
    identity = np.eye(len(targets))

    def loss(at: Floats) -> tuple[float, Floats]:
        parts = distances.parts(at)
        noise = np.exp(at[3])
        factor = cholesky(sum(parts) + (noise + _LEAST_NOISE) * identity, lower=True, check_finite=False)
        weights = cho_solve((factor, True), centred, check_finite=False)
        inverse = lapack.dpotri(factor, lower=1)[0]
        inverse = inverse + np.tril(inverse, -1).T
        matrix = 0.5 * (inverse - np.outer(weights, weights))
        gradient = distances.gradients(at, matrix, parts)
        gradient[3] = noise * np.trace(matrix)
        away = (at - mean) / std
        value = 0.5 * centred @ weights + np.log(np.diag(factor)).sum() + 0.5 * away @ away
        return float(value), gradient + away / std

    bounds = list(zip(mean - 4 * std, mean + 4 * std, strict=True))
    best: Floats = minimize(loss, mean, jac=True, method="L-BFGS-B", bounds=bounds, options=_ENDING).x
    return best


def condition(inputs: Inputs, targets: Floats, log_parameters: Floats, noise: Floats | None = None) -> GaussianProcess:
    """The process with these hyperparameters, conditioned on `targets` at `inputs`."""
    if noise is None:
        noise = np.full(len(targets), np.exp(log_parameters[3]) + _LEAST_NOISE)
    own = covariance(inputs, inputs, log_parameters)
    factor = cholesky(own + np.diag(noise), lower=True, check_finite=False)
    offset = float(targets.mean())
    weights = cho_solve((factor, True), targets - offset, check_finite=False)
    return GaussianProcess(inputs, log_parameters, offset, factor, weights, noise)
