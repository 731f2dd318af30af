"""A router's programs for tests of the agent, in a folder of their own: they say and do as little as needed.

`vtysh` and `nft` refuse a text with `bad` in it, loading one with `unloadable` fails; what runs is in run/.
`systemd-run` starts a real timer that `systemctl stop` stops. `calls` has all commands.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROGRAM = """\
#!/bin/sh
name=$(basename "$0")
echo "$name $*" >> "$TINH_ROOT/calls"
take() { ! grep -q unloadable "$1" || { echo "$name: cannot load $1" >&2; exit 1; }; cp "$1" "$2"; }
parse() { ! grep -n bad "$1" >&2 || exit 1; }
case "$name $*" in
  "vtysh -C -f "*) parse "$3" ;;
  "vtysh -c show running-config")
    [ ! -e "$TINH_ROOT/run/stopped" ] || { echo "failed to connect to any daemons" >&2; exit 1; }
    cat "$TINH_ROOT/run/frr" ;;
  "nft -c -f "*) parse "$3" ;;
  "nft -f "*) take "$2" "$TINH_ROOT/run/nft" ;;
  "nft -s list ruleset") cat "$TINH_ROOT/run/nft" ;;
  "nft flush ruleset") : > "$TINH_ROOT/run/nft" ;;
  "systemctl reload-or-restart frr") take "$TINH_ROOT/etc/frr/frr.conf" "$TINH_ROOT/run/frr"
    rm -f "$TINH_ROOT/run/stopped" ;;
  "systemctl stop tinh-router-rollback.timer") [ ! -e "$TINH_ROOT/timer" ] || kill "$(cat "$TINH_ROOT/timer")" ;;
  "systemd-run "*)
    for word; do case $word in --on-active=*) seconds=${word#*=} ;; esac; done
    (sleep "$seconds"; rm "$TINH_ROOT/timer"; exec PYTHON "$TINH_ROOT/var/lib/tinh/router/agent.py" rollback) \
      > "$TINH_ROOT/journal" 2>&1 < /dev/null &
    echo $! > "$TINH_ROOT/timer" ;;
esac
"""


def install(root: Path) -> dict[str, str]:
    """Put the programs and the files of day 0 below a folder; return the environment to run the agent in."""
    programs = root / "bin"
    for folder in (programs, root / "run", root / "etc" / "frr"):
        folder.mkdir(parents=True)
    for name in ("vtysh", "nft", "systemctl", "systemd-run"):
        (programs / name).write_text(PROGRAM.replace("PYTHON", sys.executable))
        (programs / name).chmod(0o755)
    (root / "etc" / "frr" / "frr.conf").write_text("! day 0\n")
    (root / "etc" / "frr" / "frr.conf").chmod(0o640)
    (root / "etc" / "frr" / "daemons").write_text("bgpd=no\n")
    (root / "run" / "frr").write_text("! day 0\n")
    (root / "run" / "nft").write_text("")
    return {**os.environ, "TINH_ROOT": str(root), "PATH": f"{programs}:{os.environ['PATH']}"}
