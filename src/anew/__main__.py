"""`python -m anew`: the command line."""

from anew.cli.main import main

main()
