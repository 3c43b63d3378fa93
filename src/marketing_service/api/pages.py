"""The pages that recipients see. They contain no script, load nothing, and show no personal data."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING, Literal

from fastapi.responses import HTMLResponse

from marketing_service.api.languages import preferred, texts

if TYPE_CHECKING:
    from collections.abc import Mapping

_STYLE = """
:root {
  color-scheme: light dark;
  --ground: #eef1f5; --card: #ffffff; --ink: #17202b; --quiet: #566273; --edge: #dde3ea;
  --accent: #1f5fbf; --on-accent: #ffffff; --good: #1c7a4a; --good-ground: #e3f4ea;
  --warn: #8a5300; --warn-ground: #fdf0d9; --ask-ground: #e4edfb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #10151b; --card: #1a212a; --ink: #eef2f7; --quiet: #a3b0c0; --edge: #2c3642;
    --accent: #8ab6ff; --on-accent: #0b1a30; --good: #7fdba8; --good-ground: #16352a;
    --warn: #f2c06b; --warn-ground: #3a2c12; --ask-ground: #1b2d49;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; min-height: 100vh; min-height: 100dvh; display: grid; place-items: center; padding: 1.25rem;
  background: var(--ground); color: var(--ink);
  font: 1.0625rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  -webkit-text-size-adjust: 100%;
}
main {
  width: 100%; max-width: 30rem; padding: 2.25rem 1.75rem; text-align: center; background: var(--card);
  border: 1px solid var(--edge); border-radius: 1rem; box-shadow: 0 .5rem 2rem rgb(0 0 0 / .07);
}
svg { display: block; width: 4rem; height: 4rem; margin: 0 auto 1.25rem; padding: 1rem; border-radius: 50%;
  fill: none; stroke: currentColor; stroke-width: 2.25; stroke-linecap: round; stroke-linejoin: round; }
.good { color: var(--good); background: var(--good-ground); }
.warn { color: var(--warn); background: var(--warn-ground); }
.ask { color: var(--accent); background: var(--ask-ground); }
h1 { margin: 0 0 .75rem; font-size: 1.5rem; line-height: 1.25; letter-spacing: -.01em; text-wrap: balance; }
p { margin: 0 0 .75rem; text-wrap: pretty; }
p:last-child { margin-bottom: 0; }
.quiet { color: var(--quiet); font-size: .9375rem; }
.act { margin: 1.5rem 0; }
.act:last-child { margin-bottom: 0; }
.button {
  display: inline-block; min-height: 3rem; width: 100%; max-width: 18rem; padding: .625rem 1.5rem; border: 0;
  border-radius: .625rem; background: var(--accent); color: var(--on-accent); font: inherit; font-weight: 600;
  text-decoration: none; cursor: pointer;
}
.button:hover { filter: brightness(1.08); }
.button:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px; }
@media (min-width: 40rem) { main { padding: 3rem; } }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
    "Vary": "Accept-Language",
}

_PAGE = Template("""<!doctype html>
<html lang="$language">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex, nofollow">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<svg class="$mood" viewBox="0 0 24 24" aria-hidden="true">$icon</svg>
<h1>$title</h1>
$text
</main>
</body>
</html>
""")

_CHECK = '<path d="M4.5 12.5l5 5 10-11"/>'
_ENVELOPE = '<path d="M3 6h18v12H3zM3.5 6.5l8.5 7 8.5-7"/>'
_WARNING = '<path d="M12 5v9M12 18.5v.5"/>'


@dataclass(frozen=True, slots=True)
class Page:
    """One page. `name` is the name of its texts and `mood` a class of the style sheet. A `button` sends a POST to the
    address of the page, or opens that address again."""

    name: str
    status: int
    mood: str
    icon: str
    button: Literal["post", "get"] | None = None

    def response(self, accept_language: str, headers: Mapping[str, str] | None = None) -> HTMLResponse:
        """The page in the language that this Accept-Language prefers."""
        language = preferred(accept_language)
        page_texts = texts(language)[self.name]
        parts = [f"<p>{page_texts.text}</p>"]
        if self.button is not None:
            parts.append(_BUTTONS[self.button].format(page_texts.button))
        if page_texts.note is not None:
            parts.append(f'<p class="quiet">{page_texts.note}</p>')
        html = _PAGE.substitute(
            language=language,
            title=page_texts.title,
            style=_STYLE,
            mood=self.mood,
            icon=self.icon,
            text="\n".join(parts),
        )
        return HTMLResponse(html, self.status, {**_HEADERS, "Content-Language": language, **(headers or {})})


# A form without an action sends a POST to the address of the page. To open the address again the page has a link, not a
# form: the policy of the page stops a form from following a redirect to another site (CSP 3, form-action).
_BUTTONS = {
    "post": '<form class="act" method="post"><button class="button" type="submit">{}</button></form>',
    "get": '<p class="act"><a class="button" href="">{}</a></p>',
}

ASK = Page("ask", 200, "ask", _ENVELOPE, "post")
CONFIRMED = Page("confirmed", 200, "good", _CHECK)
NOT_FOUND = Page("not_found", 404, "warn", _WARNING)
UNAVAILABLE = Page("unavailable", 503, "warn", _WARNING, "post")
LINK_NOT_FOUND = Page("link_not_found", 404, "warn", _WARNING)
LINK_UNAVAILABLE = Page("link_unavailable", 503, "warn", _WARNING, "get")
