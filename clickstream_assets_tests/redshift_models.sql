-- conversion_funnel
WITH user_totals AS (
  SELECT
    *
  FROM "analytics"."ecommerce"."user_totals"
), counted AS (
  SELECT
    COUNT(CASE WHEN product_views > 0 THEN 1 END) AS users_viewed,
    COUNT(CASE WHEN add_to_carts > 0 THEN 1 END) AS users_added,
    COUNT(CASE WHEN purchases > 0 THEN 1 END) AS users_purchased,
    COUNT(first_view_at) AS ordered_users_viewed,
    COUNT(first_add_after_view_at) AS ordered_users_added,
    COUNT(CASE WHEN last_purchase_at >= first_add_after_view_at THEN 1 END) AS ordered_users_purchased
  FROM user_totals
)
SELECT
  users_viewed,
  users_added,
  users_purchased,
  CAST(users_added AS DOUBLE PRECISION) / NULLIF(users_viewed, 0) AS view_to_cart_rate,
  CAST(users_purchased AS DOUBLE PRECISION) / NULLIF(users_added, 0) AS cart_to_purchase_rate,
  CAST(users_purchased AS DOUBLE PRECISION) / NULLIF(users_viewed, 0) AS overall_rate,
  ordered_users_viewed,
  ordered_users_added,
  ordered_users_purchased,
  CAST(ordered_users_added AS DOUBLE PRECISION) / NULLIF(ordered_users_viewed, 0) AS ordered_view_to_cart_rate,
  CAST(ordered_users_purchased AS DOUBLE PRECISION) / NULLIF(ordered_users_added, 0) AS ordered_cart_to_purchase_rate,
  CAST(ordered_users_purchased AS DOUBLE PRECISION) / NULLIF(ordered_users_viewed, 0) AS ordered_overall_rate
FROM counted;

-- daily_active_users
WITH user_days AS (
  SELECT
    *
  FROM "analytics"."ecommerce"."user_days"
), counted AS (
  SELECT
    event_date,
    COUNT(*) AS users,
    CAST(SUM(events) AS BIGINT) AS events
  FROM user_days
  GROUP BY
    event_date
)
SELECT
  event_date,
  CASE
    WHEN CAST((
      CAST(EXTRACT(DOW FROM event_date) AS INTEGER) + 6
    ) % 7 + 1 AS INTEGER) >= 6
    THEN 'Weekend'
    ELSE 'Weekday'
  END AS day_type,
  users,
  events,
  CAST(events AS DOUBLE PRECISION) / NULLIF(users, 0) AS avg_events_per_user
FROM counted;

-- event_type_days
WITH events AS (
  SELECT
    event_date,
    event_type
  FROM "analytics"."ecommerce"."events"
  WHERE
    event_date IN (
      SELECT
        event_date
      FROM "analytics"."ecommerce"."stale_event_dates"
    )
    AND ingestion_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
)
SELECT
  event_date,
  event_type,
  COUNT(*) AS events
FROM events
GROUP BY
  event_date,
  event_type;

-- event_types
WITH event_type_days AS (
  SELECT
    *
  FROM "analytics"."ecommerce"."event_type_days"
)
SELECT DISTINCT
  event_type
FROM event_type_days;

-- events
WITH source AS (
  SELECT
    *
  FROM "analytics"."ecommerce"."events_cleaned"
), renamed AS (
  SELECT
    event_id,
    user_id,
    session_id,
    product_id,
    event_type,
    amount,
    outcome,
    event_timestamp,
    event_date,
    CAST(TO_CHAR(event_date, 'YYYYMMDD') AS INTEGER) AS date_key,
    ingestion_date
  FROM source
)
SELECT
  *
FROM renamed;

-- ingested_days
WITH events AS (
  SELECT
    ingestion_date,
    event_date
  FROM "analytics"."ecommerce"."events"
  WHERE
    event_date IN (
      SELECT
        event_date
      FROM "analytics"."ecommerce"."stale_event_dates"
    )
    AND ingestion_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
)
SELECT
  ingestion_date,
  event_date,
  COUNT(*) AS events
FROM events
GROUP BY
  ingestion_date,
  event_date;

-- pending_ingestion_dates
WITH run_window AS (
  SELECT DISTINCT
    partition_date AS ingestion_date
  FROM "analytics"."ops"."run_window"
  WHERE
    domain = 'ecommerce'
)
SELECT
  run_window.ingestion_date
