-- absorbed_event_dates
SELECT
  event_date,
  CAST(SUM(events) AS BIGINT) AS events
FROM "analytics"."clickstream"."session_pieces"
WHERE
  event_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
GROUP BY
  event_date;

-- absorbed_load_dates
SELECT
  'sales_cleaned.customers_cleaned' AS source,
  load_date,
  COUNT(*) AS absorbed_rows
FROM "analytics"."sales_cleaned"."customers_cleaned"
WHERE
  load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
GROUP BY
  load_date
UNION ALL
SELECT
  'sales_cleaned.products_cleaned' AS source,
  load_date,
  COUNT(*) AS absorbed_rows
FROM "analytics"."sales_cleaned"."products_cleaned"
WHERE
  load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
GROUP BY
  load_date
UNION ALL
SELECT
  'sales_cleaned.locations_cleaned' AS source,
  load_date,
  COUNT(*) AS absorbed_rows
FROM "analytics"."sales_cleaned"."locations_cleaned"
WHERE
  load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
GROUP BY
  load_date
UNION ALL
SELECT
  'sales_cleaned.sales_cleaned' AS source,
  load_date,
  COUNT(*) AS absorbed_rows
FROM "analytics"."sales_cleaned"."sales_cleaned"
WHERE
  load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
GROUP BY
  load_date;

-- attribution
WITH conversions AS (
  SELECT
    *
  FROM "analytics"."clickstream"."conversions"
  WHERE
    event_date IN (
      CAST('2024-02-29' AS DATE),
      CAST('2024-03-01' AS DATE),
      CAST('2024-03-02' AS DATE),
      CAST('2024-03-03' AS DATE),
      CAST('2024-03-04' AS DATE),
      CAST('2024-03-05' AS DATE),
      CAST('2024-03-06' AS DATE),
      CAST('2024-03-07' AS DATE),
      CAST('2024-03-08' AS DATE),
      CAST('2024-03-09' AS DATE),
      CAST('2024-03-10' AS DATE),
      CAST('2024-03-11' AS DATE),
      CAST('2024-03-12' AS DATE),
      CAST('2024-03-13' AS DATE),
      CAST('2024-03-14' AS DATE),
      CAST('2024-03-15' AS DATE),
      CAST('2024-03-16' AS DATE),
      CAST('2024-03-17' AS DATE),
      CAST('2024-03-18' AS DATE),
      CAST('2024-03-19' AS DATE),
      CAST('2024-03-20' AS DATE),
      CAST('2024-03-21' AS DATE),
      CAST('2024-03-22' AS DATE),
      CAST('2024-03-23' AS DATE),
      CAST('2024-03-24' AS DATE),
      CAST('2024-03-25' AS DATE),
      CAST('2024-03-26' AS DATE),
      CAST('2024-03-27' AS DATE),
      CAST('2024-03-28' AS DATE),
      CAST('2024-03-29' AS DATE),
      CAST('2024-03-30' AS DATE),
      CAST('2024-03-31' AS DATE),
      CAST('2024-04-01' AS DATE),
      CAST('2024-04-02' AS DATE),
      CAST('2024-04-03' AS DATE),
      CAST('2024-04-04' AS DATE)
    )
), attributable AS (
  SELECT
    session_key,
    session_date,
    stream_key,
    started_at,
    ended_at,
    user_id,
    visitor_key,
    login_at,
    source,
    medium,
    campaign,
    channel,
    is_bot
  FROM "analytics"."clickstream"."sessions"
  WHERE
    session_date IN (
      CAST('2024-01-29' AS DATE),
      CAST('2024-01-30' AS DATE),
      CAST('2024-01-31' AS DATE),
      CAST('2024-02-01' AS DATE),
      CAST('2024-02-02' AS DATE),
      CAST('2024-02-03' AS DATE),
      CAST('2024-02-04' AS DATE),
      CAST('2024-02-05' AS DATE),
      CAST('2024-02-06' AS DATE),
      CAST('2024-02-07' AS DATE),
      CAST('2024-02-08' AS DATE),
      CAST('2024-02-09' AS DATE),
      CAST('2024-02-10' AS DATE),
      CAST('2024-02-11' AS DATE),
      CAST('2024-02-12' AS DATE),
      CAST('2024-02-13' AS DATE),
      CAST('2024-02-14' AS DATE),
      CAST('2024-02-15' AS DATE),
      CAST('2024-02-16' AS DATE),
      CAST('2024-02-17' AS DATE),
      CAST('2024-02-18' AS DATE),
      CAST('2024-02-19' AS DATE),
      CAST('2024-02-20' AS DATE),
      CAST('2024-02-21' AS DATE),
      CAST('2024-02-22' AS DATE),
      CAST('2024-02-23' AS DATE),
      CAST('2024-02-24' AS DATE),
      CAST('2024-02-25' AS DATE),
      CAST('2024-02-26' AS DATE),
      CAST('2024-02-27' AS DATE),
      CAST('2024-02-28' AS DATE),
      CAST('2024-02-29' AS DATE),
      CAST('2024-03-01' AS DATE),
      CAST('2024-03-02' AS DATE),
      CAST('2024-03-03' AS DATE),
      CAST('2024-03-04' AS DATE),
      CAST('2024-03-05' AS DATE),
      CAST('2024-03-06' AS DATE),
      CAST('2024-03-07' AS DATE),
      CAST('2024-03-08' AS DATE),
      CAST('2024-03-09' AS DATE),
      CAST('2024-03-10' AS DATE),
      CAST('2024-03-11' AS DATE),
      CAST('2024-03-12' AS DATE),
      CAST('2024-03-13' AS DATE),
      CAST('2024-03-14' AS DATE),
      CAST('2024-03-15' AS DATE),
      CAST('2024-03-16' AS DATE),
      CAST('2024-03-17' AS DATE),
      CAST('2024-03-18' AS DATE),
      CAST('2024-03-19' AS DATE),
      CAST('2024-03-20' AS DATE),
      CAST('2024-03-21' AS DATE),
      CAST('2024-03-22' AS DATE),
      CAST('2024-03-23' AS DATE),
      CAST('2024-03-24' AS DATE),
      CAST('2024-03-25' AS DATE),
      CAST('2024-03-26' AS DATE),
      CAST('2024-03-27' AS DATE),
      CAST('2024-03-28' AS DATE),
      CAST('2024-03-29' AS DATE),
      CAST('2024-03-30' AS DATE),
      CAST('2024-03-31' AS DATE),
      CAST('2024-04-01' AS DATE),
      CAST('2024-04-02' AS DATE),
      CAST('2024-04-03' AS DATE),
      CAST('2024-04-04' AS DATE)
    )
    AND NOT is_bot
), converting AS (
  SELECT
    attributable.session_key,
    attributable.visitor_key,
    attributable.user_id
  FROM conversions
  INNER JOIN attributable
    ON conversions.stream_key = attributable.stream_key
    AND conversions.event_ts >= attributable.started_at
    AND conversions.event_ts <= attributable.ended_at
  WHERE
    conversions.event_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
), wanted AS (
  SELECT
    person
  FROM "analytics"."clickstream"."changed_persons"
  UNION
  SELECT
    'u:' || user_id AS person
  FROM converting
  WHERE
    NOT user_id IS NULL
  UNION
  SELECT
    'v:' || visitor_key AS person
  FROM converting
  WHERE
    NOT visitor_key IS NULL
  UNION
  SELECT
    's:' || session_key AS person
  FROM converting
  WHERE
    user_id IS NULL AND visitor_key IS NULL
  UNION
  SELECT
    'u:' || user_id AS person
  FROM attributable
  WHERE
    NOT user_id IS NULL
    AND visitor_key IN (
      SELECT
        visitor_key
      FROM converting
      WHERE
        NOT visitor_key IS NULL
    )
), visitors AS (
  SELECT
    visitor_key
  FROM attributable
  WHERE
    NOT visitor_key IS NULL
    AND (
      'u:' || user_id IN (
        SELECT
          person
        FROM wanted
      )
      OR 'v:' || visitor_key IN (
        SELECT
          person
        FROM wanted
      )
    )
), sessions AS (
  SELECT
    *
  FROM attributable
  WHERE
    'u:' || user_id IN (
      SELECT
        person
      FROM wanted
    )
    OR 's:' || session_key IN (
      SELECT
        person
      FROM wanted
    )
    OR visitor_key IN (
      SELECT
        visitor_key
      FROM visitors
    )
), resolved AS (
  SELECT
    anonymous.session_key,
    MIN(logins.user_id) AS resolved_user_id,
    anonymous.login_at AS resolved_at
  FROM (
    SELECT
      session_key,
      visitor_key,
      happened_at,
      is_login,
      MIN(CASE WHEN is_login = 1 THEN happened_at END) OVER (
        PARTITION BY visitor_key
        ORDER BY happened_at, is_login, session_key
        rows BETWEEN CURRENT ROW AND UNBOUNDED following
      ) AS login_at
    FROM (
      SELECT
        session_key,
        visitor_key,
        CASE WHEN user_id IS NULL THEN started_at ELSE login_at END AS happened_at,
        CASE WHEN user_id IS NULL THEN 0 ELSE 1 END AS is_login
      FROM sessions
      WHERE
        NOT visitor_key IS NULL AND NOT (
          NOT user_id IS NULL AND is_bot
        )
    ) AS points
  ) AS anonymous
  INNER JOIN sessions AS logins
    ON anonymous.visitor_key = logins.visitor_key
    AND anonymous.login_at = logins.login_at
  WHERE
    anonymous.is_login = 0
    AND NOT logins.is_bot
    AND CAST(DATEDIFF(MICROSECOND, anonymous.happened_at, anonymous.login_at) AS DOUBLE PRECISION) / 1000000 <= 2592000
  GROUP BY
    anonymous.session_key,
    anonymous.login_at
), persons AS (
  SELECT
    session_key,
    CASE
      WHEN NOT user_id IS NULL
      THEN 'u:' || user_id
      WHEN NOT visitor_key IS NULL
      THEN 'v:' || visitor_key
      ELSE 's:' || session_key
    END AS person,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS known_from,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS known_until
  FROM sessions
  WHERE
    NOT session_key IN (
      SELECT
        session_key
      FROM resolved
    )
  UNION ALL
  SELECT
    sessions.session_key,
    'v:' || sessions.visitor_key AS person,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS known_from,
    resolved.resolved_at AS known_until
  FROM sessions
  INNER JOIN resolved
    ON sessions.session_key = resolved.session_key
  UNION ALL
  SELECT
    session_key,
    'u:' || resolved_user_id AS person,
    resolved_at AS known_from,
    CAST(NULL AS TIMESTAMP WITH TIME ZONE) AS known_until
  FROM resolved
), session_persons AS (
  SELECT
    sessions.*,
    persons.person,
    persons.known_from,
    persons.known_until
  FROM sessions
  INNER JOIN persons
    ON sessions.session_key = persons.session_key
), converted AS (
  SELECT
    conversions.event_date AS conversion_date,
    conversions.event_id AS conversion_id,
    conversions.event_ts AS converted_at,
    conversions.revenue,
    conversions.currency,
    session_persons.session_key,
    session_persons.person
  FROM conversions
  INNER JOIN session_persons
    ON conversions.stream_key = session_persons.stream_key
    AND conversions.event_ts >= session_persons.started_at
    AND conversions.event_ts <= session_persons.ended_at
  WHERE
    (
      session_persons.known_from IS NULL
      OR conversions.event_ts >= session_persons.known_from
    )
    AND (
      session_persons.known_until IS NULL
      OR conversions.event_ts < session_persons.known_until
    )
), to_attribute AS (
  SELECT
    *
  FROM converted
  WHERE
    (
      conversion_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
      OR person IN (
        SELECT
          person
        FROM "analytics"."clickstream"."changed_persons"
      )
    )
), touches AS (
  SELECT
    to_attribute.conversion_date,
    to_attribute.conversion_id,
    to_attribute.converted_at,
    to_attribute.revenue,
    to_attribute.currency,
    to_attribute.person,
    session_persons.session_key,
    session_persons.session_date,
    session_persons.started_at,
    session_persons.source,
    session_persons.medium,
    session_persons.campaign,
    session_persons.channel,
    ROW_NUMBER() OVER (
      PARTITION BY to_attribute.conversion_date, to_attribute.conversion_id
      ORDER BY session_persons.started_at, session_persons.session_key
    ) AS touch,
    COUNT(*) OVER (PARTITION BY to_attribute.conversion_date, to_attribute.conversion_id) AS touches
  FROM to_attribute
  INNER JOIN session_persons
    ON to_attribute.person = session_persons.person
    AND to_attribute.converted_at >= session_persons.started_at
  WHERE
    (
      session_persons.known_from IS NULL
      OR to_attribute.converted_at >= session_persons.known_from
    )
    AND (
      session_persons.known_until IS NULL
      OR to_attribute.converted_at < session_persons.known_until
    )
    AND (
      to_attribute.session_key = session_persons.session_key
      OR CAST(DATEDIFF(MICROSECOND, session_persons.started_at, to_attribute.converted_at) AS DOUBLE PRECISION) / 1000000 <= 2592000
    )
), with_shares AS (
  SELECT
    *,
    COALESCE(
      MAX(CASE WHEN channel <> 'Direct' THEN touch END) OVER (PARTITION BY conversion_date, conversion_id),
      touches
    ) AS last_non_direct,
    CAST(CAST(revenue AS DECIMAL(20, 2)) * 100 AS BIGINT) AS cents,
    CAST(FLOOR(1000000.0 / touches) AS BIGINT) AS even,
    CASE
      WHEN touches > 2
      THEN CAST(FLOOR(200000.0 / (
        touches - 2
      )) AS BIGINT)
      ELSE 0
    END AS between_ends,
    CASE WHEN touches > 2 THEN 400000 ELSE 500000 END AS at_ends
  FROM touches
), with_cents AS (
  SELECT
    *,
    CAST(ROUND((
      cents - cents % 1000000
    ) / 1000000) AS BIGINT) * even + CAST(ROUND(
      (
        cents % 1000000 * even - (
          cents % 1000000 * even
        ) % 1000000
      ) / 1000000
    ) AS BIGINT) AS even_cents,
    CAST(ROUND((
      cents - cents % 1000000
    ) / 1000000) AS BIGINT) * between_ends + CAST(ROUND(
      (
        cents % 1000000 * between_ends - (
          cents % 1000000 * between_ends
        ) % 1000000
      ) / 1000000
    ) AS BIGINT) AS between_cents,
    CAST(ROUND((
      cents - cents % 1000000
    ) / 1000000) AS BIGINT) * at_ends + CAST(ROUND(
      (
        cents % 1000000 * at_ends - (
          cents % 1000000 * at_ends
        ) % 1000000
      ) / 1000000
    ) AS BIGINT) AS at_ends_cents
  FROM with_shares
), shared AS (
  SELECT
    *,
    'first' AS model,
    1000000 AS credit_millionths,
    cents AS credit_cents
  FROM with_cents
  WHERE
    touch = 1
  UNION ALL
  SELECT
    *,
    'last' AS model,
    1000000 AS credit_millionths,
    cents AS credit_cents
  FROM with_cents
  WHERE
    touch = touches
  UNION ALL
  SELECT
    *,
    'last_non_direct' AS model,
    1000000 AS credit_millionths,
    cents AS credit_cents
  FROM with_cents
  WHERE
    touch = last_non_direct
  UNION ALL
  SELECT
    *,
    'linear' AS model,
    CASE WHEN touch < touches THEN even ELSE 1000000 - (
      touches - 1
    ) * even END AS credit_millionths,
    CASE
      WHEN touch < touches
      THEN even_cents
      ELSE cents - (
        touches - 1
      ) * even_cents
    END AS credit_cents
  FROM with_cents
  UNION ALL
  SELECT
    *,
    'position_based' AS model,
    CASE
      WHEN touches = 1
      THEN 1000000
      WHEN touch = 1
      THEN at_ends
      WHEN touch < touches
      THEN between_ends
      ELSE 1000000 - at_ends - (
        touches - 2
      ) * between_ends
    END AS credit_millionths,
    CASE
      WHEN touches = 1
      THEN cents
      WHEN touch = 1
      THEN at_ends_cents
      WHEN touch < touches
      THEN between_cents
      ELSE cents - at_ends_cents - (
        touches - 2
      ) * between_cents
    END AS credit_cents
  FROM with_cents
)
SELECT
  conversion_date,
  conversion_id,
  converted_at,
  model,
  touch,
  touches,
  person,
  session_key,
  session_date,
  started_at,
  source,
  medium,
  campaign,
  channel,
  CAST(credit_millionths * CAST(0.000001 AS DECIMAL(7, 6)) AS DECIMAL(9, 6)) AS credit,
  CAST(credit_cents * CAST(0.01 AS DECIMAL(3, 2)) AS DECIMAL(18, 2)) AS revenue,
  currency
FROM shared
WHERE
  credit_millionths > 0;

-- changed_event_dates
WITH run_window AS (
  SELECT DISTINCT
    partition_date AS event_date
  FROM "analytics"."ops"."run_window"
  WHERE
    domain = 'clickstream'
)
SELECT
  run_window.event_date
FROM run_window
WHERE
  NOT EXISTS(
    SELECT
      1
    FROM "analytics"."clickstream"."changed_event_dates" AS known
    WHERE
      known.event_date = run_window.event_date
  );

-- changed_persons
SELECT
  CAST('*' AS VARCHAR(65535)) AS person
WHERE
  1 = 0;

