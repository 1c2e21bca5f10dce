"""`python -m costplus` is `costplus`."""

from costplus.cli import main

main()