FROM run_window
WHERE
  NOT EXISTS(
    SELECT
      1
    FROM "analytics"."ecommerce"."pending_ingestion_dates" AS known
    WHERE
      known.ingestion_date = run_window.ingestion_date
  );

-- product_days
WITH events AS (
  SELECT
    event_date,
    product_id,
    event_type,
    amount
  FROM "analytics"."ecommerce"."events"
  WHERE
    event_date IN (
      SELECT
        event_date
      FROM "analytics"."ecommerce"."stale_event_dates"
    )
    AND ingestion_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
)
SELECT
  event_date,
  product_id,
  COUNT(CASE WHEN event_type = 'product_view' THEN 1 END) AS view_count,
  COUNT(CASE WHEN event_type = 'add_to_cart' THEN 1 END) AS add_to_cart_count,
  COUNT(CASE WHEN event_type = 'purchase' THEN 1 END) AS purchase_count,
  CAST(COALESCE(SUM(CASE WHEN event_type = 'purchase' THEN amount END), 0) AS DECIMAL(18, 2)) AS revenue
FROM events
WHERE
  NOT product_id IS NULL
GROUP BY
  event_date,
  product_id;

-- products
WITH product_days AS (
  SELECT
    *
  FROM "analytics"."ecommerce"."product_days"
)
SELECT DISTINCT
  product_id
FROM product_days;

-- revenue_metrics
WITH user_totals AS (
  SELECT
    *
  FROM "analytics"."ecommerce"."user_totals"
), summed AS (
  SELECT
    COUNT(CASE WHEN purchases >= 1 THEN 1 END) AS total_purchasers,
    COUNT(CASE WHEN purchases >= 2 THEN 1 END) AS repeat_purchasers,
    SUM(purchases) AS purchases,
    CAST(COALESCE(SUM(revenue), 0) AS DECIMAL(18, 2)) AS total_revenue
  FROM user_totals
)
SELECT
  total_purchasers,
  repeat_purchasers,
  total_revenue,
  CAST(total_revenue AS DOUBLE PRECISION) / NULLIF(total_purchasers, 0) AS average_revenue_per_purchaser,
  CAST(total_revenue AS DOUBLE PRECISION) / NULLIF(purchases, 0) AS average_order_value
FROM summed;

-- session_parts
WITH events AS (
  SELECT
    ingestion_date,
    user_id,
    session_id,
    event_timestamp
  FROM "analytics"."ecommerce"."events"
  WHERE
    ingestion_date IN (
      SELECT
        ingestion_date
      FROM "analytics"."ecommerce"."pending_ingestion_dates"
    )
    AND ingestion_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
), of_sessions AS (
  SELECT
    *
  FROM events
  WHERE
    NOT session_id IS NULL
)
SELECT
  ingestion_date,
  user_id,
  session_id,
  MIN(event_timestamp) AS first_event_at,
  MAX(event_timestamp) AS last_event_at,
  COUNT(*) AS events
FROM of_sessions
GROUP BY
  ingestion_date,
  user_id,
  session_id;

-- sessions
WITH session_parts AS (
  SELECT
    *
  FROM "analytics"."ecommerce"."session_parts"
), merged AS (
  SELECT
    user_id,
    session_id,
    MIN(first_event_at) AS session_start_time,
    MAX(last_event_at) AS session_end_time,
    CAST(SUM(events) AS BIGINT) AS event_count
  FROM session_parts
  GROUP BY
    user_id,
    session_id
)
SELECT
  user_id,
  session_id,
  session_start_time,
  session_end_time,
  event_count,
  CAST(DATEDIFF(MICROSECOND, session_start_time, session_end_time) AS DOUBLE PRECISION) / 1000000 AS duration_seconds
FROM merged;

-- stale_event_dates
WITH pending AS (
  SELECT
    ingestion_date
  FROM "analytics"."ecommerce"."pending_ingestion_dates"
), touched AS (
  SELECT
    event_date
  FROM "analytics"."ecommerce"."events"
  WHERE
    ingestion_date IN (
      SELECT
        ingestion_date
      FROM pending
    )
  UNION
  SELECT
    event_date
  FROM "analytics"."ecommerce"."ingested_days"
  WHERE
    ingestion_date IN (
      SELECT
        ingestion_date
      FROM pending
    )
), unique_dates AS (
  SELECT DISTINCT
    event_date
  FROM touched
)
SELECT
  unique_dates.event_date
