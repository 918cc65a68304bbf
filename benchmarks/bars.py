"""Bars on a logarithmic axis, as SVG that stands on a ground of its own: readable on a light page and on a dark one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, LABELS, VALUES, ROW, HEAD, FOOT = 760, 270, 80, 28, 46, 34
OURS, OTHERS, LINE, TEXT = "#b3123c", "#8b93a3", "#dcd8cf", "#222"


class Bar(NamedTuple):
    """One figure, and where most of its samples are."""

    name: str
    median: float
    low: float
    high: float
    ours: bool = False


def chart(title: str, unit: str, bars: Sequence[Bar]) -> str:
    """Give the picture; each figure has to be above 0."""
    first, last = _decades([value for bar in bars for value in (bar.median, bar.low, bar.high)])
    height = HEAD + ROW * len(bars) + FOOT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" aria-labelledby="title" font-family="Helvetica, Arial, sans-serif" font-size="13" fill="{TEXT}">',
        f'<title id="title">{escape(title)} ({escape(unit)})</title>',
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="12" fill="#fbfaf7" stroke="#c9c4ba"/>',
        f'<text x="18" y="27" font-size="15" font-weight="bold">{escape(title)}'
        f'<tspan font-weight="normal"> ({escape(unit)})</tspan></text>',
    ]
    bottom = HEAD + ROW * len(bars)
    for decade in range(first, last + 1):
        x = _x(10.0**decade, first, last)
        lines.append(f'<path d="M{x:.1f} {HEAD - 6}V{bottom + 4}" stroke="{LINE}"/>')
        lines.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{10.0**decade:,.10g}</text>')
    for number, bar in enumerate(bars):
        lines += _row(bar, HEAD + ROW * number, first, last)
    return "\n".join([*lines, "</svg>", ""])


def _row(bar: Bar, top: float, first: int, last: int) -> list[str]:
    left, middle, right = (_x(value, first, last) for value in (bar.low, bar.median, bar.high))
    weight = ' font-weight="bold"' if bar.ours else ""
    lines = [
        f'<text x="{LABELS - 10}" y="{top + 17}" text-anchor="end"{weight}>{escape(bar.name)}</text>',
        f'<rect x="{LABELS}" y="{top + 4}" width="{middle - LABELS:.1f}" height="18" rx="2"'
        f' fill="{OURS if bar.ours else OTHERS}"/>',
        f'<text x="{WIDTH - 16}" y="{top + 17}" text-anchor="end"{weight}>{short(bar.median)}</text>',
    ]
    if right - left >= 1:
        spread = f"M{left:.1f} {top + 13}H{right:.1f}M{left:.1f} {top + 9}v8M{right:.1f} {top + 9}v8"
        lines.append(f'<path d="{spread}" fill="none" stroke="{TEXT}" stroke-width="1.2"/>')
    return lines


def short(value: float) -> str:
    """Write three digits of a figure, and no exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Give the powers of ten that the axis goes from and to; the shortest bar is to be seen, too."""
    first = math.floor(math.log10(min(values) / 1.5))
    return first, max(first + 1, math.ceil(math.log10(max(values))))


def _x(value: float, first: int, last: int) -> float:
    return LABELS + (WIDTH - LABELS - VALUES) * (math.log10(value) - first) / (last - first)
