"""Dagster assets that take landing files to tables and dashboards; start reading at ``definitions.py``."""
