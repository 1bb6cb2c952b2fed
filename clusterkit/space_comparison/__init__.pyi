from .compare import SpaceComparison as SpaceComparison
from .compare import SpaceScores as SpaceScores
from .compare import compare_spaces as compare_spaces
from .shared_images import read_spaces as read_spaces
