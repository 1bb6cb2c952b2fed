"""Registry of clusterers by their command-line names."""

from clusterkit.utils.imports import Registry

CLUSTERERS = Registry(
    "clusterer",
    {
        "kmeans": "clusterkit.clusterers.kmeans.estimator:KMeans",
        "minibatch-kmeans": "clusterkit.clusterers.kmeans.minibatch:MiniBatchKMeans",
        "affinity-propagation": "clusterkit.clusterers.affinity.estimator:AffinityPropagation",
        "agglomerative": "clusterkit.clusterers.scikit_learn:AgglomerativeClustering",
        "hdbscan": "clusterkit.clusterers.scikit_learn:HDBSCAN",
        "spectral": "clusterkit.clusterers.scikit_learn:SpectralClustering",
        "gaussian-mixture": "clusterkit.clusterers.mixture:GaussianMixture",
        "refined-kmeans": "clusterkit.clusterers.refinement:RefinedKMeans",
    },
)
