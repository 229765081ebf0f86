"""Executive: how the business is doing, day by day."""

from clickstream_assets.dashboards.charts import Ratio, over_time, ranked
from clickstream_assets.dashboards.page import Column, Dataset, Page, Tile, count, day, distinct, money, text

DAYS = Dataset(
    name="sales_days",
    tables=("sales.executive_dashboard",),
    sql="""
        select date_value,
               case extract(dow from date_value)
                   when 0 then 'Sunday' when 1 then 'Monday' when 2 then 'Tuesday' when 3 then 'Wednesday'
                   when 4 then 'Thursday' when 5 then 'Friday' else 'Saturday'
               end as weekday,
               net_amount, gross_amount, discount, orders, quantity, customers, net_amount_7_day_average
        from sales.executive_dashboard""",
    columns=(
        day("date_value"),
        text("weekday", "Weekday"),
        money("net_amount", "Net sales"),
        money("gross_amount", "Gross sales"),
        money("discount", "Discount"),
        count("orders", "Sales"),
        count("quantity", "Pieces"),
        distinct("customers", "Customers"),
        Column("net_amount_7_day_average", "Mean of seven days", "money"),
    ),
    grain=("date_value",),
    order="date_value desc",
)

SHOP = Dataset(
    name="shop_days",
    tables=("ecommerce.daily_active_users",),
    sql="select event_date, day_type, users, events from ecommerce.daily_active_users",
    columns=(
        day("event_date"),
        Column("day_type", "Weekday or weekend", "text"),
        distinct("users", "Users"),
        count("events", "Events"),
    ),
    grain=("event_date",),
    order="event_date desc",
)

REVENUE = Dataset(
    name="shop_revenue",
    tables=("ecommerce.product_days",),
    sql="""
        select event_date, sum(purchase_count) as purchases, sum(revenue) as revenue
        from ecommerce.product_days
        group by event_date""",
    columns=(day("event_date"), count("purchases", "Purchases"), money("revenue", "Revenue of the shop")),
    grain=("event_date",),
    order="event_date desc",
)

SITE = Dataset(
    name="site_days",
    tables=("clickstream.daily_metrics",),
    sql="select event_date, dau, revenue from clickstream.daily_metrics",
    columns=(
        day("event_date"),
        distinct("dau", "Visitors"),
        money("revenue", "Revenue of the web site"),
    ),
    grain=("event_date",),
    order="event_date desc",
)

_VALUE = Ratio("average_sale", "Net amount of a sale", "net_amount", "orders", "money")
_DISCOUNT = Ratio("discount_share", "Discount of gross", "discount", "gross_amount")
_VISITOR = Ratio("visitor_value", "Revenue of a visitor", "revenue", "dau", "money")

_WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

PAGE = Page(
    name="executive",
    tiles=(
        Tile("Net sales", DAYS, "sum", "net_amount"),
        Tile("Sales", DAYS, "sum", "orders"),
        Tile("Net amount of a sale", DAYS, "ratio", "net_amount", "orders", "money"),
        Tile("Discount of gross", DAYS, "ratio", "discount", "gross_amount", "share"),
        Tile("Web site visitors a day", SITE, "mean", "dau"),
        Tile("Shop revenue", REVENUE, "sum", "revenue"),
    ),
    charts=(
        over_time(
            "net_sales",
            "How much do we sell each day?",
            DAYS,
            ["net_amount", "net_amount_7_day_average"],
            note="Net: gross sales less discount, with tax.",
            wide=True,
        ),
        over_time("sales", "How many sales is that?", DAYS, "orders", mark="bar"),
        over_time("average_sale", "What is a sale worth?", DAYS, _VALUE),
        over_time("discounts", "How much of the price do we give away?", DAYS, _DISCOUNT, mark="area"),
        ranked("weekdays", "On which weekdays do we sell?", DAYS, "weekday", "net_amount", op="mean", order=_WEEK),
        over_time("customers", "How many customers buy on a day?", DAYS, "customers"),
        over_time("visitors", "How many people visit the web site?", SITE, "dau"),
        over_time("shop_users", "How many people use the shop?", SHOP, "users"),
        over_time("visitor_value", "What does a visit to the web site bring?", SITE, _VISITOR),
        over_time("shop_revenue", "What does the shop sell?", REVENUE, "revenue", mark="bar"),
    ),
)
