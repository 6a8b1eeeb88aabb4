"""The directions of features in which classes differ most (linear discriminant analysis)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from compress.contracts import BadInput


@dataclass(frozen=True)
class Directions:
    """What the analysis finds in features [N, D] of C classes.

    Attributes:
        directions: float64 [D, at most C - 1], the one that tells classes apart best first; within classes the features
            have unit covariance along them.
        classes: int64 [C], the labels that occur.
        means, priors: float64 [C, D] and [C], the mean and the share of each class.
    """

    directions: np.ndarray
    classes: np.ndarray
    means: np.ndarray
    priors: np.ndarray


def directions_of(features: np.ndarray, labels: np.ndarray, shrink: Literal["ledoit_wolf"] | float) -> Directions:
    """Analyse features float64 [N, D] with labels int64 [N]; ``shrink`` as the stage ``discriminant`` has it.

    Raises:
        BadInput: the images of every class give the same features.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    analysis = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto" if shrink == "ledoit_wolf" else shrink)
    try:
        analysis.fit(features, labels)
    except (ValueError, np.linalg.LinAlgError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"discriminant: cannot be fitted to these features ({reason}); train the network") from error
    # The solver also gives directions in which the class means do not differ.
    directions = analysis.scalings_[:, : len(analysis.classes_) - 1]
    return Directions(directions, analysis.classes_, analysis.means_, analysis.priors_)
