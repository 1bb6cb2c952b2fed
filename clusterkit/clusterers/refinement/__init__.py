"""Refinement: of several clusterings, the one that the neighbours of the rows speak for."""

from clusterkit.clusterers.refinement.estimator import RefinedKMeans
from clusterkit.clusterers.refinement.selection import Candidate

__all__ = ["Candidate", "RefinedKMeans"]
