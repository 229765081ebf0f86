"""Customer: who buys, how often, and what they are worth, as numbers of customers.

A group may be one customer, so no group says much of the one: days and amounts have no state, and sums of money are of
five customers or more.
"""

from itertools import pairwise

from clickstream_assets.dashboards.charts import Ratio, heat, over_time, ranked
from clickstream_assets.dashboards.page import Column, Dataset, Filter, Page, Tile, count, day, money, text
from clickstream_assets.dashboards.pages.executive import SHOP

_TABLE = "sales.customer_dashboard"

_STATE = "coalesce(state, 'Not known')"

_WHO = (text("segment", "Segment"), text("state", "State"))

#: from the best to those who never bought
_SEGMENTS = ("Champions", "Loyal", "Recent", "Occasional", "At Risk", "Lost", "No Sales")

#: where one group of lifetime values ends and the next begins
_BOUNDS = (20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
_WORTH = (
    f"under {_BOUNDS[0]}",
    *(f"{low:,} to {high:,}" for low, high in pairwise(_BOUNDS)),
    f"{_BOUNDS[-1]:,} and more",
)

GROUPS = Dataset(
    name="customer_groups",
    tables=(_TABLE,),
    sql=f"""
        select segment, {_STATE} as state, count(*) as customers,
               sum(case when orders > 0 then 1 else 0 end) as buyers,
               sum(case when is_repeat then 1 else 0 end) as repeat_buyers
        from {_TABLE}
        group by segment, {_STATE}""",
    columns=(
        *_WHO,
        count("customers", "Customers"),
        count("buyers", "Customers who bought"),
        count("repeat_buyers", "Customers who bought again"),
    ),
    grain=("segment", "state"),
    order="customers desc, segment, state",
)

#: people that an amount is of, at least
_FEWEST = 5

VALUE = Dataset(
    name="customer_value",
    tables=(_TABLE,),
    # A segment's small states become one, with the smallest of the others while they are too few by themselves: what
    # is left out could be told from a total. Of a segment that has too few customers in all there is no row.
    sql=f"""
        with states as (
            select segment, {_STATE} as state, count(*) as customers,
                   sum(case when orders > 0 then 1 else 0 end) as buyers, sum(orders) as orders,
                   sum(coalesce(lifetime_value, 0)) as lifetime_value
            from {_TABLE}
            group by segment, {_STATE}
        ),
        placed as (
            select segment, state, customers, buyers, orders, lifetime_value,
                   sum(customers) over (
                       partition by segment order by customers, state
                       rows between unbounded preceding and 1 preceding
                   ) as in_smaller
            from states
        ),
        merged as (
            select segment,
                   case when customers < {_FEWEST} or in_smaller < {_FEWEST} then 'Other' else state end as state,
                   customers, buyers, orders, lifetime_value
            from placed
        )
        select segment, state, sum(customers) as customers, sum(buyers) as buyers, sum(orders) as orders,
               sum(lifetime_value) as lifetime_value,
               sum(case when segment = 'Champions' then lifetime_value else 0 end) as champions_value
        from merged
        group by segment, state
        having sum(customers) >= {_FEWEST}""",
    columns=(
        *_WHO,
        count("customers", "Customers"),
        count("buyers", "Customers who bought"),
        count("orders", "Sales"),
        money("lifetime_value", "Net sales so far"),
        money("champions_value", "Net sales to Champions"),
    ),
    grain=("segment", "state"),
    order="customers desc, segment, state",
)

FIFTHS = Dataset(
    name="customer_fifths",
    tables=(_TABLE,),
    sql=f"""
        select segment, {_STATE} as state, recency_quintile as recency,
               cast(frequency_quintile as varchar) as frequency, count(*) as customers
        from {_TABLE}
        where orders > 0
        group by segment, {_STATE}, recency_quintile, frequency_quintile""",
    columns=(
        *_WHO,
        Column("recency", "Last purchase (5: most recent)", "count"),
        text("frequency", "Purchases (5: most)"),
        count("customers", "Customers"),
    ),
    grain=("segment", "state", "recency", "frequency"),
    order="customers desc, segment, state, recency, frequency",
)

_CASES = " ".join(
    f"when lifetime_value < {bound} then '{worth}'" for bound, worth in zip(_BOUNDS, _WORTH, strict=False)
)

WORTH = Dataset(
    name="customer_worth",
    tables=(_TABLE,),
    sql=f"""
        select segment, worth, count(*) as customers
        from (
            select segment, case {_CASES} else '{_WORTH[-1]}' end as worth
            from {_TABLE}
            where orders > 0
        ) as grouped
        group by segment, worth""",
    columns=(
        text("segment", "Segment"),
        text("worth", "Net sales to a customer"),
        count("customers", "Customers"),
    ),
    grain=("segment", "worth"),
    order="customers desc, segment, worth",
)


def _purchases(which: str) -> Dataset:
    """Customers by the day of their first or last purchase: counts alone, which may be of one customer."""
    column = f"{which}_sale_date"
    return Dataset(
        name=f"{which}_purchases",
        tables=(_TABLE,),
        sql=f"""
            select {column}, segment, count(*) as customers
            from {_TABLE}
            where {column} is not null
            group by {column}, segment""",
        columns=(
            day(column, f"{which.title()} purchase"),
            text("segment", "Segment"),
            count("customers", "Customers"),
        ),
        grain=(column, "segment"),
        order=f"{column} desc, segment",
    )


FIRST, LAST = _purchases("first"), _purchases("last")

ACTIVITY = Dataset(
    name="shop_users",
    tables=("ecommerce.user_segments",),
    sql=f"""
        select segment as activity, user_count, avg_events, avg_purchases, avg_spent
        from ecommerce.user_segments
        where user_count >= {_FEWEST}""",
    columns=(
        text("activity", "Activity"),
        count("user_count", "Users"),
        Column("avg_events", "Events of a user", "number"),
        Column("avg_purchases", "Purchases of a user", "number"),
        Column("avg_spent", "Spent by a user", "money"),
    ),
    grain=("activity",),
    order="user_count desc, activity",
)

_WORTH_EACH = Ratio("value", "Net sales to a customer", "lifetime_value", "buyers", "money")
_AGAIN = Ratio("again", "Buyers who bought again", "repeat_buyers", "buyers")
_MERGED = f"States where a segment has fewer than {_FEWEST} customers are in Other."

PAGE = Page(
    name="customer",
    filters=(Filter("segment", "Segment"), Filter("state", "State")),
    tiles=(
        Tile("Customers", GROUPS, "sum", "customers"),
        Tile("Buyers of all customers", GROUPS, "ratio", "buyers", "customers", "share"),
        Tile("Buyers who bought again", GROUPS, "ratio", "repeat_buyers", "buyers", "share"),
        Tile("Sales to a buyer", VALUE, "ratio", "orders", "buyers"),
        Tile("Net sales to a buyer", VALUE, "ratio", "lifetime_value", "buyers", "money"),
        Tile("Part that Champions bring", VALUE, "ratio", "champions_value", "lifetime_value", "share"),
    ),
    charts=(
        ranked(
            "segments",
            "Who are our customers?",
            GROUPS,
            "segment",
            "customers",
            order=_SEGMENTS,
            note="Customers in fifths by last purchase, number of purchases and net sales: Champions are in the best "
            "two of all three.",
        ),
        ranked("segment_value", "Who brings the money?", VALUE, "segment", "lifetime_value", order=_SEGMENTS),
        ranked("worth", "What is a customer worth?", WORTH, "worth", "customers", order=_WORTH, top=len(_WORTH)),
        over_time(
            "last_purchases",
            "When did our customers last buy?",
            LAST,
            "customers",
            split="segment",
            mark="bar",
        ),
        over_time(
            "first_purchases",
            "How many people buy for the first time?",
            FIRST,
            "customers",
            mark="bar",
            note="When the data begins, everybody is new.",
        ),
        over_time("shop_days", "Do people use the shop at weekends?", SHOP, "users", split="day_type", mark="bar"),
        heat(
            "recency_frequency",
            "Do those who buy often still come?",
            FIFTHS,
            "recency",
            "frequency",
            "customers",
            order=("5", "4", "3", "2", "1"),
            note="Customers in fifths. Who bought often and stays away is at the top left.",
        ),
        ranked("activity", "What do the shop's active users spend?", ACTIVITY, "activity", "avg_spent"),
        ranked("states", "Where do customers come back?", GROUPS, "state", _AGAIN, top=15),
        ranked("state_value", "Where are customers worth most?", VALUE, "state", _WORTH_EACH, top=15, note=_MERGED),
    ),
)