-- clickstream_sessions
WITH pieces AS (
  SELECT
    *
  FROM "analytics"."clickstream"."session_pieces"
  WHERE
    event_date IN (
      CAST('2024-02-27' AS DATE),
      CAST('2024-02-28' AS DATE),
      CAST('2024-02-29' AS DATE),
      CAST('2024-03-01' AS DATE),
      CAST('2024-03-02' AS DATE),
      CAST('2024-03-03' AS DATE),
      CAST('2024-03-04' AS DATE),
      CAST('2024-03-05' AS DATE)
    )
), with_previous AS (
  SELECT
    *,
    LAG(event_date) OVER (PARTITION BY stream_key ORDER BY first_at) AS previous_date,
    LAG(last_at) OVER (PARTITION BY stream_key ORDER BY first_at) AS previous_at
  FROM pieces
), linked AS (
  SELECT
    *,
    CASE
      WHEN previous_at IS NULL OR event_date - previous_date > 1
      THEN 0
      WHEN NOT session_id IS NULL
      THEN 1
      WHEN CAST(DATEDIFF(MICROSECOND, previous_at, first_at) AS DOUBLE PRECISION) / 1000000 <= 1800
      THEN 1
      ELSE 0
    END AS goes_on
  FROM with_previous
), chained AS (
  SELECT
    *,
    SUM(1 - goes_on) OVER (
      PARTITION BY stream_key
      ORDER BY first_at
      rows BETWEEN UNBOUNDED preceding AND CURRENT ROW
    ) AS chain
  FROM linked
), with_start AS (
  SELECT
    *,
    MIN(event_date) OVER (PARTITION BY stream_key, chain) AS chain_date
  FROM chained
), cut AS (
  SELECT
    *,
    CASE WHEN event_date - chain_date <= 1 THEN 0 ELSE event_date - chain_date END AS part
  FROM with_start
), numbered AS (
  SELECT
    *,
    ROW_NUMBER() OVER (PARTITION BY stream_key, chain, part ORDER BY first_at) AS piece
  FROM cut
), merged AS (
  SELECT
    stream_key,
    chain,
    part,
    MAX(session_id) AS session_id,
    MIN(event_date) AS session_date,
    MIN(first_at) AS started_at,
    MAX(last_at) AS ended_at,
    CAST(SUM(events) AS BIGINT) AS events,
    CAST(SUM(page_views) AS BIGINT) AS page_views,
    CAST(SUM(conversions) AS BIGINT) AS conversions,
    CAST(COALESCE(SUM(revenue), 0) AS DECIMAL(18, 2)) AS revenue,
    MAX(CASE WHEN is_bot THEN 1 ELSE 0 END) = 1 AS is_bot,
    MIN(login_at) AS login_at,
    MAX(CASE WHEN NOT user_id IS NULL THEN piece END) AS user_piece,
    MIN(CASE WHEN NOT visitor_key IS NULL THEN piece END) AS visitor_piece,
    MIN(CASE WHEN NOT entry_page IS NULL THEN piece END) AS entry_piece,
    MAX(CASE WHEN NOT exit_page IS NULL THEN piece END) AS exit_piece,
    MIN(CASE WHEN tells_source THEN piece END) AS source_piece
  FROM numbered
  GROUP BY
    stream_key,
    chain,
    part
), told AS (
  SELECT
    merged.stream_key,
    merged.chain,
    merged.part,
    MAX(CASE WHEN numbered.piece = merged.user_piece THEN numbered.user_id END) AS user_id,
    MAX(CASE WHEN numbered.piece = merged.visitor_piece THEN numbered.visitor_key END) AS visitor_key,
    MAX(CASE WHEN numbered.piece = merged.entry_piece THEN numbered.entry_page END) AS entry_page,
    MAX(CASE WHEN numbered.piece = merged.exit_piece THEN numbered.exit_page END) AS exit_page,
    MAX(CASE WHEN numbered.piece = merged.source_piece THEN numbered.utm_source END) AS utm_source,
    MAX(CASE WHEN numbered.piece = merged.source_piece THEN numbered.utm_medium END) AS utm_medium,
    MAX(CASE WHEN numbered.piece = merged.source_piece THEN numbered.utm_campaign END) AS utm_campaign,
    MAX(CASE WHEN numbered.piece = merged.source_piece THEN numbered.source_click_id END) AS source_click_id,
    MAX(CASE WHEN numbered.piece = merged.source_piece THEN numbered.source_host END) AS source_host
  FROM merged
  INNER JOIN numbered
    ON merged.stream_key = numbered.stream_key
    AND merged.chain = numbered.chain
    AND merged.part = numbered.part
  GROUP BY
    merged.stream_key,
    merged.chain,
    merged.part
), with_search_engine AS (
  SELECT
    merged.*,
    told.user_id,
    told.visitor_key,
    told.entry_page,
    told.exit_page,
    told.utm_source,
    told.utm_medium,
    told.utm_campaign,
    told.source_click_id,
    told.source_host,
    CASE
      WHEN told.source_host = 'com.google.android.googlequicksearchbox'
      THEN 'google'
      WHEN (
        told.source_host ~ '^(([a-z][a-z]?[.])?search[.]|[a-z][a-z]?[.])?(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)[.][a-z]+([.][a-z][a-z])?$'
      )
      THEN CASE
        WHEN told.source_host LIKE 'google.%' OR told.source_host LIKE '%.google.%'
        THEN 'google'
        WHEN told.source_host LIKE 'bing.%' OR told.source_host LIKE '%.bing.%'
        THEN 'bing'
        WHEN told.source_host LIKE 'yahoo.%' OR told.source_host LIKE '%.yahoo.%'
        THEN 'yahoo'
        WHEN told.source_host LIKE 'duckduckgo.%' OR told.source_host LIKE '%.duckduckgo.%'
        THEN 'duckduckgo'
        WHEN told.source_host LIKE 'ecosia.%' OR told.source_host LIKE '%.ecosia.%'
        THEN 'ecosia'
        WHEN told.source_host LIKE 'baidu.%' OR told.source_host LIKE '%.baidu.%'
        THEN 'baidu'
        WHEN told.source_host LIKE 'yandex.%' OR told.source_host LIKE '%.yandex.%'
        THEN 'yandex'
        WHEN told.source_host LIKE 'naver.%' OR told.source_host LIKE '%.naver.%'
        THEN 'naver'
        WHEN told.source_host LIKE 'daum.%' OR told.source_host LIKE '%.daum.%'
        THEN 'daum'
        WHEN told.source_host LIKE 'seznam.%' OR told.source_host LIKE '%.seznam.%'
        THEN 'seznam'
        WHEN told.source_host LIKE 'sogou.%' OR told.source_host LIKE '%.sogou.%'
        THEN 'sogou'
        WHEN told.source_host LIKE 'qwant.%' OR told.source_host LIKE '%.qwant.%'
        THEN 'qwant'
        WHEN told.source_host LIKE 'startpage.%' OR told.source_host LIKE '%.startpage.%'
        THEN 'startpage'
        WHEN told.source_host LIKE 'ask.%' OR told.source_host LIKE '%.ask.%'
        THEN 'ask'
        WHEN told.source_host LIKE 'aol.%' OR told.source_host LIKE '%.aol.%'
        THEN 'aol'
        WHEN told.source_host LIKE 'brave.%' OR told.source_host LIKE '%.brave.%'
        THEN 'brave'
        WHEN told.source_host LIKE 'lycos.%' OR told.source_host LIKE '%.lycos.%'
        THEN 'lycos'
        WHEN told.source_host LIKE 'mojeek.%' OR told.source_host LIKE '%.mojeek.%'
        THEN 'mojeek'
        WHEN told.source_host LIKE 'dogpile.%' OR told.source_host LIKE '%.dogpile.%'
        THEN 'dogpile'
        WHEN told.source_host LIKE 'presearch.%' OR told.source_host LIKE '%.presearch.%'
        THEN 'presearch'
        WHEN told.source_host LIKE 'coccoc.%' OR told.source_host LIKE '%.coccoc.%'
        THEN 'coccoc'
        WHEN told.source_host LIKE 'rambler.%' OR told.source_host LIKE '%.rambler.%'
        THEN 'rambler'
        WHEN told.source_host LIKE 'onet.%' OR told.source_host LIKE '%.onet.%'
        THEN 'onet'
        WHEN told.source_host LIKE 'virgilio.%' OR told.source_host LIKE '%.virgilio.%'
        THEN 'virgilio'
        WHEN told.source_host LIKE 'terra.%' OR told.source_host LIKE '%.terra.%'
        THEN 'terra'
      END
    END AS search_engine,
    CAST(DATEDIFF(MICROSECOND, merged.started_at, merged.ended_at) AS DOUBLE PRECISION) / 1000000 AS duration_seconds,
    MD5(
      merged.stream_key || '|' || CASE
        WHEN NOT merged.session_id IS NULL
        THEN CAST(merged.session_date AS VARCHAR)
        ELSE CAST(DATEDIFF(
          MICROSECOND,
          CAST('1970-01-01 00:00:00+00' AS TIMESTAMP WITH TIME ZONE),
          merged.started_at
        ) AS VARCHAR)
      END
    ) AS session_key
  FROM merged
  INNER JOIN told
    ON merged.stream_key = told.stream_key
    AND merged.chain = told.chain
    AND merged.part = told.part
), with_source AS (
  SELECT
    *,
    COALESCE(
      CASE
        WHEN (
          NOT utm_source IS NULL OR NOT utm_medium IS NULL OR NOT utm_campaign IS NULL
        )
        THEN COALESCE(LOWER(utm_source), '(not set)')
        WHEN source_click_id IN ('gclid', 'gbraid', 'wbraid', 'gclsrc')
        THEN 'google'
        WHEN source_click_id IN ('dclid')
        THEN 'dfa'
        WHEN source_click_id IN ('msclkid')
        THEN 'bing'
        WHEN source_click_id IN ('yclid')
        THEN 'yandex'
        WHEN source_click_id IN ('ttclid')
        THEN 'tiktok'
        WHEN source_click_id IN ('twclid')
        THEN 'twitter'
        WHEN source_click_id IN ('li_fat_id')
        THEN 'linkedin'
        WHEN source_click_id IN ('rdt_cid')
        THEN 'reddit'
        WHEN source_click_id IN ('sccid')
        THEN 'snapchat'
        WHEN source_click_id IN ('fbclid')
        THEN 'facebook'
        WHEN source_click_id IN ('igshid')
        THEN 'instagram'
        WHEN source_click_id IN ('mc_cid', 'mc_eid')
        THEN 'mailchimp'
        ELSE COALESCE(search_engine, source_host)
      END,
      '(direct)'
    ) AS source,
    COALESCE(
      CASE
        WHEN (
          NOT utm_source IS NULL OR NOT utm_medium IS NULL OR NOT utm_campaign IS NULL
        )
        THEN COALESCE(LOWER(utm_medium), '(not set)')
        WHEN source_click_id IN ('gclid', 'gbraid', 'wbraid', 'gclsrc')
        THEN 'cpc'
        WHEN source_click_id IN ('dclid')
        THEN 'cpm'
        WHEN source_click_id IN ('msclkid')
        THEN 'cpc'
        WHEN source_click_id IN ('yclid')
        THEN 'cpc'
        WHEN source_click_id IN ('ttclid')
        THEN 'cpc'
        WHEN source_click_id IN ('twclid')
        THEN 'cpc'
        WHEN source_click_id IN ('li_fat_id')
        THEN 'cpc'
        WHEN source_click_id IN ('rdt_cid')
        THEN 'cpc'
        WHEN source_click_id IN ('sccid')
        THEN 'cpc'
        WHEN source_click_id IN ('fbclid')
        THEN 'social'
        WHEN source_click_id IN ('igshid')
        THEN 'social'
        WHEN source_click_id IN ('mc_cid', 'mc_eid')
        THEN 'email'
        WHEN NOT search_engine IS NULL
        THEN 'organic'
        WHEN NOT source_host IS NULL
        THEN 'referral'
      END,
      '(none)'
    ) AS medium,
    utm_campaign AS campaign,
    (
      duration_seconds >= 10 OR page_views >= 2 OR conversions >= 1
    ) AS is_engaged
  FROM with_search_engine
)
SELECT
  session_key,
  COALESCE(session_id, session_key) AS session_id,
  NOT session_id IS NULL AS has_given_id,
  stream_key,
  session_date,
  user_id,
  visitor_key,
  COALESCE(user_id, visitor_key) AS visitor_id,
  login_at,
  started_at,
  ended_at,
  duration_seconds,
  events,
  page_views,
  conversions,
  revenue,
  entry_page,
  exit_page,
  source,
  medium,
  campaign,
  CASE
    WHEN source = '(direct)' AND medium IN ('(not set)', '(none)')
    THEN 'Direct'
    WHEN LOWER(COALESCE(campaign, '')) LIKE '%cross-network%'
    THEN 'Cross-network'
    WHEN (
      (
        (
          source ~ '^(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro|google shopping|igshopping)$'
        )
        OR (
          source ~ '(^|[.])(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro)[.][a-z.]+$'
        )
      )
      OR (
        LOWER(COALESCE(campaign, '')) ~ '([^a-df-z]|^)shop|shopping'
      )
    )
    AND (
      medium LIKE '%cp%' OR medium IN ('ppc', 'retargeting') OR medium LIKE 'paid%'
    )
    THEN 'Paid Shopping'
    WHEN (
      (
        source ~ '^(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)$'
      )
      OR (
        source ~ '^(([a-z][a-z]?[.])?search[.]|[a-z][a-z]?[.])?(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)[.][a-z]+([.][a-z][a-z])?$'
      )
      OR source IN (
        'so.com',
        'adwords',
        'google ads',
        'googleads',
        'google-ads',
        'bingads',
        'bing ads',
        'microsoft ads'
      )
    )
    AND (
      medium LIKE '%cp%' OR medium IN ('ppc', 'retargeting') OR medium LIKE 'paid%'
    )
    THEN 'Paid Search'
    WHEN (
      (
        source ~ '^(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup|fb|ig|x|vk|line|meta)$'
      )
      OR (
        source ~ '(^|[.])(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup)[.][a-z.]+$'
      )
      OR (
        source ~ '(^|[.])(t[.]co|x[.]com|t[.]me|wa[.]me|fb[.]com|fb[.]me|lnkd[.]in|pin[.]it|vk[.]com|ok[.]ru|line[.]me|bsky[.]app|mastodon[.]social|redd[.]it|news[.]ycombinator[.]com)$'
      )
    )
    AND (
      medium LIKE '%cp%' OR medium IN ('ppc', 'retargeting') OR medium LIKE 'paid%'
    )
    THEN 'Paid Social'
    WHEN (
      (
        source ~ '^(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)$'
      )
      OR (
        source ~ '(^|[.])(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)[.][a-z.]+$'
      )
      OR (
        source ~ '(^|[.])youtu[.]be$'
      )
    )
    AND (
      medium LIKE '%cp%' OR medium IN ('ppc', 'retargeting') OR medium LIKE 'paid%'
    )
    THEN 'Paid Video'
    WHEN medium IN ('display', 'banner', 'expandable', 'interstitial', 'cpm')
    THEN 'Display'
    WHEN (
      medium LIKE '%cp%' OR medium IN ('ppc', 'retargeting') OR medium LIKE 'paid%'
    )
    THEN 'Paid Other'
    WHEN (
      (
        source ~ '^(chatgpt|openai|perplexity|gemini|copilot|claude|deepseek|grok|mistral|meta ai|you[.]com)$'
      )
      OR (
        source ~ '(^|[.])(chatgpt[.]com|chat[.]openai[.]com|perplexity[.]ai|gemini[.]google[.]com|bard[.]google[.]com|copilot[.]microsoft[.]com|copilot[.]com|claude[.]ai|deepseek[.]com|grok[.]com|mistral[.]ai|meta[.]ai|poe[.]com|phind[.]com)$'
      )
    )
    THEN 'AI Assistant'
    WHEN (
      (
        (
          source ~ '^(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro|google shopping|igshopping)$'
        )
        OR (
          source ~ '(^|[.])(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro)[.][a-z.]+$'
        )
      )
      OR (
        LOWER(COALESCE(campaign, '')) ~ '([^a-df-z]|^)shop|shopping'
      )
    )
    THEN 'Organic Shopping'
    WHEN (
      (
        source ~ '^(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup|fb|ig|x|vk|line|meta)$'
      )
      OR (
        source ~ '(^|[.])(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup)[.][a-z.]+$'
      )
      OR (
        source ~ '(^|[.])(t[.]co|x[.]com|t[.]me|wa[.]me|fb[.]com|fb[.]me|lnkd[.]in|pin[.]it|vk[.]com|ok[.]ru|line[.]me|bsky[.]app|mastodon[.]social|redd[.]it|news[.]ycombinator[.]com)$'
      )
    )
    OR medium IN (
      'social',
      'social-network',
      'social-media',
      'sm',
      'social network',
      'social media'
    )
    THEN 'Organic Social'
    WHEN (
      (
        source ~ '^(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)$'
      )
      OR (
        source ~ '(^|[.])(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)[.][a-z.]+$'
      )
      OR (
        source ~ '(^|[.])youtu[.]be$'
      )
    )
    OR medium LIKE '%video%'
    THEN 'Organic Video'
    WHEN (
      (
        source ~ '^(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)$'
      )
      OR (
        source ~ '^(([a-z][a-z]?[.])?search[.]|[a-z][a-z]?[.])?(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)[.][a-z]+([.][a-z][a-z])?$'
      )
      OR source IN (
        'so.com',
        'adwords',
        'google ads',
        'googleads',
        'google-ads',
        'bingads',
        'bing ads',
        'microsoft ads'
      )
    )
    OR medium = 'organic'
    THEN 'Organic Search'
    WHEN source IN ('email', 'e-mail', 'e_mail', 'e mail')
    OR medium IN ('email', 'e-mail', 'e_mail', 'e mail')
    THEN 'Email'
    WHEN medium = 'affiliate'
    THEN 'Affiliates'
    WHEN medium IN ('referral', 'app', 'link')
    THEN 'Referral'
    WHEN medium = 'audio'
    THEN 'Audio'
    WHEN source = 'sms' OR medium = 'sms'
    THEN 'SMS'
    WHEN medium LIKE '%push'
    OR medium LIKE '%mobile%'
    OR medium LIKE '%notification%'
    OR source = 'firebase'
    THEN 'Mobile Push Notifications'
    ELSE 'Unassigned'
  END AS channel,
  1 AS channel_rules_version,
  is_bot,
  page_views = 1 AND NOT is_engaged AS is_bounce,
  is_engaged
