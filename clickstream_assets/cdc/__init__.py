"""Change data: the current state and the history of tables of DynamoDB and of databases that AWS DMS reads.

Changes arrive as files (``dynamodb``, ``dms``), each is kept as a row of ``cdc_raw.changes`` (``loading``), and the
tables of the lake are made from these rows (``apply``), in whatever order and however often they came.
"""
