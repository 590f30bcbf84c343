"""The blog's stylesheet and its logo, as constants, so that the package needs no data files."""

from __future__ import annotations

__all__ = ["LOGO", "STYLE"]

# Three threads, of which one has the lead.
LOGO = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" width="32" height="32" aria-hidden="true">
<rect width="32" height="32" rx="8" fill="#0f6b62"/>
<g fill="none" stroke="#fff" stroke-width="2.4" stroke-linecap="round">
<path d="M6 9c7 0 6 7 12 7" opacity=".55"/><path d="M6 23c7 0 6-7 12-7" opacity=".55"/><path d="M6 16h13"/></g>
<circle cx="23.5" cy="16" r="3.6" fill="#ffc65c"/></svg>"""

STYLE = """\
:root {
  color-scheme: light dark;
  --paper: #f7f5f0; --card: #fffefb; --ink: #1f2624; --soft: #5d6865; --line: #e2ddd2;
  --accent: #0f6b62; --on-accent: #ffffff; --wash: #e4f0ec; --alarm: #a3281e; --alarm-wash: #fbe9e6;
  --shadow: 0 1px 2px rgb(40 34 20 / 6%), 0 8px 24px rgb(40 34 20 / 6%);
  --serif: Charter, "Bitstream Charter", "Iowan Old Style", "Source Serif 4", Georgia, "DejaVu Serif", serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #121716; --card: #1a2120; --ink: #e4e9e6; --soft: #98a5a1; --line: #2b3533;
    --accent: #62cdbd; --on-accent: #08231f; --wash: #1b302d; --alarm: #ff9d90; --alarm-wash: #3a201d;
    --shadow: 0 1px 2px rgb(0 0 0 / 40%);
  }
}
*, *::before, *::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem; }
body {
  margin: 0; min-height: 100vh; display: flex; flex-direction: column;
  background: var(--paper); color: var(--ink); font: 1.0625rem/1.65 var(--sans); overflow-wrap: break-word;
}
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: .2em; }
a:hover { text-decoration-thickness: 2px; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
h1, h2, h3 { font-family: var(--serif); line-height: 1.2; font-weight: 700; letter-spacing: -.01em; margin: 0 0 .5rem; }
h1 { font-size: clamp(1.9rem, 1.4rem + 2.4vw, 2.7rem); }
h2 { font-size: 1.4rem; }
h3 { font-size: 1.15rem; }
p { margin: 0 0 1rem; }
img { display: block; max-width: 100%; height: auto; }
code { font: .92em var(--mono); }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--card); padding: .4rem .8rem; z-index: 1; }

.top { border-bottom: 1px solid var(--line); background: var(--card); }
.top .inner, main, .bottom { width: 100%; max-width: 46rem; margin-inline: auto; padding-inline: 1.25rem; }
.top .inner { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem 1.5rem; padding-block: .8rem; }
.brand { display: flex; align-items: center; gap: .7rem; margin-right: auto; color: var(--ink); text-decoration: none; }
.brand span { font-family: var(--serif); font-size: 1.15rem; white-space: nowrap; }
.top nav { display: flex; gap: .2rem; margin-inline: -.7rem; }
.top nav a { padding: .3rem .7rem; border-radius: 99px; color: var(--soft); text-decoration: none; font-size: .97rem; }
.top nav a:hover { color: var(--ink); background: var(--wash); }
.top nav a[aria-current] { color: var(--accent); background: var(--wash); font-weight: 600; }
main { flex: 1; padding-block: clamp(1.6rem, 4vw, 3rem); }
.bottom { padding-block: 1.2rem 1.8rem; color: var(--soft); font-size: .88rem; }

