"""The layers, in the order in which data passes them, and how they name Dagster groups.

``raw``, ``cleaned`` and ``enhanced`` are what others call bronze, silver and gold.
"""

LANDING = "landing"
RAW = "raw"
CLEANED = "cleaned"
ENHANCED = "enhanced"
#: what is drawn from enhanced tables: pages, no tables
DASHBOARDS = "dashboards"

#: downstream may depend on its own layer or on the one before it, never further back
ORDER = (LANDING, RAW, CLEANED, ENHANCED)


def group(layer: str, domain: str) -> str:
    """Dagster's group name of a layer of a domain, e.g. ``raw/ecommerce``."""
    return f"{layer}/{domain}"
