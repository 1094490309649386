// Signs in with Getty Images' own SDK and reports a batch. Arguments: address, operator's token. The certificate authority comes from
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
    const client = { clientId: "getty-agent", permissions: ["catalog:admin", "usage:asset:report"] };
    const created = await call("/v1/access/clients", { authorization: `Bearer ${operator}` }, client);
    assert.equal(created.status, 200, JSON.stringify(created));
    const { apiKey, secret: apiSecret } = created.json;
    const api = new GettyImages({ apiKey, apiSecret }, host, host);
    const token = await api.getAccessToken();
    assert.ok(token.access_token && token.refresh_token && token.expiration > new Date(), JSON.stringify(token));
    const headers = { "api-key": apiKey, authorization: `Bearer ${token.access_token}` };
    const products = await call("/v1/catalog/products", headers);
    assert.equal(products.status, 200, JSON.stringify(products));

    const assets = [{ id: "1140548204" }, { id: "908153146" }];
    const loaded = await call("/v1/catalog/assets:apply", headers, { assets });
    assert.equal(loaded.json.createdCount, 2, JSON.stringify(loaded));
    const today = new Date().toISOString();
    const batch = (id, quantity, asset) =>
        api
            .customrequest()
            .withMethod("put")
            .withRoute(`usage-batches/${id}`)
            .withBody({
                asset_usages: [
                    { asset_id: "1140548204", quantity, usage_date: today },
                    { asset_id: asset, quantity: 1, usage_date: "2026-01-31" },
                ],
            })
            .execute();
    const id = "b1f1a1d2-5f6e-4f0e-9a55-2b8f5a1c7d10";
    const recorded = await batch(id, 3, "908153146");
    assert.deepEqual(recorded, { invalid_assets: [], total_asset_usages_processed: 2 });
    // Of a refusal the SDK tells the status only.
    const refused = async (call, status) => assert.rejects(call, (error) => error.statusCode === status);
    await refused(batch(id, 3, "908153146"), 409);
    await refused(batch("another", 3, "unknown"), 400);
    await refused(batch("another", 0, "908153146"), 400);
    // Characters of several bytes: the SDK's Content-Length is too small, and what arrives is cut short.
    await refused(batch("another", 1, "Ж".repeat(40)), 400);
    // Without a secret there is no token: the key is enough.
    const keyOnly = new GettyImages({ apiKey }, host, host);
    const stored = await keyOnly.customrequest().withMethod("get").withRoute(`usage-batches/${id}`).execute();
    assert.equal(stored.total_asset_usages_processed, 2);
    assert.equal(stored.asset_usages[1].usage_date, "2026-01-31");

    const wrong = new GettyImages({ apiKey, apiSecret: "wrong" }, host, host);
    // The SDK swallows what the server says.
    assert.equal(await wrong.getAccessToken(), null);
    console.log("Getty Images' SDK signs in over TLS and reports a batch");
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
