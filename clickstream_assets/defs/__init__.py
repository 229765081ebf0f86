"""The asset graph, layer by layer: ``landing`` → ``raw`` → ``cleaned`` → ``dbt`` (enhanced)."""
