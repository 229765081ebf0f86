"""Raw → cleaned as a job of AWS Glue or EMR Serverless: what is sent there, what runs there, and what launches it.

``launch`` alone knows Dagster. ``wire``, ``job`` and what they import run in the job, and are in its ``package``.
"""
