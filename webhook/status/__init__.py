"""What the facts read from a cluster say about whether it is protected, and what a self-probe's answers prove."""
