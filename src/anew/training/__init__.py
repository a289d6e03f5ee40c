"""One step, one network, one group of siblings, one lineage; `launch` decides which process trains
what.
"""
