"""What retiring legacy tokens means: the state of each Secret, what a command would change, and what it refuses."""
