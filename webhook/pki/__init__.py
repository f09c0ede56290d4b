"""Creates, parses, verifies and rotates certificates. Except for `tls_probe`: no file, no network, no clock."""
