"""Sensors, one per domain: days whose raw rows have changed are made again below raw, a run for each range of them.

Files that arrive start their own day from raw on (``defs/arrivals.py``). What is left for these sensors are the days
that change otherwise: a file takes over from a copy on another day, somebody materializes raw alone, a run failed.
"""

import warnings

import dagster as dg

from clickstream_assets import layers
from clickstream_assets.domains import DOMAINS
from clickstream_assets.settings import Settings

# Beta for two years; the label would be printed at every start.
warnings.filterwarnings("ignore", message=r"Parameter `use_user_code_server`", category=dg.BetaWarning)


def definitions() -> dg.Definitions:
    """The sensors, running from the start wherever there is a daemon."""
    seconds = Settings.from_environment().sensor_seconds
    return dg.Definitions(sensors=[_sensor(name, seconds) for name in DOMAINS])


def _sensor(domain: str, seconds: int) -> dg.SensorDefinition:
    below_raw = (layers.group(layer, domain) for layer in (layers.CLEANED, layers.ENHANCED))
    return dg.AutomationConditionSensorDefinition(
        name=f"{domain}_repairs",
        target=dg.AssetSelection.groups(*below_raw),
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        use_user_code_server=True,
        description=f"Makes days of {domain} again whose raw rows have changed.",
    )
