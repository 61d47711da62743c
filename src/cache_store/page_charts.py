"""The page's timeline as SVG. Pure.

No chart library: the page may load nothing and run no code but its own (its Content-Security-Policy says so), a bar chart
is thirty lines, and its colours are the page's, which has a light, a dark and a printed face.
"""

from __future__ import annotations

from collections.abc import Sequence

from cache_store.fleet_page import EVENTS, Period

WIDTH, HEIGHT, BASE, LEFT, TOP = 960, 180, 150, 36, 12


def bars(periods: Sequence[Period]) -> str:
    """Stacked bars; labels and counts are ours, so that nothing in it needs escaping."""
    most = max((sum(period.counts.values()) for period in periods), default=0) or 1
    step = (WIDTH - LEFT) / max(1, len(periods))
    drawn = [_axis(most)]
    for number, period in enumerate(periods):
        x, y = LEFT + number * step, float(BASE)
        for event in EVENTS:
            height = period.counts[event] / most * (BASE - TOP)
            if height:
                y -= height
                drawn.append(
                    f'<rect class="e-{event}" x="{x + step * 0.1:.1f}" y="{y:.1f}" '
                    f'width="{max(1.0, min(40.0, step * 0.8)):.1f}" height="{height:.1f}"><title>{period.label}: '
                    f"{period.counts[event]} {event}</title></rect>"
                )
        if number % max(1, len(periods) // 8) == 0:
            drawn.append(f'<text x="{x:.1f}" y="{BASE + 18}">{period.label}</text>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="timeline-title">'
        f"{''.join(drawn)}</svg>"
    )


def _axis(most: int) -> str:
    return (
        f'<line x1="{LEFT}" y1="{BASE}" x2="{WIDTH}" y2="{BASE}"/><text x="0" y="{TOP + 8}">{most}</text>'
        f'<text x="0" y="{BASE}">0</text>'
    )
