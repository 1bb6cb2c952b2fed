"""Finding image files, and decoding them to a given size."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clusterkit.errors import ImageError, InvalidInputError, NotFoundError
from clusterkit.images.batches import list_files
from clusterkit.images.folder import ImageFolder, digest_bytes, digest_file, read_bytes, read_image
from clusterkit.utils.text import escape_path, unescape_path
from tests.grid_colours import REPOSITORY, without_privileges
from tests.odd_files import JPEG, PNG, picture


def add(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PNG)


def test_folders_are_searched_recursively_in_order(tmp_path: Path) -> None:
    add(tmp_path, "b.png", "B.PNG", "a/z.JpEg", "a/deep/er/x.webp", "c.jpg")
    add(tmp_path, "notes.txt", "film.mp4", ".hidden.png", ".cache/x.png", "png", "a.png.part")
    images = ImageFolder(tmp_path)
    assert images.root == tmp_path
    assert images.paths == ["B.PNG", "a/deep/er/x.webp", "a/z.JpEg", "b.png", "c.jpg"]
    assert images.files[0] == tmp_path / "B.PNG"
    assert len(images) == 5
    assert repr(images) == f"ImageFolder({str(tmp_path)!r}, 5 images)"


def test_an_image_folder_is_a_lazy_sequence(tmp_path: Path) -> None:
    add(tmp_path, "a.png", "b.png")
    (tmp_path / "c.png").write_bytes(b"broken, and never read")
    images = ImageFolder(tmp_path)
    np.testing.assert_array_equal(images[0], picture())
    part = images[1:]
    assert isinstance(part, ImageFolder)
    assert (part.root, part.paths) == (tmp_path, ["b.png", "c.png"])
    with pytest.raises(ImageError, match="not an image"):
        images[-1]
    with pytest.raises(IndexError):
        images[3]


def test_several_sources_share_a_root_and_count_once(tmp_path: Path) -> None:
    add(tmp_path, "one/a.png", "two/b.png", "two/photo.odd")
    both = ImageFolder(tmp_path / "one", [tmp_path / "two", tmp_path / "two/photo.odd"])
    assert both.root == tmp_path
    assert both.paths == ["one/a.png", "two/b.png", "two/photo.odd"]
    assert ImageFolder(tmp_path / "one", tmp_path / "one/a.png").paths == ["a.png"]
    single = ImageFolder(tmp_path / "two/photo.odd")
    assert (single.root, single.paths) == (tmp_path / "two", ["photo.odd"])


def test_relative_sources_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(tmp_path, "one/a.png")
    monkeypatch.chdir(tmp_path / "one")
    assert ImageFolder(".").root == ImageFolder("../one").root == tmp_path / "one"
    assert ImageFolder("a.png").files == [tmp_path / "one/a.png"]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_list_names_files_relative_to_itself(tmp_path: Path, ending: str, mark: bytes) -> None:
    add(tmp_path, "lists/here.png", "photos/a b\u2028c.png")
    odd = os.fsdecode(b"\xe9.png")
    lines = ["here.png", "", "../photos/a b\u2028c.png", str(tmp_path / odd), "gone.png"]
    text = ending.join(lines).encode("utf-8", "surrogateescape")
    (tmp_path / "lists/of.TXT").write_bytes(mark + text)
    images = ImageFolder(tmp_path / "lists/of.TXT")
    assert images.paths == ["lists/here.png", "photos/a b\u2028c.png", odd, "lists/gone.png"]
    assert images.root == tmp_path


def test_a_list_must_be_text(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.png", encoding="utf-16")
    with pytest.raises(InvalidInputError, match=r"list\.txt is not a list of paths.*UTF-16"):
        ImageFolder(tmp_path / "list.txt")


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    add(tmp_path, "real/a.png")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/up").symlink_to(tmp_path)
    (tmp_path / "real/self").symlink_to("self")
    images = ImageFolder(tmp_path)
    assert images.paths == ["real/a.png"]
    assert images.passed_over == {"second path to a file or folder": 2, "other file": 1}


def test_a_very_deep_folder(tmp_path: Path) -> None:
    # Deeper than Python's recursion goes; made step by step, since no path may be so long.
    start = Path.cwd()
    os.chdir(tmp_path)
    try:
        for _ in range(1200):
            os.mkdir("d")  # noqa: PTH102
            os.chdir("d")
        Path("a.png").write_bytes(PNG)
    finally:
        os.chdir(start)
    try:
        assert ImageFolder(tmp_path).paths == ["d/" * 1200 + "a.png"]
    finally:
        # shutil.rmtree cannot, and pytest would try.
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


def test_an_unlistable_folder_inside_is_left_out(tmp_path: Path) -> None:
    add(tmp_path, "a.png", "closed/b.png")
    (tmp_path / "closed").chmod(0)
    code = f"from clusterkit import ImageFolder; print(ImageFolder({str(tmp_path)!r}).paths)"
    command = without_privileges([sys.executable, "-c", code])
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    (tmp_path / "closed").chmod(0o700)
    assert run.stdout == "['a.png']\n", run.stderr
    assert f"left out {tmp_path / 'closed'}: Permission denied" in run.stderr


def test_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="at least one folder"):
        ImageFolder()
    with pytest.raises(NotFoundError, match=r"no such file or folder: .*nowhere"):
        ImageFolder(tmp_path / "nowhere")
    with pytest.raises(InvalidInputError, match=r"no images in .*\.jpg"):
        ImageFolder(tmp_path)
    add(tmp_path, "notes.md")
    with pytest.raises(InvalidInputError, match="no images"):
        ImageFolder(tmp_path)


def test_one_file_is_one_row_under_the_path_without_a_link(tmp_path: Path) -> None:
    add(tmp_path, "photos/z/real/a.png", "photos/z/real/deep/b.png", "outside/c.png")
    photos = tmp_path / "photos"
    (photos / "a_link").symlink_to(photos / "z/real/deep")
    (photos / "b_link").symlink_to(tmp_path / "outside")
    (photos / "c_link").symlink_to(tmp_path / "outside")
    (photos / "a.png").symlink_to(photos / "z/real/a.png")
    (photos / "c.png").symlink_to(tmp_path / "outside/c.png")
    (photos / "z/gone.png").symlink_to(photos / "nowhere.png")
    real = ["b_link/c.png", "z/gone.png", "z/real/a.png", "z/real/deep/b.png"]
    assert ImageFolder(photos).paths == real
    # Also where the folder itself, or one above it, is a link.
    (tmp_path / "way").symlink_to(photos)
    assert ImageFolder(tmp_path / "way").paths == real
    both = ImageFolder(tmp_path / "way/a_link", tmp_path / "way/z")
    assert both.paths == ["a_link/b.png", "z/gone.png", "z/real/a.png"]
    assert both.passed_over == {"second path to a file or folder": 1}
    # Hard links count as two equal files.
    (photos / "hard.png").hardlink_to(photos / "z/real/a.png")
    assert "hard.png" in ImageFolder(photos).paths


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    add(tmp_path, "above/in/a.png", "above/beside/b.png")
    (tmp_path / "above/in/up").symlink_to(tmp_path / "above")
    assert ImageFolder(tmp_path / "above/in").paths == ["a.png", "up/beside/b.png"]


def test_folders_of_systems_are_passed_over_unless_named(tmp_path: Path) -> None:
    add(tmp_path, "a.png", "@eaDir/a.png/THUMB.jpg", "__MACOSX/._a.png", ".thumbnails/a.png")
    add(tmp_path, "sub/@eaDir/x.jpg", "$RECYCLE.BIN/b.png", "sub/Thumbs.db", "sub/c.png")
    images = ImageFolder(tmp_path)
    assert images.paths == ["a.png", "sub/c.png"]
    assert images.passed_over == {"system folder": 4, "hidden entry": 1, "other file": 1}
    assert ImageFolder(tmp_path / "sub/@eaDir").paths == ["x.jpg"]


def test_what_is_passed_over_is_counted_by_kind(tmp_path: Path) -> None:
    add(tmp_path, "a.png", "a.CR2", "b.NEF", "c.dng", "d.MOV", "e.mp4", "f.txt", ".g.png")
    images = ImageFolder(tmp_path, exclude=["d.*"])
    said = ["3 RAW photos", "1 excluded entry", "1 video", "1 other file", "1 hidden entry"]
    assert images.passed_over_in_words.startswith(said[0])
    assert sorted(images.passed_over_in_words.split(", ")) == sorted(said)
    assert ImageFolder(tmp_path / "a.png").passed_over_in_words == ""
    assert not images[:1].passed_over
    (tmp_path / "a.png").unlink()
    with pytest.raises(InvalidInputError, match=r"passed over: 3 RAW photos, 2 videos"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize("suffix", ["HIF", "j2k", "jpx", "jpf", "apng"])
def test_further_suffixes_of_images(suffix: str, tmp_path: Path) -> None:
    add(tmp_path, f"a.{suffix}")
    assert len(ImageFolder(tmp_path)) == 1


PLACES = ["a.png", "a_small.png", "raw/b.png", "2019/raw/c.png", "2019/d.png", "2019/e/d.png"]


@pytest.mark.parametrize(
    ("pattern", "left_out"),
    [
        ("*_small.png", ["a_small.png"]),
        ("raw", ["raw/b.png", "2019/raw/c.png"]),
        ("raw/", ["raw/b.png", "2019/raw/c.png"]),
        ("/raw", ["raw/b.png"]),
        ("2019/raw", ["2019/raw/c.png"]),
        ("2019/*.png", ["2019/d.png"]),
        ("2019/**/*.png", ["2019/raw/c.png", "2019/d.png", "2019/e/d.png"]),
        ("**/raw/*", ["raw/b.png", "2019/raw/c.png"]),
        ("2019/**", ["2019/raw/c.png", "2019/d.png", "2019/e/d.png"]),
        ("[de].png", ["2019/d.png", "2019/e/d.png"]),
        ("d.png/", []),
        ("?.png", ["a.png", "raw/b.png", "2019/raw/c.png", "2019/d.png", "2019/e/d.png"]),
        ("A.png", []),
    ],
)
def test_patterns_leave_files_and_folders_out(
    pattern: str, left_out: list[str], tmp_path: Path
) -> None:
    add(tmp_path, *PLACES)
    images = ImageFolder(tmp_path, exclude=[pattern])
    assert images.paths == sorted(set(PLACES) - set(left_out))
    # A single pattern is not split into letters.
    assert ImageFolder(tmp_path, exclude=pattern).paths == images.paths
    assert bool(images.passed_over["excluded entry"]) == bool(left_out)


@pytest.mark.parametrize("pattern", ["", "/", " ", "../a", "a/../b"])
def test_a_pattern_that_can_fit_nothing_is_refused(pattern: str, tmp_path: Path) -> None:
    add(tmp_path, "a.png")
    with pytest.raises(InvalidInputError, match="a pattern must name files or folders"):
        ImageFolder(tmp_path, exclude=[pattern])


def test_nothing_waits_for_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "zero.png", "folder.png"):
        why = "a folder, not an image" if name == "folder.png" else "not a regular file"
        for read in (read_bytes, digest_file):
            with pytest.raises(ImageError, match=why):
                read(tmp_path / name)


@pytest.mark.parametrize("file", ["/proc/kmsg", "/proc/kcore", "/proc/self/pagemap"])
def test_files_without_an_end_are_not_read_to_it(file: str, tmp_path: Path) -> None:
    if not Path(file).exists():
        pytest.skip(f"this system has no {file}")
    (tmp_path / "a.png").symlink_to(file)
    with pytest.raises(ImageError, match=r"empty|no permission|bytes|cannot be read"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    "path",
    ["plain/ünïcode.png", "caf\udce9.png", r"C:\users\udce9.png", r"\u005c", r"\u005cudce9", "\\"],
)
def test_escaped_paths_are_unicode_and_come_back(path: str) -> None:
    escaped = escape_path(path)
    escaped.encode("utf-8")
    assert unescape_path(escaped) == path


def test_digests_agree(tmp_path: Path) -> None:
    add(tmp_path, "a.png")
    assert digest_file(tmp_path / "a.png") == digest_bytes(PNG)
    assert len(digest_bytes(b"")) == 64


def test_an_image_is_its_own_and_contiguous(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    image = read_image(tmp_path / "a.jpg", (48, 32))
    assert image.flags.c_contiguous
    assert image.dtype == np.uint8


def test_pixels_are_no_files(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    images = ImageFolder(tmp_path)
    with pytest.raises(
        InvalidInputError, match=r"a path\. Received: pixels of shape \(2, 8, 8, 3\)"
    ):
        ImageFolder(np.zeros((2, 8, 8, 3), np.uint8))  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"Received: pixels of shape \(8, 8, 3\)"):
        ImageFolder([*images])  # type: ignore[list-item]
    with pytest.raises(InvalidInputError, match=r"images must be files\. Received: ndarray"):
        list_files([*images])
    assert list_files(images) == list_files(iter(images.files)) == images.files
