"""How many clusters are there?  The elbow curve, other indices, and a verdict that may be None."""

from clusterkit.elbow.curve import ElbowCurve, elbow_curve

__all__ = ["ElbowCurve", "elbow_curve"]