FROM with_source
WHERE
  session_date IN (
    CAST('2024-02-29' AS DATE),
    CAST('2024-03-01' AS DATE),
    CAST('2024-03-02' AS DATE),
    CAST('2024-03-03' AS DATE),
    CAST('2024-03-04' AS DATE)
  );

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

-- conversions
SELECT
  event_date,
  event_id,
  event_type,
  event_ts,
  stream_key,
  CAST(COALESCE(revenue, 0) AS DECIMAL(18, 2)) AS revenue,
  currency
FROM "analytics"."clickstream"."events_enhanced"
WHERE
  event_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
  AND is_conversion;

-- customer_dashboard
WITH sold AS (
  SELECT
    customer_id,
    COUNT(*) AS orders,
    MIN(sale_date) AS first_sale_date,
    MAX(sale_date) AS last_sale_date,
    SUM(net_amount) AS lifetime_value
  FROM "analytics"."sales"."sales_fact"
  GROUP BY
    customer_id
), ranked AS (
  SELECT
    *,
    COUNT(*) OVER () AS n,
    RANK() OVER (ORDER BY last_sale_date) AS recency_rank,
    RANK() OVER (ORDER BY orders) AS frequency_rank,
    RANK() OVER (ORDER BY lifetime_value) AS monetary_rank
  FROM sold
), scored AS (
  SELECT
    *,
    CAST(FLOOR(CAST(5 * (
      recency_rank - 1
    ) AS DOUBLE PRECISION) / n) AS INTEGER) + 1 AS recency_quintile,
    CAST(FLOOR(CAST(5 * (
      frequency_rank - 1
    ) AS DOUBLE PRECISION) / n) AS INTEGER) + 1 AS frequency_quintile,
    CAST(FLOOR(CAST(5 * (
      monetary_rank - 1
    ) AS DOUBLE PRECISION) / n) AS INTEGER) + 1 AS monetary_quintile
  FROM ranked
)
SELECT
  customers.customer_id,
  customers.city,
  customers.state,
  COALESCE(scored.orders, 0) AS orders,
  CAST(COALESCE(scored.lifetime_value, 0) AS DECIMAL(18, 2)) AS lifetime_value,
  CAST(scored.lifetime_value AS DOUBLE PRECISION) / NULLIF(scored.orders, 0) AS average_order_value,
  scored.first_sale_date,
  scored.last_sale_date,
  scored.recency_quintile,
  scored.frequency_quintile,
  scored.monetary_quintile,
  CASE
    WHEN scored.orders IS NULL
    THEN 'No Sales'
    WHEN scored.recency_quintile >= 4
    AND scored.frequency_quintile >= 4
    AND scored.monetary_quintile >= 4
    THEN 'Champions'
    WHEN scored.recency_quintile >= 3 AND scored.frequency_quintile >= 3
    THEN 'Loyal'
    WHEN scored.recency_quintile >= 4
    THEN 'Recent'
    WHEN scored.recency_quintile <= 2
    AND (
      scored.frequency_quintile >= 3 OR scored.monetary_quintile >= 4
    )
    THEN 'At Risk'
    WHEN scored.recency_quintile <= 2
    THEN 'Lost'
    ELSE 'Occasional'
  END AS segment,
  COALESCE(scored.orders, 0) > 1 AS is_repeat
FROM "analytics"."sales"."customer_dim" AS customers
LEFT JOIN scored
  ON customers.customer_id = scored.customer_id
WHERE
  customers.is_current;

-- customer_dim
WITH versions AS (
  SELECT
    *,
    LEAD(load_date) OVER (PARTITION BY customer_id ORDER BY load_date) AS valid_to
  FROM "analytics"."sales"."customer_versions"
), described AS (
  SELECT
    customer_id,
    load_date,
    NULLIF(TRIM(COALESCE(first_name, '') || ' ' || COALESCE(last_name, '')), '') AS full_name,
    email,
    city,
    state
  FROM "analytics"."sales_cleaned"."customers_cleaned"
  WHERE
    load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
  UNION ALL
  SELECT
    customer_id,
    valid_from AS load_date,
    full_name,
    email,
    city,
    state
  FROM "analytics"."sales"."customer_dim"
  WHERE
    NOT is_inferred
    AND COALESCE(NOT valid_from IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE)), TRUE)
), inferred AS (
  SELECT DISTINCT
    customer_id
  FROM "analytics"."sales"."sales_fact_changes"
  WHERE
    customer_is_inferred
  UNION
  SELECT
    doubtful.customer_id
  FROM (
    SELECT
      value AS customer_id,
      STRTOL(SUBSTRING(MD5(value) FROM 1 FOR 15), 16) AS doubtful_key
    FROM "analytics"."sales"."touched_by_sales"
    WHERE
      kind = 'customer'
      AND NOT value IN (
        SELECT
          customer_id
        FROM "analytics"."sales"."sales_fact_changes"
        WHERE
          customer_is_inferred
      )
      AND NOT value IN (
        SELECT
          customer_id
        FROM "analytics"."sales"."customer_versions"
      )
  ) AS doubtful
  INNER JOIN "analytics"."sales"."sales_fact" AS sales
    ON doubtful.doubtful_key = sales.customer_key
  UNION
  SELECT
    customer_id
  FROM "analytics"."sales"."customer_dim"
  WHERE
    is_inferred
    AND NOT customer_id IN (
      SELECT
        value
      FROM "analytics"."sales"."touched_by_sales"
      WHERE
        kind = 'customer'
    )
    AND NOT customer_id IN (
      SELECT
        customer_id
      FROM "analytics"."sales"."customer_versions"
    )
)
SELECT
  versions.customer_key,
  versions.customer_id,
  described.full_name,
  described.email,
  described.city,
  described.state,
  versions.load_date AS valid_from,
  versions.valid_to,
  versions.valid_to IS NULL AS is_current,
  FALSE AS is_inferred
FROM versions
INNER JOIN described
  ON versions.customer_id = described.customer_id
  AND versions.load_date = described.load_date
UNION ALL
SELECT
  STRTOL(SUBSTRING(MD5(customer_id) FROM 1 FOR 15), 16) AS customer_key,
  customer_id,
  CAST(NULL AS VARCHAR) AS full_name,
  CAST(NULL AS VARCHAR) AS email,
  CAST(NULL AS VARCHAR) AS city,
  CAST(NULL AS VARCHAR) AS state,
  CAST(NULL AS DATE) AS valid_from,
  CAST(NULL AS DATE) AS valid_to,
  TRUE AS is_current,
  TRUE AS is_inferred
FROM inferred;

-- customer_dim_masked
SELECT
  customer_key,
  customer_id,
  SUBSTRING(full_name FROM 1 FOR 1) || '***' AS full_name,
  SUBSTRING(email FROM 1 FOR 1) || '***@' || SPLIT_PART(email, '@', 2) AS email,
  city,
  state,
  valid_from,
  valid_to,
  is_current,
  is_inferred
FROM "analytics"."sales"."customer_dim";

-- customer_versions
WITH snapshots AS (
  SELECT
    customer_id,
    load_date,
    MD5(
      COALESCE(
        CAST(LENGTH(CAST(first_name AS VARCHAR)) AS VARCHAR) || ':' || CAST(first_name AS VARCHAR),
        '-'
      ) || COALESCE(
        CAST(LENGTH(CAST(last_name AS VARCHAR)) AS VARCHAR) || ':' || CAST(last_name AS VARCHAR),
        '-'
      ) || COALESCE(
        CAST(LENGTH(CAST(email AS VARCHAR)) AS VARCHAR) || ':' || CAST(email AS VARCHAR),
        '-'
      ) || COALESCE(
        CAST(LENGTH(CAST(city AS VARCHAR)) AS VARCHAR) || ':' || CAST(city AS VARCHAR),
        '-'
      ) || COALESCE(
        CAST(LENGTH(CAST(state AS VARCHAR)) AS VARCHAR) || ':' || CAST(state AS VARCHAR),
        '-'
      )
    ) AS attributes_hash
  FROM "analytics"."sales_cleaned"."customers_cleaned"
  WHERE
    load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
), placed AS (
  SELECT
    customer_id,
    load_date,
    attributes_hash,
    ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY load_date DESC) AS place
  FROM "analytics"."sales"."customer_versions"
), known AS (
  SELECT
    *
  FROM snapshots
  UNION ALL
  SELECT
    customer_id,
    load_date,
    attributes_hash
  FROM placed
  WHERE
    place = 1
), compared AS (
  SELECT
    *,
    LAG(attributes_hash) OVER (PARTITION BY customer_id ORDER BY load_date) AS previous_hash
  FROM known
), changed AS (
  SELECT
    customer_id,
    load_date,
    attributes_hash,
    previous_hash IS NULL AS is_first
  FROM compared
  WHERE
    load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
    AND (
      previous_hash IS NULL OR previous_hash <> attributes_hash
    )
)
SELECT
  CASE
    WHEN changed.is_first
    THEN STRTOL(SUBSTRING(MD5(changed.customer_id) FROM 1 FOR 15), 16)
    ELSE STRTOL(
      SUBSTRING(MD5(MD5(changed.customer_id) || '|' || CAST(changed.load_date AS VARCHAR)) FROM 1 FOR 15),
      16
    )
  END AS customer_key,
  changed.customer_id,
  changed.load_date,
  changed.attributes_hash,
  changed.is_first
FROM changed;

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

-- daily_metrics
WITH event_days AS (
  SELECT
    event_date,
    CAST(SUM(CASE WHEN is_bot THEN 0 ELSE events END) AS BIGINT) AS events,
    CAST(COALESCE(SUM(CASE WHEN is_bot THEN 0 ELSE revenue END), 0) AS DECIMAL(18, 2)) AS revenue
  FROM "analytics"."clickstream"."event_days"
  WHERE
    event_date IN (
      CAST('2024-02-29' AS DATE),
      CAST('2024-03-01' AS DATE),
      CAST('2024-03-02' AS DATE),
      CAST('2024-03-03' AS DATE),
      CAST('2024-03-04' AS DATE),
      CAST('2024-03-05' AS DATE),
      CAST('2024-03-06' AS DATE),
      CAST('2024-03-07' AS DATE),
      CAST('2024-03-08' AS DATE),
      CAST('2024-03-09' AS DATE),
      CAST('2024-03-10' AS DATE),
      CAST('2024-03-11' AS DATE),
      CAST('2024-03-12' AS DATE),
      CAST('2024-03-13' AS DATE),
      CAST('2024-03-14' AS DATE),
      CAST('2024-03-15' AS DATE),
      CAST('2024-03-16' AS DATE),
      CAST('2024-03-17' AS DATE),
      CAST('2024-03-18' AS DATE),
      CAST('2024-03-19' AS DATE),
      CAST('2024-03-20' AS DATE),
      CAST('2024-03-21' AS DATE),
      CAST('2024-03-22' AS DATE),
      CAST('2024-03-23' AS DATE),
      CAST('2024-03-24' AS DATE),
      CAST('2024-03-25' AS DATE),
      CAST('2024-03-26' AS DATE),
      CAST('2024-03-27' AS DATE),
      CAST('2024-03-28' AS DATE),
      CAST('2024-03-29' AS DATE),
      CAST('2024-03-30' AS DATE),
      CAST('2024-03-31' AS DATE)
    )
  GROUP BY
    event_date
), session_days AS (
  SELECT
    session_date,
    COUNT(*) AS sessions,
    COUNT(CASE WHEN is_engaged THEN 1 END) AS engaged_sessions,
    COUNT(CASE WHEN is_bounce THEN 1 END) AS bounces
  FROM "analytics"."clickstream"."sessions"
  WHERE
    session_date IN (
      CAST('2024-02-29' AS DATE),
      CAST('2024-03-01' AS DATE),
      CAST('2024-03-02' AS DATE),
      CAST('2024-03-03' AS DATE),
      CAST('2024-03-04' AS DATE),
      CAST('2024-03-05' AS DATE),
      CAST('2024-03-06' AS DATE),
      CAST('2024-03-07' AS DATE),
      CAST('2024-03-08' AS DATE),
      CAST('2024-03-09' AS DATE),
      CAST('2024-03-10' AS DATE),
      CAST('2024-03-11' AS DATE),
      CAST('2024-03-12' AS DATE),
      CAST('2024-03-13' AS DATE),
      CAST('2024-03-14' AS DATE),
      CAST('2024-03-15' AS DATE),
      CAST('2024-03-16' AS DATE),
      CAST('2024-03-17' AS DATE),
      CAST('2024-03-18' AS DATE),
      CAST('2024-03-19' AS DATE),
      CAST('2024-03-20' AS DATE),
      CAST('2024-03-21' AS DATE),
      CAST('2024-03-22' AS DATE),
      CAST('2024-03-23' AS DATE),
      CAST('2024-03-24' AS DATE),
      CAST('2024-03-25' AS DATE),
      CAST('2024-03-26' AS DATE),
      CAST('2024-03-27' AS DATE),
      CAST('2024-03-28' AS DATE),
      CAST('2024-03-29' AS DATE),
      CAST('2024-03-30' AS DATE),
      CAST('2024-03-31' AS DATE)
    )
    AND NOT is_bot
  GROUP BY
    session_date
), visitor_days AS (
  SELECT
    event_date,
    LEAD(event_date) OVER (PARTITION BY visitor_id ORDER BY event_date) AS next_date
  FROM "analytics"."clickstream"."visitor_days"
  WHERE
    event_date IN (
      CAST('2024-01-31' AS DATE),
      CAST('2024-02-01' AS DATE),
      CAST('2024-02-02' AS DATE),
      CAST('2024-02-03' AS DATE),
      CAST('2024-02-04' AS DATE),
      CAST('2024-02-05' AS DATE),
      CAST('2024-02-06' AS DATE),
      CAST('2024-02-07' AS DATE),
      CAST('2024-02-08' AS DATE),
      CAST('2024-02-09' AS DATE),
      CAST('2024-02-10' AS DATE),
      CAST('2024-02-11' AS DATE),
      CAST('2024-02-12' AS DATE),
      CAST('2024-02-13' AS DATE),
      CAST('2024-02-14' AS DATE),
      CAST('2024-02-15' AS DATE),
      CAST('2024-02-16' AS DATE),
      CAST('2024-02-17' AS DATE),
      CAST('2024-02-18' AS DATE),
      CAST('2024-02-19' AS DATE),
      CAST('2024-02-20' AS DATE),
      CAST('2024-02-21' AS DATE),
      CAST('2024-02-22' AS DATE),
      CAST('2024-02-23' AS DATE),
      CAST('2024-02-24' AS DATE),
      CAST('2024-02-25' AS DATE),
      CAST('2024-02-26' AS DATE),
      CAST('2024-02-27' AS DATE),
      CAST('2024-02-28' AS DATE),
      CAST('2024-02-29' AS DATE),
      CAST('2024-03-01' AS DATE),
      CAST('2024-03-02' AS DATE),
      CAST('2024-03-03' AS DATE),
      CAST('2024-03-04' AS DATE),
      CAST('2024-03-05' AS DATE),
      CAST('2024-03-06' AS DATE),
      CAST('2024-03-07' AS DATE),
      CAST('2024-03-08' AS DATE),
      CAST('2024-03-09' AS DATE),
      CAST('2024-03-10' AS DATE),
      CAST('2024-03-11' AS DATE),
      CAST('2024-03-12' AS DATE),
      CAST('2024-03-13' AS DATE),
      CAST('2024-03-14' AS DATE),
      CAST('2024-03-15' AS DATE),
      CAST('2024-03-16' AS DATE),
      CAST('2024-03-17' AS DATE),
      CAST('2024-03-18' AS DATE),
      CAST('2024-03-19' AS DATE),
      CAST('2024-03-20' AS DATE),
      CAST('2024-03-21' AS DATE),
      CAST('2024-03-22' AS DATE),
      CAST('2024-03-23' AS DATE),
      CAST('2024-03-24' AS DATE),
      CAST('2024-03-25' AS DATE),
      CAST('2024-03-26' AS DATE),
      CAST('2024-03-27' AS DATE),
      CAST('2024-03-28' AS DATE),
      CAST('2024-03-29' AS DATE),
      CAST('2024-03-30' AS DATE),
      CAST('2024-03-31' AS DATE)
    )
), changes AS (
  SELECT
    event_date,
    COUNT(*) AS dau,
    COUNT(*) AS wau,
    COUNT(*) AS mau
  FROM visitor_days
  GROUP BY
    event_date
  UNION ALL
  SELECT
    CASE WHEN next_date < event_date + 7 THEN next_date ELSE event_date + 7 END AS event_date,
    0 AS dau,
    -COUNT(*) AS wau,
    0 AS mau
  FROM visitor_days
  GROUP BY
    CASE WHEN next_date < event_date + 7 THEN next_date ELSE event_date + 7 END
  UNION ALL
  SELECT
    CASE WHEN next_date < event_date + 30 THEN next_date ELSE event_date + 30 END AS event_date,
    0 AS dau,
    0 AS wau,
    -COUNT(*) AS mau
  FROM visitor_days
  GROUP BY
    CASE WHEN next_date < event_date + 30 THEN next_date ELSE event_date + 30 END
  UNION ALL
  SELECT
    event_date,
    0 AS dau,
    0 AS wau,
    0 AS mau
  FROM event_days
), changes_of_date AS (
  SELECT
    event_date,
    SUM(dau) AS dau,
    SUM(wau) AS wau,
    SUM(mau) AS mau
  FROM changes
  GROUP BY
    event_date
), visitors AS (
  SELECT
    event_date,
    CAST(dau AS BIGINT) AS dau,
    CAST(SUM(wau) OVER (ORDER BY event_date rows BETWEEN UNBOUNDED preceding AND CURRENT ROW) AS BIGINT) AS wau,
    CAST(SUM(mau) OVER (ORDER BY event_date rows BETWEEN UNBOUNDED preceding AND CURRENT ROW) AS BIGINT) AS mau
  FROM changes_of_date
)
SELECT
  event_days.event_date,
  visitors.dau,
  visitors.wau,
  visitors.mau,
  COALESCE(session_days.sessions, 0) AS sessions,
  COALESCE(session_days.engaged_sessions, 0) AS engaged_sessions,
  COALESCE(session_days.bounces, 0) AS bounces,
  event_days.events,
  CAST(event_days.events AS DOUBLE PRECISION) / NULLIF(session_days.sessions, 0) AS events_per_session,
  CAST(session_days.bounces AS DOUBLE PRECISION) / NULLIF(session_days.sessions, 0) AS bounce_rate,
  event_days.revenue
