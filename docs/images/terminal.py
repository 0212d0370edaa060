"""
Draw a terminal session as SVG, its lines appearing one after the other.

    python docs/images/terminal.py < SESSION > docs/images/terminal.svg

A line that begins with "$ " is typed, every other one is printed. Where a viewer has no animation, all lines show.
"""
# ruff: noqa: INP001, T201 -- a script stands alone, and prints

import sys
from html import escape

CHARACTER, LINE, MARGIN, COLUMNS = 8.4, 20, 18, 96
TYPED_SECONDS, PRINTED_SECONDS = 1.4, 0.5

lines = [line.rstrip("\n").replace("\t", "    ") for line in sys.stdin]
width, height = round(COLUMNS * CHARACTER + 2 * MARGIN), len(lines) * LINE + 2 * MARGIN + 14
size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
print(f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">')
print("<title>A terminal: a signed sample of a pull request waits, is worked on, and is acknowledged</title>")
print("<style>text{font:14px ui-monospace,Menlo,Consolas,monospace;fill:#d6d3cd;white-space:pre}")
print(".t{fill:#fff;font-weight:600}@keyframes a{from{opacity:0}}text{animation:a .2s backwards}")
print("@media(prefers-reduced-motion:reduce){text{animation:none}}</style>")
print(f'<rect width="{width}" height="{height}" rx="10" fill="#1f1d1a"/>')
for place, colour in enumerate(("#c4553d", "#c99a3b", "#5d9a5b")):
    print(f'<circle cx="{MARGIN + 6 + place * 20}" cy="16" r="6" fill="{colour}"/>')
now = 0.0
for number, line in enumerate(lines):
    typed = line.startswith("$ ") or (number > 0 and lines[number - 1].endswith("\\"))
    now += TYPED_SECONDS if typed else PRINTED_SECONDS
    kind = ' class="t"' if typed else ""
    top = MARGIN + 14 + (number + 1) * LINE - 6
    print(f'<text x="{MARGIN}" y="{top}"{kind} style="animation-delay:{now:.1f}s">{escape(line)}</text>')
print("</svg>")
