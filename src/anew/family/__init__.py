"""The folder of trained networks: its files, its locks, and who descends from whom."""

from anew.family.family import FORMAT, Family, NetworkFolder

__all__ = ["FORMAT", "Family", "NetworkFolder"]
