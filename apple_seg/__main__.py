"""`python -m apple_seg`: the command line, as `accelerate launch -m` starts it."""

from apple_seg.cli import main

main()
