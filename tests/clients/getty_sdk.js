// Signs in with Getty Images' own SDK. Arguments: address, operator's token. The certificate authority comes from
// NODE_EXTRA_CA_CERTS.
"use strict";

const assert = require("node:assert");
const https = require("node:https");
const GettyImages = require("gettyimages-api");

const [address, operator] = process.argv.slice(2);
const [host, port] = address.split(":");

// The SDK calls port 443, whatever one says.
const original = https.request;
https.request = (options, ...rest) => original({ ...options, port }, ...rest);

async function call(path, headers, body) {
    const answer = await fetch(`https://${address}${path}`, {
        method: body === undefined ? "GET" : "POST",
        headers: body === undefined ? headers : { "content-type": "application/json", ...headers },
        body: body === undefined ? undefined : JSON.stringify(body),
    });
    return { status: answer.status, json: await answer.json() };
}

async function main() {
    const client = { clientId: "getty-agent", permissions: ["catalog:view"] };
    const created = await call("/v1/access/clients", { authorization: `Bearer ${operator}` }, client);
    assert.equal(created.status, 200, JSON.stringify(created));
    const { apiKey, secret: apiSecret } = created.json;
    const api = new GettyImages({ apiKey, apiSecret }, host, host);
    const token = await api.getAccessToken();
    assert.ok(token.access_token && token.refresh_token && token.expiration > new Date(), JSON.stringify(token));
    const headers = { "api-key": apiKey, authorization: `Bearer ${token.access_token}` };
    const products = await call("/v1/catalog/products", headers);
    assert.equal(products.status, 200, JSON.stringify(products));

    const wrong = new GettyImages({ apiKey, apiSecret: "wrong" }, host, host);
    // The SDK swallows what the server says.
    assert.equal(await wrong.getAccessToken(), null);
    console.log("Getty Images' SDK signs in over TLS");
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
