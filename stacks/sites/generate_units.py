"""Write a site's `units.csv` from published data sets, as its recipe `units.yaml` says.

    python -m stacks.sites.generate_units quang-binh [--check]

The recipe names each data set (a wheel on PyPI, with its SHA-256), the day from which it holds for which province,
which units went into which others where no data set says so, and the data set that maps old units to new ones.
Wheels are fetched with pip into `~/.cache/tinh/datasets` and are only read, never installed or committed.
`--check` writes nothing and fails when the file differs from what the recipe gives.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import click

from infra import paths
from infra.errors import IntegrityError, TinhError, ToolError
from infra.model.base import read_yaml
from infra.model.unit import Level, Unit, plain

#: The Vietnamese types of units, longest first where one begins another; the type is the beginning of the name.
TYPES = ("Thành phố", "Thị xã", "Thị trấn", "Đặc khu", "Huyện", "Quận", "Phường", "Xã", "Tỉnh")
NESTED = "vietnam_provinces/data/nested-divisions.json"
MAPPING = "vietnamadminunits/data/converter_2025.json"


@dataclass(frozen=True)
class State:
    """A unit as one data set has it."""

    name: str
    level: Level
    parent: str


def wheel(package: str, version: str, sha256: str) -> zipfile.ZipFile:
    """Return a wheel, fetched when it is not there.

    Raises:
        ToolError: pip could not fetch it.
        IntegrityError: its digest is another one than the recipe's.
    """
    folder = paths.cache() / "datasets"
    folder.mkdir(exist_ok=True)
    file = folder / f"{package.replace('-', '_')}-{version}-py3-none-any.whl"
    if not file.exists():
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*argv, "--dest", folder, f"{package}=={version}"], check=False)
        if done.returncode or not file.exists():
            raise ToolError(
                f"pip did not fetch {package} {version}", where=str(file), fix="is there a package index?"
            )
    data = file.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise IntegrityError(
            f"{file.name} has SHA-256 {found}", where=str(file), fix=f"expected {sha256}; delete it"
        )
    return zipfile.ZipFile(io.BytesIO(data))


def states(nested: list[dict[str, Any]], provinces: list[str]) -> dict[str, State]:
    """Return the units of some provinces by code."""
    found: dict[str, State] = {}
    for province in nested:
        code = f"{province['code']:02}"
        if code not in provinces:
            continue
        found[code] = State(_name(province["name"], "Tỉnh"), Level.PROVINCE, "")
        for district in province.get("districts", ()):
            inner = f"{district['code']:03}"
            found[inner] = State(_name(district["name"]), Level.DISTRICT, code)
            for ward in district["wards"]:
                found[f"{ward['code']:05}"] = State(_name(ward["name"]), Level.COMMUNE, inner)
        for ward in province.get("wards", ()):
            found[f"{ward['code']:05}"] = State(_name(ward["name"]), Level.COMMUNE, code)
    return found


def mapping(data: dict[str, Any], old: dict[str, State], new: dict[str, State]) -> dict[str, set[str]]:
    """Return old code -> new codes, matched by the data set's keys of plain letters."""
    key = {code: _key(state.name) for code, state in (old | new).items()}
    by_key: dict[str, set[str]] = {}
    newest = {_key(state.name): code for code, state in new.items()}
    for group in ("DICT_PROVINCE_WARD_NO_DIVIDED", "DICT_PROVINCE_WARD_DIVIDED"):
        for province, wards in data[group].items():
            if province not in newest:
                continue
            for ward, found in wards.items():
                if group.endswith("NO_DIVIDED"):
                    for one in found:
                        by_key.setdefault(one, set()).add(newest[ward])
                else:
                    by_key.setdefault(ward, set()).update(newest[each["newWardKey"]] for each in found)
    result: dict[str, set[str]] = {}
    for code, state in old.items():
        if state.level is Level.COMMUNE:
            district = old[state.parent]
            name = f"{_key(old[district.parent].name)}_{key[state.parent]}_{_key(state.name)}"
            if name not in by_key:
                raise TinhError(
                    f"unit {code!r} ({state.name}) is not in the mapping as {name!r}",
                    where=MAPPING,
                    fix="spell it as the mapping does (`_name` in this script), or give the step its merges",
                )
            found = by_key[name]
        elif state.level is Level.DISTRICT:
            found = by_key.get(f"{_key(old[state.parent].name)}_{_key(state.name)}_", set())
        else:
            found = {newest[k] for k, olds in data["DICT_PROVINCE"].items() if key[code] in olds}
        result[code] = found
    return result


