"""The folder of trained networks: its files, its locks, and who descends from whom."""

from anew.family.differences import told_apart
from anew.family.family import Family
from anew.family.folder import FORMAT, NetworkFolder
from anew.family.lineages import (
    choose_generations,
    choose_lineage,
    generation_0,
    named_apart,
    replicas,
    unfinished_after,
)
from anew.family.named import named_networks, split_name
from anew.family.siblings import Siblings, find_siblings

__all__ = [
    "FORMAT",
    "Family",
    "NetworkFolder",
    "Siblings",
    "choose_generations",
    "choose_lineage",
    "find_siblings",
    "generation_0",
    "named_apart",
    "named_networks",
    "replicas",
    "split_name",
    "told_apart",
    "unfinished_after",
]