.byline, .sent { color: var(--soft); font-size: .9rem; margin: 0 0 .6rem; }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 14px; box-shadow: var(--shadow);
  overflow: hidden; margin-bottom: 1.4rem;
}
.card .body { padding: 1.3rem 1.5rem; }
.card h2 a { color: inherit; text-decoration: none; }
.card h2 a:hover { color: var(--accent); text-decoration: underline; }
.card p { margin-bottom: .6rem; }
.card .more { margin: 0; font-size: .93rem; color: var(--soft); }
.card .picture img { width: 100%; height: 100%; object-fit: cover; }
.card.lead .picture { display: block; aspect-ratio: 5 / 2; }
.card.lead h2 { font-size: clamp(1.6rem, 1.3rem + 1.6vw, 2.1rem); }
.card.illustrated:not(.lead) .picture { display: block; aspect-ratio: 3 / 1; }
@media (min-width: 40rem) {
  .card.illustrated:not(.lead) { display: grid; grid-template-columns: 13rem 1fr; }
  .card.illustrated:not(.lead) .picture { aspect-ratio: auto; position: relative; }
  .card.illustrated:not(.lead) .picture img { position: absolute; inset: 0; }
}
.paging { display: flex; justify-content: space-between; align-items: baseline; color: var(--soft); font-size: .95rem; }
.paging > * { min-width: 5rem; }
.paging > :last-child { text-align: right; }
.paging > :nth-child(2) { text-align: center; }

.post { font: 1.14rem/1.7 var(--serif); }
.post header { margin-bottom: 1.4rem; }
.post .byline { font-family: var(--sans); }
.post .picture img { border-radius: 12px; max-height: 34rem; margin-inline: auto; }
.comments { margin-top: 3rem; padding-top: 1.6rem; border-top: 1px solid var(--line); }
.comments ol { list-style: none; margin: 0 0 2rem; padding: 0; }
.comments li { padding: .9rem 1.1rem; border-left: 3px solid var(--line); margin-bottom: .8rem; }
.comments li:target { border-color: var(--accent); background: var(--wash); }
.comments li p { margin-bottom: .35rem; }
.comments .byline strong { color: var(--ink); }

form { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 1.4rem 1.5rem; }
form h3 { margin-bottom: .9rem; }
label { display: block; font-weight: 600; font-size: .95rem; margin-bottom: .3rem; }
label small { font-weight: 400; color: var(--soft); margin-left: .4rem; }
input, textarea {
  width: 100%; font: inherit; color: inherit; background: var(--paper);
  border: 1px solid var(--line); border-radius: 9px; padding: .55rem .75rem;
}
textarea { display: block; line-height: 1.5; resize: vertical; }
main > h1 { margin-bottom: 1.3rem; }
::placeholder { color: var(--soft); opacity: 1; }
input:focus, textarea:focus { outline: 2px solid var(--accent); outline-offset: 0; border-color: transparent; }
input[type=file] { border-style: dashed; font-size: .95rem; }
button, ::file-selector-button {
  font: 600 1rem var(--sans); border: 0; border-radius: 99px; padding: .65rem 1.4rem; cursor: pointer;
  background: var(--accent); color: var(--on-accent);
}
::file-selector-button {
  font-size: .88rem; padding: .4rem .9rem; margin-right: .8rem; background: var(--wash); color: var(--accent);
}
button:hover { filter: brightness(1.1); }
.problems {
  margin: 0 0 1.2rem; padding: .7rem 1rem .7rem 2rem; border-radius: 9px;
  color: var(--alarm); background: var(--alarm-wash);
}

.facts {
  margin: 1.5rem 0; border: 1px solid var(--line); border-radius: 14px; background: var(--card); overflow: hidden;
}
.facts div {
  display: grid; grid-template-columns: minmax(0, 15rem) minmax(0, 1fr); gap: 0 1.2rem; padding: .55rem 1.2rem;
}
.facts div + div { border-top: 1px solid var(--line); }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; font: .93rem/1.75 var(--mono); }
@media (max-width: 34rem) { .facts div { grid-template-columns: 1fr; } .card .body, form { padding: 1.1rem 1.15rem; } }

.piece { padding: 1.4rem 0; border-top: 1px solid var(--line); }
.sent { font: .8rem var(--mono); }
.piece h2 a { color: inherit; text-decoration: none; }
.piece h2 a:hover { color: var(--accent); }
.empty { color: var(--soft); text-align: center; padding: 1.5rem 0; }
.refusal { text-align: center; padding: 12vh 0; }
.refusal .status { font: 700 clamp(4rem, 16vw, 7rem)/1 var(--serif); color: var(--accent); margin: 0 0 .5rem; }
"""
