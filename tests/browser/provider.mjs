// A real OpenID Connect provider for tests, on loopback over TLS: node provider.mjs PORT CERTIFICATE KEY CLIENT_SECRET REDIRECT_URI
// Whoever signs in says who they are and whether they used a second factor.
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import https from "node:https";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [port, certificate, key, secret, redirectUri, modules] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${modules}/`));
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));

const issuer = `https://localhost:${port}`;
const jwk = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
const provider = new Provider(issuer, {
  clients: [{
    client_id: "safelane", client_secret: secret, redirect_uris: [redirectUri], response_types: ["code"],
    grant_types: ["authorization_code"], token_endpoint_auth_method: "client_secret_basic",
  }],
  jwks: { keys: [{ ...jwk, kid: randomUUID(), use: "sig", alg: "RS256" }] },
  acrValues: ["urn:example:two-factors"],
  cookies: { keys: [randomUUID()] },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope("openid");
    await grant.save();
    return grant;
  },
});

const page = `<!DOCTYPE html><html lang="en"><title>Provider</title><h1>Example provider</h1><form method="post">
<label>Account <input name="account"></label><label><input type="checkbox" name="factor" value="1"> second factor</label>
<button>Go on</button></form>`;

const answer = provider.callback();
https.createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, async (request, response) => {
  if (!request.url.startsWith("/interaction/")) return answer(request, response);
  if (request.method === "GET") return response.writeHead(200, { "content-type": "text/html" }).end(page);
  let body = "";
  for await (const chunk of request) body += chunk;
  const fields = new URLSearchParams(body);
  const login = { accountId: fields.get("account"), acr: fields.get("factor") ? "urn:example:two-factors" : "urn:example:password" };
  return provider.interactionFinished(request, response, { login }, { mergeWithLastSubmission: false });
}).listen(Number(port), "127.0.0.1");
