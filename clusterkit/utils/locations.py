"""Paths on this machine, and addresses on object storage such as ``s3://bucket/key``.

Everything that reads images or keeps a store accepts both: :func:`as_path` makes a
:class:`pathlib.Path` of a path, and a :class:`RemotePath` of an address, which has its methods.
"""

from __future__ import annotations

import io
import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from clusterkit.errors import (
    ClusterkitError,
    InvalidInputError,
    MissingDependencyError,
    NotFoundError,
    RemoteError,
    UnreachableError,
)
from clusterkit.utils.parallel import count_cpus

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://(.*)", re.IGNORECASE | re.DOTALL)
# What pathlib makes of an address; a name of one letter is a drive of Windows.
_COLLAPSED = re.compile(r"(s3|gs|gcs|abfss?|az|hdfs|hf|memory):/([^/].*)", re.DOTALL)
# Seconds to wait for a server's answer, at each of three attempts.
_CONNECT_SECONDS, _ANSWER_SECONDS, _ATTEMPTS = 3.0, 5.0, 3
_GOOGLE_SECONDS = 5
# Number of concurrent requests.
_REQUESTS = 32
# Number of files in a folder above which listing it is cheaper than checking each.
_MANY_FILES = 10
# Maximum attempts to read a file that is being replaced.
_READ_ATTEMPTS = 5
# Patterns in error messages of the libraries, which may also contain file names.
_SERVICE = re.compile(r"AWS Error|google::cloud|curl", re.IGNORECASE)
_REFUSED = re.compile(
    r"AWS Error \w*(ACCESS_DENIED|ACCESS_KEY|SIGNATURE|UNRECOGNIZED_CLIENT|TOKEN|AUTH)|"
    r"UNAUTHENTICATED|PERMISSION_DENIED|OAuth2 access token|HTTP status (code: )?40[13]"
)
_UNREACHED = re.compile(
    r"AWS Error (NETWORK_CONNECTION|REQUEST_TIMEOUT|SERVICE_UNAVAILABLE)|"
    r"Status\(UNAVAILABLE|curlCode|CURL error"
)
_NO_BUCKET = re.compile(
    r"AWS Error NO_SUCH_BUCKET|Bucket '.*' not found|bucket does not exist", re.IGNORECASE
)

if TYPE_CHECKING:
    # To type checkers it is a path, since it is accepted wherever one is.
    _Base = Path
else:
    _Base = object


