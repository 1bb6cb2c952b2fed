"""Undo moves back what it safely can, keeps and reports the rest, and distrusts manifests."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clusterkit.cli import main
from clusterkit.errors import InvalidInputError
from clusterkit.routing import MANIFEST_NAME, sort_into_folders, undo
from clusterkit.utils.files import locked
from tests.letters import take, texts


def undo_twice(folder: Path, **options: Any) -> Any:
    """Undo; the dry run before must give the same result."""
    planned = undo(folder, dry_run=True, **options)
    done = undo(folder, **options)
    assert planned.to_dict() | {"dry_run": False} == done.to_dict()
    return done


def sort(tmp_path: Path, mode: str) -> Path:
    """Sort a and b as cats, c and d as dogs."""
    names = ["cat", "cat", "dog", "dog"]
    into = tmp_path / "sorted"
    sort_into_folders(take(tmp_path / "photos"), names, into, mode=mode)
    return into


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda file, copy: file.write_text(""), "is no longer the same"),
        (lambda file, copy: file.write_text("photo A"), "is no longer the same"),
        (lambda file, copy: file.unlink(), "is gone"),
        (lambda file, copy: (file.unlink(), file.mkdir()), "is no longer the same"),
        # Like programs that remove duplicates: only the copy exists now.
        (lambda file, copy: (file.unlink(), file.symlink_to(copy)), "is no longer the same"),
        (lambda file, copy: (file.unlink(), file.symlink_to("nowhere")), "is gone"),
        (lambda file, copy: (file.unlink(), os.mkfifo(file)), "is no longer the same"),
    ],
)
def test_a_copy_goes_only_where_the_original_is_still_good(
    tmp_path: Path, harm: Any, reason: str
) -> None:
    into = sort(tmp_path, "copy")
    harm(tmp_path / "photos/a.jpg", into / "cat/a.jpg")
    done = undo_twice(into)
    assert done.n_undone == 3
    assert [(Path(path).name, reason in why) for path, why in done.kept] == [("a.jpg", True)]
    assert texts(into) == {"cat/a.jpg": "photo a"}
    # It is still recorded, and is moved back once the original is valid again.
    original = tmp_path / "photos/a.jpg"
    if original.is_dir():
        original.rmdir()
    original.unlink(missing_ok=True)
    original.write_text("photo a")
    assert undo_twice(into).n_undone == 1
    assert not into.exists()


@pytest.mark.parametrize("mode", ["copy", "move"])
def test_a_file_that_was_changed_is_reported_after_sorting_again(tmp_path: Path, mode: str) -> None:
    into = sort(tmp_path, mode)
    (into / "cat/a.jpg").write_text("changed")
    (tmp_path / "photos/a.jpg").write_text("photo A")
    sort_into_folders([tmp_path / "photos/a.jpg"], ["cat"], into, mode=mode)
    assert (into / "cat/a (2).jpg").read_text() == "photo A"
    for n_undone in (4, 0):
        done = undo_twice(into)
        assert done.n_undone == n_undone
        assert done.kept == [(str(into / "cat/a.jpg"), "it was changed after it was sorted")]
    assert texts(into) == {"cat/a.jpg": "changed"}


def test_originals_in_a_folder_that_is_now_a_link_to_the_copies(tmp_path: Path) -> None:
    into = tmp_path / "sorted"
    photos = tmp_path / "photos"
    sort_into_folders(take(photos), ["cat"] * 4, into)
    for file in photos.iterdir():
        file.unlink()
    photos.rmdir()
    photos.symlink_to(into / "cat")
    assert undo_twice(into).n_undone == 0
    assert len(texts(into)) == 4


@pytest.mark.parametrize("mode", ["copy", "link", "move"])
@pytest.mark.parametrize("place", ["dog/a.jpg", "dog/another name.jpg", "cat/best/a.jpg"])
def test_a_photo_that_was_moved_on_by_hand(tmp_path: Path, mode: str, place: str) -> None:
    into = sort(tmp_path, mode)
    (into / place).parent.mkdir(exist_ok=True)
    (into / "cat/a.jpg").rename(into / place)
    done = undo_twice(into)
    assert (done.n_undone, done.kept, done.missing) == (4, [], [])
    assert texts(tmp_path) == {f"photos/{name}.jpg": f"photo {name}" for name in "abcd"}
    assert not (into / MANIFEST_NAME).exists()


def test_photos_that_were_swapped_by_hand(tmp_path: Path) -> None:
    into = tmp_path / "sorted"
    files = [take(tmp_path / "one", "a")[0], take(tmp_path / "two", "b")[0]]
    files[1] = files[1].rename(tmp_path / "two/a.jpg")
    sort_into_folders(files, ["cat", "dog"], into, mode="move")
    for source, target in [("cat/a.jpg", "x"), ("dog/a.jpg", "cat/a.jpg"), ("x", "dog/a.jpg")]:
        (into / source).rename(into / target)
    assert undo_twice(into).n_undone == 2
    assert [file.read_text() for file in files] == ["photo a", "photo b"]


def test_a_photo_in_the_place_of_another_that_is_away(tmp_path: Path) -> None:
    into = tmp_path / "sorted"
    files = take(tmp_path / "photos", "ab")
    sort_into_folders(files, ["cat", "cat"], into, mode="move")
    (into / "cat/a.jpg").rename(tmp_path / "away.jpg")
    (into / "cat/b.jpg").rename(into / "cat/a.jpg")
    # Taking back the one leaves nothing in the place of the other, which a dry run knows.
    done = undo_twice(into)
    assert (done.n_undone, done.kept, done.missing) == (1, [], [str(files[0])])
    assert texts(tmp_path) == {"away.jpg": "photo a", "photos/b.jpg": "photo b"}


def test_a_photo_that_was_put_back_by_hand(tmp_path: Path) -> None:
    """Also if the old place is below the sorted folder."""
    photos = tmp_path / "photos"
    sort_into_folders(take(photos), ["cat", "cat", "dog", "dog"], photos, mode="move")
    (photos / "cat/a.jpg").rename(photos / "a.jpg")
    done = undo_twice(photos)
    assert (done.n_undone, done.kept, done.missing) == (3, [], [])
    assert texts(photos) == {f"{name}.jpg": f"photo {name}" for name in "abcd"}


def test_a_photo_that_was_just_put_back_is_not_taken_for_its_twin(tmp_path: Path) -> None:
    """Two photos of the same content, sorted in place; a link is now where one of them was."""
    photos = tmp_path / "photos"
    files = take(photos, "ab")
    files[1].write_text("photo a")
    sort_into_folders(files, ["cat", "dog"], photos, mode="move")
    (photos / "dog/b.jpg").unlink()
    (photos / "dog/b.jpg").symlink_to("nowhere.jpg")
    planned = undo(photos, dry_run=True)
    done = undo(photos)
    assert done.n_undone == planned.n_undone == 1
    assert (photos / "a.jpg").read_text() == "photo a"
    assert not (photos / "b.jpg").exists()


def test_a_photo_that_is_away_stays_open(tmp_path: Path) -> None:
    into = sort(tmp_path, "move")
    (into / "cat/a.jpg").rename(tmp_path / "away.jpg")
    done = undo_twice(into)
    assert (done.n_undone, done.missing) == (3, [str(tmp_path / "photos/a.jpg")])
    assert (into / MANIFEST_NAME).exists()
    (tmp_path / "away.jpg").rename(into / "anything.jpg")
    assert undo_twice(into).n_undone == 1
    assert texts(tmp_path) == {f"photos/{name}.jpg": f"photo {name}" for name in "abcd"}
    assert not into.exists()


def test_a_file_of_the_users_own_is_no_copy(tmp_path: Path) -> None:
    (tmp_path / "sorted").mkdir()
    (tmp_path / "sorted/mine.jpg").write_text("photo a")
    into = sort(tmp_path, "copy")
    (into / "cat/a.jpg").unlink()
    done = undo_twice(into)
    assert (done.n_undone, [Path(path).name for path, _ in done.kept]) == (3, ["mine.jpg"])
    assert texts(into) == {"mine.jpg": "photo a"}


def test_two_photos_from_one_place(tmp_path: Path) -> None:
    """The dry run knows that the first one moves to the place of the second."""
    into = tmp_path / "sorted"
    for name in "ab":
        file = take(tmp_path / "photos", name)[0].rename(tmp_path / "photos/IMG.jpg")
        sort_into_folders([file], ["cat"], into, mode="move")
    done = undo_twice(into)
    assert (done.n_undone, len(done.kept)) == (1, 1)
    assert texts(tmp_path) == {"photos/IMG.jpg": "photo b", "sorted/cat/IMG.jpg": "photo a"}


def write_manifest(
    into: Path, *transfers: dict[str, Any], folders: tuple[str, ...] = (".",), **header: Any
) -> None:
    """Write a manifest as any person could."""
    into.mkdir(exist_ok=True)
    lines = [{"clusterkit_manifest": 1, "folders": folders} | header, *transfers]
    (into / MANIFEST_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))


def transfer(source: Path | str, target: str, mode: str = "move", **more: Any) -> dict[str, Any]:
    """Return a line of a manifest for a file of photo a."""
    digest = None if mode == "link" else hashlib.sha256(b"photo a").hexdigest()
    return {"source": str(source), "target": target, "mode": mode, "digest": digest} | more


def test_a_manifest_of_others_moves_nothing_out(tmp_path: Path) -> None:
    into = tmp_path / "received"
    take(into, "a")
    write_manifest(into, transfer(tmp_path / "home/autostart/x.desktop", "a.jpg"))
    before = sorted(tmp_path.rglob("*"))
    # One root as text is not taken for its letters, the first of which allows everything.
    roots: list[Any] = [[tmp_path / "photos"], [into], str(tmp_path / "photos"), into]
    for options in ({}, *({"roots": one} for one in roots)):
        for dry_run in (True, False):
            with pytest.raises(InvalidInputError, match=r"1 to .*home/autostart.* --root FOLDER"):
                undo(into, dry_run=dry_run, **options)
    result = CliRunner().invoke(main, ["undo", str(into), "--dry-run"])
    assert result.exit_code == 1
    assert "home/autostart, such as x.desktop" in result.output
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("option", ["--root", "--yes"])
def test_places_that_the_user_confirms(tmp_path: Path, option: str) -> None:
    into = tmp_path / "received"
    take(into, "a")
    write_manifest(into, transfer(tmp_path / "home/photos/a.jpg", "a.jpg"))
    options = [option, str(tmp_path / "home")] if option == "--root" else [option]
    result = CliRunner().invoke(main, ["undo", str(into), *options])
    assert result.exit_code == 0, result.output
    assert "home/photos" in result.stdout
    assert texts(tmp_path) == {"home/photos/a.jpg": "photo a"}


def test_a_root_that_a_link_leads_out_of(tmp_path: Path) -> None:
    into = tmp_path / "received"
    take(into, "a")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/out").symlink_to(tmp_path / "home")
    write_manifest(into, transfer(tmp_path / "root/out/a.jpg", "a.jpg"))
    with pytest.raises(InvalidInputError, match="It would move files out of"):
        undo(into, roots=[tmp_path / "root"])
    assert not (tmp_path / "home").exists()


def test_a_forged_seal_and_a_changed_place(tmp_path: Path) -> None:
    into = sort(tmp_path, "move")
    text = (into / MANIFEST_NAME).read_text()
    (into / MANIFEST_NAME).write_text(text.replace("photos", "autostart"))
    with pytest.raises(InvalidInputError, match=r"4 to .*autostart"):
        undo(into)
    assert not (tmp_path / "autostart").exists()
    (into / MANIFEST_NAME).write_text(text)
    assert undo_twice(into).places == {str(tmp_path / "photos"): 4}


def test_adding_to_a_manifest_of_others_confirms_nothing_of_it(tmp_path: Path) -> None:
    into = tmp_path / "received"
    take(into / "cat", "a")
    write_manifest(into, transfer(tmp_path / "home/x", "cat/a.jpg"))
    sort_into_folders(take(tmp_path / "photos", "b"), ["cat"], into, mode="move")
    with pytest.raises(InvalidInputError, match=r"1 to .*home"):
        undo(into)


def test_without_a_place_for_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    into = sort(tmp_path, "move")
    with pytest.raises(InvalidInputError, match=r"4 to .*photos"):
        undo(into)
    assert undo_twice(into, roots=[tmp_path / "photos"]).n_undone == 4
    # Copies and links move nothing, so they need no seal.
    assert undo_twice(sort(tmp_path, "copy")).n_undone == 4


@pytest.mark.parametrize("mode", ["copy", "link", "move"])
def test_a_linked_folder_that_leads_out(tmp_path: Path, mode: str) -> None:
    """Neither the existing files nor a part among them are changed."""
    into, home = tmp_path / "received", tmp_path / "home"
    into.mkdir()
    original = take(home, "a")[0]
    (home / ".clusterkit.part").write_text("photo a")
    (home / "empty").mkdir()
    (home / "link").symlink_to(tmp_path / "elsewhere")
    (into / "cat").symlink_to(home)
    lines = [transfer(tmp_path / "elsewhere", "cat/link", "link")]
    if mode != "link":
        (tmp_path / "copy.jpg").write_text("photo a")
        source = tmp_path / ("copy.jpg" if mode == "copy" else "new.jpg")
        lines = [transfer(source, "cat/a.jpg", mode)]
    write_manifest(into, *lines, folders=(".", "cat", "cat/empty"))
    before = sorted(tmp_path.rglob("*"))
    done = undo_twice(into, trust=True)
    assert (done.n_undone, len(done.kept)) == (0, 1)
    assert sorted(tmp_path.rglob("*")) == before
    assert original.read_text() == "photo a"


@pytest.mark.parametrize(
    "line",
    [
        transfer("/x", "a.jpg", "shred"),
        transfer("/x", "a.jpg", ["move"]),
        transfer("/x", "a.jpg", "link") | {"digest": "0" * 64},
        transfer("/x", "a.jpg", "copy") | {"digest": None},
        transfer("/x", "a.jpg", after="run this"),
        transfer("x", "a.jpg"),
        transfer("/y/../x", "a.jpg"),
        transfer("/x", "../a.jpg"),
        transfer("/x", "cat/../../a.jpg"),
        transfer("/x", "/a.jpg"),
        transfer("/x", "."),
        transfer("/x", ""),
        transfer("/x\0", "a.jpg"),
        transfer("/x", "\ud800"),
        transfer("/x", "a.jpg") | {"source": 1},
        transfer("/x", "a.jpg") | {"digest": "sha"},
        transfer("/x", "a.jpg", seal=1),
        {"source": "/x"},
        ["move"],
        None,
    ],
)
def test_what_no_manifest_may_say(tmp_path: Path, line: Any) -> None:
    into = tmp_path / "received"
    take(into, "a")
    write_manifest(into, line)
    for options in ({"dry_run": True}, {"trust": True}):
        with pytest.raises(InvalidInputError, match=f"{MANIFEST_NAME} is damaged: "):
            undo(into, **options)
    assert texts(into) == {"a.jpg": "photo a"}


@pytest.mark.parametrize(
    "header",
    [
        {"folders": ["../home"]},
        {"folders": ["/home"]},
        {"folders": [1]},
        {"folders": None},
        {"hook": "x"},
    ],
)
def test_what_no_manifest_may_begin_with(tmp_path: Path, header: dict[str, Any]) -> None:
    write_manifest(tmp_path / "received", **header)
    with pytest.raises(InvalidInputError, match=f"{MANIFEST_NAME} is damaged: "):
        undo(tmp_path / "received")


def test_a_manifest_that_is_nested_or_no_file(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_text("[" * 100_000)
    with pytest.raises(InvalidInputError, match="is damaged"):
        undo(tmp_path)
    (tmp_path / MANIFEST_NAME).unlink()
    os.mkfifo(tmp_path / MANIFEST_NAME)
    with pytest.raises(InvalidInputError, match="is not a regular file"):
        undo(tmp_path)


def test_a_manifest_of_an_older_version(tmp_path: Path) -> None:
    """Without seals, copies are removed as before, and moves need one confirmation."""
    photos = take(tmp_path / "photos", "a")
    take(tmp_path / "sorted/cat", "a")
    write_manifest(tmp_path / "sorted", transfer(photos[0], "cat/a.jpg", "copy"))
    assert undo_twice(tmp_path / "sorted").n_undone == 1
    take(tmp_path / "sorted/cat", "a")
    photos[0].unlink()
    write_manifest(tmp_path / "sorted", transfer(photos[0], "cat/a.jpg", "move"))
    assert undo_twice(tmp_path / "sorted", roots=[photos[0].parent]).n_undone == 1
    assert photos[0].read_text() == "photo a"


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    photos = take(tmp_path / os.fsdecode(b"ph\xf6tos"))
    into = tmp_path / os.fsdecode(b"s\xf6rted")
    sort_into_folders(photos, ["cat", "cat", "dog", "dog"], into, mode="move")
    (into / "cat/a.jpg").write_text("changed")
    result = CliRunner().invoke(main, ["undo", str(into), "--dry-run", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["n_undone"] == 3
    assert CliRunner().invoke(main, ["undo", str(into)]).exit_code == 0
    assert len(texts(photos[0].parent)) == 3


def test_ctrl_c_at_the_end_unlocks_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", interrupt)
        # The error, with what its frames refer to, lives as long as a notebook keeps it.
        with pytest.raises(KeyboardInterrupt) as kept, locked(tmp_path):
            pass
    with locked(tmp_path):
        assert kept.value
