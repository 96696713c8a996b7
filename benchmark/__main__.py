"""`python -m nvbench`."""

from nvbench.cli import main

main()