def is_address(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is an address on object storage.

    Examples
    --------
    >>> is_address("s3://bucket/photos"), is_address("photos")
    (True, False)
    """
    if isinstance(path, str):
        # Checked first for speed, since this is called for a million files.
        return "://" in path and _ADDRESS.fullmatch(path) is not None
    return isinstance(path, RemotePath)


def as_path(path: str | os.PathLike[str], name: str = "a path") -> Path:
    """Return the path of a file or folder: a local path, or a :class:`RemotePath` for an address.

    Parameters
    ----------
    path : path
        A path, an address such as ``s3://bucket/photos``, or what :class:`pathlib.Path` made of
        one, ``s3:/bucket/photos``.
    name : str
        What it is, for the error.

    Raises
    ------
    InvalidInputError
        If it is neither text nor a path, or an address names no bucket, or has options.
    """
    if isinstance(path, RemotePath):
        return path
    if not isinstance(path, str | os.PathLike):
        raise InvalidInputError(f"{name} must be text or a pathlib.Path. Received: {path!r:.100}")
    text = os.fspath(path)
    match = _ADDRESS.fullmatch(text)
    if match is None and isinstance(path, PurePath):
        match = _COLLAPSED.fullmatch(text)
    if match is None:
        return path if isinstance(path, Path) else Path(path)
    scheme, key = match[1].lower(), match[2]
    if scheme == "file":
        # As file managers write it: with this machine's name or none, and %20 for a space.
        return Path(f"/{unquote(re.sub('^localhost/', '', key)).lstrip('/')}")
    if re.search(r"\?\w+=", key):
        raise InvalidInputError(
            f"an address takes no options: for another server than Amazon's set AWS_ENDPOINT_URL. "
            f"Received: {text}"
        )
    key = posixpath.normpath(f"/{key}").lstrip("/")
    if not key:
        raise InvalidInputError(f"an address must name a bucket. Received: {text!r}")
    return RemotePath("gs" if scheme == "gcs" else scheme, key)


def reading_workers(files: Sequence[Any]) -> int | None:
    """Return the number of threads for reading files; None for files on this machine.

    Reading from object storage is mostly waiting, and costs no processor.
    """
    return count_cpus() + _REQUESTS if files and is_address(files[0]) else None


def absolute(path: str | os.PathLike[str]) -> str:
    """Return the absolute path of a file as text, or its address; links stay as they are."""
    found = as_path(path)
    return str(found) if is_address(found) else os.path.abspath(found)  # noqa: PTH100


def absolute_here(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path on this machine; links stay as they are, unlike with resolve().

    Raises
    ------
    InvalidInputError
        For an address, which would become a folder named ``s3:``.
    """
    return Path(os.path.abspath(as_path(path)))  # noqa: PTH100


def real_path(path: str | os.PathLike[str]) -> str:
    """Return the absolute path of a file as text, with links followed; or its address."""
    return os.path.realpath(absolute(path)) if not is_address(path) else absolute(path)


def is_absolute(path: str) -> bool:
    """Return whether a path names a file wherever it is read: it is absolute, or an address."""
    return os.path.isabs(path) or is_address(path)  # noqa: PTH117


def join(folder: str | os.PathLike[str], *paths: str) -> str:
    """Return the normalised path of a file below a folder; of several absolute ones the last."""
    joined = str(folder)
    for path in paths:
        if is_address(path):
            joined = path
        elif is_address(joined) and not os.path.isabs(path):  # noqa: PTH117
            joined = f"{joined}/{path}"
        else:
            joined = os.path.join(joined, path)  # noqa: PTH118
    if not is_address(joined):
        return os.path.normpath(joined)
    scheme, _, key = joined.partition("://")
    return f"{scheme}://{posixpath.normpath(key)}"


def relative(file: str | os.PathLike[str], folder: str | os.PathLike[str]) -> str:
    """Return a file's path relative to a folder, with forward slashes; elsewhere its address."""
    file, folder = str(file), str(folder)
    if not is_address(file):
        if is_address(folder):
            return file.replace(os.sep, "/")
        return os.path.relpath(file, folder).replace(os.sep, "/")
    scheme, _, key = file.partition("://")
    if not is_address(folder) or folder.partition("://")[0] != scheme:
        return file
    return posixpath.relpath(f"/{key}", f"/{folder.partition('://')[2]}")


def is_within(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Return whether a path is a folder, or below it; both absolute."""
    path, folder = as_path(path), as_path(folder)
    return path == folder or folder in path.parents


def common_folder(folders: Iterable[str]) -> str:
    """Return the nearest common folder of absolute folders.

    Raises
    ------
    ValueError
        If they have none: on different drives, in different buckets, or only some on this machine.
    """
    folders = list(folders)
    remote = [folder.partition("://") for folder in folders if is_address(folder)]
    if not remote:
        return os.path.commonpath(folders)
    scheme = remote[0][0]
    if len(remote) < len(folders) or any(one[0] != scheme for one in remote):
        raise ValueError("no common folder")
    key = posixpath.commonpath([f"/{one[2]}" for one in remote])[1:]
    if not key:
        raise ValueError("no common bucket")
    return f"{scheme}://{key}"


def is_gone(file: str | os.PathLike[str]) -> bool:
    """Return whether a file certainly does not exist; inaccessible files may exist.

    Raises
    ------
    RemoteError, NotFoundError
        As for :func:`find_gone`.
    """
    # The address of a local file is a path; others stay as they are, since this is called often.
    place = as_path(file) if is_address(file) else file
    if isinstance(place, RemotePath):
        return bool(find_gone([str(place)]))
    try:
        os.lstat(place)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return True  # ValueError: an impossible file name.
    except OSError:
        pass
    return False


def glob(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Return the files below a folder that fit any of several patterns, as :meth:`Path.glob` does.

    A wildcard stands for a part of one name.  On object storage all are listed once.
    """
    if isinstance(folder, RemotePath):
        return [folder / path for path in folder.list_fitting(patterns)]
    return [file for pattern in patterns for file in folder.glob(pattern)]


def find_gone(files: Iterable[str]) -> set[str]:
    """Return which files certainly do not exist, with one request for all of a remote folder.

    Parameters
    ----------
    files : iterable of str
        Absolute paths or addresses.

    Raises
    ------
    RemoteError, NotFoundError
        If object storage cannot be reached, or a bucket does not exist: the files may exist.
    """
    gone, files_of = set(), defaultdict(list)
    for file in files:
        if is_address(file):
            files_of[file.rpartition("/")[0]].append(file)
        elif is_gone(file):
            gone.add(file)
    for folder, found in files_of.items():
        place = as_path(folder)
        assert isinstance(place, RemotePath)
        if len(found) >= _MANY_FILES:
            present = {entry.path for entry in place.list_files(recursive=False)}
            missing = [file for file in found if file.rpartition("/")[2] not in present]
        else:
            missing = [file for file in found if not as_path(file).exists()]
        if missing:
            place.check_bucket()
        gone.update(missing)
    return gone


class RemoteFile(NamedTuple):
    """Listing entry of a file on object storage.

    Attributes
    ----------
    path : str
        Relative to the folder.
    size, mtime_ns : int or None
        Size in bytes, and time of the last change in nanoseconds; None if unknown.
    """

    path: str
    size: int | None
    mtime_ns: int | None


_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or `gcloud auth application-default login`",
}


class _Status(NamedTuple):
    """Status of a file, with the names of :class:`os.stat_result`."""

    st_size: int
    st_mtime_ns: int


class RemotePath(_Base):
    """A file or folder on object storage, with those methods of :class:`pathlib.Path` that fit.

    ``s3://`` and ``gs://`` are read by pyarrow, all others by fsspec.  Amazon's variables count:
    ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, ``AWS_PROFILE``,
    ``AWS_REGION``, and ``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL`` for another server than
    Amazon's.

    Files are replaced atomically.  Folders are only common prefixes of names.  There are no links
    and no locks.

    Parameters
    ----------
    scheme : str
        Such as "s3".
    key : str
        Bucket and name, separated by slashes.

    Raises
    ------
    RemoteError
        By all methods that access the service, if it cannot be reached, or denies access.
    NotFoundError
        Likewise, if the file or bucket does not exist.
    """

    __slots__ = ("_key", "_scheme")

    def __init__(self, scheme: str, key: str) -> None:
        self._scheme, self._key = scheme, key

    def __reduce__(self) -> Any:
        return RemotePath, (self._scheme, self._key)

    def __str__(self) -> str:
        return f"{self._scheme}://{self._key}"

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __fspath__(self) -> str:
        # Code that opens a path itself would look for it on this machine.
        raise InvalidInputError(f"{self} is on object storage, where a local path is needed here")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: Any) -> bool:
        return str(self) < str(other)

    def __truediv__(self, name: Any) -> RemotePath:
        found = as_path(join(str(self), str(name)))
        assert isinstance(found, RemotePath)
        return found

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self._key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return posixpath.splitext(self.name)[0]

    @property
    def suffix(self) -> str:
        """The end of the name from its last dot on."""
        return posixpath.splitext(self.name)[1]

    @property
    def parent(self) -> RemotePath:
        """The folder; of a bucket the bucket itself."""
        return RemotePath(self._scheme, self._key.rpartition("/")[0] or self._key)

    @property
    def parents(self) -> list[RemotePath]:
        """All folders that it is in, the nearest first, up to the bucket."""
        pieces = self._key.split("/")
        return [
            RemotePath(self._scheme, "/".join(pieces[:n])) for n in range(len(pieces) - 1, 0, -1)
        ]

    @property
    def bucket(self) -> str:
        """Address of the bucket."""
        return f"{self._scheme}://{self._key.partition('/')[0]}"

    def absolute(self) -> RemotePath:
        """Return the address itself."""
        return self

    def as_posix(self) -> str:
        """Return the address as text."""
        return str(self)

    def is_symlink(self) -> bool:
        """Return False: there are no links."""
        return False

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether there is such a file or folder."""
        from pyarrow.fs import FileType

        return bool(self._info().type != FileType.NotFound)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether there is such a file."""
        return bool(self._info().is_file)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether files have such a folder."""
        from pyarrow.fs import FileType

        return bool(self._info().type == FileType.Directory)

    def stat(self) -> _Status:  # type: ignore[override]
        """Return size and time of change of a file."""
        info = self._info()
        if not info.is_file:
            raise NotFoundError(f"no such file: {self}")
        return _Status(info.size, info.mtime_ns or 0)

    def check_bucket(self) -> None:
        """Check that the bucket exists.

        Raises
        ------
        NotFoundError
            If it does not exist.
        """
        bucket = self.parents[-1] if self.parents else self
        if self._scheme in ("s3", "gs") and not bucket.exists():
            raise NotFoundError(f"no such bucket: {bucket}")

    def list_files(self, *, recursive: bool = True) -> list[RemoteFile]:
        """Return the files in this folder, in no order; none if there is no such folder.

        Raises
        ------
        NotFoundError
            If there is no such bucket.
        """
        from pyarrow.fs import FileSelector

        infos = []
        with self._asking() as (system, place), suppress(FileNotFoundError):
            infos = system.get_file_info(FileSelector(place, recursive=recursive))
        if not infos:
            self.check_bucket()
        start = len(place.strip("/")) + 1
        return [
            RemoteFile(info.path.strip("/")[start:], info.size, info.mtime_ns)
            for info in infos
            if info.is_file
        ]

    def glob(self, pattern: str) -> Iterator[RemotePath]:  # type: ignore[override]
        """Yield the files that fit a pattern: one name or wildcard for each folder below."""
        return (self / path for path in self.list_fitting([pattern]))

    def list_fitting(self, patterns: Iterable[str]) -> list[str]:
        """Return the relative paths of the files that fit any of several patterns."""
        wanted = [pattern.split("/") for pattern in patterns]
        deepest = max(map(len, wanted))
        return [
            file.path
            for file in self.list_files(recursive=deepest > 1)
            if any(_fits(file.path.split("/"), pieces) for pieces in wanted)
        ]

    def iterdir(self) -> Iterator[RemotePath]:  # type: ignore[override]
        """Yield the files in this folder, without folders."""
        return (self / file.path for file in self.list_files(recursive=False))

    def open(self, mode: str = "rb") -> Any:  # type: ignore[override]
        """Open the file for reading anywhere in it, as a pyarrow stream."""
        if mode != "rb":
            raise InvalidInputError(f"{self} is on object storage: files are written whole there")
        with self._asking() as (system, place):
            return system.open_input_file(place)

    def read_bytes(self) -> bytes:
        """Return the content."""
        return self._read_settled(is_checked=False)

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # type: ignore[override]
        """Return the content as text with any line ends, even while the file is replaced."""
        content = self._read_settled(is_checked=True)
        return io.TextIOWrapper(io.BytesIO(content), encoding, errors).read()

    def _read_settled(self, *, is_checked: bool) -> bytes:
        """Return the content; again if the file was replaced while it was read.

        The size is requested first, and then that many bytes, which are truncated or padded if the
        size has changed.
        """
        for _ in range(_READ_ATTEMPTS):
            try:
                with self._asking() as (system, place), system.open_input_file(place) as stream:
                    content = bytes(stream.read())
            except UnreachableError:
                raise
            except RemoteError:
                # Also raised for a file that was deleted, or became shorter, in between.
                if not self.exists():
                    raise NotFoundError(f"no such file: {self}") from None
            else:
                if not is_checked or len(content) == self._info().size:
                    return content
        with self._asking() as (system, place), system.open_input_file(place) as stream:
            return bytes(stream.read())

    def write_bytes(self, content: bytes) -> int:  # type: ignore[override]
        """Write the file, which replaces an existing one when it is complete."""
        with self._asking() as (system, place):
            # Left open on an error, since closing it would store an incomplete file.
            stream = system.open_output_stream(place)
            stream.write(content)
            stream.close()
        return len(content)

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the file."""
        try:
            with self._asking() as (system, place):
                system.delete_file(place)
        except NotFoundError:
            if not missing_ok:
                raise

    def replace(self, target: Any) -> Any:
        """Move the file, and return its new place."""
        target.write_bytes(self.read_bytes())
        self.unlink()
        return target

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder exists as soon as it has a file."""

    def rmdir(self) -> None:
        """Do nothing: a folder goes with its last file."""

    def _info(self) -> Any:
        """Return the service's information about this file or folder."""
        with self._asking() as (system, place):
            return system.get_file_info(place)

    @contextmanager
    def _asking(self) -> Iterator[tuple[Any, str]]:
        """Yield the file system and the path in it; errors are explained in one line."""
        from pyarrow import ArrowException

        try:
            yield _open(self._scheme, self.bucket, _settings()), _path_in(self._scheme, self)
        except ClusterkitError:
            raise
        except FileNotFoundError as error:
            raise NotFoundError(f"no such file: {self}") from error
        # fsspec's file systems raise the errors of their libraries.
        except (OSError, ArrowException, ValueError, RuntimeError, ImportError) as error:
            raise self._explain(error) from error

    def failure(self, error: Exception) -> Exception | None:
        """Return a one-line error if it comes from the service, not from the content of a file."""
        return self._explain(error) if _SERVICE.search(str(error)) else None

    def _explain(self, error: Exception) -> Exception:
        """Return an error in one line, with a remedy."""
        said = " ".join(str(error).split()) or type(error).__name__
        reason = _reason(said)
        if _NO_BUCKET.search(said):
            return NotFoundError(f"no such bucket: {self.bucket}")
        if _REFUSED.search(said):
            variables = _CREDENTIALS.get(self._scheme, "the credentials")
            return RemoteError(f"{self} denies access: {reason}. Check {variables}")
        if _UNREACHED.search(said):
            server, setting = self.bucket, ""
            if self._scheme == "s3":
                server, setting = _endpoint() or server, ", or AWS_ENDPOINT_URL"
            return UnreachableError(
                f"cannot reach {server}: {reason}. Check the connection{setting}"
            )
        return RemoteError(f"{self}: {reason}")


