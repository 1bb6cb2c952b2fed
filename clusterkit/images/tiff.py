"""Read TIFF files of many sample layouts.

Pillow's libtiff decompresses the data.  The samples are interpreted here, from the bit depth,
format and colours in the tags, because Pillow misinterprets many of these layouts.  If the codec
itself defines the samples, as JPEG does, Pillow reads the whole image.
"""

import io
import struct
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clusterkit.errors import ImageError
from clusterkit.images.eight_bit import on_white, to_8_bit

# First bytes of EXIF data, and of TIFF files.
EXIF_START = b"Exif\0\0"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+")

# The tags in use, from section 8 of the standard and later supplements.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES = 273, 274, 277, 278, 279
_PLANAR, _T4_OPTIONS, _T6_OPTIONS, _PREDICTOR, _COLOUR_MAP = 284, 292, 293, 317, 320
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _INK_SET = 322, 323, 324, 325, 332
_EXTRA_SAMPLES, _SAMPLE_FORMAT = 338, 339
_YCBCR_WEIGHTS, _YCBCR_SUBSAMPLING, _REFERENCE_BLACK_WHITE = 529, 530, 532
_GDAL_NO_DATA = 42113
# JPEG tables and, for old-style JPEG, all other data.
_JPEG_TAGS = frozenset({347, *range(512, 522)})
# Only these tags are read, so that damage to others has no effect.
# There is no tag zero; here it stands for the tag list, which is None if truncated.
_LIST = 0
_DECISIVE_TAGS = frozenset(
    [
        _LIST,
        *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _PLANAR),
        *(_STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_BYTES, _PREDICTOR, _COLOUR_MAP),
        *(_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _EXTRA_SAMPLES, _SAMPLE_FORMAT),
    ]
)
_PIXEL_TAGS = (_DECISIVE_TAGS | _JPEG_TAGS) | {
    *(_T4_OPTIONS, _T6_OPTIONS, _INK_SET),
    *(_YCBCR_WEIGHTS, _YCBCR_SUBSAMPLING, _REFERENCE_BLACK_WHITE),
}
# Limits on strips or tiles, values per tag, and tags, so that damaged counts take neither much
# memory nor time.
_MAX_PIECES, _MAX_VALUES, _MAX_TAGS = 2**18, 2**22, 2**16

# Struct format of each value type; 2 and 7 are bytes, 5 and 10 are fractions.
_TYPES = {1: "B", 2: "s", 3: "H", 4: "L", 5: "L", 6: "b", 7: "s", 8: "h", 9: "l", 10: "l"}
_TYPES |= {11: "f", 12: "d", 13: "L", 16: "Q", 17: "q", 18: "Q"}
_FRACTIONS = frozenset({5, 10})

_BYTE_CODECS = frozenset({1, 5, 8, 32773, 32946, 34925, 50000})
_FAX_CODECS = frozenset({2, 3, 4, 32771})
_JPEG_CODECS = frozenset({6, 7})
# Compressions in which each strip or tile is a complete file.
_FILE_CODECS = {50001: "WEBP", 34712: "JPEG2000", 34933: "PNG"}
_OTHER_CODECS = {
    34661: "JBIG",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34892: "lossy JPEG of a camera",
    34887: "LERC",
    34934: "JPEG XR",
    22610: "JPEG XR",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_RGB, _PALETTE, _CMYK, _YCBCR, _LAB, _ICC_LAB = 2, 3, 5, 6, 8, 9
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3}
_OTHER_PHOTOMETRICS = {
    4: "a mask",
    10: "ITU L*a*b* colours",
    32803: "a camera's raw data",
    32844: "SGI LogL values",
    32845: "SGI LogLuv colours",
    34892: "a camera's raw data",
}
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
# Bytes decompressed at a time; intermediate values take several times as much.
_AT_ONCE = 2**24


