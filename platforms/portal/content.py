"""Sub-sites of the portal, from the province's units."""

from __future__ import annotations

from infra.model.province import Province
from infra.model.unit import Level, Unit
from platforms.plone.seed import Item

#: Folders of `content.yaml` that the sub-sites are put into.
UNITS, AGENCIES = "don-vi", "co-quan"


def sub_sites(province: Province | None) -> list[Item]:
    """Return a sub-site for every unit directly below the province and for every agency, by code.

    That are districts as long as there are any, and communes since there are none (Law 72/2025/QH15, two levels).
    """
    if province is None:
        return []
    (root,) = province.at_level(Level.PROVINCE)
    folders = {Level.DISTRICT: UNITS, Level.COMMUNE: UNITS, Level.AGENCY: AGENCIES}
    below = [unit for unit in province.units if unit.parent == root.code and unit.level in folders]
    return [_sub_site(unit, folders[unit.level]) for unit in below]


def _sub_site(unit: Unit, folder: str) -> Item:
    return Item(
        key=f"unit-{unit.code}",
        # The codes of agencies are words already; those of units are numbers that nobody knows.
        id=unit.label if unit.code.isdigit() else unit.code,
        type="Folder",
        values={"title": unit.name, "description": f"Trang thông tin điện tử của {unit.name}"},
        parent=folder,
        site=True,
    )
