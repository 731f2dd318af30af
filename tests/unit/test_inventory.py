from pathlib import Path

from infra.model.site import Site, load_site
from infra.render.inventory import inventory as render


def inventory(site, ssh=Path("/s"), pki=Path("/p")):
    return render(site, ssh=ssh, pki=pki, artifacts={}, locked_days=3)


def test_every_machine_is_in_the_group_of_its_role_and_reached_over_ipv6():
    site = load_site("lab")
    made = inventory(site)["all"]
    hosts = {n: h for group in made["children"].values() for n, h in group["hosts"].items()}
    assert set(hosts) == {m.name for m in site.all_machines()}
    assert all(":" in host["ansible_host"] for host in hosts.values())
    assert hosts["node1"]["node_ips"].split(",") == list(
        next(m for m in site.all_machines() if m.name == "node1").primary.pair()
    )


def test_machines_ask_the_resolver_and_where_there_is_none_the_name_server():
    def variables(site):
        return inventory(site)["all"]["vars"]

    assert variables(load_site("lab"))["resolver"] == {"ipv6": "fd77:0:0:53::1", "ipv4": "10.77.6.1"}
    sim = variables(load_site("sim"))
    assert sim["resolver"] == sim["front_door_dns"]


def test_no_secret_is_in_the_inventory(tmp_path):
    from lab import pki

    pki.ensure_ca(tmp_path, "CA")
    pki.ensure_encryption_config(tmp_path / "encryption.yaml")
    text = str(inventory(load_site("lab"), ssh=tmp_path, pki=tmp_path))
    assert "PRIVATE KEY" not in text
    assert "secretbox" not in text


def test_the_clients_of_the_outside_have_addresses_of_their_own():
    made = inventory(load_site("lab"))["all"]
    client = made["children"]["internet"]["hosts"]["client1"]
    assert set(client["clients"]) == {"ipv4", "ipv6", "dual"}
    assert len({c["ipv4"] for c in client["clients"].values()} | {client["interfaces"][0]["ipv4"]}) == 4


def test_where_no_router_leads_out_there_is_no_gateway():
    data = load_site("lab").model_dump()
    data["machines"][0]["interfaces"]["console"] = 2
    made = inventory(Site.model_validate(data))["all"]
    servers, _, console = made["children"]["router"]["hosts"]["core1"]["interfaces"]
    assert servers["gateway_ipv4"] == "10.77.0.254"
    assert (console["name"], console["ipv4"], console["ipv4_length"]) == ("console", "10.77.16.2", 22)
    assert not any(key.startswith("gateway") for key in console)


def test_the_off_site_copy_gets_its_backups_on_the_segment_that_it_shares_with_the_backup_host():
    made = inventory(load_site("lab"))["all"]
    (off,) = made["children"]["offsite"]["hosts"].values()
    assert (off["near"], off["near_ipv6"]) == ("backup1", "fd77:0:0:20::20")
    assert not any(key.startswith("gateway") for key in off["interfaces"][0])
    assert made["vars"]["backup"] == {"locked_days": 3}
