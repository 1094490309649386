"""Asks for API usage with Genesys' own SDK, by all eleven operations. Arguments: address, operator's token, the server's time."""

import functools
import json
import sys
import time
import urllib.request
import uuid
from collections import defaultdict
from datetime import date, datetime, timedelta, timezone
from urllib.parse import parse_qs, quote, urlsplit

import PureCloudPlatformClientV2 as genesys
from PureCloudPlatformClientV2.gateway_configuration import GatewayConfiguration
from PureCloudPlatformClientV2.rest import ApiException

address, operator, now_text = sys.argv[1:]
host, port = address.split(":")
NOW = datetime.fromisoformat(now_text.replace("Z", "+00:00"))
TODAY = NOW.date()
MIDNIGHT = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=timezone.utc)
MONDAY = MIDNIGHT - timedelta(days=TODAY.weekday())
FIRST = MIDNIGHT.replace(day=1)
YESTERDAY = MIDNIGHT - timedelta(days=1)


# Nothing is to be looked at after the first difference.
def same(found, expected, what):
    if found != expected:
        raise SystemExit(f"{what}\n   found: {found!r}\nexpected: {expected!r}")


def post(path, bearer, body):
    """What the SDK has no method for."""
    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{address}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


# The gateway settings are for both hosts of the vendor, the API's and the one that signs in; and they take plain HTTP.
genesys.configuration.gateway_configuration = GatewayConfiguration(host=host, protocol="http", port=int(port))


def unsigned():
    client = genesys.api_client.ApiClient()
    client.gateway_configuration = genesys.configuration.gateway_configuration
    return client


def signed_in(client_id, permissions):
    secret = post("/v1/access/clients", operator, {"clientId": client_id, "permissions": permissions})["secret"]
    return unsigned().get_client_credentials_token(client_id, secret)


reader = signed_in(
    "genesys-reader",
    ["usage:api:write", "usage:client:view", "usage:organization:view", "usage:simpleSearch:view"],
)
usage = genesys.UsageApi(reader)
oauth = genesys.OAuthApi(reader)
print("signed in by client credentials")

# Two clients of one name, and one that is not registered: it is called by its id, which must be escaped in paths.
DAY = "3f1c3b9e-7b1f-4a53-9d0c-5a4b1e6a7f01"
NIGHT = "3f1c3b9e-7b1f-4a53-9d0c-5a4b1e6a7f02"
BOT = "night bot+é"
NAMES = {DAY: "Contact centre", NIGHT: "Contact centre", BOT: BOT}
for client in (DAY, NIGHT):
    body = {"clientId": client, "name": NAMES[client], "permissions": ["catalog:view"]}
    post("/v1/access/clients", operator, body)

CALLS = "/api/v2/conversations/calls/{conversationId}"
USERS = "/api/v2/users/{userId}"
QUEUES = "/api/v2/routing/queues"
# Enough for pages. The server counts its own calls as well, under other templates.
FLOWS = [f"/api/v2/flows/{number:02}/{{flowId}}" for number in range(23)]
# The most that one event may count.
MUCH = 10**9

