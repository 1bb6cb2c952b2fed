from .embeddings import Embeddings as Embeddings
from .embeddings import Failure as Failure
from .interchange import import_vectors as import_vectors
from .reading import as_embeddings as as_embeddings
from .reading import is_large as is_large
from .space import Space as Space
from .store import Store as Store
from .stream import VectorStream as VectorStream
