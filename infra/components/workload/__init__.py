"""What every workload gets: namespaces, network policies, admission."""
