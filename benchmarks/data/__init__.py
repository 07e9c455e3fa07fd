"""Images and labels that methods are compared on."""
