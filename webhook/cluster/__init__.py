"""All that speaks to the API server, and the only importer of its client."""
