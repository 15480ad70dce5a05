"""Where a bundle goes besides .mfbuild/dist: one file, a registry, the local Docker."""

from __future__ import annotations

from pathlib import Path

from mfbuild.build.session import Session
from mfbuild.errors import UsageError
from mfbuild.oci.reference import REMOTE, Reference


def check_output(text: str) -> str:
    """`text`, where it is FILE.tar or oci://host/repository[:tag]; UsageError for anything else."""
    if text.startswith(REMOTE):
        Reference.remote(text, bare=True)
    elif not text.endswith(".tar"):
        raise UsageError(f"`--output {text}` is neither a FILE.tar nor oci://host/repository")
    return text


def deliver(session: Session, path: Path) -> tuple[str, ...]:
    """Bring the bundle at `path` where the session's options say; its images' names in Docker.

    BundleError, PushError, FetchError.
    """
    output, load = session.options.output, session.options.load
    if not (output or load):
        return ()
    from mfbuild.bundle.read import load_bundle, read_bundle, write_tar

    bundle = read_bundle(path)
    if output and output.startswith(REMOTE):
        from mfbuild.bundle.remote import send_bundle

        config, reporter = session.config, session.reporter
        send_bundle(bundle, output, config.environ, jobs=config.jobs, reporter=reporter)
    elif output:
        write_tar(bundle, Path(output))
    return load_bundle(bundle) if load else ()
