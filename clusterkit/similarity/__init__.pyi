from .explanation import Explanation as Explanation
from .explanation import latent_histograms as latent_histograms
from .nearest import unit_rows as unit_rows
from .neighbors import CosineNeighbors as CosineNeighbors
from .similar import SimilarImages as SimilarImages
from .similar import explain as explain
from .similar import find_similar as find_similar
from .similar import locate as locate
