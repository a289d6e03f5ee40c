"""What a study takes: networks, examples, disk and time."""
