// The page's style sheet and its small script. The page is complete without the script: it adds the
// slider, values under the pointer, switches in the legend, sorting and a copy button.
#include "examples/lab/report_parts.h"

namespace tapestry::lab::report {

const std::string_view kStyle = R"css(
:root{color-scheme:light dark;--bg:#fff;--ink:#1f2328;--soft:#57606a;--line:#e3e6ea;--edge:#8c959f;--panel:#f6f7f8;
--good:#00694d;--bad:#a63a00;--link:#0060a0}
@media screen and (prefers-color-scheme:dark){:root{--bg:#15181d;--ink:#e4e6ea;--soft:#a3abb5;--line:#2c323a;--edge:#6b7480;
--panel:#1c2026;--good:#3fd0a4;--bad:#ff9a6b;--link:#7cc0f5}}
*{box-sizing:border-box}
html{background:var(--bg);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
-webkit-text-size-adjust:100%}
body{margin:0}
main{max-width:1150px;margin:0 auto;padding:40px 28px 80px}
h1{font-size:30px;line-height:1.2;letter-spacing:-.015em;margin:0 0 6px;font-weight:650;overflow-wrap:anywhere}
h2{font-size:20px;line-height:1.3;letter-spacing:-.01em;margin:0 0 10px;font-weight:650}
h3{font-size:15px;margin:26px 0 8px;font-weight:650}
h3 small{font-weight:400;color:var(--soft);margin-left:10px}
p{margin:0 0 12px;max-width:76ch}
a{color:var(--link)}
section{margin-top:44px;padding-top:20px;border-top:1px solid var(--line);scroll-margin-top:52px}
.kind{color:var(--soft);margin:0 0 6px;font-size:13.5px}
.question{font-size:17px;color:var(--soft);margin:0}
.fine,figcaption{color:var(--soft);font-size:13.5px;max-width:92ch}
.status.running{color:var(--link)}.status.done{color:var(--good)}
.status.diverged,.status.failed,.status.interrupted{color:var(--bad)}
.verdict{margin-top:26px;padding:22px 26px;border:0;border-radius:10px;background:var(--panel)}
.verdict h2{font-size:13px;font-weight:600;color:var(--soft);margin:0 0 4px;letter-spacing:0}
.headline{font-size:20px;line-height:1.42;font-weight:550;margin:0 0 16px;max-width:64ch;text-wrap:pretty}
.findings{list-style:none;margin:0 0 16px;padding:0;display:grid;gap:6px}
.findings li{display:grid;grid-template-columns:196px 1fr;gap:14px;align-items:baseline}
.word{font-size:13px;font-weight:600;color:var(--soft);border-left:3px solid var(--edge);padding-left:9px}
.word.clear,.word.confirmed{color:var(--good);border-color:currentColor}
.word.contradicted,.word.diverged{color:var(--bad);border-color:currentColor}
.what{font-variant-numeric:tabular-nums}
.remarks{margin:0 0 16px;padding:0 0 0 18px;color:var(--soft);font-size:13.5px;max-width:88ch}
.remarks li{margin:3px 0}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr));gap:6px 28px;margin:0;font-size:13.5px}
.facts dt{color:var(--soft);overflow-wrap:anywhere}.facts dt small{font-size:inherit}
.facts dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:0 0 10px;max-width:100%}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13.5px;width:100%}
caption{text-align:left;font-weight:600;padding:10px 0 8px}
th,td{padding:7px 9px;text-align:left;vertical-align:middle;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{padding-left:2px}
thead th{font-weight:600;vertical-align:bottom;border-bottom:1px solid var(--edge);line-height:1.3;white-space:nowrap}
thead small{display:block;font-weight:400;color:var(--soft);font-size:12px}
tbody th{font-weight:500}
tbody tr:hover{background:color-mix(in srgb,var(--panel) 70%,transparent)}
.n,thead th.n{text-align:right;white-space:nowrap}.strong{font-weight:600}.warn{color:var(--bad);font-weight:600}
.seeds{white-space:nowrap;color:var(--soft)}.seeds span{display:inline-block;min-width:3.4em;text-align:right}
.stripcell{padding-top:2px;padding-bottom:2px}
tr.reference th,tr.reference td{color:var(--soft);border-bottom:0}
.cellname{display:inline-flex;align-items:center;gap:7px;overflow-wrap:break-word}
.swatch{flex:none}
svg{display:block;max-width:100%;height:auto;overflow:visible}
svg text{fill:var(--soft)}svg .title,svg text.name{fill:var(--ink)}
svg .grid{stroke:var(--line)}svg .axis{stroke:var(--edge)}svg .reference{stroke:var(--soft)}
svg .over{paint-order:stroke;stroke:var(--bg);stroke-width:3px}
svg .dot{fill:var(--bg);stroke:var(--ink)}svg .cursor{stroke:var(--edge)}
.scroll svg{max-width:none}
figure.scroll{margin-top:24px}
figure{margin:0}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,460px),1fr));gap:22px 24px;margin:14px 0 18px}
.charts svg{width:100%}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(46%,176px),1fr));gap:14px 16px}
.panels svg{width:100%}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 6px;margin:40px -10px 0;padding:8px 10px;position:sticky;top:0;z-index:2;
background:var(--bg);border-bottom:1px solid var(--line);font-size:13.5px}
.legend li{padding:3px 9px;border-radius:6px}
.legend+section{border-top:0;margin-top:22px;padding-top:14px}
.js .legend li{cursor:pointer}.js .legend li:hover{background:var(--panel)}
.legend li.off{opacity:.38;text-decoration:line-through}
.off:not(.legend .off){display:none}
.cards{list-style:none;margin:0;padding:0;display:grid;gap:18px 16px;grid-template-columns:repeat(auto-fill,minmax(min(46%,var(--card,158px)),1fr))}
.cards .cellname{margin-bottom:6px;font-weight:600;font-size:13.5px}
img{display:block;max-width:100%;height:auto;border-radius:3px;background:var(--panel)}
.grown{image-rendering:pixelated}
.stack{display:grid;gap:10px}
.stack figcaption{font-size:12px}
.js .stack figcaption{display:none}
.js .stack figure:not(.shown){display:none}
.nopicture{min-height:112px;margin:0;display:grid;place-items:center;text-align:center;padding:8px;color:var(--soft);font-size:12.5px;
border:1px dashed var(--edge);border-radius:3px}
.pictures{width:auto}.pictures td,.pictures th{border:0;padding:5px 6px;vertical-align:top;font-weight:500}
.pictures thead th{vertical-align:bottom}.pictures td img{max-width:200px}.pictures tbody th{white-space:nowrap}
.slider{display:flex;gap:14px;align-items:center;margin:0 0 18px;font-size:13.5px}
.slider[hidden]{display:none}
.slider label{display:flex;flex:1;gap:12px;align-items:center;max-width:640px}
.slider input{flex:1;min-width:80px;accent-color:var(--link)}
.slider output{min-width:4.5em;font-weight:600;font-variant-numeric:tabular-nums}
button{font:inherit;font-size:13px;color:inherit;background:var(--bg);border:1px solid var(--edge);border-radius:6px;padding:3px 11px;cursor:pointer}
button:hover{background:var(--panel)}
:focus-visible{outline:2px solid var(--link);outline-offset:2px;border-radius:4px}
details{margin:10px 0}summary{cursor:pointer;font-weight:600;font-size:14px;padding:4px 0}
pre,code{font:12.5px/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{background:var(--panel);padding:13px 16px;border-radius:8px;overflow-x:auto;margin:6px 0 16px;max-height:70vh}
.command{display:flex;justify-content:space-between;gap:16px;align-items:flex-start}
.command code{white-space:pre-wrap;overflow-wrap:anywhere}
.changes{margin:12px 0 18px;display:grid;gap:8px}
.changes dt{font-size:13.5px}
.changes>div{display:grid;grid-template-columns:150px 1fr;gap:14px;border-bottom:1px solid var(--line);padding-bottom:8px}
.changes dd{margin:0;display:grid;min-width:0}.changes code{overflow-wrap:anywhere}
.changes .minus{color:var(--soft)}.changes .plus{color:var(--ink)}
.hashes{width:auto}
.js .sortable thead th{cursor:pointer}
th[aria-sort=ascending]::after{content:" ↑"}th[aria-sort=descending]::after{content:" ↓"}
#tip{position:fixed;z-index:3;pointer-events:none;background:var(--bg);border:1px solid var(--edge);border-radius:7px;padding:7px 11px;
font-size:12.5px;line-height:1.45;box-shadow:0 3px 14px rgb(0 0 0/.16);font-variant-numeric:tabular-nums;display:none}
#tip table{font-size:inherit;width:auto}#tip td{border:0;padding:0 0 0 12px;text-align:right}#tip td:first-child{padding:0;text-align:left}
@media (max-width:620px){main{padding:24px 16px 60px}h1{font-size:24px}.verdict{margin-left:-16px;margin-right:-16px;border-radius:0;padding:18px 16px}
.headline{font-size:18px}.findings li{grid-template-columns:1fr;gap:1px}.changes>div{grid-template-columns:1fr;gap:4px}
.chart text{font-size:14px}.chart.small text{font-size:11.5px}.legend{flex-wrap:nowrap;overflow-x:auto}.legend li{flex:none}
.sortable tbody th,.sortable thead th:first-child{position:sticky;left:0;background:var(--bg)}}
@media print{@page{size:A4;margin:14mm}html{font-size:10pt}main{max-width:none;padding:0}.slider,button,#tip{display:none!important}
.legend{position:static;margin-bottom:0}section{margin-top:20pt}.verdict{background:none;border:1px solid var(--edge)}
figure,tr,.findings li,.changes>div{break-inside:avoid}h2,h3{break-after:avoid}.charts{grid-template-columns:1fr 1fr}
.panels{grid-template-columns:repeat(4,1fr)}.cards{grid-template-columns:repeat(4,1fr)}
.scroll{overflow:visible}table{font-size:8.5pt}th,td{padding:3pt 5pt}thead small{font-size:7.5pt}.stripcell svg{width:110px}pre{max-height:none;white-space:pre-wrap}
.scroll svg{max-width:100%}}
)css";

