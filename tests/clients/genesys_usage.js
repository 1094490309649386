// Asks for API usage with Genesys' own SDK, by all eleven operations. Arguments: address, operator's token, the server's time.
"use strict";

const assert = require("node:assert");
const { randomUUID } = require("node:crypto");
const genesys = require("purecloud-platform-client-v2");

const [address, operator, nowText] = process.argv.slice(2);
const [host, port] = address.split(":");
const NOW = new Date(nowText);
const DAY_MS = 24 * 60 * 60 * 1000;
const MIDNIGHT = new Date(nowText.slice(0, 10));
const MONDAY = new Date(MIDNIGHT.getTime() - ((MIDNIGHT.getUTCDay() + 6) % 7) * DAY_MS);
const FIRST = new Date(`${nowText.slice(0, 7)}-01`);
const daysLater = (days) => new Date(MIDNIGHT.getTime() + days * DAY_MS);
const dayOf = (moment) => moment.toISOString().slice(0, 10);
const interval = (start, end) => `${start.toISOString()}/${end.toISOString()}`;

// What the SDK has no method for.
async function post(path, bearer, body) {
    const headers = { authorization: `Bearer ${bearer}`, "content-type": "application/json" };
    const answer = await fetch(`http://${address}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
    const json = await answer.json();
    assert.equal(answer.status, 200, JSON.stringify(json));
    return json;
}

// The gateway settings are for both hosts of the vendor, the API's and the one that signs in; and they take plain HTTP.
function unsigned() {
    const client = new genesys.ApiClientClass();
    client.setGateway({ host, port: Number(port), protocol: "http" });
    // Answers come with their status and headers.
    client.setReturnExtendedResponses(true);
    return client;
}

async function signedIn(clientId, permissions) {
    const { secret } = await post("/v1/access/clients", operator, { clientId, permissions });
    const client = unsigned();
    const { accessToken, tokenExpiryTime } = await client.loginClientCredentialsGrant(clientId, secret);
    assert.ok(accessToken && tokenExpiryTime > Date.now(), "a token and its end");
    return client;
}

// Two clients of one name, and one that is not registered: it is called by its id, which must be escaped in paths.
const DAY = "3f1c3b9e-7b1f-4a53-9d0c-5a4b1e6a7f01";
const NIGHT = "3f1c3b9e-7b1f-4a53-9d0c-5a4b1e6a7f02";
const BOT = "night bot+é";
const NAMES = { [DAY]: "Contact centre", [NIGHT]: "Contact centre", [BOT]: BOT };
const CALLS = "/api/v2/conversations/calls/{conversationId}";
const USERS = "/api/v2/users/{userId}";
const QUEUES = "/api/v2/routing/queues";
// Enough for pages. The server counts its own calls as well, under other templates.
const FLOWS = Array.from({ length: 23 }, (_, number) => `/api/v2/flows/${String(number).padStart(2, "0")}/{flowId}`);
// The most that one event may count.
const MUCH = 1e9;

// client, user, template, method, platform, status, how often
const USED = [
    [DAY, "ada", CALLS, "GET", "web", 200, 120],
    [DAY, "ada", CALLS, "GET", "web", 204, 3],
    [DAY, "ada", CALLS, "GET", "web", 301, 2],
    [DAY, "ada", CALLS, "GET", "web", 404, 5],
    [DAY, "ada", CALLS, "GET", "web", 429, 7],
    [DAY, "ada", CALLS, "GET", "web", 503, 1],
    [DAY, "bob", CALLS, "GET", "ios", 200, 11],
    [DAY, "bob", CALLS, "POST", "ios", 202, 4],
    [DAY, "bob", CALLS, "DELETE", "ios", 404, 6],
    [DAY, "", USERS, "GET", "", 200, 40],
    [DAY, "", USERS, "GET", "", 500, 2],
    // No class has it, but it is a request.
    [DAY, "", USERS, "GET", "", 101, 9],
    [DAY, "", USERS, "PATCH", "web", 429, 8],
    [NIGHT, "ada", CALLS, "GET", "web", 200, 30],
    [NIGHT, "ada", CALLS, "GET", "web", 429, 30],
    [NIGHT, "cleo", USERS, "PUT", "web", 200, 1],
    [NIGHT, "cleo", USERS, "HEAD", "", 301, 1],
    [BOT, "", QUEUES, "GET", "android", 200, MUCH],
    [BOT, "", QUEUES, "POST", "android", 503, 13],
    [BOT, "", CALLS, "GET", "android", 404, 1],
    ...FLOWS.map((template, at) => [BOT, "", template, "GET", "android", 200, 5 + (at % 4)]),
].map(([client, user, template, method, platform, status, count]) => ({
    client,
    user,
    template,
    method,
    platform,
    status,
    count,
}));
const TEMPLATES = [...new Set(USED.map((call) => call.template))];
const CLASSES = ["status200", "status300", "status400", "status500", "status429"];
const ALL = [...CLASSES, "requests"];
const of = (client) => USED.filter((call) => call.client === client);

// -- What must come out --

/** `by` makes the members of a row that are no counts. */
function expectedRows(calls, by, metrics = ALL, more = {}) {
    const rows = new Map();
    for (const call of calls) {
        const key = by(call);
        const text = JSON.stringify(key);
        if (!rows.has(text)) rows.set(text, { ...key, ...more, ...Object.fromEntries(metrics.map((name) => [name, 0])) });
        const row = rows.get(text);
        const add = (name) => {
            if (metrics.includes(name)) row[name] += call.count;
        };
        add("requests");
        if (call.status >= 200) add(`status${Math.floor(call.status / 100)}00`);
        if (call.status === 429) add("status429");
    }
    return [...rows.values()];
}

/** As the jobs have them: there the requests have another name. */
function jobRows(calls, by, more = {}, metrics = ALL) {
    return expectedRows(calls, by, metrics, { date: dayOf(MIDNIGHT), ...more }).map(({ requests, ...row }) =>
        requests === undefined ? row : { ...row, requestCount: requests },
    );
}

// -- What comes out --

const canonical = (row) =>
    JSON.stringify(row, (_, value) =>
        value !== null && typeof value === "object" && !Array.isArray(value)
            ? Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)))
            : value,
    );

/** Names the first row that differs: all of them are too long to read. */
function sameRows(found, expected, what, ordered = false) {
    let [one, other] = [found.map(canonical), expected.map(canonical)];
    if (!ordered) [one, other] = [one.sort(), other.sort()];
    for (let at = 0; at < Math.min(one.length, other.length); at++) assert.equal(one[at], other[at], `${what}: row ${at}`);
    assert.equal(one.length, other.length, `${what}: rows`);
}

async function patiently(read, isOver) {
    for (let attempt = 0; attempt < 200; attempt++) {
        const { status, body } = await read();
        assert.equal(status, 200);
        if (isOver(body)) return body;
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error("not over after ten seconds");
}

/** The id of a query that was just started. */
function started({ status, body }, resultsUri) {
    assert.equal(status, 202);
    const { executionId } = body;
    assert.deepEqual(body, { executionId, resultsUri: resultsUri.replace("{}", executionId) });
    return executionId;
}

/** The result of one of the older queries. */
async function completed(read) {
    const result = await patiently(read, (body) => {
        if (body.queryStatus === "Running") assert.deepEqual(body, { queryStatus: "Running", results: [] });
        return body.queryStatus !== "Running";
    });
    const { queryStatus, results, cursors, ...rest } = result;
    assert.equal(queryStatus, "Complete");
    assert.deepEqual(rest, {}, "nothing else");
    return { results, cursors };
}

async function allRows(read) {
    const { results, cursors } = await completed(read);
    assert.equal(cursors, undefined, "there are no pages");
    return results;
}

/** The ErrorBody. Of a plain response the SDK hands out nothing else. */
async function refused(call, status, code, fields = []) {
    const error = await call().then(
        () => assert.fail(`should have been refused with ${status}`),
        (error) => error,
    );
    const { body } = error;
    const what = JSON.stringify(body ?? String(error));
    assert.equal(error.status, status, what);
    const { message, contextId } = body;
    assert.ok(message && contextId, what);
    assert.equal(contextId, error.headers["x-request-id"], what);
    const details = fields.map((fieldName) => ({ errorCode: "invalid.value", fieldName }));
    assert.deepEqual(body, { message, code, status, contextId, details, errors: [] }, what);
    for (const field of fields) assert.ok(message.includes(field), what);
    return body;
}

async function main() {
    const reader = await signedIn("genesys-js-reader", [
        "usage:api:write",
        "usage:client:view",
        "usage:organization:view",
        "usage:simpleSearch:view",
    ]);
    const usage = new genesys.UsageApi(reader);
    const oauth = new genesys.OAuthApi(reader);
    const wrong = unsigned().loginClientCredentialsGrant("genesys-js-reader", "wrong");
    await assert.rejects(wrong, (error) => error.response.status === 401 && error.response.data.error === "invalid_client");
    console.log("signed in by client credentials");

    for (const clientId of [DAY, NIGHT]) {
        await post("/v1/access/clients", operator, { clientId, name: NAMES[clientId], permissions: ["catalog:view"] });
    }
    const events = USED.map(({ client, user, template, method, platform, status, count }, at) => ({
        uuid: randomUUID(),
        clientId: client,
        userId: user,
        templateUri: template,
        httpMethod: method,
        platform,
        status,
        timestamp: new Date(NOW.getTime() - (at % 60) * 60_000).toISOString(),
        count: String(count),
    }));
    const recorded = await post("/v1/apiUsage:record", reader.authentications["PureCloud OAuth"].accessToken, { events });
    assert.equal(recorded.acceptedCount, USED.length, JSON.stringify(recorded));
    console.log("recorded API usage");

    // -- The organization's usage --
    const week = interval(daysLater(-7), daysLater(1));
    const organizationQuery = async (body) => {
        const execution = started(await usage.postUsageQuery(body), "/api/v2/usage/query/{}/results");
        return allRows(() => usage.getUsageQueryExecutionIdResults(execution));
    };
    const mine = (rows) => rows.filter((row) => TEMPLATES.includes(row.templateUri));
    let rows = await organizationQuery({
        interval: week,
        granularity: "Day",
        groupBy: ["OAuthClientId", "OrganizationId", "UserId", "TemplateUri", "HttpMethod"],
    });
    const today = { date: MIDNIGHT.toISOString() };
    const byAll = ({ client, user, template, method }) => ({
        clientId: client,
        clientName: NAMES[client],
        userId: user,
        templateUri: template,
        httpMethod: method,
    });
    const everything = expectedRows(USED, byAll, ALL, { ...today, organizationId: "default" });
    sameRows(mine(rows), everything, "the organization by everything");
    for (const [granularity, first] of [
        ["Week", MONDAY],
        ["Month", FIRST],
    ]) {
        const body = { interval: week, granularity, metrics: ["Status400", "Status429"], groupBy: ["TemplateUri"] };
        const byTemplate = ({ template }) => ({ templateUri: template });
        const expected = expectedRows(USED, byTemplate, ["status400", "status429"], { date: first.toISOString() });
        sameRows(mine(await organizationQuery(body)), expected, `two metrics by template and ${granularity}`);
    }
    rows = await organizationQuery({ interval: week });
    assert.deepEqual(Object.keys(rows[0]).sort(), [...ALL].sort(), "neither grouped nor by date");
    const [least] = expectedRows(USED, () => ({}));
    // The server's own calls are among them.
    for (const name of ALL) assert.ok(rows[0][name] >= least[name] && rows[0][name] <= least[name] + 1000, name);
    assert.deepEqual(await organizationQuery({ interval: interval(daysLater(-1), MIDNIGHT) }), [], "until today");
    console.log("the organization's usage: grouping, granularity, metrics, interval");

    // -- A client's. The methods are in two classes of the SDK --
    const clientUri = (client) => `/api/v2/oauth/clients/${encodeURIComponent(client)}/usage/query/results/{}`;
    const clientQuery = async (client, body, api = usage) => {
        const execution = started(await api.postOauthClientUsageQuery(client, body), clientUri(client));
        return allRows(() => api.getOauthClientUsageQueryResult(execution, client));
    };
    for (const api of [usage, oauth]) {
        for (const client of Object.keys(NAMES)) {
            const groupBy = ["OAuthClientId", "OrganizationId", "TemplateUri", "HttpMethod"];
            rows = await clientQuery(client, { interval: week, granularity: "Day", groupBy }, api);
            const byMethod = ({ template, method }) => ({ templateUri: template, httpMethod: method });
            const who = { ...today, organizationId: "default", clientId: client, clientName: NAMES[client] };
            sameRows(rows, expectedRows(of(client), byMethod, ALL, who), `the client ${client} by everything`);
            rows = await clientQuery(client, { interval: week, metrics: ["Requests"] }, api);
            sameRows(rows, expectedRows(of(client), () => ({}), ["requests"]), `the client ${client}, one number`);
            for (const options of [undefined, { days: "1" }]) {
                const execution = started(await api.getOauthClientUsageSummary(client, options), clientUri(client));
                rows = await allRows(() => api.getOauthClientUsageQueryResult(execution, client));
                sameRows(rows, expectedRows(of(client), byMethod), `the summary of the client ${client}`);
            }
        }
    }
    console.log("a client's usage, and its summary");

    // -- Searches --
    const search = async (body, pageSize) => {
        const execution = started(await usage.postUsageSimplesearch(body), "/api/v2/usage/simplesearch/{}/results");
        const found = [];
        for (let after; ; ) {
            const options = { pageSize, after };
            const { results, cursors } = await completed(() =>
                usage.getUsageSimplesearchExecutionIdResults(execution, options),
            );
            found.push(...results);
            if (cursors === undefined) return found;
            assert.equal(results.length, pageSize, "a page that is not the last is full");
            assert.deepEqual(Object.keys(cursors), ["after"]);
            after = cursors.after;
        }
    };
    const named = ({ client, method, template }) => ({ clientName: NAMES[client], httpMethod: method, templateUri: template });
    for (const pageSize of [undefined, 1, 3, 1000]) {
        rows = await search({ interval: week, templateUris: TEMPLATES }, pageSize);
        sameRows(rows, expectedRows(USED, named, CLASSES, today), `a search with ${pageSize} rows a page`);
    }
    for (const [filter, isWanted] of [
        [{ oauthClientNames: ["Contact centre", "nobody"] }, (call) => call.client !== BOT],
        [{ httpMethods: ["PUT", "HEAD", "TRACE"] }, (call) => ["PUT", "HEAD"].includes(call.method)],
        [{ templateUris: [USERS, "/api/v2/nothing"] }, (call) => call.template === USERS],
        [{ oauthClientNames: [BOT], httpMethods: ["DELETE"] }, () => false],
    ]) {
        rows = await search({ interval: week, templateUris: TEMPLATES, ...filter }, 7);
        sameRows(rows, expectedRows(USED.filter(isWanted), named, CLASSES, today), JSON.stringify(filter));
    }
    rows = await search({ interval: week, templateUris: [CALLS], metrics: ["ClientName", "Status429"] });
    const calls = USED.filter((call) => call.template === CALLS);
    sameRows(rows, expectedRows(calls, ({ client }) => ({ clientName: NAMES[client] }), ["status429"]), "two columns");
    console.log("searches: pages, filters, columns");

    // -- Jobs --
    const days = `${dayOf(daysLater(-1))}T00:00:00/${dayOf(MIDNIGHT)}T00:00:00`;
    const job = async ({ status, body }, read, uri, pageSize) => {
        const { id } = body;
        assert.equal(status, 202);
        assert.deepEqual(body, { id, resultsUri: uri + id, selfUri: uri + id });
        const found = [];
        for (let after; ; ) {
            const result = await patiently(
                () => read(id, { pageSize, after }),
                ({ queryStatus }) => !["Queued", "Running"].includes(queryStatus),
            );
            const { queryStatus, entities, selfUri, nextUri, ...rest } = result;
            assert.deepEqual([queryStatus, selfUri, rest], ["Succeeded", uri + id, {}], "nothing else");
            found.push(...entities);
            if (nextUri === undefined) return found;
            assert.equal(entities.length, pageSize, "a page that is not the last is full");
            const next = new URL(nextUri, `http://${address}`);
            assert.equal(next.pathname, uri + id, "nextUri");
            assert.deepEqual([...next.searchParams.keys()].sort(), ["after", "pageSize"]);
            assert.equal(next.searchParams.get("pageSize"), String(pageSize));
            after = next.searchParams.get("after");
        }
    };
    const organizationJob = async (body, pageSize) => {
        const created = await usage.postUsageAggregatesQueryJobs({ interval: days, templateUris: TEMPLATES, ...body });
        const read = (id, options) => usage.getUsageAggregatesQueryJob(id, options);
        return job(created, read, "/api/v2/usage/aggregates/query/jobs/", pageSize);
    };
    const clientJob = async (client, body, pageSize) => {
        const created = await usage.postUsageClientClientIdAggregatesQueryJobs(client, { interval: days, ...body });
        const read = (id, options) => usage.getUsageClientClientIdAggregatesQueryJob(client, id, options);
        return job(created, read, `/api/v2/usage/client/${encodeURIComponent(client)}/aggregates/query/jobs/`, pageSize);
    };
    const entity = (id) => ({ id, name: NAMES[id], selfUri: `/api/v2/oauth/clients/${encodeURIComponent(id)}` });
    // Calls on behalf of nobody have no user.
    const byUser = ({ user }) => (user ? { user: { id: user, selfUri: `/api/v2/users/${user}` } } : {});
    const whole = (call) => ({
        ...byUser(call),
        oauthClient: entity(call.client),
        platform: call.platform,
        httpMethod: call.method,
        templateUri: call.template,
    });
    // The end is part of the interval.
    for (const pageSize of [undefined, 1, 4, 1000]) {
        sameRows(await organizationJob({}, pageSize), jobRows(USED, whole), `a job with ${pageSize} rows a page`);
    }
    for (const [filter, isWanted] of [
        [{ httpMethods: ["POST", "HEAD"] }, (call) => ["POST", "HEAD"].includes(call.method)],
        [{ platforms: ["ios", "web"] }, (call) => ["ios", "web"].includes(call.platform)],
        [{ userIds: ["bob", "cleo"] }, (call) => ["bob", "cleo"].includes(call.user)],
        [{ oauthClientIds: [DAY, "nobody"] }, (call) => call.client === DAY],
        [{ templateUris: [USERS] }, (call) => call.template === USERS],
        [{ httpMethods: ["GET"], platforms: ["web"] }, (call) => call.method === "GET" && call.platform === "web"],
    ]) {
        sameRows(await organizationJob(filter), jobRows(USED.filter(isWanted), whole), JSON.stringify(filter));
    }
    const byName = ({ client }) => ({ oauthClient: { name: NAMES[client] } });
    sameRows(await organizationJob({ groupBy: ["OauthClientName"] }), jobRows(USED, byName), "clients of one name are one");
    rows = await organizationJob({ groupBy: ["OauthClientId"], metrics: ["Requests", "Status429"] });
    const byId = ({ client }) => ({ oauthClient: entity(client) });
    sameRows(rows, jobRows(USED, byId, {}, ["requests", "status429"]), "by the clients' ids");
    for (const [granularity, first] of [
        ["Week", MONDAY],
        ["Month", FIRST],
    ]) {
        rows = await organizationJob({ granularity, groupBy: ["UserId"] });
        sameRows(rows, jobRows(USED, byUser, { date: dayOf(first) }), `users by ${granularity}`);
    }
    const byTemplate = ({ template, method }) => ({ templateUri: template, httpMethod: method });
    const text = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
    const columns = (one, other) => text(one.templateUri, other.templateUri) || text(one.httpMethod, other.httpMethod);
    const ordered = [
        [
            [
                { fieldName: "TemplateUri", order: "Asc" },
                { fieldName: "HttpMethod", order: "Desc" },
            ],
            (one, other) => text(one.templateUri, other.templateUri) || text(other.httpMethod, one.httpMethod),
        ],
        [[{ fieldName: "Requests", order: "Desc" }], (one, other) => other.requestCount - one.requestCount || columns(one, other)],
        [
            [{ fieldName: "status429" }, { fieldName: "Date", order: "Desc" }, { fieldName: "requestCount", order: "Desc" }],
            (one, other) =>
                one.status429 - other.status429 || other.requestCount - one.requestCount || columns(one, other),
        ],
        // What is equal in all of that is in the order of what it is grouped by.
        [undefined, columns],
    ];
    for (const pageSize of [undefined, 5]) {
        for (const [sortBy, order] of ordered) {
            rows = await organizationJob({ groupBy: ["TemplateUri", "HttpMethod"], sortBy }, pageSize);
            const what = `in the order of ${JSON.stringify(sortBy)}, ${pageSize} rows a page`;
            sameRows(rows, jobRows(USED, byTemplate).sort(order), what, true);
        }
    }
    console.log("the organization's jobs: pages, filters, grouping, order");

    const ofClient = ({ method, template, platform }) => ({ httpMethod: method, templateUri: template, platform });
    const home = { organizationId: "default" };
    for (const client of Object.keys(NAMES)) {
        for (const pageSize of [undefined, 2]) {
            sameRows(await clientJob(client, {}, pageSize), jobRows(of(client), ofClient, home), `a job about ${client}`);
        }
    }
    rows = await clientJob(BOT, { organizationIds: ["default", "other"] });
    sameRows(rows, jobRows(of(BOT), ofClient, home), "in the own organization");
    sameRows(await clientJob(BOT, { organizationIds: ["other"] }), [], "in another organization");
    rows = await clientJob(DAY, { templateUris: [CALLS], httpMethods: ["GET", "POST"], platforms: ["ios"] });
    const some = of(DAY).filter(({ template, method, platform }) => template === CALLS && method !== "DELETE" && platform === "ios");
    sameRows(rows, jobRows(some, ofClient, home), "a job about a client with filters");
    const sortBy = [{ fieldName: "Requests", order: "Desc" }];
    rows = await clientJob(DAY, { granularity: "Month", groupBy: ["Platform"], metrics: ["Requests"], sortBy }, 1);
    const platforms = jobRows(of(DAY), ({ platform }) => ({ platform }), { date: dayOf(FIRST) }, ["requests"]);
    sameRows(rows, platforms.sort((one, other) => other.requestCount - one.requestCount), "platforms in order", true);
    console.log("jobs about a client: pages, filters, grouping, order");

    // -- Refusals --
    const unknown = randomUUID();
    for (const call of [
        () => usage.getOauthClientUsageQueryResult(unknown, DAY),
        () => usage.getUsageQueryExecutionIdResults(unknown),
        () => usage.getUsageSimplesearchExecutionIdResults(unknown),
        () => usage.getUsageAggregatesQueryJob(unknown),
        () => usage.getUsageClientClientIdAggregatesQueryJob(DAY, unknown),
    ]) {
        assert.ok((await refused(call, 404, "not.found")).message.includes(unknown));
    }
    for (const call of [
        () => usage.getOauthClientUsageSummary("nobody"),
        () => clientQuery("nobody", { interval: week }),
        () => clientJob("nobody"),
    ]) {
        assert.ok((await refused(call, 404, "not.found")).message.includes("nobody"));
    }
    for (const text of ["", "yesterday", interval(MIDNIGHT, daysLater(-1))]) {
        const body = { interval: text };
        for (const call of [
            () => organizationQuery(body),
            () => clientQuery(DAY, body),
            () => search(body),
            () => organizationJob(body),
            () => clientJob(DAY, body),
        ]) {
            await refused(call, 400, "bad.request", ["interval"]);
        }
    }
    await refused(() => usage.getOauthClientUsageSummary(DAY, { days: "soon" }), 400, "bad.request", ["days"]);
    await refused(() => organizationJob({ groupBy: ["OAuthClientId"] }), 400, "bad.request", ["groupBy[0]"]);
    const colour = { sortBy: [{ fieldName: "Colour" }] };
    await refused(() => organizationJob(colour), 400, "bad.request", ["sortBy[0].fieldName"]);
    const searchBody = { interval: week, templateUris: TEMPLATES };
    const searching = (await usage.postUsageSimplesearch(searchBody)).body.executionId;
    const other = (await usage.postUsageSimplesearch(searchBody)).body.executionId;
    const page = await completed(() => usage.getUsageSimplesearchExecutionIdResults(searching, { pageSize: 2 }));
    const { after } = page.cursors;
    const tampered = (after[0] === "A" ? "B" : "A") + after.slice(1);
    for (const [execution, cursor] of [
        [searching, tampered],
        [searching, "x"],
        [other, after],
    ]) {
        const read = () => usage.getUsageSimplesearchExecutionIdResults(execution, { pageSize: 2, after: cursor });
        await refused(read, 400, "bad.request", ["after"]);
    }
    const tooMany = () => usage.getUsageSimplesearchExecutionIdResults(searching, { pageSize: 1001 });
    assert.ok((await refused(tooMany, 400, "bad.request", ["pageSize"])).message.includes("1000"));
    console.log("refusals name what is wrong");

    const all = (api) => [
        () => api.postOauthClientUsageQuery(DAY, { interval: week }),
        () => api.getOauthClientUsageQueryResult(unknown, DAY),
        () => api.getOauthClientUsageSummary(DAY),
        () => api.postUsageQuery({ interval: week }),
        () => api.getUsageQueryExecutionIdResults(unknown),
        () => api.postUsageSimplesearch({ interval: week }),
        () => api.getUsageSimplesearchExecutionIdResults(unknown),
        () => api.postUsageAggregatesQueryJobs({ interval: days }),
        () => api.getUsageAggregatesQueryJob(unknown),
        () => api.postUsageClientClientIdAggregatesQueryJobs(DAY, { interval: days }),
        () => api.getUsageClientClientIdAggregatesQueryJob(DAY, unknown),
    ];
    const stranger = new genesys.UsageApi(await signedIn("genesys-js-stranger", ["catalog:view"]));
    for (const call of all(stranger)) await refused(call, 403, "missing.any.permissions");
    for (const call of all(new genesys.UsageApi(unsigned()))) await refused(call, 401, "authentication.required");
    // Without the headers, the SDK rejects with the ErrorBody itself.
    reader.setReturnExtendedResponses(false);
    await assert.rejects(usage.getUsageQueryExecutionIdResults(unknown), ({ status, code }) => status === 404 && code === "not.found");
    console.log("every operation asks for its permission");
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
