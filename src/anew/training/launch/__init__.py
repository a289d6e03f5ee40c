"""Which process trains a group of siblings: this one, several of this machine, Ray tasks, SLURM
jobs.
"""
