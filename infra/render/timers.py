"""Timers of the management station (systemd.timer(5)): backups when they are due, drills at night. Pure."""

from __future__ import annotations

from pathlib import Path

#: Name -> what `tinh` is asked for, and when (systemd.time(7)). At night in Vietnam, UTC+7.
JOBS = {
    "tinh-backup": ("backup run", "*:0/2"),
    "tinh-drill": ("drill run --due", "*-*-* 18:30:00 UTC"),
}


def render_timers(site: str, instance: str, program: Path, checkout: Path) -> dict[str, str]:
    """Return file name -> text of the units.

    Args:
        site: name of the site.
        instance: name of the instance (`TINH_INSTANCE`).
        program: path of `tinh`.
        checkout: the repository, in which it runs.
    """
    files = {}
    for name, (verb, every) in JOBS.items():
        files[f"{name}.service"] = "\n".join(
            (
                "[Unit]",
                f"Description=tinh {verb}, site {site}",
                "[Service]",
                "Type=oneshot",
                f"WorkingDirectory={checkout}",
                f"Environment=TINH_INSTANCE={instance}",
                f"ExecStart={program} {verb} --site {site}",
                # Red data sets are said by the list; that one of them could not be backed up is a failure.
                "Nice=10",
                "",
            )
        )
        files[f"{name}.timer"] = "\n".join(
            (
                "[Unit]",
                f"Description=tinh {verb}, site {site}",
                "[Timer]",
                f"OnCalendar={every}",
                "Persistent=true",
                "[Install]",
                "WantedBy=timers.target",
                "",
            )
        )
    return files