def _fits(names: list[str], pieces: list[str]) -> bool:
    """Return whether the names of a path fit the pieces of a pattern."""
    return len(names) == len(pieces) and all(map(fnmatchcase, names, pieces))


def _settings() -> tuple[tuple[str, str], ...]:
    """Return the environment variables that configure the access to a service."""
    prefixes = ("AWS_", "GOOGLE_", "STORAGE_EMULATOR_")
    return tuple(sorted(item for item in os.environ.items() if item[0].startswith(prefixes)))


def _endpoint() -> str | None:
    """Return the server that replaces Amazon's, if one is set."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


@lru_cache(maxsize=16)
def _open(scheme: str, bucket: str, settings: tuple[tuple[str, str], ...]) -> Any:
    """Open the file system of a bucket; ``settings`` are read from the environment."""
    from pyarrow import fs

    if scheme == "s3":
        return _open_s3(bucket.partition("://")[2])
    if scheme == "gs":
        return _open_google()
    try:
        import fsspec
    except ImportError:
        raise MissingDependencyError(
            f"{bucket} needs fsspec and its library for {scheme}://: pip install fsspec"
        ) from None
    try:
        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.core.url_to_fs(bucket)[0]))
    except ImportError as error:
        raise MissingDependencyError(f"{bucket} needs more: {error}") from error
    except ValueError:
        raise InvalidInputError(
            f"an address must begin with s3://, gs://, or what fsspec knows. Received: {bucket}"
        ) from None


def _open_google() -> Any:
    """Open Google's storage, or the server that ``STORAGE_EMULATOR_HOST`` names in its place."""
    from pyarrow import fs

    options: dict[str, Any] = {}
    server = os.environ.get("STORAGE_EMULATOR_HOST")
    if server:
        scheme, separator, host = server.rpartition("://")
        options = {"endpoint_override": host.rstrip("/"), "scheme": scheme if separator else "http"}
        options["anonymous"] = True
    return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=_GOOGLE_SECONDS), **options)