# client, user, template, method, platform, status, how often
USED = [
    (DAY, "ada", CALLS, "GET", "web", 200, 120),
    (DAY, "ada", CALLS, "GET", "web", 204, 3),
    (DAY, "ada", CALLS, "GET", "web", 301, 2),
    (DAY, "ada", CALLS, "GET", "web", 404, 5),
    (DAY, "ada", CALLS, "GET", "web", 429, 7),
    (DAY, "ada", CALLS, "GET", "web", 503, 1),
    (DAY, "bob", CALLS, "GET", "ios", 200, 11),
    (DAY, "bob", CALLS, "POST", "ios", 202, 4),
    (DAY, "bob", CALLS, "DELETE", "ios", 404, 6),
    (DAY, "", USERS, "GET", "", 200, 40),
    (DAY, "", USERS, "GET", "", 500, 2),
    # No class has it, but it is a request.
    (DAY, "", USERS, "GET", "", 101, 9),
    (DAY, "", USERS, "PATCH", "web", 429, 8),
    (NIGHT, "ada", CALLS, "GET", "web", 200, 30),
    (NIGHT, "ada", CALLS, "GET", "web", 429, 30),
    (NIGHT, "cleo", USERS, "PUT", "web", 200, 1),
    (NIGHT, "cleo", USERS, "HEAD", "", 301, 1),
    (BOT, "", QUEUES, "GET", "android", 200, MUCH),
    (BOT, "", QUEUES, "POST", "android", 503, 13),
    (BOT, "", CALLS, "GET", "android", 404, 1),
    *((BOT, "", template, "GET", "android", 200, 5 + at % 4) for at, template in enumerate(FLOWS)),
]
MINE = {template for _, _, template, *_ in USED}
CLASSES = ["status200", "status300", "status400", "status500", "status429"]

