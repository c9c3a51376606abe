"""What apple_seg must know of each family of hosts, one module a family."""
