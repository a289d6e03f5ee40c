"""The version of the package, of the command line and in the files that anew writes."""

__version__ = "0.1.0"
