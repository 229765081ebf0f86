"""What the Dagster UI tells of an asset beside its name: owner, tags, columns and their origins, table, code and docs.

Everything is known without a look at the data. Dagster's open-source UI does not draw the lineage of columns, though it
keeps it, so that a column's description names its origins too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import dagster as dg

from clickstream_assets import layers, lineage, schemas
from clickstream_assets.domains import DOMAINS, Feed
from clickstream_assets.lineage import Lineage, Origin
from clickstream_assets.schemas import TEXT, Column, Table
from clickstream_assets.settings import Settings

# Beta for two years; the label would be printed at every start.
warnings.filterwarnings("ignore", message=r"Class `(LocalFileCodeReference|CodeRef)", category=dg.BetaWarning)

ROOT = Path(__file__).resolve().parent.parent

#: the tag of assets with columns that name persons, and of such columns
PERSONAL_DATA, PERSONAL = "personal_data", "personal"

#: pages of the docs, by layer, for assets that the reference does not describe
_PAGES = {
    layers.LANDING: "docs/operations.md#files-that-arrive",
    layers.CLEANED: "docs/cdc.md#columns-of-the-two-tables",
    layers.ENHANCED: "docs/bi.md",
    layers.DASHBOARDS: "docs/dashboards.md",
}
_PAGE = "docs/operations.md"

#: Dagster's name for the files of an asset
_CODE = "dagster/code_references"

#: origins that a description names one by one, per table
_NAMED = 4


def describer(settings: Settings) -> Callable[[dg.AssetSpec], dg.AssetSpec]:
    """What completes the spec of any asset: owner, tags, docs, and what the registry knows of its table.

    An asset keeps what it says of itself.
    """
    known = _known(settings)

    def describe(spec: dg.AssetSpec) -> dg.AssetSpec:
        layer, _, domain = (spec.group_name or "").partition("/")
        tags = {"layer": layer} | ({"domain": domain} if domain else {})
        metadata, personal = known.get(tuple(spec.key.path), ({}, False))
        page = {"docs": dg.MetadataValue.path(_PAGES.get(layer, _PAGE))}
        told = {**page, **metadata, **spec.metadata}
        return spec.replace_attributes(
            owners=spec.owners or [settings.owner],
            tags={**tags, **personal_tag(personal), **spec.tags},
            metadata={**told, **_linked(told)},
        )

    return describe


def personal_tag(has: bool) -> dict[str, str]:
    """The tag of an asset with columns that name persons, if it has any."""
    return {PERSONAL_DATA: ""} if has else {}


def of_table(name: str, columns: Iterable[dg.TableColumn], origins: Lineage) -> dict[str, Any]:
    """Metadata of a table that the warehouse shows as ``name``; origins are told in the columns' descriptions too."""
    return {
        "dagster/table_name": name,
        "dagster/column_schema": dg.TableSchema([_with_origins(column, origins) for column in columns]),
        "dagster/column_lineage": column_lineage(origins),
        "query": query(name),
    }


def column_lineage(origins: Lineage) -> dg.TableColumnLineage:
    """Origins as Dagster keeps them."""
    deps = {
        column: [dg.TableColumnDep(dg.AssetKey([schema, table]), name) for schema, table, name in of_column]
        for column, of_column in origins.items()
    }
    return dg.TableColumnLineage(deps)


def query(name: str) -> dg.MarkdownMetadataValue:
    """The command that shows rows of a relation of the warehouse."""
    return dg.MetadataValue.md(f'`clickstream query "select * from {name} limit 10"`')


def column(of: Column) -> dg.TableColumn:
    """A column of the registry."""
    return dg.TableColumn(
        of.name,
        of.type,
        of.description,
        constraints=dg.TableColumnConstraints(nullable=not of.required, unique=False),
        tags={PERSONAL: ""} if of.personal else {},
    )


def code(*paths: Path) -> dict[str, Any]:
    """The files that an asset is made by, for the UI's link to an editor."""
    return {
        _CODE: dg.CodeReferencesMetadataValue(
            code_references=[
                dg.LocalFileCodeReference(file_path=str(path), label=path.name) for path in paths if path.exists()
            ]
        )
    }


def _linked(told: Mapping[str, Any]) -> dict[str, Any]:
    """The files of an asset, and its page of the docs among them: the UI links those, and of other paths shows text."""
    page = ROOT / str(told["docs"].value).partition("#")[0]
    if not page.exists():  # installed without its docs
        return {}
    files = told.get(_CODE)
    references = [*(files.code_references if files else ())]
    return {
        _CODE: dg.CodeReferencesMetadataValue(
            code_references=[*references, dg.LocalFileCodeReference(file_path=str(page), label=page.name)]
        )
    }


