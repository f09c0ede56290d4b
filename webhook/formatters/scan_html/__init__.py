"""A scan as one HTML page without dependencies."""