def _open_s3(bucket: str) -> Any:
    """Open S3, or the server that replaces it."""
    from pyarrow import fs

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    options: dict[str, Any] = {}
    server = _endpoint()
    if server is not None:
        scheme, separator, host = server.rpartition("://")
        options = {
            "endpoint_override": host.rstrip("/"),
            "scheme": scheme if separator else "https",
        }
        region = region or "us-east-1"
    return fs.S3FileSystem(
        region=region or fs.resolve_s3_region(bucket),
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_ANSWER_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        **options,
    )


def _path_in(scheme: str, path: RemotePath) -> str:
    """Return the path of a file as its file system has it."""
    if scheme in ("s3", "gs"):
        return str(path).partition("://")[2]
    import fsspec

    return str(fsspec.core.url_to_fs(str(path))[1])


def _reason(said: str) -> str:
    """Return the part of a long message that contains the reason."""
    if "OAuth2 access token" in said:
        return "no credentials"
    code = re.search(r"AWS Error (\w+) during", said)
    before = r"Details: |AWS Error \w+ during \w+ operation:|error message was: |PerformWork\(\) - "
    reason = re.split(r" \(Request ID| error_info=|\}\}", re.split(before, said)[-1])[0]
    reason = reason.strip(". ")
    # Answers to requests without a body have none.
    if code and reason in ("", "No response body"):
        return code[1].lower().replace("_", " ")
    return reason