def _with_origins(of: dg.TableColumn, origins: Lineage) -> dg.TableColumn:
    if not origins.get(of.name):
        return of
    told = "; ".join(_told(table, list(columns)) for table, columns in groupby(origins[of.name], lambda one: one[:2]))
    return dg.TableColumn(
        of.name,
        of.type,
        f"{(of.description or '').strip()} _From {told}._".strip(),
        constraints=of.constraints,
        tags=of.tags,
    )


def _told(table: tuple[str, str], origins: list[Origin]) -> str:
    names = ", ".join(name for *_, name in origins[:_NAMED])
    more = f" and {len(origins) - _NAMED} more" if len(origins) > _NAMED else ""
    return f"`{'.'.join(table)}`: {names}{more}"


def _known(settings: Settings) -> dict[tuple[str, ...], tuple[Mapping[str, Any], bool]]:
    """Metadata, and whether persons are named, by the keys of what is registered."""
    of_feeds: dict[str, tuple[Lineage, str]] = {}
    found: dict[tuple[str, ...], tuple[Mapping[str, Any], bool]] = {}
    for domain in DOMAINS.values():
        for feed in domain.feeds:
            of_raw = lineage.of_raw(feed)
            found |= _of_landing(settings, feed, of_raw)
            of_feeds[feed.raw.name] = of_raw, feed.loader
            of_feeds[feed.cleaned.name] = lineage.of_cleaned(feed), feed.transform
    for table in schemas.TABLES:
        origins, made_by = of_feeds.get(table.name, ({}, ""))
        found[tuple(table.key)] = _of_registered(settings, table, origins, made_by), bool(table.personal)
    return found


def _of_registered(settings: Settings, table: Table, origins: Lineage, made_by: str) -> Mapping[str, Any]:
    shown = table.warehouse or table.external
    metadata = of_table(shown or table.lake, map(column, table.columns), origins)
    if not shown:
        del metadata["query"]
    return {
        **metadata,
        **code(*([_module(made_by)] if made_by else []), ROOT / "clickstream_assets" / "schemas.py"),
        "dagster/storage_kind": "iceberg",
        "dagster/uri": lake_uri(settings, table.lake),
        "docs": dg.MetadataValue.path(f"docs/reference.md#{anchor(table.name)}"),
    }


def _of_landing(
    settings: Settings, feed: Feed, of_raw: Lineage
) -> dict[tuple[str, ...], tuple[Mapping[str, Any], bool]]:
    made: dict[str, list[Column]] = {name: [] for name in feed.columns}
    for one in feed.raw.columns:
        for *_, name in of_raw[one.name]:
            made[name].append(one)
    columns = [_landed(name, feed.raw, of) for name, of in made.items()]
    personal = bool(feed.raw.personal) or feed.raw.pseudonymous  # which raw has no more, and what arrives has
    return {
        tuple(landing.key): (
            {
                "dagster/column_schema": dg.TableSchema(columns),
                "dagster/uri": f"{settings.landing_uri}/{landing.layout}",
            },
            personal,
        )
        for landing in feed.landings
    }


def _landed(name: str, raw: Table, made: list[Column]) -> dg.TableColumn:
    """A column of what arrives: it means what raw's column of it does, unless raw has only traces of it."""
    kept = next((one for one in made if one.name in raw.record and one not in schemas.PSEUDONYMS), None)
    if kept is not None:
        return dg.TableColumn(name, TEXT, kept.description, tags={PERSONAL: ""} if kept.personal else {})
    traces = ", ".join(f"`{one.name}`" for one in made) or "nothing"
    if raw.pseudonymous:
        return dg.TableColumn(name, TEXT, f"Names a person: raw has {traces} in its place.", tags={PERSONAL: ""})
    return dg.TableColumn(name, TEXT, f"Raw has {traces} of it.")


def lake_uri(settings: Settings, name: str) -> str:
    """Where the files of a table of the lake are."""
    return f"{settings.lake_uri}/{name.replace('.', '/')}"


def anchor(heading: str) -> str:
    """What a page of the docs calls one of its headings in links."""
    return "".join(letter for letter in heading.lower() if letter.isalnum() or letter in " _-").replace(" ", "-")


def _module(name: str) -> Path:
    """The file of what is named as ``module:name``."""
    return ROOT / f"{name.partition(':')[0].replace('.', '/')}.py"
