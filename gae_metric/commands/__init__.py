"""The command line: what it runs, prints and leaves behind."""
