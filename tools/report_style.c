/* report_style.c: how a report's page looks, and its one script: sorting a table by a column. */
#include "report_data.h"

static const char *const style[] = {
    ":root{color-scheme:light dark;--paper:#fbfaf8;--card:#fff;--ink:#1c2127;--soft:#5c6570;",
    "  --line:#dfddd7;--after:#0a6a96;--before:#a39b8c;--weights:#5b86a3;--scales:#8f7cb8;--zero:#bc3e1c;",
    "  --b4:#8fb8cc;--b8:#d79b2f;--b16:#bc3e1c}",
    "*{box-sizing:border-box}",
    "body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif;",
    "  print-color-adjust:exact;-webkit-print-color-adjust:exact}",
    "main{max-width:1280px;margin:0 auto;padding:24px 16px 48px}",
    "h1{font-size:1.7rem;line-height:1.2;margin:0 0 .3rem;overflow-wrap:anywhere}",
    "h2{font-size:1.2rem;margin:2.6rem 0 .2rem}",
    "h3{font-size:1rem;margin:1.2rem 0 .3rem}",
    "p{margin:.2rem 0 .8rem;max-width:72ch}",
    ".soft,small,footer{color:var(--soft)}",
    "small{font-weight:400;font-size:.82rem}",
    ".method{text-transform:uppercase}",
    "code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}",
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(215px,1fr));gap:12px;",
    "  margin:1.2rem 0}",
    ".card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 16px}",
    ".card b{display:block;font-size:1.75rem;line-height:1.25;font-weight:650;",
    "  font-variant-numeric:tabular-nums}",
    ".card span{display:block;color:var(--soft);font-size:.86rem;line-height:1.4}",
    ".card .label{color:var(--ink);font-size:.9rem}",
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:.6rem 0;font-size:.9rem}",
    "dt{color:var(--soft)}",
    "dd{margin:0;overflow-wrap:anywhere}",
    ".panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,262px),1fr));gap:14px;",
    "  align-items:start}",
    ".small{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px}",
    ".small.large{grid-template-columns:repeat(auto-fill,minmax(min(100%,255px),1fr));gap:14px}",
    "figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;",
    "  padding:8px 10px;break-inside:avoid}",
    "figcaption{font-size:.9rem;font-weight:600}",
    "svg{display:block;width:100%;height:auto}",
    "svg text{font:11px system-ui,sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums}",
    "svg .end{text-anchor:end}",
    "svg .mid{text-anchor:middle}",
    ".small svg text{font-size:10.5px}",
    ".large svg text{font-size:9px}",
    ".grid{stroke:var(--line);fill:none}",
    ".zero{stroke:var(--zero);stroke-dasharray:3 2}",
    ".after{stroke:var(--after);stroke-width:2;fill:none;stroke-linejoin:round}",
    ".before{stroke:var(--before);stroke-width:1.5;fill:none;stroke-linejoin:round}",
    ".point{fill:var(--after)}",
    ".weights{fill:var(--weights)}",
    ".scales{fill:var(--scales)}",
    ".time{fill:var(--after)}",
    ".b4{fill:var(--b4)}",
    ".b8{fill:var(--b8)}",
    ".b16{fill:var(--b16)}",
    ".none{fill:var(--card);stroke:var(--line)}",
    ".maps{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,320px),1fr));",
    "  gap:14px 24px;align-items:start}",
    ".heat{break-inside:avoid;max-width:460px}",
    ".key{display:flex;flex-wrap:wrap;align-items:center;gap:4px 10px;font-size:.86rem;color:var(--soft)}",
    ".key svg{width:28px;flex:none}",
    ".key .ramp{width:160px}",
    ".order{list-style:none;margin:0;padding:0;columns:25em;column-gap:32px;font-size:.86rem}",
    ".order li{display:grid;grid-template-columns:10em 1fr 4.4em 3.8em;gap:8px;align-items:center;",
    "  break-inside:avoid;white-space:nowrap}",
    ".order svg{height:11px}",
    ".value,.bits,.n{text-align:right;font-variant-numeric:tabular-nums}",
    ".value{color:var(--soft)}",
    "details{border-top:1px solid var(--line);padding:6px 0;margin-top:8px}",
    "details details{margin:0}",
    "summary{cursor:pointer;font-size:.95rem}",
    "details[open] summary{margin-bottom:8px}",
    ".scroll{overflow-x:auto}",
    ".tall{max-height:85vh;overflow-y:auto;border:1px solid var(--line);border-radius:8px;",
    "  background:var(--card)}",
    "table{border-collapse:collapse;font-size:.84rem;white-space:nowrap}",
    "td,th{padding:3px 8px;text-align:left;border-bottom:1px solid var(--line);font-weight:400}",
    "td.n,th.n{text-align:right}",
    "thead th{color:var(--soft)}",
    ".tall thead th{position:sticky;top:0;background:var(--card)}",
    ".sort tbody tr:hover{background:var(--paper)}",
    "th button{all:unset;cursor:pointer}",
    "th button:hover,th button:focus-visible{text-decoration:underline}",
    "th[aria-sort=ascending] button::after{content:\" ▲\"}",
    "th[aria-sort=descending] button::after{content:\" ▼\"}",
    ".times{width:100%;max-width:760px}",
    ".times td:last-child{width:40%}",
    ".times svg{height:11px}",
    "footer{margin-top:3rem;font-size:.82rem}",
    "@media print{",
    "  :root{font-size:11px}",
    "  body{font-size:11px;background:#fff}",
    "  main{max-width:none;padding:0}",
    "  .tall{max-height:none;border:0}",
    "  .tall thead th{position:static}",
    "  .scroll{overflow:visible}",
    "  table{font-size:8px}",
    "  td,th{padding:1px 4px}",
    "  .sort tr>:nth-child(n+10):nth-child(-n+16){display:none}",
    "  .panels,.cards,.small.large{grid-template-columns:repeat(4,1fr);gap:8px}",
    "  .maps{grid-template-columns:repeat(2,1fr)}",
    "  .card{padding:6px 10px}",
    "  h2,h3{break-after:avoid}",
    "  tr,.card{break-inside:avoid}",
    "}",
};