FROM unique_dates
WHERE
  NOT EXISTS(
    SELECT
      1
    FROM "analytics"."ecommerce"."stale_event_dates" AS known
    WHERE
      known.event_date = unique_dates.event_date
  );

-- time
WITH dates AS (
  SELECT DISTINCT
    event_date
  FROM "analytics"."ecommerce"."event_type_days"
)
SELECT
  CAST(TO_CHAR(event_date, 'YYYYMMDD') AS INTEGER) AS date_key,
  event_date AS date,
  CAST(EXTRACT(YEAR FROM event_date) AS INTEGER) AS year,
  CAST(EXTRACT(MONTH FROM event_date) AS INTEGER) AS month,
  CAST(EXTRACT(DAY FROM event_date) AS INTEGER) AS day,
  CAST((
    CAST(EXTRACT(DOW FROM event_date) AS INTEGER) + 6
  ) % 7 + 1 AS INTEGER) AS day_of_week,
  CAST((
    CAST(EXTRACT(DOW FROM event_date) AS INTEGER) + 6
  ) % 7 + 1 AS INTEGER) >= 6 AS is_weekend
FROM dates;

-- top_products
WITH product_days AS (
  SELECT
    *
  FROM "analytics"."ecommerce"."product_days"
), totals AS (
  SELECT
    product_id,
    CAST(SUM(view_count) AS BIGINT) AS view_count,
    CAST(SUM(add_to_cart_count) AS BIGINT) AS add_to_cart_count,
    CAST(SUM(purchase_count) AS BIGINT) AS purchase_count,
    CAST(COALESCE(SUM(revenue), 0) AS DECIMAL(18, 2)) AS revenue
  FROM product_days
  GROUP BY
    product_id
)
SELECT
  product_id,
  view_count,
  add_to_cart_count,
  purchase_count,
  revenue,
  ROW_NUMBER() OVER (ORDER BY view_count DESC, product_id ASC) AS rank
FROM totals;

-- user_days
WITH events AS (
  SELECT
    event_date,
    user_id,
    event_type,
    event_timestamp,
    amount
  FROM "analytics"."ecommerce"."events"
  WHERE
    event_date IN (
      SELECT
        event_date
      FROM "analytics"."ecommerce"."stale_event_dates"
    )
    AND ingestion_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
), first_views AS (
  SELECT
    event_date,
    user_id,
    MIN(event_timestamp) AS first_view_at
  FROM events
  WHERE
    event_type = 'product_view'
  GROUP BY
    event_date,
    user_id
), with_first_view AS (
  SELECT
    events.event_date,
    events.user_id,
    events.event_type,
    events.event_timestamp,
    events.amount,
    first_views.first_view_at
  FROM events
  LEFT JOIN first_views
    ON events.event_date = first_views.event_date
    AND events.user_id = first_views.user_id
)
SELECT
  event_date,
  user_id,
  COUNT(*) AS events,
  COUNT(CASE WHEN event_type = 'product_view' THEN 1 END) AS product_views,
  COUNT(CASE WHEN event_type = 'add_to_cart' THEN 1 END) AS add_to_carts,
  COUNT(CASE WHEN event_type = 'purchase' THEN 1 END) AS purchases,
  CAST(COALESCE(SUM(CASE WHEN event_type = 'purchase' THEN amount END), 0) AS DECIMAL(18, 2)) AS revenue,
  MIN(first_view_at) AS first_view_at,
  MIN(CASE WHEN event_type = 'add_to_cart' THEN event_timestamp END) AS first_add_at,
  MIN(
    CASE
      WHEN event_type = 'add_to_cart' AND event_timestamp >= first_view_at
      THEN event_timestamp
    END
  ) AS first_add_after_view_at,
  MAX(CASE WHEN event_type = 'purchase' THEN event_timestamp END) AS last_purchase_at
FROM with_first_view
GROUP BY
  event_date,
  user_id;