FROM event_days
INNER JOIN visitors
  ON event_days.event_date = visitors.event_date
LEFT JOIN session_days
  ON event_days.event_date = session_days.session_date;

-- date_dim
WITH sold AS (
  SELECT
    MIN(date_value) AS first_date,
    MAX(date_value) AS last_date
  FROM "analytics"."sales"."mv_daily_sales"
), years AS (
  SELECT
    CAST(DATE_TRUNC('YEAR', first_date) AS DATE) AS first_date,
    CAST(EXTRACT(YEAR FROM last_date) AS INTEGER) AS last_year
  FROM sold
), digits AS (
  SELECT
    0 AS digit
  UNION ALL
  SELECT
    1 AS digit
  UNION ALL
  SELECT
    2 AS digit
  UNION ALL
  SELECT
    3 AS digit
  UNION ALL
  SELECT
    4 AS digit
  UNION ALL
  SELECT
    5 AS digit
  UNION ALL
  SELECT
    6 AS digit
  UNION ALL
  SELECT
    7 AS digit
  UNION ALL
  SELECT
    8 AS digit
  UNION ALL
  SELECT
    9 AS digit
), numbers AS (
  SELECT
    a.digit + 10 * b.digit + 100 * c.digit + 1000 * d.digit + 10000 * e.digit AS n
  FROM digits AS a
  CROSS JOIN digits AS b
  CROSS JOIN digits AS c
  CROSS JOIN digits AS d
  CROSS JOIN digits AS e
), dates AS (
  SELECT
    years.first_date + numbers.n AS date_value,
    years.last_year
  FROM years
  CROSS JOIN numbers
)
SELECT
  CAST(TO_CHAR(date_value, 'YYYYMMDD') AS INTEGER) AS date_key,
  date_value,
  CAST(EXTRACT(YEAR FROM date_value) AS INTEGER) AS year,
  CAST(EXTRACT(QUARTER FROM date_value) AS INTEGER) AS quarter,
  CAST(EXTRACT(MONTH FROM date_value) AS INTEGER) AS month,
  CAST(EXTRACT(DAY FROM date_value) AS INTEGER) AS day,
  CAST((
    CAST(EXTRACT(DOW FROM date_value) AS INTEGER) + 6
  ) % 7 + 1 AS INTEGER) >= 6 AS is_weekend
FROM dates
WHERE
  EXTRACT(YEAR FROM date_value) <= last_year;

-- event_days
SELECT
  event_date,
  event_type,
  is_bot,
  COUNT(*) AS events,
  CAST(COALESCE(SUM(CASE WHEN is_conversion THEN revenue END), 0) AS DECIMAL(18, 2)) AS revenue
FROM "analytics"."clickstream"."events_enhanced"
WHERE
  event_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
GROUP BY
  event_date,
  event_type,
  is_bot;

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

-- events_enhanced
WITH source AS (
  SELECT
    *
  FROM "analytics"."clickstream"."events_cleaned"
), named AS (
  SELECT
    event_id,
    event_type,
    NULLIF(user_id, '') AS user_id,
    NULLIF(session_id, '') AS session_id,
    NULLIF(visitor_key, '') AS visitor_key,
    event_ts,
    event_hour,
    page_url,
    page_path,
    CASE
      WHEN LOWER(
        SPLIT_PART(
          SPLIT_PART(SPLIT_PART(SPLIT_PART(SPLIT_PART(page_url, '://', 2), '/', 1), '?', 1), '#', 1),
          ':',
          1
        )
      ) LIKE 'www.%'
      THEN SUBSTRING(LOWER(
        SPLIT_PART(
          SPLIT_PART(SPLIT_PART(SPLIT_PART(SPLIT_PART(page_url, '://', 2), '/', 1), '?', 1), '#', 1),
          ':',
          1
        )
      ) FROM 5)
      ELSE LOWER(
        SPLIT_PART(
          SPLIT_PART(SPLIT_PART(SPLIT_PART(SPLIT_PART(page_url, '://', 2), '/', 1), '?', 1), '#', 1),
          ':',
          1
        )
      )
    END AS page_host,
    NULLIF(TRIM(utm_source), '') AS utm_source,
    NULLIF(TRIM(utm_medium), '') AS utm_medium,
    NULLIF(TRIM(utm_campaign), '') AS utm_campaign,
    NULLIF(TRIM(utm_term), '') AS utm_term,
    NULLIF(TRIM(utm_content), '') AS utm_content,
    click_id,
    CASE
      WHEN LOWER(click_id) IN (
        'gclid',
        'gbraid',
        'wbraid',
        'gclsrc',
        'dclid',
        'msclkid',
        'yclid',
        'ttclid',
        'twclid',
        'li_fat_id',
        'rdt_cid',
        'sccid',
        'fbclid',
        'igshid',
        'mc_cid',
        'mc_eid'
      )
      THEN LOWER(click_id)
    END AS source_click_id,
    referrer,
    NULLIF(referrer_host, '') AS referrer_host,
    user_agent,
    COALESCE(is_bot, FALSE) AS is_bot,
    email_key,
    pii_key_id,
    ip_prefix,
    product_id,
    quantity,
    price,
    currency,
    revenue,
    COALESCE(event_type IN ('purchase'), FALSE) AS is_conversion,
    properties,
    extra,
    ingested_at,
    event_date
  FROM source
), with_source_host AS (
  SELECT
    *,
    CASE
      WHEN referrer_host IN (NULL)
      THEN NULL
      WHEN page_host IS NULL OR page_host = ''
      THEN referrer_host
      WHEN referrer_host = page_host
      THEN NULL
      WHEN RIGHT(referrer_host, LENGTH(page_host) + 1) = '.' || page_host
      THEN NULL
      WHEN RIGHT(page_host, LENGTH(referrer_host) + 1) = '.' || referrer_host
      THEN NULL
      ELSE referrer_host
    END AS source_host
  FROM named
), with_search_engine AS (
  SELECT
    *,
    CASE
      WHEN source_host = 'com.google.android.googlequicksearchbox'
      THEN 'google'
      WHEN (
        source_host ~ '^(([a-z][a-z]?[.])?search[.]|[a-z][a-z]?[.])?(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)[.][a-z]+([.][a-z][a-z])?$'
      )
      THEN CASE
        WHEN source_host LIKE 'google.%' OR source_host LIKE '%.google.%'
        THEN 'google'
        WHEN source_host LIKE 'bing.%' OR source_host LIKE '%.bing.%'
        THEN 'bing'
        WHEN source_host LIKE 'yahoo.%' OR source_host LIKE '%.yahoo.%'
        THEN 'yahoo'
        WHEN source_host LIKE 'duckduckgo.%' OR source_host LIKE '%.duckduckgo.%'
        THEN 'duckduckgo'
        WHEN source_host LIKE 'ecosia.%' OR source_host LIKE '%.ecosia.%'
        THEN 'ecosia'
        WHEN source_host LIKE 'baidu.%' OR source_host LIKE '%.baidu.%'
        THEN 'baidu'
        WHEN source_host LIKE 'yandex.%' OR source_host LIKE '%.yandex.%'
        THEN 'yandex'
        WHEN source_host LIKE 'naver.%' OR source_host LIKE '%.naver.%'
        THEN 'naver'
        WHEN source_host LIKE 'daum.%' OR source_host LIKE '%.daum.%'
        THEN 'daum'
        WHEN source_host LIKE 'seznam.%' OR source_host LIKE '%.seznam.%'
        THEN 'seznam'
        WHEN source_host LIKE 'sogou.%' OR source_host LIKE '%.sogou.%'
        THEN 'sogou'
        WHEN source_host LIKE 'qwant.%' OR source_host LIKE '%.qwant.%'
        THEN 'qwant'
        WHEN source_host LIKE 'startpage.%' OR source_host LIKE '%.startpage.%'
        THEN 'startpage'
        WHEN source_host LIKE 'ask.%' OR source_host LIKE '%.ask.%'
        THEN 'ask'
        WHEN source_host LIKE 'aol.%' OR source_host LIKE '%.aol.%'
        THEN 'aol'
        WHEN source_host LIKE 'brave.%' OR source_host LIKE '%.brave.%'
        THEN 'brave'
        WHEN source_host LIKE 'lycos.%' OR source_host LIKE '%.lycos.%'
        THEN 'lycos'
        WHEN source_host LIKE 'mojeek.%' OR source_host LIKE '%.mojeek.%'
        THEN 'mojeek'
        WHEN source_host LIKE 'dogpile.%' OR source_host LIKE '%.dogpile.%'
        THEN 'dogpile'
        WHEN source_host LIKE 'presearch.%' OR source_host LIKE '%.presearch.%'
        THEN 'presearch'
        WHEN source_host LIKE 'coccoc.%' OR source_host LIKE '%.coccoc.%'
        THEN 'coccoc'
        WHEN source_host LIKE 'rambler.%' OR source_host LIKE '%.rambler.%'
        THEN 'rambler'
        WHEN source_host LIKE 'onet.%' OR source_host LIKE '%.onet.%'
        THEN 'onet'
        WHEN source_host LIKE 'virgilio.%' OR source_host LIKE '%.virgilio.%'
        THEN 'virgilio'
        WHEN source_host LIKE 'terra.%' OR source_host LIKE '%.terra.%'
        THEN 'terra'
      END
    END AS search_engine
  FROM with_source_host
), with_source AS (
  SELECT
    *,
    COALESCE(user_id, visitor_key) AS visitor_id,
    CASE
      WHEN NOT session_id IS NULL
      THEN 's:' || session_id
      WHEN NOT user_id IS NULL
      THEN 'u:' || user_id
      WHEN NOT visitor_key IS NULL
      THEN 'v:' || visitor_key
      ELSE 'e:' || CAST(event_date AS VARCHAR) || ':' || event_id
    END AS stream_key,
    (
      NOT utm_source IS NULL OR NOT utm_medium IS NULL OR NOT utm_campaign IS NULL
    )
    OR NOT source_click_id IS NULL
    OR NOT source_host IS NULL AS tells_source,
    CASE
      WHEN (
        NOT utm_source IS NULL OR NOT utm_medium IS NULL OR NOT utm_campaign IS NULL
      )
      THEN COALESCE(LOWER(utm_source), '(not set)')
      WHEN source_click_id IN ('gclid', 'gbraid', 'wbraid', 'gclsrc')
      THEN 'google'
      WHEN source_click_id IN ('dclid')
      THEN 'dfa'
      WHEN source_click_id IN ('msclkid')
      THEN 'bing'
      WHEN source_click_id IN ('yclid')
      THEN 'yandex'
      WHEN source_click_id IN ('ttclid')
      THEN 'tiktok'
      WHEN source_click_id IN ('twclid')
      THEN 'twitter'
      WHEN source_click_id IN ('li_fat_id')
      THEN 'linkedin'
      WHEN source_click_id IN ('rdt_cid')
      THEN 'reddit'
      WHEN source_click_id IN ('sccid')
      THEN 'snapchat'
      WHEN source_click_id IN ('fbclid')
      THEN 'facebook'
      WHEN source_click_id IN ('igshid')
      THEN 'instagram'
      WHEN source_click_id IN ('mc_cid', 'mc_eid')
      THEN 'mailchimp'
      ELSE COALESCE(search_engine, source_host)
    END AS source,
    CASE
      WHEN (
        NOT utm_source IS NULL OR NOT utm_medium IS NULL OR NOT utm_campaign IS NULL
      )
      THEN COALESCE(LOWER(utm_medium), '(not set)')
      WHEN source_click_id IN ('gclid', 'gbraid', 'wbraid', 'gclsrc')
      THEN 'cpc'
      WHEN source_click_id IN ('dclid')
      THEN 'cpm'
      WHEN source_click_id IN ('msclkid')
      THEN 'cpc'
      WHEN source_click_id IN ('yclid')
      THEN 'cpc'
      WHEN source_click_id IN ('ttclid')
      THEN 'cpc'
      WHEN source_click_id IN ('twclid')
      THEN 'cpc'
      WHEN source_click_id IN ('li_fat_id')
      THEN 'cpc'
      WHEN source_click_id IN ('rdt_cid')
      THEN 'cpc'
      WHEN source_click_id IN ('sccid')
      THEN 'cpc'
      WHEN source_click_id IN ('fbclid')
      THEN 'social'
      WHEN source_click_id IN ('igshid')
      THEN 'social'
      WHEN source_click_id IN ('mc_cid', 'mc_eid')
      THEN 'email'
      WHEN NOT search_engine IS NULL
      THEN 'organic'
      WHEN NOT source_host IS NULL
      THEN 'referral'
    END AS medium,
    utm_campaign AS campaign
  FROM with_search_engine
)
SELECT
  *,
  CASE
    WHEN tells_source
    THEN CASE
      WHEN source = '(direct)' AND medium IN ('(not set)', '(none)')
      THEN 'Direct'
      WHEN LOWER(COALESCE(campaign, '')) LIKE '%cross-network%'
      THEN 'Cross-network'
      WHEN (
        (
          (
            source ~ '^(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro|google shopping|igshopping)$'
          )
          OR (
            source ~ '(^|[.])(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro)[.][a-z.]+$'
          )
        )
        OR (
          LOWER(COALESCE(campaign, '')) ~ '([^a-df-z]|^)shop|shopping'
        )
      )
      AND (
        medium LIKE '%cp%' OR medium IN ('ppc', 'retargeting') OR medium LIKE 'paid%'
      )
      THEN 'Paid Shopping'
      WHEN (
        (
          source ~ '^(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)$'
        )
        OR (
          source ~ '^(([a-z][a-z]?[.])?search[.]|[a-z][a-z]?[.])?(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)[.][a-z]+([.][a-z][a-z])?$'
        )
        OR source IN (
          'so.com',
          'adwords',
          'google ads',
          'googleads',
          'google-ads',
          'bingads',
          'bing ads',
          'microsoft ads'
        )
      )
      AND (
        medium LIKE '%cp%' OR medium IN ('ppc', 'retargeting') OR medium LIKE 'paid%'
      )
      THEN 'Paid Search'
      WHEN (
        (
          source ~ '^(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup|fb|ig|x|vk|line|meta)$'
        )
        OR (
          source ~ '(^|[.])(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup)[.][a-z.]+$'
        )
        OR (
          source ~ '(^|[.])(t[.]co|x[.]com|t[.]me|wa[.]me|fb[.]com|fb[.]me|lnkd[.]in|pin[.]it|vk[.]com|ok[.]ru|line[.]me|bsky[.]app|mastodon[.]social|redd[.]it|news[.]ycombinator[.]com)$'
        )
      )
      AND (
        medium LIKE '%cp%' OR medium IN ('ppc', 'retargeting') OR medium LIKE 'paid%'
      )
      THEN 'Paid Social'
      WHEN (
        (
          source ~ '^(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)$'
        )
        OR (
          source ~ '(^|[.])(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)[.][a-z.]+$'
        )
        OR (
          source ~ '(^|[.])youtu[.]be$'
        )
      )
      AND (
        medium LIKE '%cp%' OR medium IN ('ppc', 'retargeting') OR medium LIKE 'paid%'
      )
      THEN 'Paid Video'
      WHEN medium IN ('display', 'banner', 'expandable', 'interstitial', 'cpm')
      THEN 'Display'
      WHEN (
        medium LIKE '%cp%' OR medium IN ('ppc', 'retargeting') OR medium LIKE 'paid%'
      )
      THEN 'Paid Other'
      WHEN (
        (
          source ~ '^(chatgpt|openai|perplexity|gemini|copilot|claude|deepseek|grok|mistral|meta ai|you[.]com)$'
        )
        OR (
          source ~ '(^|[.])(chatgpt[.]com|chat[.]openai[.]com|perplexity[.]ai|gemini[.]google[.]com|bard[.]google[.]com|copilot[.]microsoft[.]com|copilot[.]com|claude[.]ai|deepseek[.]com|grok[.]com|mistral[.]ai|meta[.]ai|poe[.]com|phind[.]com)$'
        )
      )
      THEN 'AI Assistant'
      WHEN (
        (
          (
            source ~ '^(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro|google shopping|igshopping)$'
          )
          OR (
            source ~ '(^|[.])(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro)[.][a-z.]+$'
          )
        )
        OR (
          LOWER(COALESCE(campaign, '')) ~ '([^a-df-z]|^)shop|shopping'
        )
      )
      THEN 'Organic Shopping'
      WHEN (
        (
          source ~ '^(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup|fb|ig|x|vk|line|meta)$'
        )
        OR (
          source ~ '(^|[.])(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup)[.][a-z.]+$'
        )
        OR (
          source ~ '(^|[.])(t[.]co|x[.]com|t[.]me|wa[.]me|fb[.]com|fb[.]me|lnkd[.]in|pin[.]it|vk[.]com|ok[.]ru|line[.]me|bsky[.]app|mastodon[.]social|redd[.]it|news[.]ycombinator[.]com)$'
        )
      )
      OR medium IN (
        'social',
        'social-network',
        'social-media',
        'sm',
        'social network',
        'social media'
      )
      THEN 'Organic Social'
      WHEN (
        (
          source ~ '^(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)$'
        )
        OR (
          source ~ '(^|[.])(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)[.][a-z.]+$'
        )
        OR (
          source ~ '(^|[.])youtu[.]be$'
        )
      )
      OR medium LIKE '%video%'
      THEN 'Organic Video'
      WHEN (
        (
          source ~ '^(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)$'
        )
        OR (
          source ~ '^(([a-z][a-z]?[.])?search[.]|[a-z][a-z]?[.])?(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)[.][a-z]+([.][a-z][a-z])?$'
        )
        OR source IN (
          'so.com',
          'adwords',
          'google ads',
          'googleads',
          'google-ads',
          'bingads',
          'bing ads',
          'microsoft ads'
        )
      )
      OR medium = 'organic'
      THEN 'Organic Search'
      WHEN source IN ('email', 'e-mail', 'e_mail', 'e mail')
      OR medium IN ('email', 'e-mail', 'e_mail', 'e mail')
      THEN 'Email'
      WHEN medium = 'affiliate'
      THEN 'Affiliates'
      WHEN medium IN ('referral', 'app', 'link')
      THEN 'Referral'
      WHEN medium = 'audio'
      THEN 'Audio'
      WHEN source = 'sms' OR medium = 'sms'
      THEN 'SMS'
      WHEN medium LIKE '%push'
      OR medium LIKE '%mobile%'
      OR medium LIKE '%notification%'
      OR source = 'firebase'
      THEN 'Mobile Push Notifications'
      ELSE 'Unassigned'
    END
  END AS channel
