from .gathering.from_web import gather as gather
from .gathering.manifest import Gathered as Gathered
from .gathering.result import Gathering as Gathering
from .sampling import ImageSample as ImageSample
from .sampling import SampledImage as SampledImage
from .sampling import sample_images as sample_images
from .splitting import FolderSplit as FolderSplit
from .splitting import split_folder as split_folder
