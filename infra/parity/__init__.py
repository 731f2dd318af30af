"""Whether everything that is published is the same over IPv4 and over IPv6."""