FROM with_source;

-- executive_dashboard
WITH days AS (
  SELECT
    *
  FROM "analytics"."sales"."mv_daily_sales"
), customers AS (
  SELECT
    sale_date,
    COUNT(DISTINCT customer_id) AS customers
  FROM "analytics"."sales"."sales_fact"
  GROUP BY
    sale_date
), first_day AS (
  SELECT
    MIN(date_value) AS date_value
  FROM days
), weeks AS (
  SELECT
    days.date_value,
    SUM(of_week.net_amount) AS net_amount
  FROM days
  INNER JOIN days AS of_week
    ON days.date_value >= of_week.date_value
    AND days.date_value <= of_week.date_value + 6
  GROUP BY
    days.date_value
)
SELECT
  days.date_value,
  days.date_key,
  days.net_amount,
  days.gross_amount,
  days.discount,
  days.tax_amount,
  days.orders,
  days.quantity,
  customers.customers,
  CAST(days.net_amount AS DOUBLE PRECISION) / NULLIF(days.orders, 0) AS average_order_value,
  CAST(weeks.net_amount AS DOUBLE PRECISION) / CASE
    WHEN days.date_value - first_day.date_value < 6
    THEN days.date_value - first_day.date_value + 1
    ELSE 7
  END AS net_amount_7_day_average,
  year_before.net_amount AS net_amount_year_before,
  CAST(days.net_amount - year_before.net_amount AS DOUBLE PRECISION) / NULLIF(year_before.net_amount, 0) AS net_amount_change_share
FROM days
INNER JOIN weeks
  ON days.date_value = weeks.date_value
CROSS JOIN first_day
LEFT JOIN customers
  ON days.date_value = customers.sale_date
LEFT JOIN days AS year_before
  ON days.date_key = year_before.date_key + 10000;

-- funnel
WITH events AS (
  SELECT
    *
  FROM "analytics"."clickstream"."funnel_events"
  WHERE
    event_date IN (
      CAST('2024-02-29' AS DATE),
      CAST('2024-03-01' AS DATE),
      CAST('2024-03-02' AS DATE),
      CAST('2024-03-03' AS DATE)
    )
), reached_1 AS (
  SELECT
    event_date AS funnel_date,
    visitor_id,
    event_ts AS started_at,
    event_ts AS reached_at
  FROM events
  WHERE
    event_type = 'page_view'
), reached_2 AS (
  SELECT
    reached_1.funnel_date,
    reached_1.visitor_id,
    reached_1.started_at,
    MIN(events.event_ts) AS reached_at
  FROM reached_1
  INNER JOIN events
    ON reached_1.visitor_id = events.visitor_id
    AND reached_1.reached_at <= events.event_ts
    AND CAST(DATEDIFF(MICROSECOND, reached_1.started_at, events.event_ts) AS DOUBLE PRECISION) / 1000000 <= 86400
  WHERE
    events.event_type = 'product_view'
  GROUP BY
    reached_1.funnel_date,
    reached_1.visitor_id,
    reached_1.started_at
), reached_3 AS (
  SELECT
    reached_2.funnel_date,
    reached_2.visitor_id,
    reached_2.started_at,
    MIN(events.event_ts) AS reached_at
  FROM reached_2
  INNER JOIN events
    ON reached_2.visitor_id = events.visitor_id
    AND reached_2.reached_at <= events.event_ts
    AND CAST(DATEDIFF(MICROSECOND, reached_2.started_at, events.event_ts) AS DOUBLE PRECISION) / 1000000 <= 86400
  WHERE
    events.event_type = 'add_to_cart'
  GROUP BY
    reached_2.funnel_date,
    reached_2.visitor_id,
    reached_2.started_at
), reached_4 AS (
  SELECT
    reached_3.funnel_date,
    reached_3.visitor_id,
    reached_3.started_at,
    MIN(events.event_ts) AS reached_at
  FROM reached_3
  INNER JOIN events
    ON reached_3.visitor_id = events.visitor_id
    AND reached_3.reached_at <= events.event_ts
    AND CAST(DATEDIFF(MICROSECOND, reached_3.started_at, events.event_ts) AS DOUBLE PRECISION) / 1000000 <= 86400
  WHERE
    events.event_type = 'purchase'
  GROUP BY
    reached_3.funnel_date,
    reached_3.visitor_id,
    reached_3.started_at
), dates AS (
  SELECT
    funnel_date,
    COUNT(*) AS started
  FROM reached_1
  GROUP BY
    funnel_date
), counted AS (
  SELECT
    dates.funnel_date,
    1 AS step,
    'page_view' AS event_type,
    dates.started,
    COUNT(reached.visitor_id) AS visitors
  FROM dates
  LEFT JOIN reached_1 AS reached
    ON dates.funnel_date = reached.funnel_date
  GROUP BY
    dates.funnel_date,
    dates.started
  UNION ALL
  SELECT
    dates.funnel_date,
    2 AS step,
    'product_view' AS event_type,
    dates.started,
    COUNT(reached.visitor_id) AS visitors
  FROM dates
  LEFT JOIN reached_2 AS reached
    ON dates.funnel_date = reached.funnel_date
  GROUP BY
    dates.funnel_date,
    dates.started
  UNION ALL
  SELECT
    dates.funnel_date,
    3 AS step,
    'add_to_cart' AS event_type,
    dates.started,
    COUNT(reached.visitor_id) AS visitors
  FROM dates
  LEFT JOIN reached_3 AS reached
    ON dates.funnel_date = reached.funnel_date
  GROUP BY
    dates.funnel_date,
    dates.started
  UNION ALL
  SELECT
    dates.funnel_date,
    4 AS step,
    'purchase' AS event_type,
    dates.started,
    COUNT(reached.visitor_id) AS visitors
  FROM dates
  LEFT JOIN reached_4 AS reached
    ON dates.funnel_date = reached.funnel_date
  GROUP BY
    dates.funnel_date,
    dates.started
), with_previous AS (
  SELECT
    *,
    LAG(visitors) OVER (PARTITION BY funnel_date ORDER BY step) AS visitors_before
  FROM counted
)
SELECT
  funnel_date,
  step,
  event_type,
  visitors,
  CAST(visitors AS DOUBLE PRECISION) / NULLIF(started, 0) AS share_of_first,
  CAST(visitors AS DOUBLE PRECISION) / NULLIF(visitors_before, 0) AS share_of_previous
FROM with_previous
WHERE
  funnel_date IN (
    CAST('2024-02-29' AS DATE),
    CAST('2024-03-01' AS DATE),
    CAST('2024-03-02' AS DATE)
  );

-- funnel_events
SELECT
  event_date,
  visitor_id,
  event_type,
  MIN(event_ts) AS event_ts
FROM "analytics"."clickstream"."events_enhanced"
WHERE
  event_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
  AND event_type IN ('page_view', 'product_view', 'add_to_cart', 'purchase')
  AND NOT visitor_id IS NULL
  AND NOT is_bot
GROUP BY
  event_date,
  visitor_id,
  event_type,
  CASE WHEN event_type = 'page_view' THEN NULL ELSE event_ts END;

-- ga4_daily_cleaned
WITH source AS (
  SELECT
    *
  FROM "analytics"."analytics_cleaned"."ga4_daily"
)
SELECT
  event_date,
  sessions,
  total_users,
  screen_page_views,
  event_count,
  pulled_at,
  origin,
  is_synthetic,
  time_zone,
  row_key,
  source_file,
  source_line,
  processed_at,
  CASE
    WHEN event_date < CAST(GETDATE() AS DATE) - 15
    THEN TRUE
    WHEN event_date > CAST(GETDATE() AS DATE) - 14
    THEN FALSE
    ELSE event_date < CAST(CONVERT_TIMEZONE('UTC', COALESCE(NULLIF(time_zone, ''), 'UTC'), GETDATE()) AS DATE) - 14
  END AS is_final
FROM source;

-- ga4_events_cleaned
WITH source AS (
  SELECT
    *
  FROM "analytics"."analytics_cleaned"."ga4_events"
)
SELECT
  event_date,
  page_path,
  traffic_source,
  traffic_medium,
  sessions,
  total_users,
  screen_page_views,
  event_count,
  pulled_at,
  origin,
  is_synthetic,
  time_zone,
  row_key,
  source_file,
  source_line,
  processed_at,
  CASE
    WHEN event_date < CAST(GETDATE() AS DATE) - 15
    THEN TRUE
    WHEN event_date > CAST(GETDATE() AS DATE) - 14
    THEN FALSE
    ELSE event_date < CAST(CONVERT_TIMEZONE('UTC', COALESCE(NULLIF(time_zone, ''), 'UTC'), GETDATE()) AS DATE) - 14
  END AS is_final
FROM source;

-- ga4_events_enhanced
WITH events AS (
  SELECT
    *
  FROM "analytics"."analytics"."ga4_events_cleaned"
)
SELECT
  *,
  CAST(screen_page_views AS DOUBLE PRECISION) / NULLIF(sessions, 0) AS pages_per_session,
  CAST(sessions AS DOUBLE PRECISION) / NULLIF(total_users, 0) AS sessions_per_user,
  CAST(event_count AS DOUBLE PRECISION) / NULLIF(sessions, 0) AS events_per_session,
  CASE
    WHEN LOWER(traffic_source) = '(direct)'
    AND LOWER(traffic_medium) IN ('(not set)', '(none)')
    THEN 'Direct'
    WHEN LOWER(COALESCE('', '')) LIKE '%cross-network%'
    THEN 'Cross-network'
    WHEN (
      (
        (
          LOWER(traffic_source) ~ '^(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro|google shopping|igshopping)$'
        )
        OR (
          LOWER(traffic_source) ~ '(^|[.])(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro)[.][a-z.]+$'
        )
      )
      OR (
        LOWER(COALESCE('', '')) ~ '([^a-df-z]|^)shop|shopping'
      )
    )
    AND (
      LOWER(traffic_medium) LIKE '%cp%'
      OR LOWER(traffic_medium) IN ('ppc', 'retargeting')
      OR LOWER(traffic_medium) LIKE 'paid%'
    )
    THEN 'Paid Shopping'
    WHEN (
      (
        LOWER(traffic_source) ~ '^(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)$'
      )
      OR (
        LOWER(traffic_source) ~ '^(([a-z][a-z]?[.])?search[.]|[a-z][a-z]?[.])?(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)[.][a-z]+([.][a-z][a-z])?$'
      )
      OR LOWER(traffic_source) IN (
        'so.com',
        'adwords',
        'google ads',
        'googleads',
        'google-ads',
        'bingads',
        'bing ads',
        'microsoft ads'
      )
    )
    AND (
      LOWER(traffic_medium) LIKE '%cp%'
      OR LOWER(traffic_medium) IN ('ppc', 'retargeting')
      OR LOWER(traffic_medium) LIKE 'paid%'
    )
    THEN 'Paid Search'
    WHEN (
      (
        LOWER(traffic_source) ~ '^(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup|fb|ig|x|vk|line|meta)$'
      )
      OR (
        LOWER(traffic_source) ~ '(^|[.])(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup)[.][a-z.]+$'
      )
      OR (
        LOWER(traffic_source) ~ '(^|[.])(t[.]co|x[.]com|t[.]me|wa[.]me|fb[.]com|fb[.]me|lnkd[.]in|pin[.]it|vk[.]com|ok[.]ru|line[.]me|bsky[.]app|mastodon[.]social|redd[.]it|news[.]ycombinator[.]com)$'
      )
    )
    AND (
      LOWER(traffic_medium) LIKE '%cp%'
      OR LOWER(traffic_medium) IN ('ppc', 'retargeting')
      OR LOWER(traffic_medium) LIKE 'paid%'
    )
    THEN 'Paid Social'
    WHEN (
      (
        LOWER(traffic_source) ~ '^(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)$'
      )
      OR (
        LOWER(traffic_source) ~ '(^|[.])(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)[.][a-z.]+$'
      )
      OR (
        LOWER(traffic_source) ~ '(^|[.])youtu[.]be$'
      )
    )
    AND (
      LOWER(traffic_medium) LIKE '%cp%'
      OR LOWER(traffic_medium) IN ('ppc', 'retargeting')
      OR LOWER(traffic_medium) LIKE 'paid%'
    )
    THEN 'Paid Video'
    WHEN LOWER(traffic_medium) IN ('display', 'banner', 'expandable', 'interstitial', 'cpm')
    THEN 'Display'
    WHEN (
      LOWER(traffic_medium) LIKE '%cp%'
      OR LOWER(traffic_medium) IN ('ppc', 'retargeting')
      OR LOWER(traffic_medium) LIKE 'paid%'
    )
    THEN 'Paid Other'
    WHEN (
      (
        LOWER(traffic_source) ~ '^(chatgpt|openai|perplexity|gemini|copilot|claude|deepseek|grok|mistral|meta ai|you[.]com)$'
      )
      OR (
        LOWER(traffic_source) ~ '(^|[.])(chatgpt[.]com|chat[.]openai[.]com|perplexity[.]ai|gemini[.]google[.]com|bard[.]google[.]com|copilot[.]microsoft[.]com|copilot[.]com|claude[.]ai|deepseek[.]com|grok[.]com|mistral[.]ai|meta[.]ai|poe[.]com|phind[.]com)$'
      )
    )
    THEN 'AI Assistant'
    WHEN (
      (
        (
          LOWER(traffic_source) ~ '^(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro|google shopping|igshopping)$'
        )
        OR (
          LOWER(traffic_source) ~ '(^|[.])(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro)[.][a-z.]+$'
        )
      )
      OR (
        LOWER(COALESCE('', '')) ~ '([^a-df-z]|^)shop|shopping'
      )
    )
    THEN 'Organic Shopping'
    WHEN (
      (
        LOWER(traffic_source) ~ '^(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup|fb|ig|x|vk|line|meta)$'
      )
      OR (
        LOWER(traffic_source) ~ '(^|[.])(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup)[.][a-z.]+$'
      )
      OR (
        LOWER(traffic_source) ~ '(^|[.])(t[.]co|x[.]com|t[.]me|wa[.]me|fb[.]com|fb[.]me|lnkd[.]in|pin[.]it|vk[.]com|ok[.]ru|line[.]me|bsky[.]app|mastodon[.]social|redd[.]it|news[.]ycombinator[.]com)$'
      )
    )
    OR LOWER(traffic_medium) IN (
      'social',
      'social-network',
      'social-media',
      'sm',
      'social network',
      'social media'
    )
    THEN 'Organic Social'
    WHEN (
      (
        LOWER(traffic_source) ~ '^(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)$'
      )
      OR (
        LOWER(traffic_source) ~ '(^|[.])(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)[.][a-z.]+$'
      )
      OR (
        LOWER(traffic_source) ~ '(^|[.])youtu[.]be$'
      )
    )
    OR LOWER(traffic_medium) LIKE '%video%'
    THEN 'Organic Video'
    WHEN (
      (
        LOWER(traffic_source) ~ '^(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)$'
      )
      OR (
        LOWER(traffic_source) ~ '^(([a-z][a-z]?[.])?search[.]|[a-z][a-z]?[.])?(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)[.][a-z]+([.][a-z][a-z])?$'
      )
      OR LOWER(traffic_source) IN (
        'so.com',
        'adwords',
        'google ads',
        'googleads',
        'google-ads',
        'bingads',
        'bing ads',
        'microsoft ads'
      )
    )
    OR LOWER(traffic_medium) = 'organic'
    THEN 'Organic Search'
    WHEN LOWER(traffic_source) IN ('email', 'e-mail', 'e_mail', 'e mail')
    OR LOWER(traffic_medium) IN ('email', 'e-mail', 'e_mail', 'e mail')
    THEN 'Email'
    WHEN LOWER(traffic_medium) = 'affiliate'
    THEN 'Affiliates'
    WHEN LOWER(traffic_medium) IN ('referral', 'app', 'link')
    THEN 'Referral'
    WHEN LOWER(traffic_medium) = 'audio'
    THEN 'Audio'
    WHEN LOWER(traffic_source) = 'sms' OR LOWER(traffic_medium) = 'sms'
    THEN 'SMS'
    WHEN LOWER(traffic_medium) LIKE '%push'
    OR LOWER(traffic_medium) LIKE '%mobile%'
    OR LOWER(traffic_medium) LIKE '%notification%'
    OR LOWER(traffic_source) = 'firebase'
    THEN 'Mobile Push Notifications'
    ELSE 'Unassigned'
  END AS channel,
  CAST('2026-01-01+00' AS TIMESTAMP WITH TIME ZONE) AS dbt_updated_at
