from .cluster import Clustering as Clustering
from .evaluation import Evaluation as Evaluation
from .evaluation import evaluate as evaluate
from .evaluation import evaluate_file as evaluate_file
from .matching import IdentityReport as IdentityReport
from .matching import match_clusters as match_clusters
from .naming import name_clusters as name_clusters
from .promotion import promote as promote
