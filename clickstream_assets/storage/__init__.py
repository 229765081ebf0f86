"""Where rows are kept: folders and buckets, the Iceberg lake, the warehouse, the ledger. No Dagster except in
``io_managers.py``."""
