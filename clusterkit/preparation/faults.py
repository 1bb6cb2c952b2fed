"""Find faults of single files: unreadable, blurred, dark, misnamed, and so on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from clusterkit.datasets.copies import MIN_SIDE
from clusterkit.images.formats import SUFFIXES
from clusterkit.images.quality import PictureQuality, Tones
from clusterkit.preparation.file_inspection import FileInfo
from clusterkit.preparation.findings import Finding
from clusterkit.utils.text import percent

# A picture is tiny if its longer side is at most this and at most a third of the usual one, or in
# any case if its shorter side is below the last figure.
_TINY, _TINY_SHARE, _TINIEST = 64, 1 / 3, 8
# Longer side over shorter side.
_LONG = 4.0
# Pixels and bytes of a picture that takes long to read.
_LARGE_PIXELS, _LARGE_BYTES = 40_000_000, 32 * 2**20
# Of 437 photos and drawings none was below 0.56 in steepness; after a Gaussian blur of two pixels
# in 224, 99 % were, and after a motion of 15 pixels, 97 %.  This holds for pictures examined at 256
# pixels or fewer; the edges of others are wider in pixels.
_BLURRED, _BLURRED_SIDE = 0.45, 256
# A dark picture has no light in it, unlike a night shot.
_LIGHT = 0.01
# A blown-out picture is almost completely clipped, mostly to white, and hardly any of it is as dark
# as the ink of a drawing; or it is less clipped, but also to colours; or it is only pale, but
# hardly anything in it is even dim.  One of 190 photos is, and 11 of 1,895 film frames.
_CLIPPED, _INK, _WHITE = 0.85, 0.05, 0.5
_ALSO_CLIPPED, _ALSO_INK, _TINTED = 0.8, 0.1, 0.03
_PALE_CLIPPED, _DIM = 0.2, 0.01
# In any case not a few objects on a white ground, of which this share has deep colours.
_DEEP = 0.2
# Largest difference in a colour that is only noise.
_PLAIN = 8
# A kind that holds for more than this share of the images, and not only for a few, is usual.
_COMMON, _FEW = 0.25, 20
_MAY_BE_COMMON = ("tiny", "blurred", "dark", "blown-out", "aspect", "animated", "oversized")


def find_faults(paths: Sequence[str], infos: Sequence[FileInfo]) -> tuple[list[Finding], list[str]]:
    """Find faults of single files.

    Parameters
    ----------
    paths : sequence of str
        The images.
    infos : sequence of FileInfo
        The inspection of each.

    Returns
    -------
    findings : list of Finding
        In the order of the images.
    common : list of str
        Kinds that were left out because they are usual in this set, such as small images in a set
        of icons; one entry per image.
    """
    sides = [max(info.shape) for info in infos if info.quality]
    usual = median(sides) if sides else 0.0
    found = [
        Finding(row, path, kind, figure, "", detail)
        for row, (path, info) in enumerate(zip(paths, infos, strict=True))
        for kind, figure, detail in _find_in_file(info, usual)
    ]
    counts = Counter(finding.kind for finding in found)
    most = max(_FEW, _COMMON * len(sides))
    common = {kind for kind in _MAY_BE_COMMON if counts[kind] > most}
    return (
        [finding for finding in found if finding.kind not in common],
        [finding.kind for finding in found if finding.kind in common],
    )


def _find_in_file(info: FileInfo, usual: float) -> Iterator[tuple[str, float | None, str]]:
    """Yield the kind, the figure and a description of each fault of a file."""
    if info.reason:
        is_cut = "truncated" in info.reason.lower()
        yield "truncated" if is_cut else "unreadable", None, info.reason
    if info.quality is None:
        return
    height, width = info.shape
    shorter, longer = sorted((height, width))
    size = f"{width} x {height} pixels"
    if not info.fits_suffix:
        suffixes = " or ".join(SUFFIXES[info.format][:2])
        detail = "no known format" if info.format == "other" else f"{info.format}: {suffixes}"
        yield "suffix", None, f"it is {detail}"
    if shorter < _TINIEST or longer <= min(_TINY, _TINY_SHARE * usual):
        yield "tiny", float(longer), f"{size}; the usual longer side is {usual:.0f}"
    is_long = longer > _LONG * shorter
    if is_long:
        yield "aspect", longer / shorter, f"{size}: {longer / shorter:.1f} to 1"
    if info.has_frames:
        yield "animated", None, f"a {info.format} file of several frames or pages"
    n_bytes = info.status.size or 0
    if height * width > _LARGE_PIXELS or n_bytes > _LARGE_BYTES:
        megapixels = height * width / 1e6
        yield "oversized", megapixels, f"{size}, {n_bytes / 2**20:.1f} MiB"
    tones = info.quality.tones
    if tones is not None and is_plain(info):
        spread = tones.spread
        yield "single-colour", float(spread), f"colours differ by {spread} of 255"
    elif shorter >= MIN_SIDE:
        # Smaller ones are mostly digits, signs and icons, without light and shadow.
        yield from _find_photo_faults(info.quality, is_long=is_long)


def is_plain(info: FileInfo) -> bool:
    """Return whether a picture is of a single colour."""
    tones = info.quality and info.quality.tones
    return tones is not None and tones.spread <= _PLAIN


def _find_photo_faults(
    quality: PictureQuality, *, is_long: bool
) -> Iterator[tuple[str, float | None, str]]:
    """Yield at most one of dark, blown out and blurred."""
    tones = quality.tones
    if tones is not None and 1 - tones.dark < _LIGHT:
        detail = f"{percent(tones.dark, 1)} of it is darker than a quarter of full light"
        yield "dark", tones.dark, detail
        return
    if tones is not None and _is_blown_out(tones):
        clipped = tones.white + tones.tinted
        yield "blown-out", clipped, f"{percent(clipped)} of it is clipped"
        return
    limit = _BLURRED * min(1, _BLURRED_SIDE / quality.side)
    # A long image has too few pixels in one direction.
    if quality.steepness is not None and quality.steepness < limit and not is_long:
        detail = f"{percent(quality.steepness)} of a sharp step at its steepest edges"
        yield "blurred", quality.steepness, detail


def _is_blown_out(tones: Tones) -> bool:
    """Return whether a picture is overexposed."""
    if tones.deep >= _DEEP:
        return False
    clipped = tones.white + tones.tinted
    if clipped >= _PALE_CLIPPED and tones.dim <= _DIM:
        return True
    if tones.white < _WHITE:
        return False
    return (clipped >= _CLIPPED and tones.dark <= _INK) or (
        clipped >= _ALSO_CLIPPED and tones.dark <= _ALSO_INK and tones.tinted >= _TINTED
    )
