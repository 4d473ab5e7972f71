// The design system's components, and figures that change by themselves. Everything works without this file, too.
import { initAll } from "./govuk-frontend.min.js";

document.body.classList.add("js-enabled");
if ("noModule" in HTMLScriptElement.prototype) document.body.classList.add("govuk-frontend-supported");
initAll();

// A passkey: the browser's own dialogue, then the form goes as any other.
for (const form of document.querySelectorAll("form[data-passkey]")) {
  const note = document.querySelector("[data-passkey-note]");
  form.addEventListener("submit", async (event) => {
    if (form.elements.credential.value) return;
    event.preventDefault();
    note.textContent = "";
    try {
      const create = form.dataset.passkey === "create";
      const options = JSON.parse(form.dataset.options);
      const credential = create
        ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
        : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
      form.elements.credential.value = JSON.stringify(credential.toJSON());
      form.submit();
    } catch (error) {
      note.textContent = error instanceof DOMException
        ? "Your device did not give a passkey. Try again, or sign in another way."
        : "This browser cannot use passkeys. Sign in another way.";
    }
  });
}

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

// A notice before the session ends. At its end the browser leaves the page by itself (the Refresh header), with this file or without.
for (const ending of document.querySelectorAll("[data-ends-in]")) {
  let from = Date.now();
  const look = () => {
    const left = Number(ending.dataset.endsIn) - (Date.now() - from) / 1000;
    ending.hidden = left > Number(ending.dataset.warn);
  };
  look();
  setInterval(look, 5000);
  document.addEventListener("visibilitychange", look);
  ending.querySelector("[data-stay]")?.addEventListener("click", async (event) => {
    event.preventDefault();
    const answer = await fetch(event.target.href, { redirect: "manual" });
    if (answer.ok) from = Date.now();
    else location.reload();
    look();
  });
}
