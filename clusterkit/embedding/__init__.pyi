from .embed import EmbedReport as EmbedReport
from .embed import embed_to_store as embed_to_store