class Tiff:
    """The first image of a TIFF file.

    Parameters
    ----------
    data : bytes
        The file's content.

    Attributes
    ----------
    width, height : int
        Size of the stored image, before applying the orientation.
    orientation : int
        The EXIF orientation, 1 to 8; invalid values count as 1.

    Raises
    ------
    ImageError
        If the tags cannot be read, or describe an unsupported layout.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order, tags = read_tags(data)
        if any(tags.get(tag, ()) is None for tag in _DECISIVE_TAGS):
            raise ImageError("damaged: the TIFF file is truncated")
        self._tags = {tag: values for tag, values in tags.items() if values is not None}
        self.width, self.height = self._number(_WIDTH), self._number(_HEIGHT)
        if self.width < 1 or self.height < 1:
            raise ImageError("damaged: a TIFF file without the size of its picture")
        self.orientation = self._number(_ORIENTATION, 1)
        self.compression = self._number(_COMPRESSION, 1)
        self._photometric = self._number(_PHOTOMETRIC, self._likely_photometric)
        self._check_supported()

    @property
    def n_bytes(self) -> int:
        """Estimated memory for reading, in bytes."""
        n_pixels = self.width * self.height
        if self.compression in _JPEG_CODECS:
            return 20 * n_pixels
        depth = 1 if self._bits <= 8 else 2 if self._bits <= 16 else max(4, self._bits // 8)
        needed = _COLOURS[self._photometric] + self._alpha
        width, height = self._piece_shape
        with_edges = -(-self.width // width) * width * -(-self.height // height) * height
        unpacked = with_edges * (1 if self._planar else self._samples) * self._bits // 8
        # Planes are stacked; data exist compressed, in Pillow, and as an array.
        taken = needed * depth * (2 if self._planar else 1) + needed + 3
        return taken * n_pixels + (3 if self.compression != 1 else 0) * unpacked + _AT_ONCE

    def read(self) -> NDArray[np.uint8]:
        """Return the image without applying the orientation: (height, width, 3), uint8."""
        if self.compression in _JPEG_CODECS:
            return self._read_with_pillow()
        if self._photometric == _YCBCR and self._subsampling != (1, 1):
            colour, extra = self._read_subsampled(), None
        else:
            samples = self._read_samples()
            colours = _COLOURS[self._photometric]
            colour, extra = samples[..., :colours], samples[..., colours:]
        rgb = self._to_rgb(colour)
        if extra is None or not self._alpha:
            return rgb
        opacity = to_8_bit(extra[..., self._alpha - 1], self._bits)
        return on_white(rgb, opacity, premultiplied=self._premultiplied)

    # Interpretation of tags

    def _number(self, tag: int, default: int = 0) -> int:
        """Return the first value of a tag as an integer."""
        values = self._tags.get(tag)
        return int(values[0]) if values else default

    def _check_supported(self) -> None:
        """Raise ImageError with the reason if the layout is not supported."""
        if self.compression not in _BYTE_CODECS | _FAX_CODECS | _JPEG_CODECS | _FILE_CODECS.keys():
            name = _OTHER_CODECS.get(self.compression, f"number {self.compression}")
            raise ImageError(f"the TIFF compression {name} is not supported")
        if self.compression in _JPEG_CODECS:
            if self._number(_BITS, 8) != 8:
                raise ImageError(f"TIFF JPEG of {self._bits} bits per sample is not supported")
            return
        if self._photometric not in _COLOURS:
            name = _OTHER_PHOTOMETRICS.get(self._photometric, f"colours {self._photometric}")
            raise ImageError(f"the TIFF file holds {name}, which is not supported")
        if self._photometric == _CMYK and self._number(_INK_SET, 1) != 1:
            raise ImageError("the TIFF file holds inks other than CMYK, which is not supported")
        if len(set(self._tags.get(_BITS, (1,)))) > 1 or len(self._formats) > 1:
            raise ImageError("the TIFF file's samples differ in kind, which is not supported")
        kind = {1: "unsigned", 2: "signed", 3: "float", 4: "unsigned"}.get(self._format, "complex")
        depths = {"unsigned": range(1, 33), "signed": (8, 16, 32), "float": (16, 32, 64)}
        if self._bits not in depths.get(kind, ()):
            raise ImageError(f"TIFF samples of {self._bits} bits ({kind}) are not supported")
        if self._samples < _COLOURS[self._photometric]:
            raise ImageError("damaged: a TIFF file with fewer samples than its colours need")
        whole = kind == "unsigned"
        if self._photometric == _PALETTE and not (whole and self._bits <= 16):
            raise ImageError(f"TIFF palettes of {self._bits} bits ({kind}) are not supported")
        if self._photometric == _YCBCR and not (whole and self._bits == 8):
            raise ImageError(f"TIFF YCbCr of {self._bits} bits ({kind}) is not supported")
        if self._photometric in (_LAB, _ICC_LAB) and self._bits not in (8, 16):
            raise ImageError(f"TIFF L*a*b* of {self._bits} bits is not supported")
        if self.compression in _FILE_CODECS and self._bits != 8:
            raise ImageError(
                f"TIFF samples of {self._bits} bits in this compression are not supported"
            )
        if self.compression in _FAX_CODECS and (self._bits, self._samples) != (1, 1):
            raise ImageError("a TIFF fax of more than one bit is not supported")
        if self._photometric == _YCBCR and self._planar and self._subsampling != (1, 1):
            raise ImageError("TIFF YCbCr in planes of several sizes is not supported")
        if self._predictor not in (1, 2, 3):
            raise ImageError(f"the TIFF predictor {self._predictor} is not supported")
        if (self._predictor == 2 and self._bits not in (8, 16, 32, 64)) or (
            self._predictor == 3 and kind != "float"
        ):
            raise ImageError(
                f"the TIFF predictor {self._predictor} for {self._bits} bits is not supported"
            )

    @property
    def _likely_photometric(self) -> int:
        """Photometric interpretation that libtiff assumes if it is missing."""
        if self.compression in _FAX_CODECS:
            return 0
        return _RGB if self._samples - len(self._tags.get(_EXTRA_SAMPLES, ())) >= 3 else 1

    @cached_property
    def _bits(self) -> int:
        return self._number(_BITS, 1)

    @cached_property
    def _formats(self) -> set[int]:
        return set(self._tags.get(_SAMPLE_FORMAT, (1,))[: self._samples])

    @cached_property
    def _format(self) -> int:
        return self._number(_SAMPLE_FORMAT, 1)

    @cached_property
    def _samples(self) -> int:
        return self._number(_SAMPLES, max(1, len(self._tags.get(_BITS, (1,)))))

    @cached_property
    def _planar(self) -> bool:
        """Whether each sample has a separate plane."""
        return self._number(_PLANAR, 1) == 2 and self._samples > 1

    @cached_property
    def _predictor(self) -> int:
        codecs_with_one = _BYTE_CODECS - {1, 32773}
        return self._number(_PREDICTOR, 1) if self.compression in codecs_with_one else 1

    @cached_property
    def _subsampling(self) -> tuple[int, int]:
        """Horizontal and vertical subsampling of colours."""
        along, down = (*self._tags.get(_YCBCR_SUBSAMPLING, (2, 2)), 0, 0)[:2]
        if along not in (1, 2, 4) or down not in (1, 2, 4):
            raise ImageError(f"damaged: TIFF colours for {along} x {down} pixels")
        return int(along), int(down)

    @cached_property
    def _piece_shape(self) -> tuple[int, int]:
        """The width and height in pixels of the tiles, or of the strips."""
        if _TILE_OFFSETS in self._tags:
            width, height = self._number(_TILE_WIDTH), self._number(_TILE_HEIGHT)
        else:
            rows = self._number(_ROWS_PER_STRIP, self.height) or self.height
            width, height = self.width, min(rows, self.height)
        if width < 1 or height < 1:
            raise ImageError("damaged: TIFF tiles without a size")
        return width, height

    @cached_property
    def _alpha(self) -> int:
        """Index of the extra sample with the opacity, from 1; 0 for none."""
        # Four samples without a description of the fourth are RGBA, as in old programs.
        unexplained = (2,) if self._photometric == _RGB and self._samples == 4 else ()
        extra = self._tags.get(_EXTRA_SAMPLES, unexplained)
        # Corel Draw writes 999.
        return next((at for at, kind in enumerate(extra, 1) if kind in (1, 2, 999)), 0)

    @cached_property
    def _premultiplied(self) -> bool:
        return self._tags.get(_EXTRA_SAMPLES, (2,))[self._alpha - 1] == 1

    @cached_property
    def _no_data(self) -> float | None:
        """Value of missing pixels in GDAL's tag."""
        try:
            return float(self._tags[_GDAL_NO_DATA].split(b"\0")[0])
        except (KeyError, ValueError, AttributeError):
            return None

    # Decoding of samples

    def _read_samples(self) -> NDArray[Any]:
        """Return the used samples, of shape (height, width, samples)."""
        needed = _COLOURS[self._photometric] + self._alpha
        if needed > self._samples:
            raise ImageError("damaged: a TIFF file with fewer samples than it explains")
        if not self._planar:
            return self._read_plane(0, self._samples, needed)
        planes = [self._read_plane(plane, 1, 1) for plane in range(needed)]
        return np.concatenate(planes, axis=2)

    def _read_plane(self, plane: int, samples: int, needed: int) -> NDArray[Any]:
        """Return the first ``needed`` samples of a plane: (height, width, needed)."""
        width, _ = self._piece_shape
        row_bytes = (width * samples * self._bits + 7) // 8
        result: NDArray[Any] | None = None
        # Samples of odd depths need one byte per bit.
        step = max(1, _AT_ONCE // 8 // row_bytes)
        for top, left, rows in self._read_pieces(plane, row_bytes):
            for at in range(0, min(len(rows), self.height - top), step):
                values = self._to_samples(rows[at : at + step], width, samples)[..., :needed]
                if result is None:
                    result = np.zeros((self.height, self.width, needed), values.dtype)
                part = result[top + at : top + at + len(values), left : left + width]
                part[:] = values[: part.shape[0], : part.shape[1]]
        if result is None:
            raise ImageError("damaged: a TIFF file without pixels")
        return result

    def _read_pieces(
        self, plane: int, row_bytes: int, down: int = 1
    ) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
        """Yield (top, left, rows of bytes) of each strip or tile.

        ``down`` is the number of pixel rows per row of bytes.
        """
        tiled = _TILE_OFFSETS in self._tags
        width, height = self._piece_shape
        columns = -(-self.width // width)
        n = columns * -(-self.height // height)
        if n > _MAX_PIECES:
            raise ImageError(f"the TIFF file has {n:,} pieces; {_MAX_PIECES:,} are allowed")
        offsets = self._tags.get(_TILE_OFFSETS if tiled else _STRIP_OFFSETS, ())
        sizes = self._tags.get(_TILE_BYTES if tiled else _STRIP_BYTES, ())
        offsets = offsets[plane * n : (plane + 1) * n]
        sizes = sizes[plane * n : (plane + 1) * n]
        if len(offsets) < n:
            raise ImageError("damaged: a TIFF file that lacks the places of its pixels")

        def rows_of(piece: int) -> int:
            """Return the number of rows of bytes of a piece; the last strip may be shorter."""
            top = piece // columns * height
            return -(-(height if tiled else min(height, self.height - top)) // down)

        at_once = max(1, _AT_ONCE // (row_bytes * height))
        for start in range(0, n, at_once):
            pieces = range(start, min(start + at_once, n))
            blocks = [self._piece(offsets[i], sizes[i] if i < len(sizes) else None) for i in pieces]
            unpacked = self._unpack(blocks, row_bytes, [rows_of(i) for i in pieces])
            for piece, rows in zip(pieces, unpacked, strict=True):
                yield piece // columns * height, piece % columns * width, rows

    def _piece(self, offset: int, size: int | None) -> bytes:
        """Return the compressed bytes of a strip or tile, in normal bit order."""
        # Old programs omit the sizes, or write wrong ones for uncompressed data.
        end = None if size is None or self.compression == 1 else offset + size
        if size == 0:
            raise ImageError("damaged: the TIFF file lacks a piece of its picture")
        packed = self._data[offset:end]
        if not packed or (end is not None and end > len(self._data)):
            raise ImageError("damaged: the TIFF file is truncated")
        if self._number(_FILL_ORDER, 1) == 2:
            packed = packed.translate(_REVERSED)
        return packed

    def _unpack(
        self, blocks: list[bytes], row_bytes: int, n_rows: list[int]
    ) -> list[NDArray[np.uint8]]:
        """Decompress strips or tiles to rows of bytes: (rows, row_bytes) each."""
        if self.compression == 1:
            if any(len(b) < rows * row_bytes for b, rows in zip(blocks, n_rows, strict=True)):
                raise ImageError("damaged: the TIFF file is truncated")
            return [
                np.frombuffer(block, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
                for block, rows in zip(blocks, n_rows, strict=True)
            ]
        if self.compression in _FILE_CODECS:
            return [self._unpack_file(block, row_bytes) for block in blocks]
        # libtiff gets an image whose pixels are the bytes, with one strip per piece.
        height = max(n_rows)
        offsets = np.cumsum([8, *(len(block) for block in blocks[:-1])]).tolist()
        tags: dict[int, tuple[int, list[int]]] = {
            _WIDTH: (4, [row_bytes]),
            _HEIGHT: (4, [height * (len(blocks) - 1) + n_rows[-1]]),
            _BITS: (3, [8]),
            _COMPRESSION: (3, [self.compression]),
            _PHOTOMETRIC: (3, [1]),
            _STRIP_OFFSETS: (4, offsets),
            _SAMPLES: (3, [1]),
            _ROWS_PER_STRIP: (4, [height]),
            _STRIP_BYTES: (4, [len(block) for block in blocks]),
        }
        if self.compression in _FAX_CODECS:
            tags[_WIDTH] = (4, [self._piece_shape[0]])
            tags[_BITS] = (3, [1])
            for tag in (_T4_OPTIONS, _T6_OPTIONS):
                tags[tag] = (4, [self._number(tag)])
        elif row_bytes % 4 == 0:
            # Four bytes per pixel, because Pillow limits the number of pixels.
            tags |= {_WIDTH: (4, [row_bytes // 4]), _SAMPLES: (3, [4]), _PHOTOMETRIC: (3, [2])}
            tags |= {_BITS: (3, [8] * 4), _EXTRA_SAMPLES: (3, [2])}
        values = _load_with_pillow(_write_tiff(tags, b"".join(blocks)))
        if self.compression in _FAX_CODECS:
            values = np.packbits(values, axis=1)
        values = values.reshape(-1, row_bytes)
        return np.split(values, np.cumsum(n_rows)[:-1])

    def _unpack_file(self, block: bytes, row_bytes: int) -> NDArray[np.uint8]:
        """Return the rows of bytes of a strip or tile that is a complete file."""
        with Image.open(io.BytesIO(block), formats=[_FILE_CODECS[self.compression]]) as image:
            # WebP omits the alpha channel of opaque images.
            full = image.convert("RGBA") if image.width * 4 == row_bytes else image
            return np.asarray(full).reshape(image.height, row_bytes)

    def _to_samples(self, rows: NDArray[np.uint8], width: int, samples: int) -> NDArray[Any]:
        """Convert rows of bytes to samples, of shape (rows, width, samples)."""
        n = width * samples
        if self._predictor == 3:
            return self._undo_float_differences(rows, width, samples)
        if self._bits in (8, 16, 32, 64):
            letter = {2: "i", 3: "f"}.get(self._format, "u")
            dtype = np.dtype(f"{self._order}{letter}{self._bits // 8}")
            values: NDArray[Any] = (
                np.ascontiguousarray(rows).view(dtype).reshape(len(rows), width, samples)
            )
            if self._predictor == 2:
                whole = values.view(f"{self._order}u{self._bits // 8}")
                whole = whole.astype(whole.dtype.newbyteorder("="))
                summed = np.cumsum(whole, axis=1, dtype=whole.dtype)
                return summed.view(dtype.newbyteorder("="))
            return values.astype(dtype.newbyteorder("="), copy=False)
        if self._bits == 24:
            triples: NDArray[Any] = rows.reshape(len(rows), width, samples, 3).astype(np.uint32)
            triples = triples if self._order == ">" else triples[..., ::-1]
            return triples[..., 0] << 16 | triples[..., 1] << 8 | triples[..., 2]
        # Samples of partial bytes are packed bit by bit, in either byte order.
        bits = np.unpackbits(rows, axis=1, count=n * self._bits).reshape(-1, self._bits)
        smallest = np.uint8 if self._bits < 8 else np.uint16 if self._bits < 16 else np.uint32
        values = np.zeros(len(bits), smallest)
        for bit in bits.T:
            values <<= 1
            values |= bit
        return values.reshape(len(rows), width, samples)

    def _undo_float_differences(
        self, rows: NDArray[np.uint8], width: int, samples: int
    ) -> NDArray[Any]:
        """Undo predictor 3: byte differences, with the most significant bytes of a row first."""
        depth = self._bits // 8
        summed = np.cumsum(rows.reshape(len(rows), -1, samples), axis=1, dtype=np.uint8)
        planes = summed.reshape(len(rows), depth, width * samples)
        values = np.ascontiguousarray(planes.swapaxes(1, 2)).view(f">f{depth}")
        return values.astype(f"=f{depth}").reshape(len(rows), width, samples)

    def _read_subsampled(self) -> NDArray[np.uint8]:
        """Return subsampled YCbCr at full size, of shape (h, w, 3)."""
        if self._alpha or self._samples != 3 or self._predictor != 1:
            raise ImageError("TIFF YCbCr of this layout is not supported")
        along, down = self._subsampling
        width, _ = self._piece_shape
        units, unit = -(-width // along), along * down + 2
        result = np.zeros((self.height, self.width, 3), np.uint8)
        for top, left, rows in self._read_pieces(0, units * unit, down):
            blocks = rows.reshape(len(rows), units, unit)
            pixels = blocks[..., :-2].reshape(len(rows), units, down, along).swapaxes(1, 2)
            luma = pixels.reshape(len(rows) * down, units * along)
            colours = blocks[..., -2:].repeat(down, axis=0).repeat(along, axis=1)
            values = np.concatenate([luma[..., None], colours], axis=2)[:, :width]
            part = result[top : top + len(values), left : left + width]
            part[:] = values[: part.shape[0], : part.shape[1]]
        return result

    # Conversion to RGB

    def _to_rgb(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Convert samples to RGB."""
        if self._photometric == _PALETTE:
            return self._colour_map[values[..., 0]]
        if self._photometric in (_LAB, _ICC_LAB):
            return self._lab_to_rgb(values)
        eight = to_8_bit(values, self._bits, no_data=self._no_data)
        if self._photometric == _YCBCR:
            return self._ycbcr_to_rgb(eight)
        if self._photometric == _CMYK:
            size = eight.shape[1], eight.shape[0]
            return np.asarray(Image.frombytes("CMYK", size, eight.tobytes()).convert("RGB"))
        if self._photometric == 0:
            eight = 255 - eight
        return np.broadcast_to(eight, (*eight.shape[:2], 3))

    @cached_property
    def _colour_map(self) -> NDArray[np.uint8]:
        """The palette, of shape (colours, 3)."""
        values = np.array(self._tags.get(_COLOUR_MAP, ()), np.uint16)
        if values.size != 3 * 2**self._bits:
            raise ImageError("damaged: a TIFF palette of the wrong size")
        # The standard requires 16 bits, but some programs write 8; libtiff detects them in this
        # way.
        eight = to_8_bit(values) if values.max() > 255 else values.astype(np.uint8)
        return np.ascontiguousarray(eight.reshape(3, -1).T)

    def _ycbcr_to_rgb(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Convert YCbCr to RGB, with the weights and ranges of the tags."""
        red, green, blue = self._tags.get(_YCBCR_WEIGHTS, (0.299, 0.587, 0.114))[:3]
        if not green:
            raise ImageError("damaged: TIFF colours without a weight for green")
        limits = self._tags.get(_REFERENCE_BLACK_WHITE, (0.0, 255.0, 128.0, 255.0, 128.0, 255.0))
        low, high = np.array(limits[:6], np.float32).reshape(3, 2).T
        if (low == high).any():
            raise ImageError("damaged: TIFF colours without a range")
        luma, cb, cr = np.moveaxis(
            (values - low) * (np.array([255, 127, 127]) / (high - low)), 2, 0
        )
        r = luma + cr * (2 - 2 * red)
        b = luma + cb * (2 - 2 * blue)
        g = (luma - red * r - blue * b) / green
        return np.clip(np.rint(np.stack([r, g, b], axis=2)), 0, 255).astype(np.uint8)

    def _lab_to_rgb(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Convert CIE L*a*b* to RGB."""
        eight = (values >> (self._bits - 8)).astype(np.uint8)
        if self._photometric == _ICC_LAB:
            # ICC L*a*b* stores a* and b* with an offset of 128; Pillow expects signed values.
            eight[..., 1:] ^= 128
        image = Image.frombytes("LAB", (self.width, self.height), eight.tobytes())
        return np.asarray(image.convert("RGB"))

    # Reading with Pillow

    def _read_with_pillow(self) -> NDArray[np.uint8]:
        """Read JPEG-compressed data, without unneeded tags."""
        kept = {
            tag: (_type_of(tag, values), list(values))
            for tag, values in self._tags.items()
            if tag in _PIXEL_TAGS
        }
        try:
            return _load_with_pillow(_write_tiff(kept, self._data[8:], self._order), "RGB")
        except UnidentifiedImageError:
            raise ImageError("TIFF JPEG of this layout is not supported") from None


def _load_with_pillow(data: bytes, mode: str | None = None) -> NDArray[np.uint8]:
    """Decode a TIFF file with Pillow."""
    with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
        try:
            return np.asarray(image.convert(mode) if mode else image)
        except OSError as error:
            raise ImageError(f"damaged: the TIFF file cannot be unpacked ({error})") from error


def _type_of(tag: int, values: Any) -> int:
    """Return the value type for writing a tag."""
    if isinstance(values, bytes):
        return 7
    if isinstance(values[0], float):
        return 11
    return 3 if max(values) < 2**16 and tag not in (_STRIP_OFFSETS, _TILE_OFFSETS) else 4


def _write_tiff(tags: dict[int, tuple[int, list[Any]]], body: bytes, order: str = "<") -> bytes:
    """Return a TIFF file of one image, with the body at byte 8."""
    at = 8 + len(body) + len(body) % 2
    outside_at = at + 2 + 12 * len(tags) + 4
    entries = outside = b""
    for tag, (kind, values) in sorted(tags.items()):
        raw = (
            bytes(values)
            if kind == 7
            else struct.pack(f"{order}{len(values)}{_TYPES[kind]}", *values)
        )
        entries += struct.pack(f"{order}HHL", tag, kind, len(values))
        if len(raw) <= 4:
            entries += raw.ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}L", outside_at + len(outside))
            outside += raw + b"\0" * (len(raw) % 2)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", at)
    count = struct.pack(f"{order}H", len(tags))
    return b"".join([start, body, b"\0" * (len(body) % 2), count, entries, bytes(4), outside])


def read_tags(data: bytes) -> tuple[str, dict[int, Any]]:
    """Return the byte order ("<" or ">"), and the used tags of the first image.

    The values of a tag are a tuple of numbers, bytes, or None if truncated.

    Raises
    ------
    ImageError
        If there is no tag list.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    try:
        at = struct.unpack_from(f"{order}Q" if big else f"{order}L", data, 8 if big else 4)[0]
        n = struct.unpack_from(f"{order}Q" if big else f"{order}H", data, at)[0]
    # A place beyond 2**63 cannot be read at, either.
    except (struct.error, OverflowError):
        raise ImageError("damaged: the TIFF file is truncated") from None
    at += 8 if big else 2
    n = min(n, _MAX_TAGS)
    head, room = (f"{order}HHQ", 8) if big else (f"{order}HHL", 4)
    step = struct.calcsize(head) + room
    tags: dict[int, Any] = {}
    if at + n * step > len(data):
        tags[_LIST] = None
        n = (len(data) - at) // step
    for entry in range(at, at + n * step, step):
        tag, kind, count = struct.unpack_from(head, data, entry)
        letter = _TYPES.get(kind)
        known = tag in _PIXEL_TAGS or tag in (_ORIENTATION, _GDAL_NO_DATA)
        if not known or letter is None or not count or tag in tags:
            continue
        tags[tag] = None
        if count > _MAX_VALUES:
            continue
        form = f"{order}{count * (2 if kind in _FRACTIONS else 1)}{letter}"
        size = struct.calcsize(form)
        place = entry + step - room
        if size > room:
            place = struct.unpack_from(f"{order}Q" if big else f"{order}L", data, place)[0]
        if place + size > len(data):
            continue
        values = struct.unpack_from(form, data, place)
        if letter == "s":
            tags[tag] = values[0]
        elif kind in _FRACTIONS:
            pairs = zip(values[::2], values[1::2], strict=True)
            tags[tag] = tuple(above / below if below else 0.0 for above, below in pairs)
        else:
            tags[tag] = values
    return order, tags


def exif_orientation(block: bytes) -> Any:
    """Return the orientation in an EXIF block, which is a small TIFF file, or None."""
    # Some programs write the prefix twice.
    while block.startswith(EXIF_START):
        block = block[len(EXIF_START) :]
    try:
        values = read_tags(block)[1].get(_ORIENTATION) if block.startswith(TIFF_STARTS) else None
    except ImageError:
        return None
    return values[0] if values else None
