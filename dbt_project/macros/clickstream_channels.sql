{#- Where visits come from: source, medium, campaign and channel.

    Channels are Google's default channel group for manually tagged traffic,
    https://support.google.com/analytics/answer/9756891, tried in the order of clickstream_channel_rules(), the first
    that holds wins; with AI Assistant before the unpaid channels. Google's list of 800 sites is cut down to those with
    traffic to speak of. Whoever changes a rule or a list here counts clickstream_channel_rules_version up. -#}
{% macro clickstream_channel_rules_version() -%}
    {{ return(1) }}
{%- endmacro %}

{% macro search_engines() -%}
    {{ return('google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|naver|daum|seznam|sogou|qwant|startpage|ask|aol|brave|lycos|mojeek|dogpile|presearch|coccoc|rambler|onet|virgilio|terra') }}
{%- endmacro %}

{#- A host of a search engine's: google.co.uk, search.yahoo.com, cn.bing.com, m.baidu.com; not mail.google.com. -#}
{% macro is_search_host(host) -%}
    {{ matches(host, '^(([a-z][a-z]?[.])?search[.]|[a-z][a-z]?[.])?(' ~ search_engines() ~ ')[.][a-z]+([.][a-z][a-z])?$') }}
{%- endmacro %}

{#- A name as people write it into utm_source, or a host. -#}
{% macro is_search_site(source) -%}
    ({{ matches(source, '^(' ~ search_engines() ~ ')$') }}
    or {{ is_search_host(source) }}
    or {{ source }} in ('so.com', 'adwords', 'google ads', 'googleads', 'google-ads', 'bingads', 'bing ads', 'microsoft ads'))
{%- endmacro %}

{% macro is_social_site(source) -%}
    {%- set names = 'facebook|instagram|twitter|linkedin|pinterest|tiktok|reddit|snapchat|quora|tumblr|weibo|whatsapp|telegram|threads|discord|xing|messenger|mastodon|bluesky|viber|wechat|meetup' -%}
    ({{ matches(source, '^(' ~ names ~ '|fb|ig|x|vk|line|meta)$') }}
    or {{ matches(source, '(^|[.])(' ~ names ~ ')[.][a-z.]+$') }}
    or {{ matches(source, '(^|[.])(t[.]co|x[.]com|t[.]me|wa[.]me|fb[.]com|fb[.]me|lnkd[.]in|pin[.]it|vk[.]com|ok[.]ru|line[.]me|bsky[.]app|mastodon[.]social|redd[.]it|news[.]ycombinator[.]com)$') }})
{%- endmacro %}

{% macro is_video_site(source) -%}
    {%- set names = 'youtube|vimeo|dailymotion|twitch|netflix|hulu|disneyplus|crunchyroll|wistia|iqiyi|youku|bilibili|rumble' -%}
    ({{ matches(source, '^(' ~ names ~ ')$') }}
    or {{ matches(source, '(^|[.])(' ~ names ~ ')[.][a-z.]+$') }}
    or {{ matches(source, '(^|[.])youtu[.]be$') }})
{%- endmacro %}

{% macro is_shopping_site(source) -%}
    {%- set names = 'amazon|ebay|etsy|alibaba|aliexpress|walmart|shopify|shopping|shopzilla|rakuten|mercadolibre|mercadolivre|idealo|kelkoo|pricerunner|pricegrabber|zalando|temu|allegro' -%}
    ({{ matches(source, '^(' ~ names ~ '|google shopping|igshopping)$') }}
    or {{ matches(source, '(^|[.])(' ~ names ~ ')[.][a-z.]+$') }})
{%- endmacro %}

{% macro is_ai_assistant(source) -%}
    ({{ matches(source, '^(chatgpt|openai|perplexity|gemini|copilot|claude|deepseek|grok|mistral|meta ai|you[.]com)$') }}
    or {{ matches(source, '(^|[.])(chatgpt[.]com|chat[.]openai[.]com|perplexity[.]ai|gemini[.]google[.]com|bard[.]google[.]com|copilot[.]microsoft[.]com|copilot[.]com|claude[.]ai|deepseek[.]com|grok[.]com|mistral[.]ai|meta[.]ai|poe[.]com|phind[.]com)$') }})
{%- endmacro %}

{% macro is_paid(medium) -%}
    ({{ medium }} like '%cp%' or {{ medium }} in ('ppc', 'retargeting') or {{ medium }} like 'paid%')
{%- endmacro %}

{#- Any character but a letter other than e may stand before shop: eshop and e-shop, not workshop. -#}
{% macro is_shopping_campaign(campaign) -%}
    {{ matches("lower(coalesce(" ~ campaign ~ ", ''))", '([^a-df-z]|^)shop|shopping') }}
{%- endmacro %}

{#- (channel, condition) in the order in which they are tried; source and medium are lower case and never null. -#}
{% macro clickstream_channel_rules(source, medium, campaign) -%}
    {%- set paid = is_paid(medium) -%}
    {%- set shopping = '(' ~ is_shopping_site(source) ~ ' or ' ~ is_shopping_campaign(campaign) ~ ')' -%}
    {{ return([
        ('Direct', source ~ " = '(direct)' and " ~ medium ~ " in ('(not set)', '(none)')"),
        ('Cross-network', "lower(coalesce(" ~ campaign ~ ", '')) like '%cross-network%'"),
        ('Paid Shopping', shopping ~ ' and ' ~ paid),
        ('Paid Search', is_search_site(source) ~ ' and ' ~ paid),
        ('Paid Social', is_social_site(source) ~ ' and ' ~ paid),
        ('Paid Video', is_video_site(source) ~ ' and ' ~ paid),
        ('Display', medium ~ " in ('display', 'banner', 'expandable', 'interstitial', 'cpm')"),
        ('Paid Other', paid),
        ('AI Assistant', is_ai_assistant(source)),
        ('Organic Shopping', shopping),
        ('Organic Social', is_social_site(source) ~ ' or ' ~ medium
            ~ " in ('social', 'social-network', 'social-media', 'sm', 'social network', 'social media')"),
        ('Organic Video', is_video_site(source) ~ ' or ' ~ medium ~ " like '%video%'"),
        ('Organic Search', is_search_site(source) ~ ' or ' ~ medium ~ " = 'organic'"),
        ('Email', source ~ " in ('email', 'e-mail', 'e_mail', 'e mail') or "
            ~ medium ~ " in ('email', 'e-mail', 'e_mail', 'e mail')"),
        ('Affiliates', medium ~ " = 'affiliate'"),
        ('Referral', medium ~ " in ('referral', 'app', 'link')"),
        ('Audio', medium ~ " = 'audio'"),
        ('SMS', source ~ " = 'sms' or " ~ medium ~ " = 'sms'"),
        ('Mobile Push Notifications', medium ~ " like '%push' or " ~ medium ~ " like '%mobile%' or " ~ medium
            ~ " like '%notification%' or " ~ source ~ " = 'firebase'"),
    ]) }}
{%- endmacro %}

{% macro clickstream_channel(source, medium, campaign) -%}
    case
        {%- for channel, condition in clickstream_channel_rules(source, medium, campaign) %}
        when {{ condition }} then '{{ channel }}'
        {%- endfor %}
        else 'Unassigned'
    end
{%- endmacro %}

{#- (click parameters, source, medium). fbclid and igshid are on every link that leaves Facebook and Instagram, paid or
    not, so they tell the site and no payment; the others are put on advertisements only. -#}
{% macro clickstream_click_ids() -%}
    {{ return([
        (['gclid', 'gbraid', 'wbraid', 'gclsrc'], 'google', 'cpc'),
        (['dclid'], 'dfa', 'cpm'),
        (['msclkid'], 'bing', 'cpc'),
        (['yclid'], 'yandex', 'cpc'),
        (['ttclid'], 'tiktok', 'cpc'),
        (['twclid'], 'twitter', 'cpc'),
        (['li_fat_id'], 'linkedin', 'cpc'),
        (['rdt_cid'], 'reddit', 'cpc'),
        (['sccid'], 'snapchat', 'cpc'),
        (['fbclid'], 'facebook', 'social'),
        (['igshid'], 'instagram', 'social'),
        (['mc_cid', 'mc_eid'], 'mailchimp', 'email'),
    ]) }}
{%- endmacro %}

{#- A click id that tells a source, else null. -#}
{% macro known_click_id(click_id) -%}
    {%- set known = [] -%}
    {%- for names, source, medium in clickstream_click_ids() -%}{%- do known.extend(names) -%}{%- endfor -%}
    case when lower({{ click_id }}) in ({{ literals(known) }}) then lower({{ click_id }}) end
{%- endmacro %}

{#- A search engine goes by its name, as with Google: a visit from google.co.uk is one of google / organic. Its other
    hosts, such as mail.google.com, are referrals like any other site. -#}
{% macro search_engine_of(host) -%}
    case
        when {{ host }} = 'com.google.android.googlequicksearchbox' then 'google'
        when {{ is_search_host(host) }} then
            case
                {%- for name in search_engines().split('|') %}
                when {{ host }} like '{{ name }}.%' or {{ host }} like '%.{{ name }}.%' then '{{ name }}'
                {%- endfor %}
            end
    end
{%- endmacro %}

{% macro has_utm(prefix='') -%}
    ({{ prefix }}utm_source is not null or {{ prefix }}utm_medium is not null or {{ prefix }}utm_campaign is not null)
{%- endmacro %}

{#- Tags first, then the click parameter, then the referrer; null where none tells. Functions of the columns utm_source,
    utm_medium, utm_campaign, source_click_id and source_host of events_enhanced, and of
    search_engine = search_engine_of('source_host'). -#}
{% macro clickstream_source() -%}
    case
        when {{ has_utm() }} then coalesce(lower(utm_source), '(not set)')
        {%- for names, source, medium in clickstream_click_ids() %}
        when source_click_id in ({{ literals(names) }}) then '{{ source }}'
        {%- endfor %}
        else coalesce(search_engine, source_host)
    end
{%- endmacro %}

{% macro clickstream_medium() -%}
    case
        when {{ has_utm() }} then coalesce(lower(utm_medium), '(not set)')
        {%- for names, source, medium in clickstream_click_ids() %}
        when source_click_id in ({{ literals(names) }}) then '{{ medium }}'
        {%- endfor %}
        when search_engine is not null then 'organic'
        when source_host is not null then 'referral'
    end
{%- endmacro %}

{#- The host of a URL, lower case, without www. and port; empty where it has none. -#}
{% macro host_of(url) -%}
    {%- set host -%}
    lower(split_part(split_part(split_part(split_part(split_part({{ url }}, '://', 2), '/', 1), '?', 1), '#', 1), ':', 1))
    {%- endset -%}
    case when {{ host }} like 'www.%' then substring({{ host }}, 5) else {{ host }} end
{%- endmacro %}