def generate(recipe: dict[str, Any]) -> list[Unit]:
    """Return the rows that a recipe gives, by code and time."""
    wheels = {name: wheel(d["package"], d["version"], d["sha256"]) for name, d in recipe["data_sets"].items()}
    open_rows: dict[str, Unit] = {}
    before: dict[str, State] = {}
    rows: list[Unit] = []
    for step in recipe["steps"]:
        nested = json.loads(wheels[step["data"]].read(NESTED))
        now = states(nested, list(step["provinces"]))
        day = step.get("day")
        went: dict[str, set[str]] = {c: {str(s)} for c, s in step.get("merges", {}).items()}
        if "mapping" in step:
            went = mapping(json.loads(wheels[step["mapping"]].read(MAPPING)), before, now)
        for code, state in before.items():
            if now.get(code) == state and went.get(code, {code}) == {code}:
                continue
            if code not in now and code not in went:
                raise TinhError(
                    f"unit {code!r} ({state.name}) is not in {step['data']} any more, and nothing says what it became",
                    where="units.yaml: steps",
                    fix="give the step's merges its successor, with a source",
                )
            into = went.get(code, {code})
            why = step.get("sources", {}).get(code) or step["source"]
            row = open_rows.pop(code)
            source = " ".join(dict.fromkeys([*row.source.split(), *why.split()]))
            rows.append(replace_row(row, valid_to=day, successors=tuple(sorted(into)), source=source))
        for code, state in now.items():
            if code not in open_rows:
                begin = step["provinces"][_province(code, now)]
                open_rows[code] = _row(code, state, begin, step["data"])
        before = now
    rows += open_rows.values()
    return sorted(rows, key=lambda row: (row.code, row.valid_from or date.min))


def replace_row(row: Unit, **changes: object) -> Unit:
    """Return a row with changes, checked again."""
    return Unit.model_validate(row.model_dump() | changes)


def text(rows: list[Unit], recipe: str) -> str:
    """Return the rows as CSV."""
    lines = [
        f"# Generated by stacks/sites/generate_units.py from {recipe}; do not edit.",
        ",".join(Unit.model_fields),
    ]
    for row in rows:
        ended = None if row.successors is None else " ".join(row.successors) or "-"
        cells = [
            row.code,
            row.name,
            row.level,
            row.type,
            row.parent,
            row.valid_from,
            row.valid_to,
            ended,
            row.source,
        ]
        lines.append(",".join("" if cell is None else str(cell) for cell in cells))
    return "\n".join(lines) + "\n"


def _row(code: str, state: State, begin: date | None, source: str) -> Unit:
    kind = next(t for t in TYPES if state.name.startswith(f"{t} "))
    return Unit(
        code=code,
        name=state.name,
        level=state.level,
        type=kind,
        parent=state.parent,
        valid_from=begin,
        source=source,
    )


def _province(code: str, units: dict[str, State]) -> str:
    while units[code].parent:
        code = units[code].parent
    return code


def _name(name: str, default: str = "") -> str:
    """Return a name that begins with its type, spelt as in the law; data sets write it in several ways."""
    for kind in TYPES:
        if name.casefold().startswith(f"{kind} ".casefold()):
            return f"{kind} {name[len(kind) + 1 :].replace('NT ', 'Nông trường ')}"
    return f"{default} {name}".strip()


def _key(name: str) -> str:
    return plain(name).replace("-", "")


@click.command()
@click.argument("site")
@click.option("--check", is_flag=True, help="Only compare.")
def main(site: str, check: bool) -> None:
    """Write `units.csv` of a site."""
    folder: Path = paths.SITES / site
    made = text(generate(read_yaml(folder / "units.yaml")), "units.yaml")
    file = folder / "units.csv"
    if check:
        if not file.exists() or file.read_text("utf-8") != made:
            raise click.ClickException(f"{file} is not what its recipe gives")
    else:
        file.write_text(made, "utf-8")
    click.echo(f"{file}: {len(made.splitlines()) - 2} rows")


if __name__ == "__main__":
    main()
