"""Writes usage with the stubs inside the vendor's own SDK. Arguments: address, token, the server's time."""

import sys
import uuid
from datetime import datetime, timedelta

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from yandex.cloud.marketplace.metering.v1 import (
    image_product_usage_service_pb2 as newer,
    image_product_usage_service_pb2_grpc as newer_grpc,
    product_usage_service_pb2 as saas,
    product_usage_service_pb2_grpc as saas_grpc,
    usage_record_pb2 as newer_record,
)
from yandex.cloud.marketplace.v1.metering import (
    image_product_usage_service_pb2 as older,
    image_product_usage_service_pb2_grpc as older_grpc,
    usage_record_pb2 as older_record,
)

address, token, now_text = sys.argv[1:]
NOW = datetime.fromisoformat(now_text.replace("Z", "+00:00"))
CREDENTIALS = (("authorization", f"Bearer {token}"),)
channel = grpc.insecure_channel(address)


def stamp(offset):
    timestamp = Timestamp()
    timestamp.FromDatetime(NOW + offset)
    return timestamp


def fresh():
    return str(uuid.uuid4())


def record(of, identity, sku="gb-hour", quantity=1, offset=timedelta()):
    return of.UsageRecord(uuid=identity, sku_id=sku, quantity=quantity, timestamp=stamp(offset))


def reasons(of, response):
    return [of.RejectedUsageRecord.Reason.Name(rejected.reason) for rejected in response.rejected]


def images(stub, of, messages):
    """The same behaviour through both versions of the image product service."""
    good, taken = fresh(), fresh()
    request = messages.WriteImageProductUsageRequest(
        product_id="storage",
        usage_records=[
            record(of, good),
            record(of, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
            record(of, fresh(), sku="nope"),
            record(of, fresh(), quantity=0),
            record(of, fresh(), offset=timedelta(hours=1)),
            record(of, fresh(), offset=timedelta(hours=-1, seconds=-1)),
            record(of, good.upper()),
            record(of, taken, offset=timedelta(microseconds=-591128)),
        ],
    )
    response, call = stub.Write.with_call(request, metadata=CREDENTIALS)
    assert [accepted.uuid for accepted in response.accepted] == [good, taken], response
    assert reasons(of, response) == [
        "INVALID_ID", "INVALID_SKU_ID", "INVALID_QUANTITY", "INVALID_TIMESTAMP", "EXPIRED", "DUPLICATE",
    ], response
    assert "meterd-duplicate-conflicts" not in dict(call.trailing_metadata()), "it says the same"
    assert "x-request-id" in dict(call.initial_metadata())

    request = messages.WriteImageProductUsageRequest(
        product_id="storage", usage_records=[record(of, taken, quantity=2)]
    )
    response, call = stub.Write.with_call(request, metadata=CREDENTIALS)
    metadata = dict(call.initial_metadata()) | dict(call.trailing_metadata())
    assert reasons(of, response) == ["DUPLICATE"]
    assert metadata["meterd-duplicate-conflicts"] == taken, metadata

    request = messages.WriteImageProductUsageRequest(
        product_id="nowhere", usage_records=[record(of, fresh())]
    )
    assert reasons(of, stub.Write(request, metadata=CREDENTIALS)) == ["INVALID_PRODUCT_ID"]

    identity = fresh()
    request = messages.WriteImageProductUsageRequest(
        product_id="storage", validate_only=True, usage_records=[record(of, identity)]
    )
    for _ in range(2):
        assert len(stub.Write(request, metadata=CREDENTIALS).accepted) == 1, "nothing is stored"

    request = messages.WriteImageProductUsageRequest(
        product_id="p" * 51, usage_records=[record(of, fresh()) for _ in range(26)]
    )
    error = refused(lambda: stub.Write(request, metadata=CREDENTIALS))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    fields = [violation.field for violation in bad_request(error).field_violations]
    assert fields == ["product_id", "usage_records"], fields

    for metadata in ((), (("authorization", "Bearer wrong"),)):
        error = refused(lambda: stub.Write(request, metadata=metadata))
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
    return good


def refused(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call should have been refused")


def bad_request(error):
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    found = error_details_pb2.BadRequest()
    assert any(detail.Unpack(found) for detail in status.details), status
    return found


first = images(newer_grpc.ImageProductUsageServiceStub(channel), newer_record, newer)
images(older_grpc.ImageProductUsageServiceStub(channel), older_record, older)

instances = saas_grpc.ProductUsageServiceStub(channel)
request = saas.WriteUsageRequest(
    product_instance_id="saas-1",
    usage_records=[record(newer_record, fresh(), sku="seat"), record(newer_record, first, sku="seat")],
)
response = instances.Write(request, metadata=CREDENTIALS)
assert len(response.accepted) == 1 and reasons(newer_record, response) == ["DUPLICATE"], response
request = saas.WriteUsageRequest(
    product_instance_id="saas-9", dry_run=True, usage_records=[record(newer_record, fresh(), sku="seat")]
)
assert reasons(newer_record, instances.Write(request, metadata=CREDENTIALS)) == ["INVALID_PRODUCT_ID"]
print("the vendor's SDK writes")
