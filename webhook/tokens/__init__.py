"""Looks into tokens and checks them: pure, but for the mathematics of signatures. Never keeps or tells a signature."""
