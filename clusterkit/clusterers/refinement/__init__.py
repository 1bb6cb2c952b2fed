"""Refinement: choose among several clusterings by their silhouettes."""

from clusterkit.clusterers.refinement.estimator import RefinedKMeans
from clusterkit.clusterers.refinement.selection import Candidate

__all__ = ["Candidate", "RefinedKMeans"]
