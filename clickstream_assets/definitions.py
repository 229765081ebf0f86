"""The code location: everything below ``defs/``.

A module there either has assets at its top level, or a function ``definitions()``. ``dg.load_from_defs_folder`` would
find them too, but it first imports and describes every component library that is installed: 1.4 of its 2.2 s.
"""

import gc
import importlib
import pkgutil

import dagster as dg
from mashumaro.config import BaseConfig

from clickstream_assets import defs as folder


@dg.definitions
def defs() -> dg.Definitions:
    """The whole asset graph with its jobs, checks and resources."""
    # What reads and writes dbt's classes is made when it is first used, and not when they are: 0.15 of 1.7 s.
    BaseConfig.lazy_compilation = True
    names = (info.name for info in pkgutil.walk_packages(folder.__path__, f"{folder.__name__}."))
    # Imports make objects that stay: looking through them for garbage is 0.3 of 2.0 s.
    collecting = gc.isenabled()
    gc.disable()
    try:
        modules = [importlib.import_module(name) for name in names]
        assets = dg.Definitions(assets=dg.load_assets_from_modules(modules, include_specs=True))
        found = dg.Definitions.merge(assets, *(m.definitions() for m in modules if hasattr(m, "definitions")))
        return _described(found)
    finally:
        gc.freeze()  # and 0.1 of 3.7 s of each run
        if collecting:
            gc.enable()


def _described(found: dg.Definitions) -> dg.Definitions:
    """The same, its assets with all that is known of them; each module says only what it alone knows."""
    from clickstream_assets import about  # here, where garbage is not looked for
    from clickstream_assets.settings import Settings

    assets = [one for one in found.assets or () if isinstance(one, dg.AssetsDefinition | dg.AssetSpec)]
    return dg.Definitions(
        assets=dg.map_asset_specs(about.describer(Settings.from_environment()), assets),
        asset_checks=found.asset_checks,
        schedules=found.schedules,
        sensors=found.sensors,
        jobs=found.jobs,
        resources=found.resources,
        executor=found.executor,
        loggers=found.loggers,
    )
