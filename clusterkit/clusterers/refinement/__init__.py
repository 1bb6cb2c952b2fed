"""Refinement: choose among several clusterings by modularity."""

from clusterkit.clusterers.refinement.estimator import RefinedKMeans
from clusterkit.clusterers.refinement.selection import Candidate

__all__ = ["Candidate", "RefinedKMeans"]
