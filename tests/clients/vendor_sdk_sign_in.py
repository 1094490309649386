"""Signs in with the vendor's own SDK and a service-account key over TLS, and writes. Arguments: address, operator's
token, file of the certificate authority."""

import json
import pathlib
import ssl
import sys
import urllib.request
import uuid

import grpc
import yandexcloud
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.protobuf.timestamp_pb2 import Timestamp
from yandex.cloud.marketplace.metering.v1 import (
    image_product_usage_service_pb2 as messages,
    image_product_usage_service_pb2_grpc as stubs,
    usage_record_pb2 as records,
)

address, token, authority = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)


def post(path, body):
    """The operator's REST calls."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"https://{address}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, context=context) as answer:
        return json.load(answer)


def key_file(client_id):
    """A key as the vendor's console hands it out, its public half registered."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    registered = post(f"/v1/access/clients/{client_id}/publicKeys", {"publicKey": public.decode()})
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {"id": registered["keyId"], "service_account_id": client_id, "private_key": pem.decode()}


def write(key):
    sdk = yandexcloud.SDK(
        service_account_key=key, endpoint=address, root_certificates=pathlib.Path(authority).read_bytes()
    )
    now = Timestamp()
    now.GetCurrentTime()
    identity = str(uuid.uuid4())
    record = records.UsageRecord(uuid=identity, sku_id="gb-hour", quantity=5, timestamp=now)
    request = messages.WriteImageProductUsageRequest(product_id="storage", usage_records=[record])
    answer = sdk.client(stubs.ImageProductUsageServiceStub).Write(request)
    assert [accepted.uuid for accepted in answer.accepted] == [identity], answer


post("/v1/access/clients", {"clientId": "agent", "permissions": ["usage:product:write"]})
post("/v1/access/clients", {"clientId": "other", "permissions": ["usage:product:view"]})
write(key_file("agent"))
for key, code in (
    (key_file("other"), grpc.StatusCode.PERMISSION_DENIED),
    ({**key_file("agent"), "service_account_id": "other"}, grpc.StatusCode.UNAVAILABLE),
):
    try:
        write(key)
    except grpc.RpcError as error:
        # What goes wrong while signing in, gRPC calls unavailable.
        assert error.code() in (code, grpc.StatusCode.UNAUTHENTICATED), error
    else:
        raise AssertionError("should have been refused")
print("the vendor's SDK signs in with a key file over TLS and writes")
