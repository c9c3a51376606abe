"""Every method beside its controls and its limit, on two hosts, in two scenarios."""
