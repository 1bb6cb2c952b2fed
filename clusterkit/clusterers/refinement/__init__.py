"""Refinement: choose among several clusterings by their silhouettes."""

from clusterkit.clusterers.refinement.candidates import Candidate
from clusterkit.clusterers.refinement.estimator import RefinedKMeans

__all__ = ["Candidate", "RefinedKMeans"]
