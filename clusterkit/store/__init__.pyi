from .embeddings import Embeddings as Embeddings
from .embeddings import Failure as Failure
from .interchange import import_vectors as import_vectors
from .space import Space as Space
from .store import Store as Store
from .store import as_embeddings as as_embeddings
from .store import is_large as is_large
from .stream import VectorStream as VectorStream
