"""The attack suite: what anew withstands, tried again on every change. `make attack` runs it.

Each case attacks a copy of a small family or a small data set in a folder of its own, through the
command line, and then looks at exit codes, outputs and files. See docs/reliability.md.
"""
