"""Landing files as tables, one module per domain: everything that arrived, as text, nothing lost."""
