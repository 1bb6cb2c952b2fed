"""Sort, edit by hand, kill, resume and undo in any order: no content is ever lost."""

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from clusterkit.errors import ClusterkitError
from clusterkit.routing import MODES, sort_into_folders, undo
from tests.kills import Killed, killed_at

N_EXAMPLES = int(os.environ.get("CLUSTERKIT_SORTING_EXAMPLES", "40"))
CLASSES = ("cat", "dog")
# A part whose file was moved elsewhere is kept and reported.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is a copy that was cut short:UserWarning",
    "ignore:.*sorted before would now go to another folder:UserWarning",
)


def contents(folder: Path, *patterns: str) -> set[str]:
    """Return the digests of the files below a folder; by default photos, also in the making."""
    patterns = patterns or ("*.jpg", "*.part")
    return {
        hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in patterns
        for path in folder.rglob(pattern)
        if path.is_file() and not path.is_symlink()
    }


class Sorting(RuleBasedStateMachine):
    """A user, a folder of photos, and a folder into which they are sorted."""

    def __init__(self) -> None:
        super().__init__()
        # In memory if possible; flushing is tested elsewhere.
        memory = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        self.home = Path(self._folder.name)
        self.photos, self.sorted = self.home / "photos", self.home / "sorted"
        self.expected: set[str] = set()
        self.n_made = 0

    def teardown(self) -> None:
        self._folder.cleanup()

    def new_content(self) -> bytes:
        """Return content that no file had before."""
        self.n_made += 1
        return f"photo {self.n_made}".encode() * 3

    @initialize(n=st.integers(1, 5), same_names=st.booleans(), same=st.booleans())
    def take_photos(self, n: int, same_names: bool, same: bool) -> None:
        for number in range(n):
            folder = self.photos / (f"camera {number}" if same_names else "camera")
            folder.mkdir(parents=True, exist_ok=True)
            name = "IMG.jpg" if same_names else f"IMG {number}.jpg"
            # Sometimes two photos with the same content.
            data = b"twin" if same and number < 2 else self.new_content()
            (folder / name).write_bytes(data)
        self.expected = contents(self.home, "*.jpg")

    def images(self) -> list[Path]:
        """Return what a command would find in the folder of photos."""
        files = self.photos.rglob("*.jpg")
        return sorted(file for file in files if file.is_file() and not file.is_symlink())

    def files(self) -> list[Path]:
        """Return everything that a user would touch."""
        return sorted(path for path in self.home.rglob("*.jpg") if os.path.lexists(path))

    @rule(
        mode=st.sampled_from(MODES),
        in_place=st.booleans(),
        dry_run=st.booleans(),
        count=st.one_of(st.just(10**6), st.integers(1, 60)),
        across=st.booleans(),
        turn=st.integers(0, 1),
    )
    def sort(
        self, mode: str, in_place: bool, dry_run: bool, count: int, across: bool, turn: int
    ) -> None:
        files = self.images()
        names = [CLASSES[(len(file.parent.name) + turn) % 2] for file in files]
        into = self.photos if in_place else self.sorted
        with suppress(Killed, ClusterkitError), killed_at(count, across=across):
            sort_into_folders(files, names, into, mode=mode, dry_run=dry_run)

    @rule(
        in_place=st.booleans(),
        count=st.one_of(st.just(10**6), st.integers(1, 60)),
        across=st.booleans(),
    )
    def take_back(self, in_place: bool, count: int, across: bool) -> None:
        into = self.photos if in_place else self.sorted
        planned = None
        with suppress(ClusterkitError):
            planned = undo(into, dry_run=True)
        note(f"planned {planned}")
        with suppress(Killed, ClusterkitError), killed_at(count, across=across):
            done = undo(into)
            note(f"done {done}")
            if count == 10**6:
                assert planned is not None
                assert (done.n_undone, done.missing) == (planned.n_undone, planned.missing)
                assert done.kept == planned.kept

    @precondition(lambda self: self.files())
    @rule(data=st.data(), kind=st.sampled_from(["move", "delete", "change", "add", "swap", "link"]))
    def edit(self, data: st.DataObject, kind: str) -> None:
        """Change files like a user; only this may remove content."""
        before = contents(self.home)
        file = data.draw(st.sampled_from(self.files()))
        other = data.draw(st.sampled_from(self.files()))
        if kind == "move":
            name = data.draw(st.sampled_from(["IMG.jpg", "IMG 0.jpg", file.name]))
            folder = data.draw(st.sampled_from(["sorted/cat", "sorted/dog", "photos/best", "."]))
            (self.home / folder).mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(self.home / folder / name):
                file.rename(self.home / folder / name)
        elif kind == "delete":
            file.unlink()
        elif kind == "change" and file.exists():
            file.write_bytes(self.new_content())
        elif kind == "add":
            path = file.with_name(f"added {self.n_made}.jpg")
            is_twin = file != other and other.exists()
            path.write_bytes(other.read_bytes() if is_twin else self.new_content())
        elif kind == "swap":
            aside = file.with_name("aside")
            file.rename(aside)
            if file != other:
                other.rename(file)
            aside.rename(other)
        elif kind == "link" and file != other and not other.is_symlink():
            # Like programs that save space: equal content is stored once.
            file.unlink()
            file.symlink_to(other)
        after = contents(self.home)
        self.expected = (self.expected - (before - after)) | contents(self.home, "*.jpg")

    @invariant()
    def nothing_is_gone(self) -> None:
        assert self.expected <= contents(self.home)


TestSorting = Sorting.TestCase
TestSorting.settings = settings(
    max_examples=N_EXAMPLES,
    stateful_step_count=12,
    deadline=None,
    # A failing run is short enough to be read; shrinking it takes minutes.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
