"""A scan's report as a page: one file that needs nothing else, for people who would rather look than read."""
