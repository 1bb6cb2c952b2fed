from .explain import Explanation as Explanation
from .explain import latent_histograms as latent_histograms
from .nearest import unit_rows as unit_rows
from .neighbors import CosineNeighbors as CosineNeighbors
from .similar import SimilarImages as SimilarImages
from .similar import explain_images as explain_images
from .similar import find_similar as find_similar
from .similar import locate as locate
