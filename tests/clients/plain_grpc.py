"""Uses meterd's own services with stubs generated from proto/. Arguments: address, token, the server's time."""

import importlib
import pathlib
import sys
import tempfile
import uuid
from datetime import datetime, timedelta

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_tools import protoc

address, token, now_text = sys.argv[1:]
NOW = datetime.fromisoformat(now_text.replace("Z", "+00:00"))
CREDENTIALS = (("authorization", f"Bearer {token}"),)
PROTO = pathlib.Path(__file__).parents[2] / "proto"

generated = tempfile.mkdtemp()
files = ["meterd/v1/catalog.proto", "meterd/v1/usage_ingest.proto", "meterd/v1/usage_report.proto"]
arguments = ["protoc", f"-I{PROTO}", f"-I{pathlib.Path(protoc.__file__).parent / '_proto'}"]
arguments += [f"--python_out={generated}", f"--grpc_python_out={generated}", *files]
assert protoc.main(arguments) == 0, "the protos do not compile"
sys.path.insert(0, generated)
catalog, ingest, report = (importlib.import_module(f"meterd.v1.{name}_pb2") for name in ("catalog", "usage_ingest", "usage_report"))
catalog_grpc, ingest_grpc, report_grpc = (
    importlib.import_module(f"meterd.v1.{name}_pb2_grpc") for name in ("catalog", "usage_ingest", "usage_report")
)

channel = grpc.insecure_channel(address, compression=grpc.Compression.Gzip)


def stamp(offset):
    timestamp = Timestamp()
    timestamp.FromDatetime(NOW + offset)
    return timestamp


catalogs = catalog_grpc.CatalogServiceStub(channel)
product = catalog.Product(
    id="python", name="Python", skus=[catalog.Sku(id="line", usage_unit="line"), catalog.Sku(id="import")]
)
changes = catalogs.ApplyCatalog(catalog.ApplyCatalogRequest(products=[product]), metadata=CREDENTIALS).changes
assert [(change.kind, change.id) for change in changes] == [(1, "python"), (1, "python/import"), (1, "python/line")], changes
again = catalogs.ApplyCatalog(catalog.ApplyCatalogRequest(products=[product]), metadata=CREDENTIALS).changes
assert not again, "applying twice changes nothing"

uuids = [str(uuid.uuid4()) for _ in range(3000)]
messages = [
    ingest.StreamProductUsageRequest(
        sequence=start,
        product_id="python",
        usage_records=[
            ingest.ProductUsageRecord(
                uuid=identity, sku_id="line", quantity=2**62, timestamp=stamp(timedelta(minutes=-5))
            )
            for identity in uuids[start : start + 1000]
        ],
    )
    for start in (0, 1000, 2000, 0)
]
stream = ingest_grpc.UsageIngestServiceStub(channel).StreamProductUsage
answers = list(stream(iter(messages), metadata=CREDENTIALS))
assert [answer.sequence for answer in answers] == [0, 1000, 2000, 0], answers
assert [answer.accepted_count for answer in answers] == [1000, 1000, 1000, 0]
assert all(rejected.reason == ingest.REJECTION_REASON_DUPLICATE for rejected in answers[3].rejected)
assert not any(rejected.conflict for rejected in answers[3].rejected)

reports = report_grpc.UsageReportServiceStub(channel)
query = report.QueryProductUsageRequest(
    interval=f"{NOW:%Y-%m-%d}/P1D",
    granularity=report.GRANULARITY_DAY,
    filter=report.ProductUsageFilter(product_ids=["python"]),
    group_by=[report.USAGE_DIMENSION_SKU],
)
answer = reports.QueryProductUsage(query, metadata=CREDENTIALS)
assert [(row.sku_id, row.quantity, row.record_count) for row in answer.rows] == [("line", str(3000 * 2**62), 3000)], answer

listed, page_token = [], ""
while True:
    request = report.ListUsageRecordsRequest(product_ids=["python"], page_size=700, page_token=page_token)
    page = reports.ListUsageRecords(request, metadata=CREDENTIALS)
    listed += [record.uuid for record in page.records]
    page_token = page.next_page_token
    if not page_token:
        break
assert listed == uuids, "every record once, in the order of arrival"

record = reports.GetUsageRecord(report.GetUsageRecordRequest(uuid=uuids[7].upper()), metadata=CREDENTIALS).record
assert (record.uuid, record.quantity, record.client_id) == (uuids[7], 2**62, "admin"), record
print("stubs from proto/ write and read")
