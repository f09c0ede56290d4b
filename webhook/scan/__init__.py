"""What a live cluster's tokens are like, and what a policy would do to its pods. Pure: no client, no output."""