FROM events;

-- ga4_events_kpis
WITH daily AS (
  SELECT
    *
  FROM "analytics"."analytics"."ga4_daily_cleaned"
), averages AS (
  SELECT
    daily.event_date,
    AVG(CAST(of_week.sessions AS DOUBLE PRECISION)) AS sessions_7_day_average,
    AVG(CAST(of_week.total_users AS DOUBLE PRECISION)) AS total_users_7_day_average,
    AVG(CAST(of_week.screen_page_views AS DOUBLE PRECISION)) AS screen_page_views_7_day_average,
    AVG(CAST(of_week.event_count AS DOUBLE PRECISION)) AS event_count_7_day_average,
    COUNT(*) AS days_in_average
  FROM daily
  INNER JOIN daily AS of_week
    ON daily.event_date >= of_week.event_date
    AND daily.event_date <= of_week.event_date + 6
  GROUP BY
    daily.event_date
)
SELECT
  daily.event_date,
  daily.sessions,
  daily.total_users,
  daily.screen_page_views,
  daily.event_count,
  CAST(daily.screen_page_views AS DOUBLE PRECISION) / NULLIF(daily.sessions, 0) AS pages_per_session,
  CAST(daily.sessions AS DOUBLE PRECISION) / NULLIF(daily.total_users, 0) AS sessions_per_user,
  CAST(daily.event_count AS DOUBLE PRECISION) / NULLIF(daily.sessions, 0) AS events_per_session,
  averages.days_in_average,
  averages.sessions_7_day_average,
  averages.total_users_7_day_average,
  averages.screen_page_views_7_day_average,
  averages.event_count_7_day_average,
  daily.sessions - week_before.sessions AS sessions_change,
  CAST(daily.sessions - week_before.sessions AS DOUBLE PRECISION) / NULLIF(week_before.sessions, 0) AS sessions_change_share,
  daily.total_users - week_before.total_users AS total_users_change,
  CAST(daily.total_users - week_before.total_users AS DOUBLE PRECISION) / NULLIF(week_before.total_users, 0) AS total_users_change_share,
  daily.screen_page_views - week_before.screen_page_views AS screen_page_views_change,
  CAST(daily.screen_page_views - week_before.screen_page_views AS DOUBLE PRECISION) / NULLIF(week_before.screen_page_views, 0) AS screen_page_views_change_share,
  daily.event_count - week_before.event_count AS event_count_change,
  CAST(daily.event_count - week_before.event_count AS DOUBLE PRECISION) / NULLIF(week_before.event_count, 0) AS event_count_change_share,
  daily.is_final,
  daily.pulled_at,
  daily.time_zone,
  daily.is_synthetic,
  CAST('2026-01-01+00' AS TIMESTAMP WITH TIME ZONE) AS dbt_updated_at
FROM daily
INNER JOIN averages
  ON daily.event_date = averages.event_date
LEFT JOIN daily AS week_before
  ON daily.event_date = week_before.event_date + 7;

-- ga4_events_reports
WITH daily AS (
  SELECT
    *
  FROM "analytics"."analytics"."ga4_daily_cleaned"
), events AS (
  SELECT
    *
  FROM "analytics"."analytics"."ga4_events_cleaned"
), source_rows AS (
  SELECT
    *
  FROM "analytics"."analytics"."ga4_sources_cleaned"
), page_rows AS (
  SELECT
    *
  FROM "analytics"."analytics"."ga4_pages_cleaned"
), reports AS (
  SELECT
    event_date,
    'traffic_source' AS report,
    traffic_source,
    traffic_medium,
    CAST(NULL AS VARCHAR) AS page_path,
    sessions,
    total_users,
    screen_page_views,
    event_count,
    is_final,
    is_synthetic,
    pulled_at
  FROM source_rows
  UNION ALL
  SELECT
    event_date,
    'traffic_source' AS report,
    traffic_source,
    traffic_medium,
    CAST(NULL AS VARCHAR) AS page_path,
    CAST(NULL AS BIGINT) AS sessions,
    CAST(NULL AS BIGINT) AS total_users,
    CAST(SUM(screen_page_views) AS BIGINT) AS screen_page_views,
    CAST(SUM(event_count) AS BIGINT) AS event_count,
    BOOL_AND(is_final) AS is_final,
    BOOL_OR(is_synthetic) AS is_synthetic,
    MAX(pulled_at) AS pulled_at
  FROM events
  WHERE
    NOT event_date IN (
      SELECT
        event_date
      FROM source_rows
    )
  GROUP BY
    event_date,
    traffic_source,
    traffic_medium
  UNION ALL
  SELECT
    event_date,
    'page' AS report,
    CAST(NULL AS VARCHAR) AS traffic_source,
    CAST(NULL AS VARCHAR) AS traffic_medium,
    page_path,
    sessions,
    total_users,
    screen_page_views,
    event_count,
    is_final,
    is_synthetic,
    pulled_at
  FROM page_rows
  UNION ALL
  SELECT
    event_date,
    'page' AS report,
    CAST(NULL AS VARCHAR) AS traffic_source,
    CAST(NULL AS VARCHAR) AS traffic_medium,
    page_path,
    CAST(NULL AS BIGINT) AS sessions,
    CAST(NULL AS BIGINT) AS total_users,
    CAST(SUM(screen_page_views) AS BIGINT) AS screen_page_views,
    CAST(SUM(event_count) AS BIGINT) AS event_count,
    BOOL_AND(is_final) AS is_final,
    BOOL_OR(is_synthetic) AS is_synthetic,
    MAX(pulled_at) AS pulled_at
  FROM events
  WHERE
    NOT event_date IN (
      SELECT
        event_date
      FROM page_rows
    )
  GROUP BY
    event_date,
    page_path
)
SELECT
  reports.event_date,
  reports.report,
  reports.traffic_source,
  reports.traffic_medium,
  reports.page_path,
  CASE
    WHEN reports.report = 'traffic_source'
    THEN CASE
      WHEN LOWER(traffic_source) = '(direct)'
      AND LOWER(traffic_medium) IN ('(not set)', '(none)')
      THEN 'Direct'
      WHEN LOWER(COALESCE('', '')) LIKE '%cross-network%'
      THEN 'Cross-network'
      WHEN (
        (
          (
            LOWER(traffic_source) ~ '^(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro|google shopping|igshopping)$'
          )
          OR (
            LOWER(traffic_source) ~ '(^|[.])(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro)[.][a-z.]+$'
          )
        )
        OR (
          LOWER(COALESCE('', '')) ~ '([^a-df-z]|^)shop|shopping'
        )
      )
      AND (
        LOWER(traffic_medium) LIKE '%cp%'
        OR LOWER(traffic_medium) IN ('ppc', 'retargeting')
        OR LOWER(traffic_medium) LIKE 'paid%'
      )
      THEN 'Paid Shopping'
      WHEN (
        (
          LOWER(traffic_source) ~ '^(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)$'
        )
        OR (
          LOWER(traffic_source) ~ '^(([a-z][a-z]?[.])?search[.]|[a-z][a-z]?[.])?(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)[.][a-z]+([.][a-z][a-z])?$'
        )
        OR LOWER(traffic_source) IN (
          'so.com',
          'adwords',
          'google ads',
          'googleads',
          'google-ads',
          'bingads',
          'bing ads',
          'microsoft ads'
        )
      )
      AND (
        LOWER(traffic_medium) LIKE '%cp%'
        OR LOWER(traffic_medium) IN ('ppc', 'retargeting')
        OR LOWER(traffic_medium) LIKE 'paid%'
      )
      THEN 'Paid Search'
      WHEN (
        (
          LOWER(traffic_source) ~ '^(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup|fb|ig|x|vk|line|meta)$'
        )
        OR (
          LOWER(traffic_source) ~ '(^|[.])(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup)[.][a-z.]+$'
        )
        OR (
          LOWER(traffic_source) ~ '(^|[.])(t[.]co|x[.]com|t[.]me|wa[.]me|fb[.]com|fb[.]me|lnkd[.]in|pin[.]it|vk[.]com|ok[.]ru|line[.]me|bsky[.]app|mastodon[.]social|redd[.]it|news[.]ycombinator[.]com)$'
        )
      )
      AND (
        LOWER(traffic_medium) LIKE '%cp%'
        OR LOWER(traffic_medium) IN ('ppc', 'retargeting')
        OR LOWER(traffic_medium) LIKE 'paid%'
      )
      THEN 'Paid Social'
      WHEN (
        (
          LOWER(traffic_source) ~ '^(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)$'
        )
        OR (
          LOWER(traffic_source) ~ '(^|[.])(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)[.][a-z.]+$'
        )
        OR (
          LOWER(traffic_source) ~ '(^|[.])youtu[.]be$'
        )
      )
      AND (
        LOWER(traffic_medium) LIKE '%cp%'
        OR LOWER(traffic_medium) IN ('ppc', 'retargeting')
        OR LOWER(traffic_medium) LIKE 'paid%'
      )
      THEN 'Paid Video'
      WHEN LOWER(traffic_medium) IN ('display', 'banner', 'expandable', 'interstitial', 'cpm')
      THEN 'Display'
      WHEN (
        LOWER(traffic_medium) LIKE '%cp%'
        OR LOWER(traffic_medium) IN ('ppc', 'retargeting')
        OR LOWER(traffic_medium) LIKE 'paid%'
      )
      THEN 'Paid Other'
      WHEN (
        (
          LOWER(traffic_source) ~ '^(chatgpt|openai|perplexity|gemini|copilot|claude|deepseek|grok|mistral|meta ai|you[.]com)$'
        )
        OR (
          LOWER(traffic_source) ~ '(^|[.])(chatgpt[.]com|chat[.]openai[.]com|perplexity[.]ai|gemini[.]google[.]com|bard[.]google[.]com|copilot[.]microsoft[.]com|copilot[.]com|claude[.]ai|deepseek[.]com|grok[.]com|mistral[.]ai|meta[.]ai|poe[.]com|phind[.]com)$'
        )
      )
      THEN 'AI Assistant'
      WHEN (
        (
          (
            LOWER(traffic_source) ~ '^(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro|google shopping|igshopping)$'
          )
          OR (
            LOWER(traffic_source) ~ '(^|[.])(amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro)[.][a-z.]+$'
          )
        )
        OR (
          LOWER(COALESCE('', '')) ~ '([^a-df-z]|^)shop|shopping'
        )
      )
      THEN 'Organic Shopping'
      WHEN (
        (
          LOWER(traffic_source) ~ '^(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup|fb|ig|x|vk|line|meta)$'
        )
        OR (
          LOWER(traffic_source) ~ '(^|[.])(facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup)[.][a-z.]+$'
        )
        OR (
          LOWER(traffic_source) ~ '(^|[.])(t[.]co|x[.]com|t[.]me|wa[.]me|fb[.]com|fb[.]me|lnkd[.]in|pin[.]it|vk[.]com|ok[.]ru|line[.]me|bsky[.]app|mastodon[.]social|redd[.]it|news[.]ycombinator[.]com)$'
        )
      )
      OR LOWER(traffic_medium) IN (
        'social',
        'social-network',
        'social-media',
        'sm',
        'social network',
        'social media'
      )
      THEN 'Organic Social'
      WHEN (
        (
          LOWER(traffic_source) ~ '^(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)$'
        )
        OR (
          LOWER(traffic_source) ~ '(^|[.])(youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble)[.][a-z.]+$'
        )
        OR (
          LOWER(traffic_source) ~ '(^|[.])youtu[.]be$'
        )
      )
      OR LOWER(traffic_medium) LIKE '%video%'
      THEN 'Organic Video'
      WHEN (
        (
          LOWER(traffic_source) ~ '^(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)$'
        )
        OR (
          LOWER(traffic_source) ~ '^(([a-z][a-z]?[.])?search[.]|[a-z][a-z]?[.])?(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra)[.][a-z]+([.][a-z][a-z])?$'
        )
        OR LOWER(traffic_source) IN (
          'so.com',
          'adwords',
          'google ads',
          'googleads',
          'google-ads',
          'bingads',
          'bing ads',
          'microsoft ads'
        )
      )
      OR LOWER(traffic_medium) = 'organic'
      THEN 'Organic Search'
      WHEN LOWER(traffic_source) IN ('email', 'e-mail', 'e_mail', 'e mail')
      OR LOWER(traffic_medium) IN ('email', 'e-mail', 'e_mail', 'e mail')
      THEN 'Email'
      WHEN LOWER(traffic_medium) = 'affiliate'
      THEN 'Affiliates'
      WHEN LOWER(traffic_medium) IN ('referral', 'app', 'link')
      THEN 'Referral'
      WHEN LOWER(traffic_medium) = 'audio'
      THEN 'Audio'
      WHEN LOWER(traffic_source) = 'sms' OR LOWER(traffic_medium) = 'sms'
      THEN 'SMS'
      WHEN LOWER(traffic_medium) LIKE '%push'
      OR LOWER(traffic_medium) LIKE '%mobile%'
      OR LOWER(traffic_medium) LIKE '%notification%'
      OR LOWER(traffic_source) = 'firebase'
      THEN 'Mobile Push Notifications'
      ELSE 'Unassigned'
    END
  END AS channel,
  reports.sessions,
  reports.total_users,
  reports.screen_page_views,
  reports.event_count,
  CAST(reports.sessions AS DOUBLE PRECISION) / NULLIF(daily.sessions, 0) AS share_of_sessions,
  CAST(reports.total_users AS DOUBLE PRECISION) / NULLIF(daily.total_users, 0) AS share_of_users,
  CAST(reports.screen_page_views AS DOUBLE PRECISION) / NULLIF(daily.screen_page_views, 0) AS share_of_page_views,
  CAST(reports.event_count AS DOUBLE PRECISION) / NULLIF(daily.event_count, 0) AS share_of_events,
  ROW_NUMBER() OVER (
    PARTITION BY reports.event_date, reports.report
    ORDER BY COALESCE(reports.screen_page_views, 0) DESC, reports.page_path ASC, reports.traffic_source ASC, reports.traffic_medium ASC
  ) AS rank,
  reports.is_final,
  reports.is_synthetic,
  reports.pulled_at,
  CAST('2026-01-01+00' AS TIMESTAMP WITH TIME ZONE) AS dbt_updated_at
FROM reports
LEFT JOIN daily
  ON reports.event_date = daily.event_date;

-- ga4_pages_cleaned
WITH source AS (
  SELECT
    *
  FROM "analytics"."analytics_cleaned"."ga4_pages"
)
SELECT
  event_date,
  page_path,
  sessions,
  total_users,
  screen_page_views,
  event_count,
  pulled_at,
  origin,
  is_synthetic,
  time_zone,
  row_key,
  source_file,
  source_line,
  processed_at,
  CASE
    WHEN event_date < CAST(GETDATE() AS DATE) - 15
    THEN TRUE
    WHEN event_date > CAST(GETDATE() AS DATE) - 14
    THEN FALSE
    ELSE event_date < CAST(CONVERT_TIMEZONE('UTC', COALESCE(NULLIF(time_zone, ''), 'UTC'), GETDATE()) AS DATE) - 14
  END AS is_final
FROM source;

-- ga4_sources_cleaned
WITH source AS (
  SELECT
    *
  FROM "analytics"."analytics_cleaned"."ga4_sources"
)
SELECT
  event_date,
  traffic_source,
  traffic_medium,
  sessions,
  total_users,
  screen_page_views,
  event_count,
  pulled_at,
  origin,
  is_synthetic,
  time_zone,
  row_key,
  source_file,
  source_line,
  processed_at,
  CASE
    WHEN event_date < CAST(GETDATE() AS DATE) - 15
    THEN TRUE
    WHEN event_date > CAST(GETDATE() AS DATE) - 14
    THEN FALSE
    ELSE event_date < CAST(CONVERT_TIMEZONE('UTC', COALESCE(NULLIF(time_zone, ''), 'UTC'), GETDATE()) AS DATE) - 14
  END AS is_final
FROM source;

-- geographic_dashboard
WITH months AS (
  SELECT
    CAST(DATE_TRUNC('MONTH', sale_date) AS DATE) AS month,
    location_id,
    COUNT(*) AS orders,
    COUNT(DISTINCT customer_id) AS customers,
    CAST(SUM(quantity) AS BIGINT) AS quantity,
    SUM(gross_amount) AS gross_amount,
    SUM(discount) AS discount,
    SUM(tax_amount) AS tax_amount,
    SUM(net_amount) AS net_amount
  FROM "analytics"."sales"."sales_fact"
  GROUP BY
    CAST(DATE_TRUNC('MONTH', sale_date) AS DATE),
    location_id
)
SELECT
  months.month,
  locations.country,
  locations.region,
  locations.state,
  locations.city,
  months.location_id,
  locations.store_name,
  months.orders,
  months.customers,
  months.quantity,
  months.gross_amount,
  months.discount,
  months.tax_amount,
  months.net_amount,
  CAST(months.net_amount AS DOUBLE PRECISION) / NULLIF(months.orders, 0) AS average_order_value,
  CAST(months.net_amount AS DOUBLE PRECISION) / NULLIF(SUM(months.net_amount) OVER (PARTITION BY months.month), 0) AS share_of_month
FROM months
LEFT JOIN "analytics"."sales"."location_dim" AS locations
  ON months.location_id = locations.location_id AND locations.is_current;

-- identity_days
SELECT
  event_date,
  visitor_key,
  user_id,
  MIN(event_ts) AS first_seen_at,
  MAX(event_ts) AS last_seen_at,
  COUNT(*) AS events
FROM "analytics"."clickstream"."events_enhanced"
WHERE
  event_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
  AND NOT visitor_key IS NULL
  AND NOT user_id IS NULL
GROUP BY
  event_date,
  visitor_key,
  user_id;

-- identity_edges
SELECT
  visitor_key,
  user_id,
  MIN(first_seen_at) AS first_seen_at,
  MAX(last_seen_at) AS last_seen_at,
  COUNT(*) AS days,
  CAST(SUM(events) AS BIGINT) AS events
