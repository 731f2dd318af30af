"""Simulators of what lies outside the data centre: units with their routers and hosts, the carrier's planes."""
