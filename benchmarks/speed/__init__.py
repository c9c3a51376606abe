"""How long an epoch takes, against the ways in which a user would do it otherwise."""
