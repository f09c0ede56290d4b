"""What `check` finds, told to people and to machines."""