static const char dark[] =
    ":root{--paper:#13161a;--card:#1a1f25;--ink:#e6e8eb;--soft:#9da7b2;--line:#2d343c;--after:#5ab6e2;\n"
    "--before:#697482;--weights:#6fa3c4;--scales:#a893d6;--zero:#e0683e;--b4:#3f6a80;--b8:#d79b2f;--b16:#e0683e}\n";

/* XML as well as HTML: so without the characters that either would need escaped. */
static const char *const script[] = {
    "document.querySelectorAll('table.sort').forEach(function (table) {",
    "  var heads = Array.from(table.tHead.rows[0].cells);",
    "  function key(row, i) { return row.cells[i].dataset.v === undefined ? NaN : +row.cells[i].dataset.v; }",
    "  heads.forEach(function (head, i) {",
    "    var button = document.createElement('button');",
    "    button.type = 'button';",
    "    button.append.apply(button, Array.from(head.childNodes));",
    "    head.append(button);",
    "    button.addEventListener('click', function () {",
    "      var number = head.classList.contains('n'), now = head.getAttribute('aria-sort');",
    "      var sign = now ? (now === 'ascending' ? -1 : 1) : number ? -1 : 1;",
    "      var rows = Array.from(table.tBodies[0].rows);",
    "      rows.sort(function (a, b) {",
    "        var s = a.cells[i].textContent, t = b.cells[i].textContent, x = key(a, i), y = key(b, i);",
    "        if (!number) return sign * s.localeCompare(t, 'en', {numeric: true});",
    "        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);",
    "        return sign * (x - y);",
    "      });",
    "      rows.forEach(function (row) { table.tBodies[0].append(row); });",
    "      heads.forEach(function (other) { other.removeAttribute('aria-sort'); });",
    "      head.setAttribute('aria-sort', sign > 0 ? 'ascending' : 'descending');",
    "    });",
    "  });",
    "});",
};

void report_style(FILE *out)
{
    for (size_t i = 0; i < sizeof style / sizeof *style; i++)
        fprintf(out, "%s\n", style[i]);
    report_heat_style(out, false);
    fputs("@media screen and (prefers-color-scheme:dark){\n", out);
    fputs(dark, out);
    report_heat_style(out, true);
    fputs("}\n", out);
}

void report_script(FILE *out)
{
    for (size_t i = 0; i < sizeof script / sizeof *script; i++)
        fprintf(out, "%s\n", script[i]);
}
