"""`millrace warm stop`, and the line of `millrace runs` about warm servers."""

from __future__ import annotations

from collections.abc import Iterator

from millrace.cli import output


def stop(as_json: bool) -> None:
    """Stops the shared warm servers."""
    from millrace.backends import shared

    pids = shared.stop()
    if as_json:
        output.as_json(pids)
    elif pids:
        output.console().print(f"ended: {', '.join(map(str, pids))}")
    else:
        output.console().print("There are no warm servers.")


def described() -> str:
    """Returns a line about the running warm servers; empty if there are none."""
    servers = list(_servers())
    return f"warm servers: {'; '.join(servers)}" if servers else ""


def _servers() -> Iterator[str]:
    import psutil

    from millrace.backends import shared
    from millrace.report import numbers

    for one in shared.running():
        try:
            memory = numbers.size(psutil.Process(one.pid).memory_info().rss)
        except psutil.Error:  # it has just ended
            continue
        use = "busy" if one.busy else f"idle since {output.when(one.used, short=True)}"
        yield f"{one.group} {one.pid}, {memory}, {use}"
