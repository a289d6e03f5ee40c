"""What everything stands on: descriptions of networks, their ids, errors, keyed random numbers,
whole files.
"""