FROM "analytics"."clickstream"."identity_days"
GROUP BY
  visitor_key,
  user_id;

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

-- location_dim
WITH versions AS (
  SELECT
    *,
    LEAD(load_date) OVER (PARTITION BY location_id ORDER BY load_date) AS valid_to
  FROM "analytics"."sales"."location_versions"
), inferred AS (
  SELECT DISTINCT
    location_id
  FROM "analytics"."sales"."sales_fact_changes"
  WHERE
    location_is_inferred
  UNION
  SELECT
    doubtful.location_id
  FROM (
    SELECT
      value AS location_id,
      STRTOL(SUBSTRING(MD5(value) FROM 1 FOR 15), 16) AS doubtful_key
    FROM "analytics"."sales"."touched_by_sales"
    WHERE
      kind = 'location'
      AND NOT value IN (
        SELECT
          location_id
        FROM "analytics"."sales"."sales_fact_changes"
        WHERE
          location_is_inferred
      )
      AND NOT value IN (
        SELECT
          location_id
        FROM "analytics"."sales"."location_versions"
      )
  ) AS doubtful
  INNER JOIN "analytics"."sales"."sales_fact" AS sales
    ON doubtful.doubtful_key = sales.location_key
  UNION
  SELECT
    location_id
  FROM "analytics"."sales"."location_dim"
  WHERE
    is_inferred
    AND NOT location_id IN (
      SELECT
        value
      FROM "analytics"."sales"."touched_by_sales"
      WHERE
        kind = 'location'
    )
    AND NOT location_id IN (
      SELECT
        location_id
      FROM "analytics"."sales"."location_versions"
    )
)
SELECT
  location_key,
  location_id,
  store_name,
  city,
  state,
  region,
  country,
  load_date AS valid_from,
  valid_to,
  valid_to IS NULL AS is_current,
  FALSE AS is_inferred
FROM versions
UNION ALL
SELECT
  STRTOL(SUBSTRING(MD5(location_id) FROM 1 FOR 15), 16) AS location_key,
  location_id,
  CAST(NULL AS VARCHAR) AS store_name,
  CAST(NULL AS VARCHAR) AS city,
  CAST(NULL AS VARCHAR) AS state,
  CAST(NULL AS VARCHAR) AS region,
  CAST(NULL AS VARCHAR) AS country,
  CAST(NULL AS DATE) AS valid_from,
  CAST(NULL AS DATE) AS valid_to,
  TRUE AS is_current,
  TRUE AS is_inferred
FROM inferred;

-- location_versions
WITH snapshots AS (
  SELECT
    location_id,
    load_date,
    MD5(
      COALESCE(
        CAST(LENGTH(CAST(store_name AS VARCHAR)) AS VARCHAR) || ':' || CAST(store_name AS VARCHAR),
        '-'
      ) || COALESCE(
        CAST(LENGTH(CAST(city AS VARCHAR)) AS VARCHAR) || ':' || CAST(city AS VARCHAR),
        '-'
      ) || COALESCE(
        CAST(LENGTH(CAST(state AS VARCHAR)) AS VARCHAR) || ':' || CAST(state AS VARCHAR),
        '-'
      ) || COALESCE(
        CAST(LENGTH(CAST(region AS VARCHAR)) AS VARCHAR) || ':' || CAST(region AS VARCHAR),
        '-'
      ) || COALESCE(
        CAST(LENGTH(CAST(country AS VARCHAR)) AS VARCHAR) || ':' || CAST(country AS VARCHAR),
        '-'
      )
    ) AS attributes_hash
  FROM "analytics"."sales_cleaned"."locations_cleaned"
  WHERE
    load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
), placed AS (
  SELECT
    location_id,
    load_date,
    attributes_hash,
    ROW_NUMBER() OVER (PARTITION BY location_id ORDER BY load_date DESC) AS place
  FROM "analytics"."sales"."location_versions"
), known AS (
  SELECT
    *
  FROM snapshots
  UNION ALL
  SELECT
    location_id,
    load_date,
    attributes_hash
  FROM placed
  WHERE
    place = 1
), compared AS (
  SELECT
    *,
    LAG(attributes_hash) OVER (PARTITION BY location_id ORDER BY load_date) AS previous_hash
  FROM known
), changed AS (
  SELECT
    location_id,
    load_date,
    attributes_hash,
    previous_hash IS NULL AS is_first
  FROM compared
  WHERE
    load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
    AND (
      previous_hash IS NULL OR previous_hash <> attributes_hash
    )
)
SELECT
  CASE
    WHEN changed.is_first
    THEN STRTOL(SUBSTRING(MD5(changed.location_id) FROM 1 FOR 15), 16)
    ELSE STRTOL(
      SUBSTRING(MD5(MD5(changed.location_id) || '|' || CAST(changed.load_date AS VARCHAR)) FROM 1 FOR 15),
      16
    )
  END AS location_key,
  changed.location_id,
  changed.load_date,
  snapshots.store_name,
  snapshots.city,
  snapshots.state,
  snapshots.region,
  snapshots.country,
  changed.attributes_hash,
  changed.is_first
FROM changed
INNER JOIN "analytics"."sales_cleaned"."locations_cleaned" AS snapshots
  ON changed.location_id = snapshots.location_id
  AND changed.load_date = snapshots.load_date
WHERE
  snapshots.load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE));

-- mv_daily_sales
SELECT
  sale_date AS date_value,
  date_key,
  COUNT(*) AS orders,
  CAST(SUM(quantity) AS BIGINT) AS quantity,
  SUM(gross_amount) AS gross_amount,
  SUM(discount) AS discount,
  SUM(tax_amount) AS tax_amount,
  SUM(net_amount) AS net_amount
FROM "analytics"."sales"."sales_fact"
GROUP BY
  sale_date,
  date_key;

-- mv_product_performance
WITH versions AS (
  SELECT
    product_id,
    product_name,
    category,
    brand,
    ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY load_date DESC) AS place
  FROM "analytics"."sales"."product_versions"
), sold AS (
  SELECT
    product_id,
    CAST(SUM(sales) AS BIGINT) AS sales,
    CAST(SUM(quantity) AS BIGINT) AS quantity,
    SUM(gross_amount) AS gross_amount,
    SUM(discount) AS discount,
    SUM(tax_amount) AS tax_amount,
    SUM(net_amount) AS net_amount
  FROM "analytics"."sales"."product_sales_days"
  GROUP BY
    product_id
)
SELECT
  sold.product_id,
  versions.product_name,
  versions.category,
  versions.brand,
  sold.sales,
  sold.quantity,
  sold.gross_amount,
  sold.discount,
  sold.tax_amount,
  sold.net_amount,
  ROW_NUMBER() OVER (ORDER BY sold.net_amount DESC, sold.product_id ASC) AS rank
FROM sold
LEFT JOIN versions
  ON sold.product_id = versions.product_id AND versions.place = 1;

-- page_paths
WITH events AS (
  SELECT
    event_date,
    stream_key,
    event_ts,
    event_id,
    session_id,
    page_path,
    event_type,
    LAG(event_ts) OVER (PARTITION BY event_date, stream_key ORDER BY event_ts, event_id) AS previous_ts
  FROM "analytics"."clickstream"."events_enhanced"
  WHERE
    event_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
    AND NOT is_bot
), numbered AS (
  SELECT
    *,
    SUM(
      CASE
        WHEN NOT session_id IS NULL
        THEN 0
        WHEN CAST(DATEDIFF(MICROSECOND, previous_ts, event_ts) AS DOUBLE PRECISION) / 1000000 > 1800
        THEN 1
        ELSE 0
      END
    ) OVER (
      PARTITION BY event_date, stream_key
      ORDER BY event_ts, event_id
      rows BETWEEN UNBOUNDED preceding AND CURRENT ROW
    ) AS pauses
  FROM events
), views AS (
  SELECT
    event_date,
    page_path AS from_page,
    LEAD(page_path) OVER (PARTITION BY event_date, stream_key, pauses ORDER BY event_ts, event_id) AS to_page
  FROM numbered
  WHERE
    event_type = 'page_view' AND NOT page_path IS NULL
)
SELECT
  event_date,
  from_page,
  to_page,
  COUNT(*) AS visits
FROM views
WHERE
  NOT to_page IS NULL
GROUP BY
  event_date,
  from_page,
  to_page;

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

-- pending_load_dates
WITH run_window AS (
  SELECT DISTINCT
    partition_date AS load_date
  FROM "analytics"."ops"."run_window"
  WHERE
    domain = 'sales'
)
SELECT
  run_window.load_date
FROM run_window
WHERE
  NOT EXISTS(
    SELECT
      1
    FROM "analytics"."sales"."pending_load_dates" AS known
    WHERE
      known.load_date = run_window.load_date
  );

-- product_dashboard
WITH months AS (
  SELECT
    CAST(DATE_TRUNC('MONTH', sale_date) AS DATE) AS month,
    product_id,
    CAST(SUM(sales) AS BIGINT) AS sales,
    CAST(SUM(quantity) AS BIGINT) AS quantity,
    SUM(gross_amount) AS gross_amount,
    SUM(discount) AS discount,
    SUM(tax_amount) AS tax_amount,
    SUM(net_amount) AS net_amount
  FROM "analytics"."sales"."product_sales_days"
  GROUP BY
    CAST(DATE_TRUNC('MONTH', sale_date) AS DATE),
    product_id
)
SELECT
  months.month,
  months.product_id,
  products.product_name,
  products.category,
  products.subcategory,
  products.brand,
  months.sales,
  months.quantity,
  months.gross_amount,
  months.discount,
  months.tax_amount,
  months.net_amount,
  CAST(months.gross_amount AS DOUBLE PRECISION) / NULLIF(months.quantity, 0) AS average_price,
  CAST(months.discount AS DOUBLE PRECISION) / NULLIF(months.gross_amount, 0) AS discount_share,
  CAST(months.net_amount AS DOUBLE PRECISION) / NULLIF(SUM(months.net_amount) OVER (PARTITION BY months.month), 0) AS share_of_month,
  ROW_NUMBER() OVER (PARTITION BY months.month ORDER BY months.net_amount DESC, months.product_id ASC) AS rank_in_month
FROM months
LEFT JOIN "analytics"."sales"."product_dim" AS products
  ON months.product_id = products.product_id AND products.is_current;

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

-- product_dim
WITH versions AS (
  SELECT
    *,
    LEAD(load_date) OVER (PARTITION BY product_id ORDER BY load_date) AS valid_to
  FROM "analytics"."sales"."product_versions"
), inferred AS (
  SELECT DISTINCT
    product_id
  FROM "analytics"."sales"."sales_fact_changes"
  WHERE
    product_is_inferred
  UNION
  SELECT
    doubtful.product_id
  FROM (
    SELECT
      value AS product_id,
      STRTOL(SUBSTRING(MD5(value) FROM 1 FOR 15), 16) AS doubtful_key
    FROM "analytics"."sales"."touched_by_sales"
    WHERE
      kind = 'product'
      AND NOT value IN (
        SELECT
          product_id
        FROM "analytics"."sales"."sales_fact_changes"
        WHERE
          product_is_inferred
      )
      AND NOT value IN (
        SELECT
          product_id
        FROM "analytics"."sales"."product_versions"
      )
  ) AS doubtful
  INNER JOIN "analytics"."sales"."sales_fact" AS sales
    ON doubtful.doubtful_key = sales.product_key
  UNION
  SELECT
    product_id
  FROM "analytics"."sales"."product_dim"
  WHERE
    is_inferred
    AND NOT product_id IN (
      SELECT
        value
      FROM "analytics"."sales"."touched_by_sales"
      WHERE
        kind = 'product'
    )
    AND NOT product_id IN (
      SELECT
        product_id
      FROM "analytics"."sales"."product_versions"
    )
)
SELECT
  product_key,
  product_id,
  product_name,
  category,
  subcategory,
  brand,
  unit_price,
  load_date AS valid_from,
  valid_to,
  valid_to IS NULL AS is_current,
  FALSE AS is_inferred
FROM versions
UNION ALL
SELECT
  STRTOL(SUBSTRING(MD5(product_id) FROM 1 FOR 15), 16) AS product_key,
  product_id,
  CAST(NULL AS VARCHAR) AS product_name,
  CAST(NULL AS VARCHAR) AS category,
  CAST(NULL AS VARCHAR) AS subcategory,
  CAST(NULL AS VARCHAR) AS brand,
  CAST(NULL AS DECIMAL(12, 2)) AS unit_price,
  CAST(NULL AS DATE) AS valid_from,
  CAST(NULL AS DATE) AS valid_to,
  TRUE AS is_current,
  TRUE AS is_inferred
FROM inferred;

-- product_sales_days
SELECT
  sale_date,
  product_id,
  COUNT(*) AS sales,
  CAST(SUM(quantity) AS BIGINT) AS quantity,
  CAST(COALESCE(SUM(gross_amount), 0) AS DECIMAL(18, 2)) AS gross_amount,
  CAST(COALESCE(SUM(discount), 0) AS DECIMAL(18, 2)) AS discount,
  CAST(COALESCE(SUM(tax_amount), 0) AS DECIMAL(18, 2)) AS tax_amount,
  CAST(COALESCE(SUM(net_amount), 0) AS DECIMAL(18, 2)) AS net_amount
FROM "analytics"."sales"."sales_fact"
WHERE
  sale_date IN (
    CAST('2024-02-29' AS DATE),
    CAST('2024-03-01' AS DATE),
    CAST('2024-03-02' AS DATE)
  )
GROUP BY
  sale_date,
  product_id;

-- product_versions
WITH snapshots AS (
  SELECT
    product_id,
    load_date,
    MD5(
      COALESCE(
        CAST(LENGTH(CAST(product_name AS VARCHAR)) AS VARCHAR) || ':' || CAST(product_name AS VARCHAR),
        '-'
      ) || COALESCE(
        CAST(LENGTH(CAST(category AS VARCHAR)) AS VARCHAR) || ':' || CAST(category AS VARCHAR),
        '-'
      ) || COALESCE(
        CAST(LENGTH(CAST(subcategory AS VARCHAR)) AS VARCHAR) || ':' || CAST(subcategory AS VARCHAR),
        '-'
      ) || COALESCE(
        CAST(LENGTH(CAST(brand AS VARCHAR)) AS VARCHAR) || ':' || CAST(brand AS VARCHAR),
        '-'
      ) || COALESCE(
        CAST(LENGTH(CAST(unit_price AS VARCHAR)) AS VARCHAR) || ':' || CAST(unit_price AS VARCHAR),
        '-'
      )
    ) AS attributes_hash
  FROM "analytics"."sales_cleaned"."products_cleaned"
  WHERE
    load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
), placed AS (
  SELECT
    product_id,
    load_date,
    attributes_hash,
    ROW_NUMBER() OVER (PARTITION BY product_id ORDER BY load_date DESC) AS place
  FROM "analytics"."sales"."product_versions"
), known AS (
  SELECT
    *
  FROM snapshots
  UNION ALL
  SELECT
    product_id,
    load_date,
    attributes_hash
  FROM placed
  WHERE
    place = 1
), compared AS (
  SELECT
    *,
    LAG(attributes_hash) OVER (PARTITION BY product_id ORDER BY load_date) AS previous_hash
  FROM known
), changed AS (
  SELECT
    product_id,
    load_date,
    attributes_hash,
    previous_hash IS NULL AS is_first
  FROM compared
  WHERE
    load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
    AND (
      previous_hash IS NULL OR previous_hash <> attributes_hash
    )
)
SELECT
  CASE
    WHEN changed.is_first
    THEN STRTOL(SUBSTRING(MD5(changed.product_id) FROM 1 FOR 15), 16)
    ELSE STRTOL(
      SUBSTRING(MD5(MD5(changed.product_id) || '|' || CAST(changed.load_date AS VARCHAR)) FROM 1 FOR 15),
      16
    )
  END AS product_key,
  changed.product_id,
  changed.load_date,
  snapshots.product_name,
  snapshots.category,
  snapshots.subcategory,
  snapshots.brand,
  snapshots.unit_price,
  changed.attributes_hash,
  changed.is_first
FROM changed
INNER JOIN "analytics"."sales_cleaned"."products_cleaned" AS snapshots
  ON changed.product_id = snapshots.product_id
  AND changed.load_date = snapshots.load_date
WHERE
  snapshots.load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE));

-- products
WITH product_days AS (
  SELECT
    *
  FROM "analytics"."ecommerce"."product_days"
)
SELECT DISTINCT
  product_id
FROM product_days;

-- retention_cohorts
WITH visitor_weeks AS (
  SELECT
    week,
    MIN(week) OVER (PARTITION BY visitor_id) AS cohort_week
  FROM "analytics"."clickstream"."visitor_weeks"
), counted AS (
  SELECT
    cohort_week,
    CAST((
      week - cohort_week
    ) / 7 AS INTEGER) AS week_number,
    COUNT(*) AS visitors
  FROM visitor_weeks
  GROUP BY
    cohort_week,
    week
), sized AS (
  SELECT
    *,
    MAX(CASE WHEN week_number = 0 THEN visitors END) OVER (PARTITION BY cohort_week) AS cohort_visitors
  FROM counted
)
SELECT
  cohort_week,
  week_number,
  cohort_visitors,
  visitors,
  CAST(visitors AS DOUBLE PRECISION) / NULLIF(cohort_visitors, 0) AS share
FROM sized;

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

-- sales_fact
SELECT
  sale_key,
  sale_id,
  customer_key,
  product_key,
  location_key,
  date_key,
  quantity,
  gross_amount,
  discount,
  tax_amount,
  net_amount,
  sale_date,
  load_date,
  customer_id,
  product_id,
  location_id
FROM "analytics"."sales"."sales_fact_changes";

