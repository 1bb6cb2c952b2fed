from .curve import ElbowCurve as ElbowCurve
from .curve import Level as Level
from .curve import elbow_curve as elbow_curve