events = [
    {
        "uuid": str(uuid.uuid4()),
        "clientId": client,
        "userId": user,
        "templateUri": template,
        "httpMethod": method,
        "platform": platform,
        "status": status,
        "timestamp": (NOW - timedelta(minutes=at % 60)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "count": str(count),
    }
    for at, (client, user, template, method, platform, status, count) in enumerate(USED)
]
recorded = post("/v1/apiUsage:record", reader.access_token, {"events": events})
same(recorded.get("acceptedCount"), len(USED), f"recorded: {recorded}")
print("recorded API usage")


# -- What must come out --


def counted(calls, by):
    """Counts of the calls that have something in common: that -> counts."""
    groups = defaultdict(lambda: dict.fromkeys([*CLASSES, "requests"], 0))
    for call in calls:
        counts = groups[by(*call[:5])]
        status, count = call[5:]
        counts["requests"] += count
        if 200 <= status < 600:
            counts[f"status{status // 100}00"] += count
        if status == 429:
            counts["status429"] += count
    return groups


def expected_rows(calls, by, metrics=(*CLASSES, "requests"), **more):
    """`by` makes the members of a row that are no counts of client, user, template, method and platform."""
    keyed = counted(calls, lambda *call: json.dumps(by(*call)))
    return [{**json.loads(key), **more, **{name: counts[name] for name in metrics}} for key, counts in keyed.items()]


def job_rows(calls, by, metrics=(*CLASSES, "requests"), **more):
    """As the jobs have them: there the requests have another name."""
    rows = expected_rows(calls, by, metrics, **more)
    return [{"requestCount" if name == "requests" else name: value for name, value in row.items()} for row in rows]


# -- What comes out --


def members(value):
    """A model as the members that it has."""
    if isinstance(value, list):
        return [members(item) for item in value]
    if hasattr(value, "attribute_map"):
        named = {name: getattr(value, attribute) for attribute, name in value.attribute_map.items()}
        return {name: members(item) for name, item in named.items() if item is not None}
    return value


def as_sent(value):
    """The JSON of what the SDK has parsed."""
    if isinstance(value, list):
        return [as_sent(item) for item in value]
    if isinstance(value, dict):
        return {name: as_sent(item) for name, item in value.items()}
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return value.isoformat() if isinstance(value, date) else value


def answered(status):
    """The body of the last answer: counts must be JSON numbers, and what is not there must not be null."""
    same(reader.last_response.status, status, "HTTP status")
    return json.loads(reader.last_response.data)


def in_any_order(rows):
    return sorted(rows, key=lambda row: json.dumps(as_sent(row), sort_keys=True))


def same_rows(found, expected, what, ordered=False):
    """Names the first row that differs: all of them are too long to read."""
    if not ordered:
        found, expected = in_any_order(found), in_any_order(expected)
    for at, (one, other) in enumerate(zip(found, expected)):
        same(dict(sorted(one.items())), dict(sorted(other.items())), f"{what}: row {at}")
    same(len(found), len(expected), f"{what}: rows")


def interval(start, end):
    return "/".join(moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (start, end))


def started(result, results_uri):
    """The id of a query that was just started."""
    sent = answered(202)
    same(sent, {"executionId": result.execution_id, "resultsUri": result.results_uri}, "started")
    same(result.results_uri, results_uri.format(result.execution_id), "resultsUri")
    return result.execution_id


def patiently(read, is_over):
    for _ in range(200):
        result = read()
        if is_over(result):
            return result
        time.sleep(0.05)
    raise SystemExit(f"not over after ten seconds: {result}")


def completed(read):
    """The result of one of the older queries, and its rows."""

    def is_over(result):
        running = result.query_status == "Running"
        if running:
            same(answered(200), {"queryStatus": "Running", "results": []}, "a query that runs")
        return not running

    result = patiently(read, is_over)
    same(result.query_status, "Complete", "queryStatus")
    rows = members(result.results)
    # Exactly what the SDK has parsed was sent, and nothing else.
    sent = {"queryStatus": "Complete", "results": as_sent(rows)}
    if result.cursors is not None:
        sent["cursors"] = members(result.cursors)
    same(answered(200), sent, "the answer")
    return result, rows


def all_rows(read):
    result, rows = completed(read)
    same(result.cursors, None, "cursors of a result without pages")
    return rows


# -- The organization's usage --


def organization_query(**members_of_body):
    body = genesys.ApiUsageOrganizationQuery()
    for name, value in members_of_body.items():
        setattr(body, name, value)
    execution = started(usage.post_usage_query(body), "/api/v2/usage/query/{}/results")
    return all_rows(lambda: usage.get_usage_query_execution_id_results(execution))


def mine(rows):
    return [row for row in rows if row["templateUri"] in MINE]


WEEK_UNTIL_TOMORROW = interval(MIDNIGHT - timedelta(days=7), MIDNIGHT + timedelta(days=1))
rows = organization_query(
    interval=WEEK_UNTIL_TOMORROW,
    granularity="Day",
    group_by=["OAuthClientId", "OrganizationId", "UserId", "TemplateUri", "HttpMethod"],
)
same_rows(
    mine(rows),
    expected_rows(
        USED,
        lambda client, user, template, method, platform: {
            "clientId": client,
            "clientName": NAMES[client],
            "userId": user,
            "templateUri": template,
            "httpMethod": method,
        },
        organizationId="default",
        date=MIDNIGHT,
    ),
    "the organization by everything",
)
for granularity, first in [("Week", MONDAY), ("Month", FIRST)]:
    rows = organization_query(
        interval=WEEK_UNTIL_TOMORROW,
        granularity=granularity,
        metrics=["Status400", "Status429"],
        group_by=["TemplateUri"],
    )
    by_template = expected_rows(
        USED, lambda client, user, template, *_: {"templateUri": template}, ["status400", "status429"], date=first
    )
    same_rows(mine(rows), by_template, f"two metrics by template and {granularity}")
(row,) = organization_query(interval=WEEK_UNTIL_TOMORROW)
same(sorted(row), sorted([*CLASSES, "requests"]), "neither grouped nor by date")
least = expected_rows(USED, lambda *_: {})[0]
for name, count in least.items():
    # The server's own calls are among them.
    assert count <= row[name] <= count + 1000, (name, row[name], count)
# The end is not part of the interval.
same(organization_query(interval=interval(YESTERDAY, MIDNIGHT)), [], "until today")
print("the organization's usage: grouping, granularity, metrics, interval")

# -- A client's --


def client_query(client, api=usage, **members_of_body):
    body = genesys.ApiUsageClientQuery()
    for name, value in members_of_body.items():
        setattr(body, name, value)
    uri = f"/api/v2/oauth/clients/{quote(client)}/usage/query/results/{{}}"
    execution = started(api.post_oauth_client_usage_query(client, body), uri)
    return all_rows(lambda: api.get_oauth_client_usage_query_result(execution, client))


def of(client):
    return [call for call in USED if call[0] == client]


def by_template_and_method(client, user, template, method, platform):
    return {"templateUri": template, "httpMethod": method}


# The methods are in two classes of the SDK.
for api in (usage, oauth):
    for client in NAMES:
        rows = client_query(
            client,
            api,
            interval=WEEK_UNTIL_TOMORROW,
            granularity="Day",
            group_by=["OAuthClientId", "OrganizationId", "TemplateUri", "HttpMethod"],
        )
        by_method = expected_rows(
            of(client),
            lambda client, user, template, method, platform: {
                "clientId": client,
                "clientName": NAMES[client],
                "templateUri": template,
                "httpMethod": method,
            },
            organizationId="default",
            date=MIDNIGHT,
        )
        same_rows(rows, by_method, f"the client {client} by everything")
        rows = client_query(client, api, interval=WEEK_UNTIL_TOMORROW)
        same_rows(rows, expected_rows(of(client), lambda *_: {}), f"the client {client}, one row")
        rows = client_query(client, api, interval=WEEK_UNTIL_TOMORROW, metrics=["Requests"], group_by=["HttpMethod"])
        by_method = expected_rows(of(client), lambda c, u, t, method, p: {"httpMethod": method}, ["requests"])
        same_rows(rows, by_method, f"the client {client}, requests by method")
        for days in (None, "1", "30"):
            uri = f"/api/v2/oauth/clients/{quote(client)}/usage/query/results/{{}}"
            summary = api.get_oauth_client_usage_summary(client, **({} if days is None else {"days": days}))
            execution = started(summary, uri)
            rows = all_rows(lambda: api.get_oauth_client_usage_query_result(execution, client))
            by_template = expected_rows(of(client), by_template_and_method)
            same_rows(rows, by_template, f"the summary of the client {client}")
print("a client's usage, and its summary")

# -- Searches --


def search(page_size=None, **members_of_body):
    """All pages."""
    body = genesys.ApiUsageSimpleSearch()
    for name, value in members_of_body.items():
        setattr(body, name, value)
    execution = started(usage.post_usage_simplesearch(body), "/api/v2/usage/simplesearch/{}/results")
    options = {} if page_size is None else {"page_size": page_size}
    result, rows = completed(lambda: usage.get_usage_simplesearch_execution_id_results(execution, **options))
    while result.cursors is not None:
        same(len(rows) % page_size, 0, "a page that is not the last is full")
        same(result.cursors.before, None, "cursors.before")
        options["after"] = result.cursors.after
        again = functools.partial(usage.get_usage_simplesearch_execution_id_results, execution, **options)
        result, more = completed(again)
        assert more, "an empty page"
        same(members(again().results), more, "the same page, asked for again")
        rows += more
    return rows


def named(client, user, template, method, platform):
    return {"clientName": NAMES[client], "httpMethod": method, "templateUri": template}


found = expected_rows(USED, named, CLASSES, date=MIDNIGHT)
for page_size in (None, 1, 3, 1000):
    rows = search(page_size, interval=WEEK_UNTIL_TOMORROW, template_uris=sorted(MINE))
    same_rows(rows, found, f"a search with {page_size} rows a page")


def searched(calls, what, **body):
    rows = search(7, interval=WEEK_UNTIL_TOMORROW, **{"template_uris": sorted(MINE)} | body)
    same_rows(rows, expected_rows(calls, named, CLASSES, date=MIDNIGHT), what)


searched([call for call in USED if call[0] != BOT], "by a client's name", oauth_client_names=["Contact centre", "nobody"])
searched([call for call in USED if call[3] in ("PUT", "HEAD")], "by method", http_methods=["PUT", "HEAD", "TRACE"])
searched([call for call in USED if call[2] == USERS], "by template", template_uris=[USERS, "/api/v2/nothing"])
searched([], "by what is not together", oauth_client_names=[BOT], http_methods=["DELETE"])
rows = search(template_uris=[CALLS], interval=WEEK_UNTIL_TOMORROW, metrics=["ClientName", "Status429"])
calls = [call for call in USED if call[2] == CALLS]
same_rows(rows, expected_rows(calls, lambda client, *_: {"clientName": NAMES[client]}, ["status429"]), "two columns")
print("searches: pages, filters, columns")

# -- Jobs --

DAYS = f"{YESTERDAY:%Y-%m-%dT%H:%M:%S}/{MIDNIGHT:%Y-%m-%dT%H:%M:%S}"


def job(create, read, uri, model, page_size=None, **members_of_body):
    """All pages."""
    body = model()
    for name, value in members_of_body.items():
        setattr(body, name, value)
    created = create(body)
    uri += created.id
    same(answered(202), {"id": created.id, "resultsUri": uri, "selfUri": uri}, "a job")
    options = {} if page_size is None else {"page_size": page_size}
    rows = []

    def is_over(result):
        if result.query_status not in ("Queued", "Running"):
            return True
        same(answered(200), {"queryStatus": result.query_status, "entities": [], "selfUri": uri}, "a job that runs")
        return False

    while True:
        result = patiently(lambda: read(created.id, **options), is_over)
        page = members(result.entities)
        sent = {"queryStatus": "Succeeded", "entities": as_sent(page), "selfUri": uri}
        if result.next_uri is not None:
            sent["nextUri"] = result.next_uri
        same(answered(200), sent, "the answer")
        rows += page
        if result.next_uri is None:
            return rows
        same(len(page), page_size, "a page that is not the last is full")
        next_page = urlsplit(result.next_uri)
        query = parse_qs(next_page.query, strict_parsing=True)
        same(next_page.path, uri, "nextUri")
        same((query["pageSize"], len(query)), ([str(page_size)], 2), "nextUri")
        options["after"] = query["after"][0]


def organization_job(page_size=None, **body):
    body = {"interval": DAYS, "template_uris": sorted(MINE)} | body
    read = usage.get_usage_aggregates_query_job
    uri = "/api/v2/usage/aggregates/query/jobs/"
    model = genesys.OrganizationPublicApiUsageQueryRequest
    return job(usage.post_usage_aggregates_query_jobs, read, uri, model, page_size, **body)


def client_job(client, page_size=None, **body):
    create = functools.partial(usage.post_usage_client_client_id_aggregates_query_jobs, client)
    read = functools.partial(usage.get_usage_client_client_id_aggregates_query_job, client)
    uri = f"/api/v2/usage/client/{quote(client)}/aggregates/query/jobs/"
    model = genesys.ClientPublicApiUsageQueryRequest
    return job(create, read, uri, model, page_size, **{"interval": DAYS} | body)


def entity(client):
    return {"id": client, "name": NAMES[client], "selfUri": f"/api/v2/oauth/clients/{quote(client)}"}


def everything(client, user, template, method, platform):
    row = {"oauthClient": entity(client), "platform": platform, "httpMethod": method, "templateUri": template}
    if user:
        row["user"] = {"id": user, "selfUri": f"/api/v2/users/{user}"}
    return row


def organization_rows(calls, by=everything, **more):
    return job_rows(calls, by, **{"date": TODAY} | more)


# The end is part of the interval. Calls on behalf of nobody have no user.
for page_size in (None, 1, 4, 1000):
    rows = organization_job(page_size)
    same_rows(rows, organization_rows(USED), f"a job with {page_size} rows a page")
for word, place, wanted in [
    ("oauth_client_ids", 0, [DAY, "nobody"]),
    ("user_ids", 1, ["bob", "cleo"]),
    ("template_uris", 2, [USERS]),
    ("http_methods", 3, ["POST", "HEAD"]),
    ("platforms", 4, ["ios", "web"]),
]:
    calls = [call for call in USED if call[place] in wanted]
    same_rows(organization_job(**{word: wanted}), organization_rows(calls), f"a job with {word}")
both = [call for call in USED if call[3] == "GET" and call[4] == "web"]
same_rows(organization_job(http_methods=["GET"], platforms=["web"]), organization_rows(both), "a job with two filters")

by_name = organization_rows(USED, lambda client, *_: {"oauthClient": {"name": NAMES[client]}})
same_rows(organization_job(group_by=["OauthClientName"]), by_name, "clients of one name are one")
by_id = organization_rows(USED, lambda client, *_: {"oauthClient": entity(client)}, metrics=["status429", "requests"])
found = organization_job(group_by=["OauthClientId"], metrics=["Requests", "Status429"])
same_rows(found, by_id, "by the clients' ids")
for granularity, first in [("Week", MONDAY), ("Month", FIRST)]:
    by_user = lambda client, user, *_: {"user": {"id": user, "selfUri": f"/api/v2/users/{user}"}} if user else {}
    rows = organization_job(granularity=granularity, group_by=["UserId"])
    same_rows(rows, organization_rows(USED, by_user, date=first.date()), f"users by {granularity}")


def sort_by(*fields):
    made = []
    for name, order in fields:
        field = genesys.UsageQuerySortBy()
        field.field_name = name
        # The SDK cannot unset it.
        if order is not None:
            field.order = order
        made.append(field)
    return made


rows = organization_rows(USED, by_template_and_method)
# The last field first: sorting keeps the order of what is equal. That is, in the end, the order of the grouping.
ORDERS = [
    [("TemplateUri", "Asc"), ("HttpMethod", "Desc")],
    [("Requests", "Desc")],
    [("Requests", "Desc"), ("HttpMethod", "Desc")],
    [("status429", None), ("Date", "Desc"), ("requestCount", "Desc")],
    [],
]
MEMBERS = {"TemplateUri": "templateUri", "HttpMethod": "httpMethod", "Requests": "requestCount", "Date": "date"}
for fields in ORDERS:
    expected = sorted(rows, key=lambda row: (row["templateUri"], row["httpMethod"]))
    for name, order in reversed(fields):
        expected.sort(key=lambda row: row[MEMBERS.get(name, name)], reverse=order == "Desc")
    options = {"sort_by": sort_by(*fields)} if fields else {}
    for page_size in (None, 5):
        found = organization_job(page_size, group_by=["TemplateUri", "HttpMethod"], **options)
        same_rows(found, expected, f"a job in the order of {fields}, {page_size} rows a page", ordered=True)
print("the organization's jobs: pages, filters, grouping, order")


def of_client(client, user, template, method, platform):
    return {"httpMethod": method, "templateUri": template, "platform": platform}


for client in NAMES:
    for page_size in (None, 2):
        expected = job_rows(of(client), of_client, organizationId="default", date=TODAY)
        same_rows(client_job(client, page_size), expected, f"a job about {client}")
expected = job_rows(of(BOT), of_client, organizationId="default", date=TODAY)
same_rows(client_job(BOT, organization_ids=["default", "other"]), expected, "in the own organization")
same_rows(client_job(BOT, organization_ids=["other"]), [], "in another organization")
calls = [call for call in of(DAY) if call[2] == CALLS and call[3] in ("GET", "POST") and call[4] == "ios"]
found = client_job(DAY, template_uris=[CALLS], http_methods=["GET", "POST"], platforms=["ios"])
same_rows(found, job_rows(calls, of_client, organizationId="default", date=TODAY), "a job about a client with filters")
found = client_job(
    DAY,
    1,
    granularity="Month",
    group_by=["Platform"],
    metrics=["Requests", "Status300"],
    sort_by=sort_by(("Requests", "Desc")),
)
expected = job_rows(of(DAY), lambda *call: {"platform": call[4]}, ["requests", "status300"], date=FIRST.date())
same_rows(found, sorted(expected, key=lambda row: -row["requestCount"]), "platforms in order", ordered=True)
print("jobs about a client: pages, filters, grouping, order")

# -- Refusals --


def refused(call, status, code, fields=()):
    """The ErrorBody. The SDK has the body as a text, so the model is made here, as a caller would."""
    try:
        call()
    except ApiException as error:
        what = f"the refusal {error.body}"
        same(error.status, status, what)
        body = json.loads(error.body)
        parsed = reader._ApiClient__deserialize(body, "ErrorBody")
        same((parsed.status, parsed.code), (status, code), what)
        assert parsed.message, what
        assert parsed.context_id, what
        same(parsed.context_id, error.headers["x-request-id"], what)
        same(parsed.errors, [], what)
        details = [(detail.error_code, detail.field_name) for detail in parsed.details]
        same(details, [("invalid.value", field) for field in fields], what)
        for field in fields:
            assert field in parsed.message, what
        return parsed
    raise SystemExit(f"should have been refused with {status}")


def body_of(model, **members_of_body):
    body = model()
    for name, value in members_of_body.items():
        setattr(body, name, value)
    return body


unknown = str(uuid.uuid4())
for call in [
    lambda: usage.get_oauth_client_usage_query_result(unknown, DAY),
    lambda: usage.get_usage_query_execution_id_results(unknown),
    lambda: usage.get_usage_simplesearch_execution_id_results(unknown),
    lambda: usage.get_usage_aggregates_query_job(unknown),
    lambda: usage.get_usage_client_client_id_aggregates_query_job(DAY, unknown),
]:
    assert unknown in refused(call, 404, "not.found").message
stranger = "nobody-of-this-name"
for call in [
    lambda: usage.get_oauth_client_usage_summary(stranger),
    lambda: client_query(stranger, interval=WEEK_UNTIL_TOMORROW),
    lambda: client_job(stranger),
]:
    assert stranger in refused(call, 404, "not.found").message
# A result is where its kind is, and under its client, and nowhere else.
search_body = body_of(genesys.ApiUsageSimpleSearch, interval=WEEK_UNTIL_TOMORROW, template_uris=sorted(MINE))
searching = usage.post_usage_simplesearch(search_body).execution_id
refused(lambda: usage.get_usage_query_execution_id_results(searching), 404, "not.found")
refused(lambda: usage.get_usage_aggregates_query_job(searching), 404, "not.found")
about_day = usage.get_oauth_client_usage_summary(DAY).execution_id
refused(lambda: usage.get_oauth_client_usage_query_result(about_day, NIGHT), 404, "not.found")

for text in ("", "yesterday", interval(MIDNIGHT, YESTERDAY)):
    refused(lambda: organization_query(interval=text), 400, "bad.request", ["interval"])
    refused(lambda: client_query(DAY, interval=text), 400, "bad.request", ["interval"])
    refused(lambda: search(interval=text), 400, "bad.request", ["interval"])
    refused(lambda: organization_job(interval=text), 400, "bad.request", ["interval"])
    refused(lambda: client_job(DAY, interval=text), 400, "bad.request", ["interval"])
too_long = interval(MIDNIGHT - timedelta(days=91), MIDNIGHT)
assert "90 days" in refused(lambda: organization_job(interval=too_long), 400, "bad.request", ["interval"]).message
too_old = interval(MIDNIGHT - timedelta(days=400), MIDNIGHT - timedelta(days=390))
assert "year" in refused(lambda: client_job(DAY, interval=too_old), 400, "bad.request", ["interval"]).message
refused(lambda: usage.get_oauth_client_usage_summary(DAY, days="soon"), 400, "bad.request", ["days"])
# The other kind of query spells it so; the SDK does not mind.
refused(lambda: organization_job(group_by=["OAuthClientId"]), 400, "bad.request", ["groupBy[0]"])
refused(lambda: organization_job(sort_by=sort_by(("Colour", "Asc"))), 400, "bad.request", ["sortBy[0].fieldName"])
refused(lambda: search(interval=WEEK_UNTIL_TOMORROW, metrics=["Requests"]), 400, "bad.request", ["metrics[0]"])

page = completed(lambda: usage.get_usage_simplesearch_execution_id_results(searching, page_size=2))[0]
cursor = page.cursors.after
tampered = ("A" if cursor[0] != "A" else "B") + cursor[1:]
other = usage.post_usage_simplesearch(search_body).execution_id
for execution, after in [(searching, tampered), (searching, "x"), (other, cursor)]:
    get = functools.partial(usage.get_usage_simplesearch_execution_id_results, execution, page_size=2, after=after)
    refused(get, 400, "bad.request", ["after"])
created = usage.post_usage_aggregates_query_jobs(body_of(genesys.OrganizationPublicApiUsageQueryRequest, interval=DAYS))
refused(lambda: usage.get_usage_aggregates_query_job(created.id, after=cursor), 400, "bad.request", ["after"])
for page_size in (-1, 1001):
    get = functools.partial(usage.get_usage_aggregates_query_job, created.id, page_size=page_size)
    assert "1000" in refused(get, 400, "bad.request", ["pageSize"]).message
print("refusals name what is wrong")


def by_permission(api):
    """All operations, by the permissions that they take."""
    query = body_of(genesys.ApiUsageOrganizationQuery, interval=WEEK_UNTIL_TOMORROW)
    of_client = body_of(genesys.ApiUsageClientQuery, interval=WEEK_UNTIL_TOMORROW)
    job = body_of(genesys.OrganizationPublicApiUsageQueryRequest, interval=DAYS)
    client_job = body_of(genesys.ClientPublicApiUsageQueryRequest, interval=DAYS)
    old, new = ["oauth:client:view"], []
    return [
        (old + ["usage:client:view"], lambda: api.post_oauth_client_usage_query(DAY, of_client)),
        (old + ["usage:client:view"], lambda: api.get_oauth_client_usage_summary(DAY)),
        (old + ["usage:client:view"], lambda: api.get_oauth_client_usage_query_result(about_day, DAY)),
        (old + ["usage:organization:view"], lambda: api.post_usage_query(query)),
        (old + ["usage:organization:view"], lambda: api.get_usage_query_execution_id_results(organization_id)),
        (old + ["usage:simpleSearch:view"], lambda: api.post_usage_simplesearch(search_body)),
        (old + ["usage:simpleSearch:view"], lambda: api.get_usage_simplesearch_execution_id_results(searching)),
        (new + ["usage:organization:view"], lambda: api.post_usage_aggregates_query_jobs(job)),
        (new + ["usage:organization:view"], lambda: api.get_usage_aggregates_query_job(created.id)),
        (new + ["usage:client:view"], lambda: api.post_usage_client_client_id_aggregates_query_jobs(DAY, client_job)),
        (new + ["usage:client:view"], lambda: api.get_usage_client_client_id_aggregates_query_job(DAY, client_job_id)),
    ]


organization_body = body_of(genesys.ApiUsageOrganizationQuery, interval=WEEK_UNTIL_TOMORROW)
organization_id = usage.post_usage_query(organization_body).execution_id
client_body = body_of(genesys.ClientPublicApiUsageQueryRequest, interval=DAYS)
client_job_id = usage.post_usage_client_client_id_aggregates_query_jobs(DAY, client_body).id
for place, permission in enumerate(
    ["oauth:client:view", "usage:client:view", "usage:organization:view", "usage:simpleSearch:view", "usage:api:write"]
):
    limited = genesys.UsageApi(signed_in(f"genesys-limited-{place}", [permission]))
    for suffices, call in by_permission(limited):
        if permission in suffices:
            call()
        else:
            lacking = refused(call, 403, "missing.any.permissions")
            assert all(name in lacking.message for name in suffices), lacking.message
bad_token = unsigned()
bad_token.access_token = "wrong"
for client in (unsigned(), bad_token):
    for _, call in by_permission(genesys.UsageApi(client)):
        refused(call, 401, "authentication.required")
print("every operation asks for its permission")
