"""The story that sample data may tell: what happens to the shop from day to day, the same in all domains.

A story has a first and a last day; what happens is placed by shares of the range, so that a fortnight tells the same as
a year. A range of n days, from four on, has:

================  =================================  ===========================================================
what              when, counted from the first day   what is seen
================  =================================  ===========================================================
the week          always                             weekends have a quarter more than the middle of the week
growth            always                             0.4 % a day; of a long range 80 % in all
a campaign        from 30 % on, a sixth of the       half as many visits again, most of the further ones from
                  range, seven days at most          one source; more of them buy, and discounts are frequent
a launch          at 55 %                            a product that nobody could see or buy before; from then on
                                                     it is among the best sellers
an outage         at 70 %, from 07:00 to 20:00 UTC   no visits while the site is down, and no sales of the web
================  =================================  ===========================================================

A shorter range has the week and growth alone, and never the new product. Days outside of the range are ordinary ones
before it and after it. The rows of a day are the average times the day's factor, see ``Day.rows``.
"""

import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt

#: the range from which on something happens, in days
LEAST_DAYS = 4
WEEK = (0.99, 0.91, 0.88, 0.94, 1.02, 1.15, 1.11)  # Monday to Sunday
GROWTH, MOST_GROWTH = 0.004, 0.8  # of a day, of a range
NOISE = 0.08  # how far apart two days may be for no reason
TRAFFIC, CONVERSION = 1.5, 1.35  # of a campaign, against an ordinary day
CAMPAIGN_DAYS = 7  # at most
DOWN = range(7, 20)  # hours of the outage, UTC
STILL_UP = 0.3  # how much of a day's traffic there is all the same
SOURCE, MEDIUM, CAMPAIGN = "instagram", "paid_social", "trail_days"  # utm_…
PRODUCTS = 240
FIRST_PRODUCT = 1001
LAUNCHED = FIRST_PRODUCT + PRODUCTS  # the number of the new product, the last one
LAUNCHED_NAME, LAUNCHED_CENTS = "Aurora Trail Tent", 12_900


@dataclass(frozen=True)
class Day:
    """What happens on a day.

    ``usual``: how busy it would be if nothing happened, against the average. ``traffic``: visits against that.
    ``conversion``: how willingly visitors buy, against an ordinary day. ``launched``: share of the new product in what
    is looked at and bought; 0 before there is one. ``opens``: it is the first day, and nothing of the one before is
    left.
    """

    usual: float
    traffic: float = 1.0
    conversion: float = 1.0
    launched: float = 0.0
    campaign: bool = False
    outage: bool = False
    opens: bool = False

    def rows(self, average: int, web: float = 1.0) -> int:
        """How many rows the day has where an average one has so many. ``web``: the share that hangs on the site."""
        return max(1, round(average * self.usual * (1 - web + web * self.traffic)))


@dataclass(frozen=True)
class Story:
    """What happens between two days, both included; ``as_of``: when it is told, UTC.

    Raises:
        ValueError: the first day is after the last.
    """

    first: date
    last: date
    as_of: datetime | None = None

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError(f"The first day, {self.first}, is after the last, {self.last}.")

    @property
    def days(self) -> int:
        """How many there are."""
        return (self.last - self.first).days + 1

    @property
    def campaign(self) -> tuple[date, date] | None:
        """The first and the last day of the campaign."""
        if self.days < LEAST_DAYS:
            return None
        begins = self.first + timedelta(self.days * 30 // 100)
        return begins, begins + timedelta(min(CAMPAIGN_DAYS, max(1, (self.days + 3) // 6)) - 1)

    @property
    def launch(self) -> date | None:
        """The first day of the new product."""
        return None if self.days < LEAST_DAYS else self.first + timedelta(self.days * 55 // 100)

    @property
    def outage(self) -> date | None:
        """The day on which the site is down for hours."""
        return None if self.days < LEAST_DAYS else self.first + timedelta((self.days * 70 + 50) // 100)

    def on(self, day: date) -> Day:
        """What happens on a day."""
        growth = min(GROWTH, math.log1p(MOST_GROWTH) / self.days)
        middle = (self.days - 1) / 2
        since = min(max((day - self.first).days, -self.days), 2 * self.days) - middle
        chance = day.toordinal() * 2_654_435_761 % 2**32 / 2**32 - 0.5
        usual = WEEK[day.weekday()] * math.exp(growth * since) * (1 + NOISE * chance)
        launched = 0.0
        if self.launch and day >= self.launch:
            launched = 0.05 + 0.05 * 0.85 ** (day - self.launch).days
        if day == self.outage:
            return Day(usual, STILL_UP, launched=launched, outage=True)
        if self.campaign and self.campaign[0] <= day <= self.campaign[1]:
            return Day(usual, TRAFFIC, CONVERSION, launched, campaign=True)
        return Day(usual, launched=launched, opens=day == self.first)


def catalogue(seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Numbers and cents of the products, from the most to the least popular, the new one last; shares of all others."""
    rng = np.random.default_rng([seed, 2])
    numbers = rng.permutation(np.arange(FIRST_PRODUCT, LAUNCHED))
    cents = np.clip(rng.lognormal(8.3, 0.8, PRODUCTS), 500, 45_000).astype(np.int64) // 100 * 100 + 95
    shares = (np.arange(PRODUCTS) + 4.0) ** -0.95
    return np.append(numbers, LAUNCHED), np.append(cents, LAUNCHED_CENTS), shares / shares.sum()


def chosen(rng: np.random.Generator, count: int, shares: npt.NDArray[np.float64], day: Day) -> npt.NDArray[np.int64]:
    """Places in the catalogue of so many products that are looked at or bought on a day."""
    places = np.searchsorted(np.cumsum(shares), rng.random(count) * shares.sum(), side="right")
    places = np.minimum(places, len(shares) - 1)
    new: npt.NDArray[np.int64] = np.where(rng.random(count) < day.launched, len(shares), places)
    return new


def hours(of_day: tuple[int, ...], day: Day) -> tuple[int, ...]:
    """Visits by hour of the day, without those while the site is down."""
    return tuple(0 if day.outage and hour in DOWN else visits for hour, visits in enumerate(of_day))
