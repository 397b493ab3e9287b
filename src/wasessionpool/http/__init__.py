"""What every web framework needs of the REST interface, and no framework in it."""
