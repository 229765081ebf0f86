"""Product: what sells, what is looked at, and what changes."""

from clickstream_assets.dashboards.charts import Ratio, changed, heat, over_time, ranked, table
from clickstream_assets.dashboards.page import (
    Column,
    Dataset,
    Filter,
    Page,
    Tile,
    count,
    day,
    money,
    month,
    share,
    text,
)

#: of products that have a name in common, the label of each has its id too
_LABEL = """
    case
        when product_name is null then product_id
        when min(product_id) over (partition by product_name) = max(product_id) over (partition by product_name)
            then product_name
        else product_name || ' (' || product_id || ')'
    end"""

_UNKNOWN = "'Not known'"

_KINDS = (text("category", "Category"), text("subcategory", "Subcategory"), text("brand", "Brand"))

DAYS = Dataset(
    name="product_days",
    tables=("sales.product_sales_days", "sales.product_dim"),
    sql=f"""
        select sale_date, category, subcategory, brand, sum(sales) as sales, sum(quantity) as quantity,
               sum(gross_amount) as gross_amount, sum(discount) as discount, sum(net_amount) as net_amount
        from (
            select days.sale_date, coalesce(products.category, {_UNKNOWN}) as category,
                   coalesce(products.subcategory, {_UNKNOWN}) as subcategory,
                   coalesce(products.brand, {_UNKNOWN}) as brand, days.sales, days.quantity, days.gross_amount,
                   days.discount, days.net_amount
            from sales.product_sales_days as days
            left join sales.product_dim as products
                on days.product_id = products.product_id and products.is_current
        ) as known
        group by sale_date, category, subcategory, brand""",
    columns=(
        day("sale_date"),
        *_KINDS,
        count("sales", "Sales"),
        count("quantity", "Pieces"),
        money("gross_amount", "Gross sales"),
        money("discount", "Discount"),
        money("net_amount", "Net sales"),
    ),
    grain=("sale_date", "category", "subcategory", "brand"),
    order="sale_date desc, category, subcategory, brand",
)

MONTHS = Dataset(
    name="product_months",
    tables=("sales.product_dashboard",),
    sql=f"""
        select month, {_LABEL} as product, coalesce(category, {_UNKNOWN}) as category,
               coalesce(brand, {_UNKNOWN}) as brand, quantity, net_amount
        from sales.product_dashboard""",
    columns=(
        month(),
        text("product", "Product"),
        text("category", "Category"),
        text("brand", "Brand"),
        count("quantity", "Pieces"),
        money("net_amount", "Net sales"),
    ),
    grain=("month", "product"),
    order="month desc, net_amount desc, product",
)

CHANGES = Dataset(
    name="product_changes",
    tables=("sales.product_sales_days", "sales.product_dim"),
    # 28 days and the 28 before them, so that each weekday counts as often in both.
    sql=f"""
        with span as (
            select max(sale_date) as newest,
                   case
                       when max(sale_date) - min(sale_date) >= 55 then 28
                       when max(sale_date) - min(sale_date) >= 13 then 7
                       else 1
                   end as length
            from sales.product_sales_days
        ),
        sold as (
            select days.product_id,
                   sum(
                       case
                           when days.sale_date > span.newest - span.length then days.net_amount
                           else -days.net_amount
                       end
                   ) as net_change
            from sales.product_sales_days as days
            cross join span
            where days.sale_date > span.newest - span.length - span.length
            group by days.product_id
        ),
        known as (
            select sold.product_id, sold.net_change, products.product_name,
                   coalesce(products.category, {_UNKNOWN}) as category,
                   coalesce(products.brand, {_UNKNOWN}) as brand
            from sold
            left join sales.product_dim as products
                on sold.product_id = products.product_id and products.is_current
        )
        select {_LABEL} as product, category, brand, net_change from known""",
    columns=(
        text("product", "Product"),
        text("category", "Category"),
        text("brand", "Brand"),
        money("net_change", "Change of net sales"),
    ),
    grain=("product",),
    order="abs(net_change) desc, product",
)

SHOP = Dataset(
    name="shop_products",
    tables=("ecommerce.product_days",),
    sql="""
        select event_date, sum(view_count) as views, sum(add_to_cart_count) as carts,
               sum(purchase_count) as purchases
        from ecommerce.product_days
        group by event_date""",
    columns=(
        day("event_date"),
        count("views", "Views"),
        count("carts", "Put into the cart"),
        count("purchases", "Bought"),
    ),
    grain=("event_date",),
    order="event_date desc",
)

VIEWED = Dataset(
    name="most_viewed",
    tables=("ecommerce.top_products",),
    sql="""
        select product_id, view_count, add_to_cart_count, purchase_count,
               cast(add_to_cart_count as double precision) / nullif(view_count, 0) as cart_share,
               cast(purchase_count as double precision) / nullif(view_count, 0) as purchase_share, revenue
        from ecommerce.top_products
        where rank <= 25""",
    columns=(
        text("product_id", "Product"),
        count("view_count", "Views"),
        count("add_to_cart_count", "Put into the cart"),
        count("purchase_count", "Bought"),
        share("cart_share", "Carts of views"),
        share("purchase_share", "Purchases of views"),
        Column("revenue", "Revenue", "money", adds=True),
    ),
    grain=("product_id",),
    order="view_count desc, product_id",
)

_DISCOUNT = Ratio("discount_share", "Discount of gross", "discount", "gross_amount")
_CARTS = Ratio("cart_share", "Put into the cart", "carts", "views")
_PURCHASES = Ratio("purchase_share", "Bought", "purchases", "views")

PAGE = Page(
    name="product",
    filters=(Filter("category", "Category"), Filter("brand", "Brand")),
    tiles=(
        Tile("Net sales", DAYS, "sum", "net_amount"),
        Tile("Pieces", DAYS, "sum", "quantity"),
        Tile("Gross price of a piece", DAYS, "ratio", "gross_amount", "quantity", "money"),
        Tile("Discount of gross", DAYS, "ratio", "discount", "gross_amount", "share"),
        Tile("Shop: views that end in a purchase", SHOP, "ratio", "purchases", "views", "share"),
    ),
    charts=(
        over_time(
            "categories",
            "How much does each category sell?",
            DAYS,
            "net_amount",
            split="category",
            mark="bar",
            note="Net: gross sales less discount, with tax. A product counts where it belongs today.",
            wide=True,
        ),
        ranked(
            "products",
            "Which products sell most?",
            MONTHS,
            "product",
            "net_amount",
            color="category",
            top=12,
        ),
        changed(
            "changes",
            "Which products gain and lose most?",
            CHANGES,
            "product",
            "net_change",
            top=12,
            note="The newest 28 days less the 28 days before; of less history 7 days, or one.",
        ),
        heat("brands", "Which brands are strong in what?", DAYS, "brand", "subcategory", "net_amount", order="largest"),
        ranked("subcategories", "What do people buy?", DAYS, "subcategory", "quantity", color="category"),
        ranked("discounts", "Where do we give most away?", DAYS, "subcategory", _DISCOUNT, color="category"),
        over_time(
            "interest",
            "Do people in the shop buy what they look at?",
            SHOP,
            [_CARTS, _PURCHASES],
            note="Parts of the views of products.",
        ),
        table(
            "viewed",
            "What do people in the shop look at, and leave?",
            VIEWED,
            [column.name for column in VIEWED.columns],
            note="The 25 products that are viewed most, of all days. The shop has product ids of its own.",
        ),
    ),
)
