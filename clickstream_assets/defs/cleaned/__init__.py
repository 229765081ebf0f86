"""Typed, valid rows, one module per domain; what breaks a rule goes to ``ops.quarantine``."""
