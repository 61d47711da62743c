"""Which packages four Pythons can share, from the digests of their files. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath

Files = Mapping[PurePosixPath, str]  # path below site-packages -> sha256

COMMON = "common"


def folder_of(version: str) -> str:
    """lib/<this> has what only this Python can use: "cp312" for "3.12"."""
    return "cp" + version.replace(".", "")


def placed(installed: Mapping[str, Files]) -> dict[str, dict[PurePosixPath, str]]:
    """{folder: {path: the version whose file it is}} for {version: its files}.

    A package lies in one piece, since Python looks for all of it where it finds its `__init__`. It goes to "common" if
    most versions agree about all of it but the compiled modules that carry a version in their names; a version that
    does not agree has its own beside it, and looks there first.
    """
    folders: dict[str, dict[PurePosixPath, str]] = {
        COMMON: {},
        **{folder_of(version): {} for version in installed},
    }
    for package in sorted({path.parts[0] for files in installed.values() for path in files}):
        of_version = {
            version: {path: digest for path, digest in files.items() if path.parts[0] == package}
            for version, files in installed.items()
        }
        shared = _shared(of_version)
        for version, files in of_version.items():
            folder = COMMON if version in shared else folder_of(version)
            folders[folder].update(dict.fromkeys(files, version))
    return folders


def _shared(of_version: Mapping[str, Files]) -> set[str]:
    """The versions that take this package from "common"; none where one of them has no such package."""
    if not all(of_version.values()):
        return set()
    faces = {version: frozenset(_face(files).items()) for version, files in of_version.items()}
    counts = Counter(faces.values())
    most = max(faces, key=lambda version: (counts[faces[version]], version))
    return {version for version, face in faces.items() if face == faces[most]}


def _face(files: Files) -> Files:
    return {
        path: digest
        for path, digest in files.items()
        if not (path.suffix == ".so" and ".cpython-3" in path.name)
    }
