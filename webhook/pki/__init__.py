"""Certificates: made, read and renewed. Bytes and times go in, bytes come out: no file, no network, no clock.

Beside the core, because the core knows no cryptography; below the server, which serves certificates, and the
cluster, which keeps them.
"""
