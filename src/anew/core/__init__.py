"""What all packages use: specs and their ids, options, errors, keyed random numbers, files."""
