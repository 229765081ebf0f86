"""Pure PySpark DataFrame functions, one module per domain, and the rules that reject rows. No Dagster here."""
