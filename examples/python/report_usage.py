"""Reports usage to meterd, sends it again as after a lost answer, and asks for the total.

README.md of the project says how to generate the stubs that this imports.
"""

import datetime
import os
import uuid

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from meterd.v1 import usage_report_pb2, usage_report_pb2_grpc
from yandex.cloud.marketplace.metering.v1 import (
    image_product_usage_service_pb2,
    image_product_usage_service_pb2_grpc,
    usage_record_pb2,
)

SERVER = os.environ.get("METERD_ADDRESS", "127.0.0.1:8080")
TOKEN = os.environ.get("METERD_TOKEN")  # not needed by `meterd serve --dev`
METADATA = [("authorization", f"Bearer {TOKEN}")] if TOKEN else []
REASONS = usage_record_pb2.RejectedUsageRecord.Reason

# The method answers once every record is on the disk. After UNAVAILABLE the same request may be sent
# again: a uuid counts once, however often it arrives.
RETRY = """{"methodConfig": [{"name": [{}], "retryPolicy": {
    "maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "5s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]}}]}"""


def records(count: int) -> list[usage_record_pb2.UsageRecord]:
    """Some usage of this moment, each record with an identity of its own."""
    now = Timestamp()
    now.GetCurrentTime()
    return [
        usage_record_pb2.UsageRecord(
            uuid=str(uuid.uuid4()), sku_id="egress-gb", quantity=quantity, timestamp=now
        )
        for quantity in range(1, count + 1)
    ]


def main() -> None:
    """Reports, repeats, asks."""
    with grpc.insecure_channel(SERVER, options=[("grpc.service_config", RETRY)]) as channel:
        usage = image_product_usage_service_pb2_grpc.ImageProductUsageServiceStub(channel)
        request = image_product_usage_service_pb2.WriteImageProductUsageRequest(
            product_id="object-storage", usage_records=records(3)
        )
        first = usage.Write(request, metadata=METADATA, timeout=10)
        print(f"first time: {len(first.accepted)} accepted, {len(first.rejected)} rejected")

        second = usage.Write(request, metadata=METADATA, timeout=10)
        reasons = sorted({REASONS.Name(record.reason) for record in second.rejected})
        print(f"second time: {len(second.accepted)} accepted, {len(second.rejected)} rejected: {reasons}")

        today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        reports = usage_report_pb2_grpc.UsageReportServiceStub(channel)
        answer = reports.QueryProductUsage(
            usage_report_pb2.QueryProductUsageRequest(
                interval=f"{today}/P1D",
                filter=usage_report_pb2.ProductUsageFilter(
                    product_ids=["object-storage"], sku_ids=["egress-gb"]
                ),
            ),
            metadata=METADATA,
            timeout=10,
        )
        print(f"today: {answer.total_quantity} gigabytes in {answer.total_record_count} records")


if __name__ == "__main__":
    main()
