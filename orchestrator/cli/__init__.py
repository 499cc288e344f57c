"""The command line: a thin shell over the services. Data on stdout; progress, hints and errors on stderr."""
