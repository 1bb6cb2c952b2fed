"""Finding image files, and decoding them to a wanted size."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clusterkit.errors import ImageError, InvalidInputError, NotFoundError
from clusterkit.images import ImageFolder, digest_bytes, digest_file, read_image
from clusterkit.paths import escape_path, unescape_path
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
    expected = ["lists/gone.png", "lists/here.png", "photos/a b\u2028c.png", odd]
    assert images.paths == sorted(expected)
    assert images.root == tmp_path


def test_a_list_must_be_text(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.png", encoding="utf-16")
    with pytest.raises(InvalidInputError, match=r"list\.txt is no list of paths.*UTF-16"):
        ImageFolder(tmp_path / "list.txt")


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    add(tmp_path, "real/a.png")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/up").symlink_to(tmp_path)
    (tmp_path / "real/self").symlink_to("self")
    assert ImageFolder(tmp_path).paths == ["link/a.png", "real/a.png"]


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
