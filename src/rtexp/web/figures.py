"""Numbers as people read them; what isn't there is a dash, never 0."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

NONE = "\N{EN DASH}"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEAST_P = 0.0001
MINUS = "\N{MINUS SIGN}"


def count(value: float | None) -> str:
    """Return a whole number.

    >>> count(14_685), count(None)
    ('14,685', '\u2013')
    """
    return NONE if value is None else f"{value:,.0f}"


def mean(value: float | None, metric: str) -> str:
    """Return a mean per user: a share of users for propensity, actions for volume.

    >>> mean(0.355, "propensity"), mean(0.003, "propensity"), mean(0.648, "volume")
    ('35.5%', '0.30%', '0.648')
    """
    if value is None:
        return NONE
    if metric != "propensity":
        return f"{value:.3f}"
    percent = 100 * value
    return f"{percent:.2f}%" if percent < 10 else f"{percent:.1f}%"  # noqa: PLR2004 - three digits


def lift(value: float | None) -> str:
    """Return a change with its sign, in percent.

    >>> lift(0.1114), lift(-0.084), lift(-0.0001)
    ('+11.1%', '\u22128.4%', '0.0%')
    """
    return NONE if value is None else f"{_signed(100 * value)}%"


def interval(low: float | None, high: float | None) -> str:
    """Return the interval of a lift; an end that is None lies beyond all bounds.

    >>> interval(0.023, 0.199), interval(0.059, None), interval(None, -0.02), interval(None, None)
    ('+2.3 to +19.9%', 'above +5.9%', 'below \u22122.0%', '\u2013')
    """
    if low is None:
        return NONE if high is None else f"below {lift(high)}"
    return f"above {lift(low)}" if high is None else f"{_signed(100 * low)} to {lift(high)}"


def _signed(percent: float) -> str:
    text = f"{percent:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text.replace("-", MINUS)


def p(value: float | None) -> str:
    """Return a probability, with more digits the smaller it is.

    >>> [p(x) for x in (0.0031, 0.001, 0.026, 0.48, 0.00002, 1.0, None)]
    ['0.0031', '0.0010', '0.026', '0.48', '<0.0001', '1.00', '\u2013']
    """
    if value is None:
        return NONE
    if value < _LEAST_P:
        return f"<{_LEAST_P}"
    digits = 4 if value < 0.00995 else 3 if value < 0.0995 else 2  # noqa: PLR2004 - where a digit rounds up
    return f"{value:.{digits}f}"


def z(value: float | None) -> str:
    """Return a standardised effect or its bound.

    >>> z(-3.349)
    '\u22123.35'
    """
    return NONE if value is None else f"{value:.2f}".replace("-", MINUS)


def time(at_ms: int) -> str:
    """Return a time in UTC, to the minute; ms where no year has four digits.

    >>> time(1_700_000_000_000)
    '2023-11-14 22:13'
    """
    return _said(at_ms, "%Y-%m-%d %H:%M")


def hours(ms: int) -> str:
    """Return a duration in hours, as short as it can be said.

    >>> hours(41 * 3_600_000 + 1_800_000), hours(72 * 3_600_000)
    ('41.5', '72')
    """
    return f"{ms / 3_600_000:.2f}".rstrip("0").rstrip(".")


def second(at_ms: int) -> str:
    """Return a time in UTC, to the second.

    >>> second(1_700_000_000_000)
    '2023-11-14 22:13:20'
    """
    try:
        return f"{_EPOCH + timedelta(milliseconds=at_ms):%Y-%m-%d %H:%M:%S}"
    except OverflowError:
        return f"{at_ms} ms"


def duration(ms: float | None) -> str:
    """Return how long something took, in two units at most.

    >>> duration(850), duration(2_100), duration(61_900), duration(361_000), duration(33_120_000), duration(194_400_000)
    ('850 ms', '2.1 s', '61.9 s', '6 min 01 s', '9 h 12 min', '2 d 6 h')
    >>> duration(None)
    '\u2013'
    """
    if ms is None:
        return NONE
    if ms < 1000:  # noqa: PLR2004 - a second
        return f"{ms:.0f} ms"
    whole_s = round(ms / 1000)
    minutes, seconds = divmod(whole_s, 60)
    if ms < 100_000:  # noqa: PLR2004 - up to where a tenth of a second says something
        return f"{ms / 1000:.1f} s"
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min {seconds:02d} s"
    hours_, minutes = divmod(minutes, 60)
    return f"{hours_} h {minutes} min" if hours_ < 48 else f"{hours_ // 24} d {hours_ % 24} h"  # noqa: PLR2004


def size(value: float | None) -> str:
    """Return bytes in the unit that leaves up to three digits before the point.

    >>> size(412), size(1_980_000), size(1_380_000_000), size(None)
    ('412 B', '2.0 MB', '1.4 GB', '\u2013')
    """
    if value is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:  # noqa: PLR2004 - to the next unit
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def iso(at_ms: int) -> str:
    """Return a time in UTC as ISO 8601, for programs.

    >>> iso(1_700_000_000_000)
    '2023-11-14T22:13:20Z'
    """
    return _said(at_ms, "%Y-%m-%dT%H:%M:%SZ")


def when(at_ms: int, now_ms: int) -> str:
    """Return a time in UTC as short as can be: today's without the day, this year's without the year.

    >>> [when(at, 1_700_000_000_000) for at in (1_699_999_940_000, 1_699_900_000_000, 1_600_000_000_000)]
    ['22:12', 'Nov 13, 18:26', '2020-09-13 12:26']
    """
    for same, form in (("%Y-%m-%d", "%H:%M"), ("%Y", "%b %d, %H:%M")):
        if _said(at_ms, same) == _said(now_ms, same):
            return _said(at_ms, form)
    return time(at_ms)


def clock(at_ms: int, now_ms: int) -> str:
    """Return a time in UTC to the second; with its day where that isn't today.

    >>> clock(1_700_000_000_000, 1_700_000_031_000), clock(1_699_900_000_000, 1_700_000_000_000)
    ('22:13:20', '2023-11-13 18:26:40')
    """
    today = _said(at_ms, "%Y-%m-%d") == _said(now_ms, "%Y-%m-%d")
    return _said(at_ms, "%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def about(ms: int) -> str:
    """Return a duration as people say it, in one unit.

    >>> [about(ms) for ms in (78_000, 600_000, 9_000_000, 400_000_000)]
    ['78 s', '10 min', '2.5 h', '4.6 days']
    """
    seconds = ms / 1000
    for most, unit, size in ((100, "s", 1), (6000, "min", 60)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}"
    hours_ = seconds / 3600
    return f"{hours_:.1f} h" if hours_ < 72 else f"{hours_ / 24:.1f} days"  # noqa: PLR2004 - a period


def _said(at_ms: int, form: str) -> str:
    try:
        return f"{_EPOCH + timedelta(milliseconds=at_ms):{form}}"
    except OverflowError:
        return f"{at_ms} ms"
