// The design system's components, and figures that change by themselves. Everything works without this file, too.
import { initAll } from "./govuk-frontend.min.js";

document.body.classList.add("js-enabled");
if ("noModule" in HTMLScriptElement.prototype) document.body.classList.add("govuk-frontend-supported");
initAll();

// A page that only waits for one click goes on by itself.
for (const form of document.querySelectorAll("form[data-submit]")) form.requestSubmit();

for (const live of document.querySelectorAll("[data-live]")) {
  const note = live.querySelector("[data-live-note]");
  const link = live.querySelector("[data-refresh]");
  const source = new EventSource(live.dataset.live);
  const mark = (on) => {
    if (note) note.hidden = !on;
    if (link) link.hidden = on;
  };
  source.addEventListener("message", (event) => {
    for (const [name, text] of Object.entries(JSON.parse(event.data))) {
      for (const place of live.querySelectorAll(`[data-figure="${CSS.escape(name)}"]`)) place.textContent = text;
    }
    mark(true);
  });
  source.addEventListener("error", () => mark(false));
  source.addEventListener("over", () => {
    source.close();
    mark(false);
  });
  window.addEventListener("pagehide", () => source.close());
}
