"""`python -m anew`: the command line."""

from anew.cli import main

main()
