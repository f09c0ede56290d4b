"""Certificates in the cluster: kept in a Secret, trusted by the webhook configurations, served by every replica."""
