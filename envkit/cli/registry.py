"""pull, push; image pull, image push."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from envkit.errors import EnvkitError, UsageError
from envkit.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from envkit.cli.context import Context
    from envkit.events import Emit, Event
    from envkit.reconcile.registry import Job, Moved


def add_pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all when none is named")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only errors")
    parser.add_argument("--policy", choices=("always", "missing"), default="", help="missing: only what is not here")
    parser.add_argument("--ignore-buildable", action="store_true", help="leave images out that can be built")
    parser.add_argument("--ignore-pull-failures", action="store_true", help="pull what can be pulled")
    parser.add_argument("--include-deps", action="store_true", help="the services that these depend on as well")


def pull(context: Context) -> int:
    from envkit.image.fetch import pins
    from envkit.reconcile.registry import to_pull

    options = context.options
    environment = context.load(options.services).environment
    jobs = to_pull(
        environment, options.services, policy=options.policy, dependencies=options.include_deps,
        ignore_buildable=options.ignore_buildable, pins=pins(environment.directory),
    )  # fmt: skip
    return _run(context, jobs, "pull", options.quiet, options.ignore_pull_failures)


def add_push(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all that are built when none is named")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only errors")
    parser.add_argument("--include-deps", action="store_true", help="the services that these depend on as well")
    parser.add_argument("--ignore-push-failures", action="store_true", help="push what can be pushed")


def push(context: Context) -> int:
    from envkit.reconcile.registry import to_push

    options = context.options
    environment = context.load(options.services).environment
    jobs = to_push(environment, options.services, dependencies=options.include_deps)
    return _run(context, jobs, "push", options.quiet, options.ignore_push_failures)


def add_image_pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="REFERENCE")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only errors")
    parser.add_argument("--platform", default="", metavar="OS/ARCH", help="another platform than this machine's")
    parser.add_argument("--policy", choices=("always", "missing"), default="always",
                        help="ask the registry always (the default), or only for what is missing")


def image_pull(context: Context) -> int:
    from envkit.reconcile.registry import Job

    options = context.options
    jobs = [Job(f"image.{name}", name, options.policy, options.platform) for name in dict.fromkeys(options.names)]
    return _run(context, jobs, "pull", options.quiet, False)


def add_image_push(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="IMAGE")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only errors")
    parser.add_argument("--to", default="", metavar="REFERENCE", help="its name at the registry, where it is another")


def image_push(context: Context) -> int:
    from envkit.image.push import push as push_image
    from envkit.image.store import Store
    from envkit.reconcile.registry import Job

    options = context.options
    if options.to and len(options.names) > 1:
        raise UsageError("--to names one image", hint="push them one by one")
    store, emit = Store(context.home), _emit(context, options.quiet)
    jobs = [Job(f"image.{name}", name) for name in dict.fromkeys(options.names)]

    def work(job: Job) -> str:
        return push_image(store, job.reference, to=options.to, emit=emit, address=job.address, environ=context.environ)

    return _move(context, jobs, work, "push", emit, False)


def _run(context: Context, jobs: Sequence[Job], verb: str, quiet: bool, lenient: bool) -> int:
    """Pull or push jobs; a failure's error names who wants the image."""
    from envkit.image.store import Store

    store, emit = Store(context.home), _emit(context, quiet)

    def work(job: Job) -> str:
        if verb == "push":
            from envkit.image.push import push as push_image

            return push_image(store, job.reference, emit=emit, address=job.address, environ=context.environ)
        if context.backend.name in ("docker", "podman"):
            engine: Any = context.backend
            found: str = engine.pull_image(
                job.reference, policy=job.policy, platform=job.platform, pinned=job.pinned, emit=emit,
                address=job.address,
            )  # fmt: skip
            return found
        from envkit.image.fetch import ensure

        return ensure(
            store, job.reference, emit=emit, address=job.address, policy=job.policy, platform=job.platform,
            pinned=job.pinned, environ=context.environ,
        )  # fmt: skip

    if lenient:
        jobs = [replace(job, ignorable=True) for job in jobs]
    return _move(context, jobs, work, verb, emit, quiet)


def _move(
    context: Context, jobs: Sequence[Job], work: Callable[[Job], str], verb: str, emit: Emit, quiet: bool
) -> int:
    from envkit.reconcile.registry import move
    from envkit.views.diagnostics import render_error

    def named(job: Job) -> str:
        try:
            return work(job)
        except EnvkitError as error:
            if job.wanted_by:
                error.detail += f"; wanted by {job.wanted_by}"
            raise

    moved = move(jobs, named, verb, emit, context.parallel())
    if context.json:
        emit.write(_json(moved))  # type: ignore[attr-defined]
    else:
        for error in moved.errors.values():
            context.terminal.err(render_error(error, context.terminal.err_style, base=context.cwd))
        if not jobs and not quiet:
            context.terminal.err(f"Nothing to {verb}.")
    return 1 if moved.errors else 0


def _json(moved: Moved) -> dict[str, object]:
    from envkit.views.diagnostics import error_json

    return {
        "type": "outcome", "digests": moved.digests,
        "errors": {name: error_json(error) for name, error in moved.errors.items()},
        "ignored": {name: error_json(error) for name, error in moved.ignored.items()},
    }  # fmt: skip


def _emit(context: Context, quiet: bool) -> Emit:
    from envkit.events import ignore

    return ignore if quiet and not context.json else context.emit()


def without_pulls(emit: Emit) -> Emit:
    """emit, but for how far pulls are (`--quiet-pull`)."""
    from envkit.events import EventKind

    def quiet(event: Event) -> None:
        if event.action != "pull" or event.kind is not EventKind.PROGRESS:
            emit(event)

    return quiet
