"""Certificates in the cluster: stored in a Secret, trusted by the webhook configurations, served by every replica."""