-- sales_fact_changes
WITH candidates AS (
  SELECT
    load_date,
    CAST(NULL AS DATE) AS previous_sale_date,
    sale_id,
    sale_date,
    customer_id,
    product_id,
    location_id,
    quantity,
    gross_amount,
    discount,
    tax_amount,
    net_amount
  FROM "analytics"."sales_cleaned"."sales_cleaned"
  WHERE
    load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
  UNION ALL
  SELECT
    load_date,
    sale_date AS previous_sale_date,
    sale_id,
    sale_date,
    customer_id,
    product_id,
    location_id,
    quantity,
    gross_amount,
    discount,
    tax_amount,
    net_amount
  FROM "analytics"."sales"."sales_fact"
  WHERE
    sale_date >= CAST('2024-03-01' AS DATE)
    AND NOT load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
), said AS (
  SELECT
    load_date,
    CAST(NULL AS DATE) AS previous_sale_date,
    sale_id
  FROM "analytics"."sales_cleaned"."sales_cleaned"
  WHERE
    load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
  UNION ALL
  SELECT
    load_date,
    sale_date AS previous_sale_date,
    sale_id
  FROM "analytics"."sales"."sales_fact"
  WHERE
    sale_date >= CAST('2024-03-01' AS DATE)
    AND NOT load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
), repeated AS (
  SELECT
    sale_id,
    MAX(load_date) AS load_date,
    MAX(previous_sale_date) AS previous_sale_date
  FROM said
  GROUP BY
    sale_id
  HAVING
    COUNT(*) > 1
), latest AS (
  SELECT
    candidates.*,
    repeated.previous_sale_date AS other_sale_date
  FROM candidates
  LEFT JOIN repeated
    ON candidates.sale_id = repeated.sale_id
  WHERE
    repeated.sale_id IS NULL OR candidates.load_date = repeated.load_date
), customers AS (
  SELECT
    customer_key,
    customer_id,
    CASE WHEN is_first THEN CAST('0001-01-01' AS DATE) ELSE load_date END AS serves_from,
    COALESCE(
      LEAD(load_date) OVER (PARTITION BY customer_id ORDER BY load_date),
      CAST('9999-12-31' AS DATE)
    ) AS serves_until
  FROM "analytics"."sales"."customer_versions"
), products AS (
  SELECT
    product_key,
    product_id,
    CASE WHEN is_first THEN CAST('0001-01-01' AS DATE) ELSE load_date END AS serves_from,
    COALESCE(
      LEAD(load_date) OVER (PARTITION BY product_id ORDER BY load_date),
      CAST('9999-12-31' AS DATE)
    ) AS serves_until
  FROM "analytics"."sales"."product_versions"
), locations AS (
  SELECT
    location_key,
    location_id,
    CASE WHEN is_first THEN CAST('0001-01-01' AS DATE) ELSE load_date END AS serves_from,
    COALESCE(
      LEAD(load_date) OVER (PARTITION BY location_id ORDER BY load_date),
      CAST('9999-12-31' AS DATE)
    ) AS serves_until
  FROM "analytics"."sales"."location_versions"
)
SELECT
  STRTOL(SUBSTRING(MD5(latest.sale_id) FROM 1 FOR 15), 16) AS sale_key,
  latest.sale_id,
  COALESCE(
    customers.customer_key,
    STRTOL(SUBSTRING(MD5(latest.customer_id) FROM 1 FOR 15), 16)
  ) AS customer_key,
  COALESCE(products.product_key, STRTOL(SUBSTRING(MD5(latest.product_id) FROM 1 FOR 15), 16)) AS product_key,
  COALESCE(
    locations.location_key,
    STRTOL(SUBSTRING(MD5(latest.location_id) FROM 1 FOR 15), 16)
  ) AS location_key,
  CAST(TO_CHAR(latest.sale_date, 'YYYYMMDD') AS INTEGER) AS date_key,
  latest.quantity,
  latest.gross_amount,
  latest.discount,
  latest.tax_amount,
  latest.net_amount,
  latest.sale_date,
  latest.load_date,
  latest.customer_id,
  latest.product_id,
  latest.location_id,
  COALESCE(latest.previous_sale_date, latest.other_sale_date) AS previous_sale_date,
  customers.customer_key IS NULL AS customer_is_inferred,
  products.product_key IS NULL AS product_is_inferred,
  locations.location_key IS NULL AS location_is_inferred
FROM latest
LEFT JOIN customers
  ON latest.customer_id = customers.customer_id
  AND latest.sale_date >= customers.serves_from
  AND latest.sale_date < customers.serves_until
LEFT JOIN products
  ON latest.product_id = products.product_id
  AND latest.sale_date >= products.serves_from
  AND latest.sale_date < products.serves_until
LEFT JOIN locations
  ON latest.location_id = locations.location_id
  AND latest.sale_date >= locations.serves_from
  AND latest.sale_date < locations.serves_until;

-- session_hours
WITH sessions AS (
  SELECT
    *,
    CAST(CAST(FLOOR(
      DATEDIFF(MICROSECOND, CAST('1970-01-01 00:00:00+00' AS TIMESTAMP WITH TIME ZONE), started_at) / 3600000000.0
    ) AS BIGINT) % 24 AS INTEGER) AS started_hour
  FROM "analytics"."clickstream"."sessions"
  WHERE
    session_date IN (
      CAST('2024-02-29' AS DATE),
      CAST('2024-03-01' AS DATE),
      CAST('2024-03-02' AS DATE),
      CAST('2024-03-03' AS DATE),
      CAST('2024-03-04' AS DATE)
    )
    AND NOT is_bot
)
SELECT
  session_date,
  started_hour,
  channel,
  COUNT(*) AS sessions,
  COUNT(CASE WHEN is_engaged THEN 1 END) AS engaged_sessions,
  COUNT(CASE WHEN is_bounce THEN 1 END) AS bounces,
  CAST(SUM(page_views) AS BIGINT) AS page_views,
  CAST(SUM(conversions) AS BIGINT) AS conversions,
  CAST(COALESCE(SUM(revenue), 0) AS DECIMAL(18, 2)) AS revenue
FROM sessions
GROUP BY
  session_date,
  started_hour,
  channel;

-- session_identities
WITH sessions AS (
  SELECT
    session_key,
    session_date,
    started_at,
    visitor_key,
    user_id,
    login_at,
    is_bot
  FROM "analytics"."clickstream"."sessions"
), resolved AS (
  SELECT
    anonymous.session_key,
    MIN(logins.user_id) AS resolved_user_id,
    anonymous.login_at AS resolved_at
  FROM (
    SELECT
      session_key,
      visitor_key,
      happened_at,
      is_login,
      MIN(CASE WHEN is_login = 1 THEN happened_at END) OVER (
        PARTITION BY visitor_key
        ORDER BY happened_at, is_login, session_key
        rows BETWEEN CURRENT ROW AND UNBOUNDED following
      ) AS login_at
    FROM (
      SELECT
        session_key,
        visitor_key,
        CASE WHEN user_id IS NULL THEN started_at ELSE login_at END AS happened_at,
        CASE WHEN user_id IS NULL THEN 0 ELSE 1 END AS is_login
      FROM sessions
      WHERE
        NOT visitor_key IS NULL AND NOT (
          NOT user_id IS NULL AND is_bot
        )
    ) AS points
  ) AS anonymous
  INNER JOIN sessions AS logins
    ON anonymous.visitor_key = logins.visitor_key
    AND anonymous.login_at = logins.login_at
  WHERE
    anonymous.is_login = 0
    AND NOT logins.is_bot
    AND CAST(DATEDIFF(MICROSECOND, anonymous.happened_at, anonymous.login_at) AS DOUBLE PRECISION) / 1000000 <= 2592000
  GROUP BY
    anonymous.session_key,
    anonymous.login_at
)
SELECT
  sessions.session_key,
  sessions.session_date,
  sessions.visitor_key,
  sessions.user_id,
  COALESCE(sessions.user_id, resolved.resolved_user_id) AS resolved_user_id,
  COALESCE(sessions.login_at, resolved.resolved_at) AS resolved_at,
  COALESCE(sessions.user_id, resolved.resolved_user_id, sessions.visitor_key) AS resolved_visitor_id
FROM sessions
LEFT JOIN resolved
  ON sessions.session_key = resolved.session_key;

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

-- session_pieces
WITH events AS (
  SELECT
    event_date,
    stream_key,
    event_ts,
    event_id,
    session_id,
    user_id,
    visitor_key,
    event_type,
    page_path,
    tells_source,
    utm_source,
    utm_medium,
    utm_campaign,
    source_click_id,
    source_host,
    is_bot,
    is_conversion,
    revenue
  FROM "analytics"."clickstream"."events_enhanced"
  WHERE
    event_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
), ordered AS (
  SELECT
    *,
    ROW_NUMBER() OVER (PARTITION BY event_date, stream_key ORDER BY event_ts, event_id) AS event_number,
    LAG(event_ts) OVER (PARTITION BY event_date, stream_key ORDER BY event_ts, event_id) AS previous_ts
  FROM events
), numbered AS (
  SELECT
    *,
    SUM(
      CASE
        WHEN NOT session_id IS NULL
        THEN 0
        WHEN CAST(DATEDIFF(MICROSECOND, previous_ts, event_ts) AS DOUBLE PRECISION) / 1000000 > 1800
        THEN 1
        ELSE 0
      END
    ) OVER (
      PARTITION BY event_date, stream_key
      ORDER BY event_number
      rows BETWEEN UNBOUNDED preceding AND CURRENT ROW
    ) AS pauses
  FROM ordered
), pieces AS (
  SELECT
    event_date,
    stream_key,
    pauses,
    MAX(session_id) AS session_id,
    MIN(event_ts) AS first_at,
    MAX(event_ts) AS last_at,
    COUNT(*) AS events,
    COUNT(CASE WHEN event_type = 'page_view' THEN 1 END) AS page_views,
    COUNT(CASE WHEN is_conversion THEN 1 END) AS conversions,
    CAST(COALESCE(SUM(CASE WHEN is_conversion THEN revenue END), 0) AS DECIMAL(18, 2)) AS revenue,
    MAX(CASE WHEN is_bot THEN 1 ELSE 0 END) = 1 AS is_bot,
    MIN(CASE WHEN NOT user_id IS NULL THEN event_ts END) AS login_at,
    MAX(CASE WHEN NOT user_id IS NULL THEN event_number END) AS user_number,
    MIN(CASE WHEN NOT visitor_key IS NULL THEN event_number END) AS visitor_number,
    MIN(CASE WHEN NOT page_path IS NULL THEN event_number END) AS entry_number,
    MAX(CASE WHEN NOT page_path IS NULL THEN event_number END) AS exit_number,
    MIN(CASE WHEN tells_source THEN event_number END) AS source_number
  FROM numbered
  GROUP BY
    event_date,
    stream_key,
    pauses
), told AS (
  SELECT
    pieces.event_date,
    pieces.stream_key,
    pieces.pauses,
    MAX(CASE WHEN numbered.event_number = pieces.user_number THEN numbered.user_id END) AS user_id,
    MAX(
      CASE
        WHEN numbered.event_number = pieces.visitor_number
        THEN numbered.visitor_key
      END
    ) AS visitor_key,
    MAX(
      CASE WHEN numbered.event_number = pieces.entry_number THEN numbered.page_path END
    ) AS entry_page,
    MAX(CASE WHEN numbered.event_number = pieces.exit_number THEN numbered.page_path END) AS exit_page,
    MAX(
      CASE WHEN numbered.event_number = pieces.source_number THEN numbered.utm_source END
    ) AS utm_source,
    MAX(
      CASE WHEN numbered.event_number = pieces.source_number THEN numbered.utm_medium END
    ) AS utm_medium,
    MAX(
      CASE
        WHEN numbered.event_number = pieces.source_number
        THEN numbered.utm_campaign
      END
    ) AS utm_campaign,
    MAX(
      CASE
        WHEN numbered.event_number = pieces.source_number
        THEN numbered.source_click_id
      END
    ) AS source_click_id,
    MAX(
      CASE
        WHEN numbered.event_number = pieces.source_number
        THEN numbered.source_host
      END
    ) AS source_host
  FROM pieces
  INNER JOIN numbered
    ON pieces.event_date = numbered.event_date
    AND pieces.stream_key = numbered.stream_key
    AND pieces.pauses = numbered.pauses
  GROUP BY
    pieces.event_date,
    pieces.stream_key,
    pieces.pauses
)
SELECT
  pieces.event_date,
  pieces.stream_key,
  CAST(pieces.pauses + 1 AS BIGINT) AS piece_number,
  pieces.session_id,
  pieces.first_at,
  pieces.last_at,
  pieces.events,
  pieces.page_views,
  pieces.conversions,
  pieces.revenue,
  pieces.is_bot,
  told.user_id,
  pieces.login_at,
  told.visitor_key,
  told.entry_page,
  told.exit_page,
  NOT pieces.source_number IS NULL AS tells_source,
  told.utm_source,
  told.utm_medium,
  told.utm_campaign,
  told.source_click_id,
  told.source_host
FROM pieces
INNER JOIN told
  ON pieces.event_date = told.event_date
  AND pieces.stream_key = told.stream_key
  AND pieces.pauses = told.pauses;

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

-- touched_by_sales
SELECT DISTINCT
  CAST('sale_date' AS VARCHAR(9)) AS kind,
  CAST(sale_date AS VARCHAR(65535)) AS value
FROM "analytics"."sales"."sales_fact_changes"
UNION
SELECT DISTINCT
  'customer' AS kind,
  customer_id AS value
FROM "analytics"."sales"."sales_fact_changes"
WHERE
  customer_is_inferred
UNION
SELECT DISTINCT
  'product' AS kind,
  product_id AS value
FROM "analytics"."sales"."sales_fact_changes"
WHERE
  product_is_inferred
UNION
SELECT DISTINCT
  'location' AS kind,
  location_id AS value
FROM "analytics"."sales"."sales_fact_changes"
WHERE
  location_is_inferred
UNION
SELECT DISTINCT
  'sale_date' AS kind,
  CAST(sale_date AS VARCHAR) AS value
FROM "analytics"."sales"."sales_fact"
WHERE
  load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
UNION
SELECT
  'customer' AS kind,
  replaced.customer_id AS value
FROM (
  SELECT DISTINCT
    customer_id
  FROM "analytics"."sales"."sales_fact"
  WHERE
    load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
) AS replaced
WHERE
  NOT replaced.customer_id IN (
    SELECT
      customer_id
    FROM "analytics"."sales"."customer_versions"
  )
UNION
SELECT
  'product' AS kind,
  replaced.product_id AS value
FROM (
  SELECT DISTINCT
    product_id
  FROM "analytics"."sales"."sales_fact"
  WHERE
    load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
) AS replaced
WHERE
  NOT replaced.product_id IN (
    SELECT
      product_id
    FROM "analytics"."sales"."product_versions"
  )
UNION
SELECT
  'location' AS kind,
  replaced.location_id AS value
FROM (
  SELECT DISTINCT
    location_id
  FROM "analytics"."sales"."sales_fact"
  WHERE
    load_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
) AS replaced
WHERE
  NOT replaced.location_id IN (
    SELECT
      location_id
    FROM "analytics"."sales"."location_versions"
  )
UNION
SELECT DISTINCT
  'sale_date' AS kind,
  CAST(sale_date AS VARCHAR) AS value
FROM "analytics"."sales"."sales_fact"
WHERE
  sale_date >= CAST('2024-03-01' AS DATE)
UNION
SELECT
  'customer' AS kind,
  replaced.customer_id AS value
FROM (
  SELECT DISTINCT
    customer_id
  FROM "analytics"."sales"."sales_fact"
  WHERE
    sale_date >= CAST('2024-03-01' AS DATE)
) AS replaced
WHERE
  NOT replaced.customer_id IN (
    SELECT
      customer_id
    FROM "analytics"."sales"."customer_versions"
  )
UNION
SELECT
  'product' AS kind,
  replaced.product_id AS value
FROM (
  SELECT DISTINCT
    product_id
  FROM "analytics"."sales"."sales_fact"
  WHERE
    sale_date >= CAST('2024-03-01' AS DATE)
) AS replaced
WHERE
  NOT replaced.product_id IN (
    SELECT
      product_id
    FROM "analytics"."sales"."product_versions"
  )
UNION
SELECT
  'location' AS kind,
  replaced.location_id AS value
FROM (
  SELECT DISTINCT
    location_id
  FROM "analytics"."sales"."sales_fact"
  WHERE
    sale_date >= CAST('2024-03-01' AS DATE)
) AS replaced
WHERE
  NOT replaced.location_id IN (
    SELECT
      location_id
    FROM "analytics"."sales"."location_versions"
  );

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

-- visitor_days
SELECT
  event_date,
  visitor_id,
  COUNT(*) AS events,
  COUNT(CASE WHEN is_conversion THEN 1 END) AS conversions,
  CAST(COALESCE(SUM(CASE WHEN is_conversion THEN revenue END), 0) AS DECIMAL(18, 2)) AS revenue
FROM "analytics"."clickstream"."events_enhanced"
WHERE
  event_date IN (CAST('2024-03-01' AS DATE), CAST('2024-03-02' AS DATE))
  AND NOT visitor_id IS NULL
  AND NOT is_bot
GROUP BY
  event_date,
  visitor_id;

-- visitor_weeks
WITH visitor_days AS (
  SELECT
    event_date - (
      CAST((
        CAST(EXTRACT(DOW FROM event_date) AS INTEGER) + 6
      ) % 7 + 1 AS INTEGER) - 1
    ) AS week,
    visitor_id
  FROM "analytics"."clickstream"."visitor_days"
  WHERE
    event_date IN (
      CAST('2024-02-26' AS DATE),
      CAST('2024-02-27' AS DATE),
      CAST('2024-02-28' AS DATE),
      CAST('2024-02-29' AS DATE),
      CAST('2024-03-01' AS DATE),
      CAST('2024-03-02' AS DATE),
      CAST('2024-03-03' AS DATE)
    )
)
SELECT DISTINCT
  week,
  visitor_id
FROM visitor_days;

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
