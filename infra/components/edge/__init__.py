"""Front door: addresses, gateway, names, DNS."""
