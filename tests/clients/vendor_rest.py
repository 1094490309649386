"""Writes usage over plain HTTP with the bodies of the vendor's documentation. Arguments: address, token, the server's time."""

import http.client
import json
import sys
import uuid
from datetime import datetime, timedelta

address, token, now_text = sys.argv[1:]
NOW = datetime.fromisoformat(now_text.replace("Z", "+00:00"))
connection = http.client.HTTPConnection(address)


def stamp(offset=timedelta()):
    return (NOW + offset).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def post(path, body, authorization=f"Bearer {token}"):
    """Sends one request over the one connection."""
    headers = {"Content-Type": "application/json", "Authorization": authorization}
    connection.request("POST", path, json.dumps(body), {name: text for name, text in headers.items() if text})
    answer = connection.getresponse()
    return answer.status, answer.headers, json.loads(answer.read())


def record(identity, sku, **other):
    # As in the quick start: snake_case, and a number without quotes.
    return {"uuid": identity, "sku_id": sku, "quantity": 1, "timestamp": stamp()} | other


def write(path, target, target_id, dry, sku):
    good = str(uuid.uuid4())
    refused = {
        "INVALID_ID": record("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", sku),
        "INVALID_SKU_ID": record(str(uuid.uuid4()), "nope"),
        "INVALID_QUANTITY": record(str(uuid.uuid4()), sku, quantity=0),
        "INVALID_TIMESTAMP": record(str(uuid.uuid4()), sku, timestamp=stamp(timedelta(hours=1))),
        "EXPIRED": record(str(uuid.uuid4()), sku, timestamp=stamp(timedelta(hours=-2))),
        "DUPLICATE": record(good.upper(), sku),
    }
    # A member that no version of the vendor's API has is ignored, as the vendor's gateway does.
    body = {target: target_id, "usage_records": [record(good, sku), *refused.values()], "future": {"x": [1]}}
    status, headers, answer = post(path, body)
    assert status == 200, answer
    assert headers["Content-Type"] == "application/json" and headers["X-Request-Id"], headers
    assert answer["accepted"] == [{"uuid": good}], answer
    assert answer["rejected"] == [{"uuid": r["uuid"], "reason": reason} for reason, r in refused.items()], answer

    # The same in the spelling of the generated documentation, with a quantity in quotes.
    camel = "".join(part.capitalize() if at else part for at, part in enumerate(target.split("_")))
    other = {"uuid": good, "skuId": sku, "quantity": "2", "timestamp": stamp()}
    status, headers, answer = post(path, {camel: target_id, "usageRecords": [other]})
    assert answer == {"accepted": [], "rejected": [{"uuid": good, "reason": "DUPLICATE"}]}, answer
    assert headers["meterd-duplicate-conflicts"] == good, "it says something else than the first"

    fresh = str(uuid.uuid4())
    for _ in range(2):
        status, _, answer = post(path, {target: target_id, dry: True, "usage_records": [record(fresh, sku)]})
        assert answer == {"accepted": [{"uuid": fresh}], "rejected": []}, "nothing is stored"

    status, _, answer = post(path, {target: "nowhere", "usage_records": [record(fresh, sku)]})
    assert answer["rejected"][0]["reason"] == "INVALID_PRODUCT_ID", answer

    status, _, answer = post(path, {"usage_records": [record(fresh, sku)] * 26})
    assert (status, answer["code"]) == (400, 3), answer
    bad = next(detail for detail in answer["details"] if detail["@type"].endswith("google.rpc.BadRequest"))
    assert [violation["field"] for violation in bad["fieldViolations"]] == [target, "usage_records"], answer

    for authorization in (None, "Bearer wrong"):
        status, headers, answer = post(path, {}, authorization)
        assert (status, answer["code"]) == (401, 16) and headers["WWW-Authenticate"], answer


write("/marketplace/metering/v1/imageProductUsage/write", "product_id", "storage", "validate_only", "gb-hour")
write("/marketplace/v1/metering/imageProductUsage/write", "product_id", "storage", "validate_only", "gb-hour")
write("/marketplace/metering/v1/productUsage/write", "product_instance_id", "saas-1", "dry_run", "seat")
print("the vendor's documented bodies write over REST")
