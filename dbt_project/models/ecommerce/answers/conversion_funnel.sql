with

user_totals as (

    select * from {{ ref('user_totals') }}

),

counted as (

    select
        -- who did it at all, in any order
        count(case when product_views > 0 then 1 end) as users_viewed,
        count(case when add_to_carts > 0 then 1 end) as users_added,
        count(case when purchases > 0 then 1 end) as users_purchased,

        -- who did it after the step before
        count(first_view_at) as ordered_users_viewed,
        count(first_add_after_view_at) as ordered_users_added,
        count(case when last_purchase_at >= first_add_after_view_at then 1 end) as ordered_users_purchased
    from user_totals

)

select
    users_viewed,
    users_added,
    users_purchased,
    {{ ratio('users_added', 'users_viewed') }} as view_to_cart_rate,
    {{ ratio('users_purchased', 'users_added') }} as cart_to_purchase_rate,
    {{ ratio('users_purchased', 'users_viewed') }} as overall_rate,
    ordered_users_viewed,
    ordered_users_added,
    ordered_users_purchased,
    {{ ratio('ordered_users_added', 'ordered_users_viewed') }} as ordered_view_to_cart_rate,
    {{ ratio('ordered_users_purchased', 'ordered_users_added') }} as ordered_cart_to_purchase_rate,
    {{ ratio('ordered_users_purchased', 'ordered_users_viewed') }} as ordered_overall_rate
from counted
