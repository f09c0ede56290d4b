"""Documents of YAML and JSON, read as kubectl reads them, with the line of each value."""
