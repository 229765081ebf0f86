"""Landing files to staged raw rows, one module per file format. No Dagster here."""
