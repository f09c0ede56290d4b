"""tokenguard: an admission webhook that ends long-lived service account tokens."""
