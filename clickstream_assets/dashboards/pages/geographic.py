"""Geographic: where it is sold, by month."""

from clickstream_assets.dashboards.charts import Ratio, changed, heat, over_time, ranked
from clickstream_assets.dashboards.page import Column, Dataset, Filter, Page, Tile, count, distinct, money, month, text

_TABLE = "sales.geographic_dashboard"

#: of stores that have a name in common, the label of each has its id too
_LABEL = """
    case
        when store_name is null then location_id
        when min(location_id) over (partition by store_name) = max(location_id) over (partition by store_name)
            then store_name
        else store_name || ' (' || location_id || ')'
    end"""

_PLACES = (text("country", "Country"), text("region", "Region"), text("state", "State"), text("store", "Store"))
_KNOWN = f"""coalesce(country, 'Not known') as country, coalesce(region, 'Not known') as region,
               coalesce(state, 'Not known') as state, {_LABEL} as store"""

MONTHS = Dataset(
    name="store_months",
    tables=(_TABLE,),
    sql=f"""
        select month, {_KNOWN}, orders, customers, quantity, gross_amount, discount, net_amount
        from {_TABLE}""",
    columns=(
        month(),
        *_PLACES,
        count("orders", "Sales"),
        distinct("customers", "Customers"),
        count("quantity", "Pieces"),
        money("gross_amount", "Gross sales"),
        money("discount", "Discount"),
        money("net_amount", "Net sales"),
    ),
    grain=("month", "store"),
    order="month desc, net_amount desc, store",
)

CHANGES = Dataset(
    name="store_changes",
    tables=(_TABLE,),
    # Parts of a month, because the newest month is seldom over.
    sql=f"""
        with numbered as (
            select {_KNOWN}, share_of_month, extract(year from month) * 12 + extract(month from month) as place
            from {_TABLE}
        ),
        span as (
            select max(place) as newest, min(place) as oldest from numbered
        )
        select country, region, state, store,
               sum(case when place = newest then share_of_month else -share_of_month end) as share_change
        from numbered
        cross join span
        where place >= newest - 1 and newest > oldest
        group by country, region, state, store""",
    columns=(*_PLACES, Column("share_change", "Change of part, in points", "share")),
    grain=("store",),
    order="abs(share_change) desc, store",
)

_SALE = Ratio("average_sale", "Net amount of a sale", "net_amount", "orders", "money")
_DISCOUNT = Ratio("discount_share", "Discount of gross", "discount", "gross_amount")

PAGE = Page(
    name="geographic",
    filters=(Filter("country", "Country"), Filter("region", "Region")),
    tiles=(
        Tile("Net sales", MONTHS, "sum", "net_amount"),
        Tile("Sales", MONTHS, "sum", "orders"),
        Tile("Net amount of a sale", MONTHS, "ratio", "net_amount", "orders", "money"),
        Tile("Pieces of a sale", MONTHS, "ratio", "quantity", "orders"),
        Tile("Discount of gross", MONTHS, "ratio", "discount", "gross_amount", "share"),
    ),
    charts=(
        over_time(
            "regions",
            "How much does each region sell?",
            MONTHS,
            "net_amount",
            split="region",
            mark="bar",
            note="Net: gross sales less discount, with tax. The first and the newest month may not have all days.",
            wide=True,
        ),
        ranked("states", "Which states bring the sales?", MONTHS, "state", "net_amount", color="region", top=15),
        heat(
            "state_months",
            "Which months were good, and where?",
            MONTHS,
            "month",
            "state",
            "net_amount",
            order="largest",
        ),
        ranked("stores", "Which stores sell most?", MONTHS, "store", "net_amount", color="region", top=15),
        changed(
            "changes",
            "Which stores gain and lose ground?",
            CHANGES,
            "store",
            "share_change",
            top=15,
            note="A store's part of all sales in the newest month, less its part of the month before.",
        ),
        ranked("average_sale", "Where is a sale worth most?", MONTHS, "state", _SALE, top=15),
        ranked("discounts", "Where do we give most away?", MONTHS, "state", _DISCOUNT, top=15),
        heat(
            "customers",
            "How many customers does a store have?",
            MONTHS,
            "month",
            "store",
            "customers",
            order="largest",
            note="Who buys in two stores is a customer of both.",
            wide=True,
        ),
    ),
)
