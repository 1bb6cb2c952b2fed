from .decoding import decode_image as decode_image
from .folder import ImageFolder as ImageFolder
from .folder import read_image as read_image
from .resizing import resize_image as resize_image
