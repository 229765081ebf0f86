"""Sales: raw text → typed customers, products, locations and sales, and the rules that their rows must keep."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from clickstream_assets.grammars import DAY, EMAIL
from clickstream_assets.schemas import (
    SALES_CUSTOMERS_RAW,
    SALES_LOCATIONS_RAW,
    SALES_PRODUCTS_RAW,
    SALES_SALES_RAW,
    SALES_SINCE,
    TEXT_BYTES,
    Table,
)
from clickstream_assets.storage.spark import Split
from clickstream_assets.transforms.rules import (
    Rule,
    Transform,
    accepted,
    first_broken,
    keeps,
    longer_than_text,
    missing,
    money,
    record_json,
    text,
    try_cast,
    without_zeros,
)

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

#: a whole number from 1 to 999,999,999
_QUANTITY = "^0*[1-9][0-9]{0,8}$"

#: digits that REVENUE has before the point
_GROSS_DIGITS = 15

#: what a customer's id looks like: a name or an address in its place, as in a file with shifted columns, does not
_CUSTOMER_ID = "^([A-Za-z]{0,8}[-_:#]?[0-9]{1,18}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$"


def _needs(*columns: str) -> tuple[Rule, ...]:
    def rule(column: str) -> Rule:
        return Rule(f"missing_{column}", f"{column} is empty.", lambda: missing(column))

    return tuple(rule(column) for column in columns)


def _texts_fit(raw: Table) -> Rule:
    texts = (*raw.record, "extra")
    return Rule(
        "text_too_long",
        f"A text of the record has more than {TEXT_BYTES:,} bytes in UTF-8.",
        lambda: longer_than_text(*texts),
    )


_BAD_PRICE = Rule(
    "bad_unit_price",
    "unit_price is not a number from 0 up to 9,999,999,999.99.",
    lambda: money("unit_price").isNull(),
)

CUSTOMER_RULES = (
    *_needs("customer_id"),
    Rule(
        "bad_email",
        "email is not of the shape name@host.domain: one @, no blanks, a dot within the host. It may be empty.",
        lambda: ~text("email").rlike(EMAIL),
    ),
    _texts_fit(SALES_CUSTOMERS_RAW),
)

PRODUCT_RULES = (*_needs("product_id"), _BAD_PRICE, _texts_fit(SALES_PRODUCTS_RAW))

LOCATION_RULES = (*_needs("location_id"), _texts_fit(SALES_LOCATIONS_RAW))

SALE_RULES = (
    *_needs("sale_id", "customer_id", "product_id", "location_id"),
    Rule(
        "bad_sale_date",
        f"sale_date is not YYYY-MM-DD, no such day exists, or it is before {SALES_SINCE} or more than a day after "
        "load_date.",
        lambda: ~F.coalesce(F.col("_sale_date").between(F.lit(SALES_SINCE), F.date_add("load_date", 1)), F.lit(False)),
    ),
    Rule(
        "bad_quantity",
        "quantity is not a whole number from 1 to 999,999,999.",
        lambda: F.col("_quantity").isNull(),
    ),
    Rule(_BAD_PRICE.name, _BAD_PRICE.description, lambda: F.col("_unit_price").isNull()),
    Rule(
        "bad_discount",
        "discount is not a number from 0 up to 9,999,999,999.99. It may be empty, which is 0.",
        lambda: F.col("_discount").isNull(),
    ),
    Rule(
        "bad_tax_amount",
        "tax_amount is not a number from 0 up to 9,999,999,999.99. It may be empty, which is 0.",
        lambda: F.col("_tax_amount").isNull(),
    ),
    Rule(
        "gross_too_large",
        "quantity × unit_price is more than 999,999,999,999,999.99.",
        lambda: F.col("_gross") >= F.lit(10**_GROSS_DIGITS).cast("decimal(16,0)"),
    ),
    Rule(
        "discount_above_gross",
        "discount is more than quantity × unit_price.",
        lambda: F.col("_discount") > F.col("_gross"),
    ),
    _texts_fit(SALES_SALES_RAW),
)


def _member(raw: DataFrame, table: Table, rules: Sequence[Rule], payload: Sequence[Column | str]) -> Split:
    """Type the rows of a snapshot, and split off those that break a rule.

    Grain: one row in, one row in either output; several of a member are still there.
    """
    columns = [
        (money(name) if name == "unit_price" else text(name)).alias(name)  # which only products have
        for name in table.record
    ]
    return _split(raw, rules, columns, payload)


def _split(
    raw: DataFrame, rules: Sequence[Rule], columns: Sequence[Column | str], payload: Sequence[Column | str]
) -> Split:
    kept = accepted(
        raw,
        rules,
        *columns,
        "extra",
        "source_file",
        "source_line",
        F.current_timestamp().alias("processed_at"),
        "load_date",
    )
    rejected = raw.where(~keeps(rules)).select(
        "source_file",
        "source_line",
        first_broken(rules).alias("rule"),
        record_json(*payload).alias("payload"),
        F.current_timestamp().alias("quarantined_at"),
        F.col("load_date").alias("partition_date"),
    )
    return Split(kept, rejected)


def clean_customers(raw: DataFrame) -> Split:
    """Type the rows of ``sales_raw.customers_raw``; see ``_member``.

    Of a rejected customer the quarantine gets the id alone, and that only where it looks like one.
    """
    shown = F.when(text("customer_id").rlike(_CUSTOMER_ID), text("customer_id")).alias("customer_id")
    return _member(raw, SALES_CUSTOMERS_RAW, CUSTOMER_RULES, [shown])


def clean_sales(raw: DataFrame) -> Split:
    """Type the rows of ``sales_raw.sales_raw`` and split off those that break a rule.

    Grain: one row in, one row in either output; several of a sale are still there. Money is in one currency.
    """
    # What several columns or rules need is a column first: expressions are written out wherever they are used.
    parsed = raw.withColumns(
        {
            "_sale_date": F.when(text("sale_date").rlike(DAY), try_cast(text("sale_date"), "date")),
            "_quantity": F.when(text("quantity").rlike(_QUANTITY), try_cast(without_zeros(text("quantity")), "bigint")),
            "_unit_price": money("unit_price"),
            "_discount": _or_zero("discount"),
            "_tax_amount": _or_zero("tax_amount"),
        }
    ).withColumn("_gross", F.col("_unit_price") * F.col("_quantity").cast("decimal(9,0)"))
    gross = try_cast(F.col("_gross"), "decimal(18,2)")
    columns = [
        text("sale_id").alias("sale_id"),
        F.col("_sale_date").alias("sale_date"),
        text("customer_id").alias("customer_id"),
        text("product_id").alias("product_id"),
        text("location_id").alias("location_id"),
        F.col("_quantity").alias("quantity"),
        F.col("_unit_price").alias("unit_price"),
        F.col("_discount").alias("discount"),
        F.col("_tax_amount").alias("tax_amount"),
        gross.alias("gross_amount"),
        try_cast(gross - F.col("_discount") + F.col("_tax_amount"), "decimal(18,2)").alias("net_amount"),
    ]
    return _split(parsed, SALE_RULES, columns, SALES_SALES_RAW.record)


def _or_zero(column: str) -> Column:
    return F.when(missing(column), F.lit(0).cast("decimal(12,2)")).otherwise(money(column))


CUSTOMERS = Transform(CUSTOMER_RULES, clean_customers, unique="customer_id", same=partial(text, "customer_id"))
PRODUCTS = Transform(
    PRODUCT_RULES,
    partial(_member, table=SALES_PRODUCTS_RAW, rules=PRODUCT_RULES, payload=SALES_PRODUCTS_RAW.record),
    unique="product_id",
    same=partial(text, "product_id"),
)
LOCATIONS = Transform(
    LOCATION_RULES,
    partial(_member, table=SALES_LOCATIONS_RAW, rules=LOCATION_RULES, payload=SALES_LOCATIONS_RAW.record),
    unique="location_id",
    same=partial(text, "location_id"),
)
SALES = Transform(SALE_RULES, clean_sales, unique="sale_id", same=partial(text, "sale_id"))
