"""What is outside the data centre: simulators of units and the carrier, and the probes between their hosts."""
