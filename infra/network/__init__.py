"""From a province and its address plan to routers and the policy between them. Pure functions."""
