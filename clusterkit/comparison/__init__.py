"""Which embedding space groups the images best?  An answer that needs no labels."""

from clusterkit.comparison.comparing import SpaceComparison, SpaceScores, compare_spaces
from clusterkit.comparison.shared import read_spaces

__all__ = ["SpaceComparison", "SpaceScores", "compare_spaces", "read_spaces"]
