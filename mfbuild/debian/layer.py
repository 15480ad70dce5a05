"""The tool `debian.layer`: packages merged into one layer, without dpkg or maintainer scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mfbuild.debian.control import paragraph
from mfbuild.debian.deb import MERGED, Deb, open_deb
from mfbuild.debian.model import ARCHITECTURES
from mfbuild.debian.tree import Tree, TreeEntry
from mfbuild.engine.model import Work
from mfbuild.errors import ActionError
from mfbuild.oci.tar import LayerWriter, layer_outputs

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")

# What nobody reads inside a container; licences stay, and links between them.
_STRIPPED = re.compile(
    r"usr/share/doc/[^/]+/(?!copyright\Z).+"
    r"|usr/share/(bug|info|lintian|locale|man)(/.*)?"
    r"|var/(cache|lib/apt/lists)/.+"
    r"|(.*/)?__pycache__(/.*)?"
)


def run(work: Work) -> None:
    """Merge packages into the outputs of `layer_outputs`.

    Parameters: `architecture` (OCI's name), `debs` (the names of the inputs to merge) and `image`,
    whose `user` (`uid:gid`) gets an account and a home. All else belongs to root, and nothing has
    a set-id bit. FetchError for a package that is damaged or could do harm; ActionError where
    packages do not fit together.
    """
    architecture, debs = work.params["architecture"], sorted(work.params["debs"])
    with (work.scratch / "content").open("w+b") as spool:
        tree = Tree(spool)
        for name in debs:
            with work.inputs[name].path().open("rb") as stream:
                _add_package(tree, open_deb(stream, name), architecture, work)
        _add_generated(tree, work.params["image"]["user"])
        ActionError.raise_for(tree.problems())
        with layer_outputs(work, f"{len(debs)} Debian packages for {architecture}") as writer:
            for path in sorted(tree.entries, key=str.encode):
                _write(writer, path, tree.entries[path], tree)


def _write(writer: LayerWriter, path: str, entry: TreeEntry, tree: Tree) -> None:
    if entry.kind == "directory":
        writer.directory(path, entry.mode, ids=entry.ids)
    elif entry.kind == "symlink":
        writer.symlink(path, entry.target, owner=entry.owner)
    else:
        content = tree.content(entry)
        writer.stream(path, content, entry.size, entry.mode, owner=entry.owner)


def _add_package(tree: Tree, deb: Deb, architecture: str, work: Work) -> None:
    control = deb.control()
    fields = paragraph(control)
    package = fields.get("package", "")
    if not _PACKAGE.fullmatch(package):
        raise ActionError(f"the package `{deb.name}` has no valid name")
    if fields.get("architecture") not in (ARCHITECTURES.get(architecture), "all"):
        raise ActionError(f"the package `{deb.name}` is not for {architecture}")
    # Where scanners look for the packages of an image that has no dpkg database.
    status = f"var/lib/dpkg/status.d/{package}"
    if status in tree.entries:
        raise ActionError(f"`{deb.name}` is a second package `{package}`")
    tree.add(status, TreeEntry("file", package, 0o644), (control.encode(),))
    for member, content in deb.members():
        if not _STRIPPED.fullmatch(member.path):
            mode = member.mode & (0o1777 if member.kind == "directory" else 0o777)
            entry = TreeEntry(member.kind, package, mode, member.target)
            tree.add(member.path, entry, _ticking(content, work))


def _ticking(content: Iterator[bytes], work: Work) -> Iterator[bytes]:
    """Progress is counted when the layer is written; here a build can only be cancelled."""
    for piece in content:
        work.tick(0)
        yield piece


# What the maintainer scripts would have made. A package that brings one of these wins.


def _add_generated(tree: Tree, user: str) -> None:
    for name in MERGED:
        if f"usr/{name}" in tree.entries:
            tree.add_missing(name, TreeEntry("symlink", "", 0o777, f"usr/{name}"))
    tree.add_missing("tmp", TreeEntry("directory", "", 0o1777))
    _add_accounts(tree, user)
    _add_certificates(tree)
    if names := tree.entries.get("usr/share/libc-bin/nsswitch.conf"):
        tree.add_missing("etc/nsswitch.conf", names, b"".join(tree.content(names)))
    if (zone := "usr/share/zoneinfo/Etc/UTC") in tree.entries:
        tree.add_missing("etc/localtime", TreeEntry("symlink", "", 0o777, f"/{zone}"))


def _add_accounts(tree: Tree, user: str) -> None:
    uid, _, gid = user.partition(":")
    users = {"0": "root:x:0:0:root:/root", "65534": "nobody:x:65534:65534:nobody:/nonexistent"}
    groups = {"0": "root:x:0:", "65534": "nogroup:x:65534:"}
    if uid not in users:
        users[uid] = f"nonroot:x:{uid}:{gid}:nonroot:/home/nonroot"
        home = TreeEntry("directory", "", 0o755, ids=(int(uid), int(gid)))
        tree.add_missing("home/nonroot", home)
    groups.setdefault(gid, f"nonroot:x:{gid}:")
    passwd = "".join(f"{line}:/sbin/nologin\n" for line in users.values())
    group = "".join(f"{line}\n" for line in groups.values())
    tree.add_missing("etc/passwd", TreeEntry("file", "", 0o644), passwd.encode())
    tree.add_missing("etc/group", TreeEntry("file", "", 0o644), group.encode())


def _add_certificates(tree: Tree) -> None:
    """What update-ca-certificates writes, and where OpenSSL looks for it (package openssl)."""
    paths = sorted(
        path
        for path, entry in tree.entries.items()
        if re.fullmatch(r"usr/share/ca-certificates/.+\.crt", path) and entry.kind == "file"
    )
    if not paths:
        return
    texts = (b"".join(tree.content(tree.entries[path])).rstrip(b"\n") for path in paths)
    bundle = "etc/ssl/certs/ca-certificates.crt"
    tree.add_missing(bundle, TreeEntry("file", "", 0o644), b"".join(t + b"\n" for t in texts))
    tree.add_missing("usr/lib/ssl/cert.pem", TreeEntry("symlink", "", 0o777, f"/{bundle}"))
    tree.add_missing("usr/lib/ssl/certs", TreeEntry("symlink", "", 0o777, "/etc/ssl/certs"))
