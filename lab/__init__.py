"""The machine-sized data centre: toolchain, system containers, simulators of outside systems."""