-- user_journeys
WITH events AS (
  SELECT
    *
  FROM "analytics"."ecommerce"."events"
), purchasers AS (
  SELECT DISTINCT
    user_id
  FROM events
  WHERE
    event_type = 'purchase'
)
SELECT
  events.user_id,
  ROW_NUMBER() OVER (PARTITION BY events.user_id ORDER BY events.event_timestamp, events.event_id) AS step,
  events.event_id,
  events.event_type,
  events.product_id,
  events.amount,
  events.event_timestamp
FROM events
INNER JOIN purchasers
  ON events.user_id = purchasers.user_id;

-- user_segments
WITH user_totals AS (
  SELECT
    *
  FROM "analytics"."ecommerce"."user_totals"
), segmented AS (
  SELECT
    CASE
      WHEN total_events >= 20
      THEN 'High Activity'
      WHEN total_events >= 5
      THEN 'Medium Activity'
      WHEN total_events >= 2
      THEN 'Low Activity'
      ELSE 'One-time Visitors'
    END AS segment,
    total_events,
    purchases,
    revenue
  FROM user_totals
)
SELECT
  segment,
  COUNT(*) AS user_count,
  CAST(SUM(total_events) AS DOUBLE PRECISION) / NULLIF(COUNT(*), 0) AS avg_events,
  CAST(SUM(purchases) AS DOUBLE PRECISION) / NULLIF(COUNT(*), 0) AS avg_purchases,
  CAST(SUM(revenue) AS DOUBLE PRECISION) / NULLIF(COUNT(*), 0) AS avg_spent
FROM segmented
GROUP BY
  segment;

-- user_totals
WITH user_days AS (
  SELECT
    *
  FROM "analytics"."ecommerce"."user_days"
), first_views AS (
  SELECT
    user_id,
    MIN(first_view_at) AS first_view_at
  FROM user_days
  WHERE
    NOT first_view_at IS NULL
  GROUP BY
    user_id
), with_first_view AS (
  SELECT
    user_days.*,
    first_views.first_view_at AS first_view_ever_at
  FROM user_days
  LEFT JOIN first_views
    ON user_days.user_id = first_views.user_id
)
SELECT
  user_id,
  MIN(event_date) AS first_seen_date,
  MAX(event_date) AS last_seen_date,
  CAST(SUM(events) AS BIGINT) AS total_events,
  CAST(SUM(product_views) AS BIGINT) AS product_views,
  CAST(SUM(add_to_carts) AS BIGINT) AS add_to_carts,
  CAST(SUM(purchases) AS BIGINT) AS purchases,
  CAST(COALESCE(SUM(revenue), 0) AS DECIMAL(18, 2)) AS revenue,
  MIN(first_view_ever_at) AS first_view_at,
  MIN(
    CASE
      WHEN first_add_at >= first_view_ever_at
      THEN first_add_at
      WHEN first_add_after_view_at >= first_view_ever_at
      THEN first_add_after_view_at
    END
  ) AS first_add_after_view_at,
  MAX(last_purchase_at) AS last_purchase_at
FROM with_first_view
GROUP BY
  user_id;

-- users
WITH user_totals AS (
  SELECT
    *
  FROM "analytics"."ecommerce"."user_totals"
)
SELECT
  user_id,
  first_seen_date,
  last_seen_date,
  total_events
FROM user_totals;

-- weekday_weekend
WITH user_days AS (
  SELECT
    *,
    CASE
      WHEN CAST((
        CAST(EXTRACT(DOW FROM event_date) AS INTEGER) + 6
      ) % 7 + 1 AS INTEGER) >= 6
      THEN 'Weekend'
      ELSE 'Weekday'
    END AS day_type
  FROM "analytics"."ecommerce"."user_days"
), summed AS (
  SELECT
    day_type,
    COUNT(DISTINCT user_id) AS users,
    CAST(SUM(events) AS BIGINT) AS events,
    CAST(SUM(purchases) AS BIGINT) AS purchases,
    CAST(COALESCE(SUM(revenue), 0) AS DECIMAL(18, 2)) AS revenue
  FROM user_days
  GROUP BY
    day_type
)
SELECT
  day_type,
  users,
  events,
  CAST(events AS DOUBLE PRECISION) / NULLIF(users, 0) AS events_per_user,
  purchases,
  revenue,
  CAST(revenue AS DOUBLE PRECISION) / NULLIF(users, 0) AS revenue_per_user
FROM summed;
