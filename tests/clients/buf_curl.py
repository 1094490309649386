"""Calls the server by reflection alone, as a stranger with grpcurl would. Arguments: address, token, the server's
time, the path of buf."""

import json
import subprocess
import sys
import uuid

address, token, now, buf = sys.argv[1:]
BASE = [buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
SERVICE = f"http://{address}/yandex.cloud.marketplace.metering.v1.ImageProductUsageService/Write"


def run(*arguments):
    return subprocess.run([*BASE, *arguments], capture_output=True, text=True, timeout=60)


methods = run(f"http://{address}", "--list-methods").stdout.split()
for method in (
    "yandex.cloud.marketplace.v1.metering.ImageProductUsageService/Write",
    "yandex.cloud.marketplace.metering.v1.ProductUsageService/Write",
    "meterd.v1.UsageIngestService/StreamProductUsage",
    "meterd.v1.CatalogService/ApplyCatalog",
    "grpc.health.v1.Health/Check",
):
    assert method in methods, (method, methods)

authorization = ("-H", f"authorization: Bearer {token}")
identity = str(uuid.uuid4())
record = {"uuid": identity, "skuId": "gb-hour", "quantity": "3", "timestamp": now}
body = json.dumps({"productId": "storage", "usageRecords": [record, {**record, "uuid": "?"}]})
written = run(SERVICE, *authorization, "-d", body)
assert written.returncode == 0, written.stderr
assert json.loads(written.stdout) == {
    "accepted": [{"uuid": identity}],
    "rejected": [{"uuid": "?", "reason": "INVALID_ID"}],
}, written.stdout

empty = run(SERVICE, *authorization, "-d", '{"productId": "storage"}')
assert empty.returncode != 0
error = json.loads(empty.stderr)
assert error["code"] == "invalid_argument", error
assert error["message"] == "usage_records: has 0 records, between 1 and 25 are allowed", error

stranger = run(SERVICE, "-d", body)
assert json.loads(stranger.stderr)["code"] == "unauthenticated", stranger.stderr
print("buf curl lists, writes and reads errors")
