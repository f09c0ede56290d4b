"""Evaluates manifests in files, without a cluster: what `check` finds. Prints nothing."""
