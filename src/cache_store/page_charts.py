"""The page's bar charts as SVG. Pure.

No chart library: the page may load nothing and run no code but its own (its Content-Security-Policy says so), it shows its
charts without JavaScript and on paper too, and a bar chart is thirty lines whose colours are the page's own.
"""

from __future__ import annotations

from cache_store.fleet_timeline import Timeline

WIDTH, HEIGHT, BASE, LEFT, TOP = 720, 170, 140, 40, 12
WIDEST_BAR = 28.0
# a label is so wide, and more of them would touch
LABEL, LABELS = 66, 7


def bars(history: Timeline, says: str) -> str:
    """Stacked bars. `says`: the picture in words, ours like labels and counts, so that nothing in it needs escaping."""
    periods = history.periods
    top = _round_up(max((sum(period.counts.values()) for period in periods), default=0))
    # a history of few days is bars at the left, and not one bar as wide as the chart
    step = min((WIDTH - LEFT) / max(1, len(periods)), 90.0)
    width = max(1.5, min(WIDEST_BAR, step * 0.8))
    drawn = [_axis(top)]
    every = -(-len(periods) // LABELS)
    for number, period in enumerate(periods):
        x, y = LEFT + number * step, float(BASE)
        for event in history.events:
            height = period.counts[event] / top * (BASE - TOP)
            if height:
                y -= height
                drawn.append(
                    f'<rect class="e-{event}" x="{x + 2:.1f}" y="{y:.1f}" width="{width:.1f}" '
                    f'height="{height:.1f}"><title>{period.label}: {period.counts[event]} {event}</title></rect>'
                )
        if every and number % every == 0 and x + LABEL <= WIDTH:
            drawn.append(f'<text x="{x + 2:.1f}" y="{BASE + 18}">{period.label}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{says}">{"".join(drawn)}</svg>'


def _round_up(most: int) -> int:
    """The next of 2, 4, 6, 8, 10, 12, 16, 20, 40, ...: its half is a whole number too."""
    scale = 1
    while 16 * scale < most:
        scale *= 10
    return next(digit * scale for digit in (2, 4, 6, 8, 10, 12, 16) if digit * scale >= most)


def _axis(top: int) -> str:
    ticks = ((top, TOP), (top // 2, (TOP + BASE) / 2), (0, BASE))
    return "".join(
        f'<line x1="{LEFT}" y1="{y:g}" x2="{WIDTH}" y2="{y:g}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y + 4:g}">{number}</text>'
        for number, y in ticks
    )
