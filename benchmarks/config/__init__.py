"""What a run is of: its configuration, read and checked."""
