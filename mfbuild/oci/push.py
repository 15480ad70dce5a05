"""Images into a repository: blobs, then manifests, then indexes, then the tag; each only once."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from mfbuild.engine.events import How, Reporter
from mfbuild.engine.model import Digest
from mfbuild.errors import FetchError, Interrupted, PushError
from mfbuild.http.parallel import Tick, for_each
from mfbuild.oci.access import REFUSALS, AnswerError
from mfbuild.oci.layout import children
from mfbuild.oci.registry import Repository, stored_digest
from mfbuild.oci.types import INDEX_TYPES, MANIFEST_TYPES, Descriptor
from mfbuild.oci.upload import Origin, Upload

T = TypeVar("T")


def push_images(
    origin: Origin,
    roots: Sequence[Descriptor],
    target: Repository,
    *,
    tag: str | None = None,
    jobs: int,
    reporter: Reporter,
    mount: Sequence[str] = (),
) -> bool:
    """Put `roots` (indexes or manifests) and all they lead to into `target`; False if it was there.

    A registry takes a document only after what it leads to, so that nothing is asked for below
    one that is there. `tag` becomes the name of the only root, last of all. Blobs are mounted from
    the repositories `mount` of the same registry, and from `origin` if it is one, where they are
    there. PushError if the registry refuses, lies, or has something else under `tag`;
    DocumentRefused if it does not take documents of a kind;
    BundleError or FetchError if `origin` does not have what it should; Interrupted after ^C.
    """
    assert len(roots) == 1 or not tag
    target = replace(target, actions="pull,push")
    sources = [Repository(target.registry, path) for path in mount]
    if isinstance(origin, Repository) and origin.registry.host == target.registry.host:
        sources.insert(0, Repository(target.registry, origin.path))
    sources = [source for source in sources if source.path != target.path]
    names = {root.digest: tag for root in roots} if tag else {}
    push = _Push(origin, target, sources, names, jobs, reporter)
    try:
        return push.run(roots)
    except KeyboardInterrupt:
        raise Interrupted("interrupted") from None


class DocumentRefused(PushError):
    """A registry does not take an index or a manifest of this kind."""

    def __init__(self, error: AnswerError, descriptor: Descriptor) -> None:
        [problem] = error.problems
        super().__init__(problem.message, hint=problem.hint)
        self.descriptor = descriptor


@dataclass(frozen=True, slots=True)
class _Document:
    """An index or a manifest to send."""

    descriptor: Descriptor
    data: bytes
    below: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class _Push:
    """One push; `names` has the tag of the document that gets one."""

    origin: Origin
    target: Repository
    sources: Sequence[Repository]
    names: Mapping[Digest, str]
    jobs: int
    reporter: Reporter

    def run(self, roots: Sequence[Descriptor]) -> bool:
        if self.names and all(self._is_named(digest, tag) for digest, tag in self.names.items()):
            return False
        lacking = self._lacking(roots)
        if not lacking:
            return False
        below = [child for document in lacking.values() for child in document.below]
        blobs = {child.digest: child for child in below if not _is_document(child)}
        # The largest first: one that starts last leaves the other threads idle.
        self._each(sorted(blobs.values(), key=lambda blob: -blob.size), self._send)
        while lacking:
            ready = [d for d in lacking.values() if not any(c.digest in lacking for c in d.below)]
            self._each(ready, self._put)
            for document in ready:
                del lacking[document.descriptor.digest]
        return True

    def _is_named(self, digest: Digest, tag: str) -> bool:
        with _pushing(self.target):
            found = self.target.find(tag)
        if found not in (digest, None):
            message = f"`{self.target}:{tag}` is there, and is something else: `{found}`"
            raise PushError(message, hint=f"what belongs there is `{digest}`")
        return found is not None

    def _lacking(self, roots: Sequence[Descriptor]) -> dict[Digest, _Document]:
        """The documents that are to be sent; nothing is looked for below one that is there."""
        lacking: dict[Digest, _Document] = {}

        def look(descriptor: Descriptor, tick: Tick) -> None:
            digest = descriptor.digest
            if digest in self.names or self.target.find(digest) is None:
                data = self.origin.manifest(digest)
                below = children(descriptor.media_type, data, str(digest))
                lacking[digest] = _Document(descriptor, data, below)

        level = {root.digest: root for root in roots}
        asked = set[Digest]()
        while level:
            self._each(level.values(), look)
            asked |= level.keys()
            found = [child for d in level if d in lacking for child in lacking[d].below]
            level = {c.digest: c for c in found if _is_document(c) and c.digest not in asked}
        return lacking

    def _send(self, blob: Descriptor, tick: Tick) -> None:
        label = f"{self.target}@sha256:{blob.digest.hex[:12]}"
        if self.target.has(blob.digest):
            self.reporter.finished(label, "cached", 0.0)
            return

        def sent(count: int) -> None:
            tick(0)
            self.reporter.progress(label, count, blob.size)

        began, how = time.monotonic(), _FAILED
        self.reporter.started(label, "push")
        try:
            upload = Upload(self.target, self.origin, blob, self.sources, sent)
            how = "pushed" if upload.run(tick) else "mounted"
        except AnswerError as error:
            if error.status != 413:
                raise
            raise PushError(
                f"`{self.target.registry.host}` does not take the blob `{blob.digest}` of "
                f"{blob.size / 1e6:.1f} MB: it is too large",
                hint="let the registry, or the proxy before it, take larger bodies "
                "(nginx: `client_max_body_size 0`)",
            ) from None
        finally:
            self.reporter.finished(label, how, time.monotonic() - began)

    def _put(self, document: _Document, tick: Tick) -> None:
        digest = document.descriptor.digest
        url = self.target.url(f"manifests/{self.names.get(digest, digest)}")

        def put() -> str:
            try:
                return self.target.registry.ask(
                    "PUT",
                    url,
                    scope=self.target.scope,
                    headers={"Content-Type": document.descriptor.media_type},
                    body=document.data,
                    read=stored_digest,
                )
            except AnswerError as error:
                if _is_of_its_kind(error):
                    raise DocumentRefused(error, document.descriptor) from None
                if not error.words.startswith("DIGEST_INVALID"):
                    raise
                # docker-registry reads what another push of the same has begun to write.
                raise error.passing() from None

        self.target.same(digest, self.target.registry.persist(url, put, tick))

    def _each(self, items: Collection[T], work: Callable[[T, Tick], None]) -> None:
        def one(item: T, tick: Tick) -> None:
            with _pushing(self.target):
                work(item, tick)

        for_each(items, one, self.jobs)


_FAILED: How = "failed"


def _is_of_its_kind(error: AnswerError) -> bool:
    """Whether a document was refused for what it is (distribution-spec, "Error Codes")."""
    said = error.words.startswith(("MANIFEST_INVALID", "UNSUPPORTED"))
    return error.status == 415 or (error.status in (400, 405, 406, 422) and said)


def _is_document(descriptor: Descriptor) -> bool:
    return descriptor.media_type in (*INDEX_TYPES, *MANIFEST_TYPES)


@contextmanager
def _pushing(target: Repository) -> Iterator[None]:
    """What fails at a registry is a PushError."""
    try:
        yield
    except AnswerError as error:
        raise _refusal(error, target) from None
    except FetchError as error:
        raise PushError.all_of(error.problems) from error


def _refusal(error: AnswerError, target: Repository) -> PushError:
    """What to do about an answer of the registry, where it is that of `target`."""
    host, path = target.registry.host, target.path
    below = tuple(map(target.url, ("blobs/", "manifests/")))
    if error.host == host and error.path.startswith(below):
        if error.status in REFUSALS:
            words = error.words and f": {error.words}"
            hint = f"log in as somebody who may, for example with `docker login {host}`"
            return PushError(f"`{host}` does not let you push to `{path}`{words}", hint=hint)
        if error.status == 404:
            hint = "create it: this registry does not do so by itself"
            return PushError(f"`{host}` has no repository `{path}`", hint=hint)
    [problem] = error.problems
    return PushError(problem.message, hint=problem.hint)