const std::string_view kScript = R"js(
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, text = "") => Object.assign(document.createElement(tag), {textContent: text});
  const root = document.documentElement;
  root.classList.add("js");

  // The legend switches every curve, picture and bar of a cell.
  for (const item of all("[data-toggle]")) {
    item.tabIndex = 0;
    item.setAttribute("role", "switch");
    item.setAttribute("aria-checked", "true");
    const flip = () => {
      const off = item.classList.toggle("off");
      item.setAttribute("aria-checked", String(!off));
      for (const part of all("[data-key]"))
        if (part.dataset.key === item.dataset.toggle) part.classList.toggle("off", off);
    };
    item.addEventListener("click", flip);
    item.addEventListener("keydown", (e) => {
      if (e.key === "Enter" || e.key === " ") { e.preventDefault(); flip(); }
    });
  }

  // One slider for all pictures; arrow keys move it, play runs through the steps.
  for (const figure of all(".stack figure:last-child")) figure.classList.add("shown");
  for (const bar of all(".slider")) {
    const steps = bar.dataset.steps.split(" "), input = bar.querySelector("input");
    const button = bar.querySelector("button"), output = bar.querySelector("output");
    let timer = 0;
    const show = () => {
      output.textContent = steps[input.value];
      input.setAttribute("aria-valuetext", "step " + steps[input.value]);
      for (const figure of all("[data-frame]", bar.parentElement))
        if (figure.closest(".stack")) figure.classList.toggle("shown", figure.dataset.frame === input.value);
    };
    const stop = () => { clearInterval(timer); timer = 0; button.textContent = "▶"; button.ariaLabel = "play"; };
    button.addEventListener("click", () => {
      if (timer) return stop();
      button.textContent = "⏸"; button.ariaLabel = "pause";
      if (+input.value === steps.length - 1) input.value = -1;
      const next = () => {
        input.value = +input.value + 1;
        show();
        if (+input.value === steps.length - 1) stop();
      };
      timer = setInterval(next, 600);
    });
    input.addEventListener("input", () => { stop(); show(); });
    bar.hidden = false;
    show();
  }

  // The values of all curves at the step under the pointer.
  const tip = document.body.appendChild(make("div"));
  tip.id = "tip";
  for (const svg of all("svg[data-frame]")) {
    const [left, right, top, bottom, low, high, log] = svg.dataset.frame.split(" ").map(Number);
    const view = svg.viewBox.baseVal;
    const curves = all("g[data-x]", svg).map((g) => ({
      g, xs: g.dataset.x.split(" ").map(Number), ys: g.dataset.y.split(","),
    }));
    const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cursor.setAttribute("class", "cursor");
    cursor.setAttribute("y1", top);
    cursor.setAttribute("y2", bottom);
    const title = svg.querySelector(":scope > title");
    if (title) title.remove();  // its name stays in aria-label; the browser's own tooltip would cover ours
    const leave = () => { tip.style.display = "none"; cursor.remove(); };
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("pointermove", (e) => {
      const box = svg.getBoundingClientRect();
      const at = ((e.clientX - box.left) / box.width) * view.width;
      if (at < left - 6 || at > right + 6) return leave();
      const t = Math.min(1, Math.max(0, (at - left) / (right - left)));
      const x = log ? low * Math.pow(high / low, t) : low + t * (high - low);
      const far = (v) => (log ? Math.abs(Math.log(v / x)) : Math.abs(v - x));
      const shown = curves.filter((c) => !c.g.classList.contains("off"));
      let step = NaN;
      for (const c of shown) for (const v of c.xs) if (!(far(v) >= far(step))) step = v;
      if (isNaN(step)) return leave();
      const px = left + (log ? Math.log(step / low) / Math.log(high / low) : (step - low) / (high - low)) * (right - left);
      cursor.setAttribute("x1", px);
      cursor.setAttribute("x2", px);
      svg.append(cursor);
      const table = make("table");
      for (const c of shown) {
        const i = c.xs.indexOf(step);
        if (i < 0) continue;
        const row = table.insertRow();
        row.insertCell().textContent = c.g.dataset.label;
        row.insertCell().textContent = c.ys[i] || "–";
      }
      tip.replaceChildren(make("strong", svg.dataset.unit + " " + step), table);
      tip.style.display = "block";
      const size = tip.getBoundingClientRect();
      tip.style.left = Math.max(4, Math.min(e.clientX + 16, innerWidth - size.width - 8)) + "px";
      tip.style.top = Math.max(4, Math.min(e.clientY + 16, innerHeight - size.height - 8)) + "px";
    });
  }

  // Columns sort on a click; empty values stay last.
  for (const table of all("table.sortable")) {
    all("thead th", table).forEach((th, column) => {
      th.tabIndex = 0;
      const sort = () => {
        const down = th.getAttribute("aria-sort") === "ascending";
        for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
        th.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
        const rows = [...table.tBodies[0].rows].filter((row) => !row.classList.contains("reference"));
        const last = table.tBodies[0].querySelector(".reference");
        rows.sort((a, b) => {
          const x = key(a), y = key(b);
          if (x === "" || y === "") return (x === "") - (y === "");
          const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
          return down ? -order : order;
        });
        for (const row of rows) table.tBodies[0].insertBefore(row, last);
      };
      th.addEventListener("click", sort);
      th.addEventListener("keydown", (e) => { if (e.key === "Enter") sort(); });
    });
  }

  for (const pre of all("pre.command")) {
    const button = pre.appendChild(make("button", "Copy"));
    button.type = "button";
    button.addEventListener("click", () => {
      const done = () => { button.textContent = "Copied"; setTimeout(() => (button.textContent = "Copy"), 1500); };
      navigator.clipboard?.writeText(pre.querySelector("code").textContent).then(done, () => {});
    });
  }
  root.dataset.ready = "yes";
})();
)js";

}  // namespace tapestry::lab::report
