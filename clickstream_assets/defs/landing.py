"""All that other systems deliver, on one screen. Nothing here is computed."""

import dagster as dg

from clickstream_assets import layers
from clickstream_assets.partitions import DAILY

landing = [
    dg.AssetSpec(
        key=["landing", "ecommerce"],
        group_name=layers.group(layers.LANDING, "ecommerce"),
        partitions_def=DAILY,
        kinds={"csv"},
        description=(
            "One CSV file per export, plain or gzip, below `ecommerce/ingestion_date=YYYY-MM-DD/`, with the columns "
            "UserID, SessionID, Timestamp, EventType, ProductID, Amount and Outcome in any order and case."
        ),
    ),
]
