"""Prometheus metrics: `recorder` counts, `collector` exposes, `definitions` names and `label_limits` bounds."""
