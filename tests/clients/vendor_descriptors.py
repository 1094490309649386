"""Compares the vendor's services as reflection tells of them with the descriptors inside the vendor's SDK.
Argument: address."""

import sys

import google.api.annotations_pb2 as annotations
import grpc
import yandex.cloud.endpoint.api_endpoint_service_pb2
import yandex.cloud.iam.v1.iam_token_service_pb2
import yandex.cloud.marketplace.metering.v1.image_product_usage_service_pb2
import yandex.cloud.marketplace.metering.v1.product_usage_service_pb2
import yandex.cloud.marketplace.v1.metering.image_product_usage_service_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

FILES = [
    "yandex/cloud/endpoint/api_endpoint.proto",
    "yandex/cloud/endpoint/api_endpoint_service.proto",
    "yandex/cloud/iam/v1/iam_token_service.proto",
    "yandex/cloud/marketplace/v1/metering/usage_record.proto",
    "yandex/cloud/marketplace/v1/metering/image_product_usage_service.proto",
    "yandex/cloud/marketplace/metering/v1/usage_record.proto",
    "yandex/cloud/marketplace/metering/v1/image_product_usage_service.proto",
    "yandex/cloud/marketplace/metering/v1/product_usage_service.proto",
]


def facts(file):
    """Everything of a file that is on the wire or in its HTTP paths."""
    found = {"package": file.package, "syntax": file.syntax}

    def enum(value, prefix):
        found[f"{prefix}.{value.name}"] = [(member.name, member.number) for member in value.value]

    def message(value, prefix):
        name = f"{prefix}.{value.name}"
        found[name] = "message"
        for field in value.field:
            found[f"{name}#{field.number}"] = (field.name, field.type, field.label, field.type_name)
        for nested in value.nested_type:
            message(nested, name)
        for nested in value.enum_type:
            enum(nested, name)

    for value in file.message_type:
        message(value, file.package)
    for value in file.enum_type:
        enum(value, file.package)
    for service in file.service:
        for method in service.method:
            http = method.options.Extensions[annotations.http]
            found[f"{service.name}/{method.name}"] = (
                method.input_type, method.output_type, method.client_streaming, method.server_streaming, str(http),
            )
    return found


database = ProtoReflectionDescriptorDatabase(grpc.insecure_channel(sys.argv[1]))
differences = 0
compared = 0
for name in FILES:
    vendor = descriptor_pb2.FileDescriptorProto()
    descriptor_pool.Default().FindFileByName(name).CopyToProto(vendor)
    # Parsed anew, so that the HTTP annotations are read as the extension that they are.
    served = descriptor_pb2.FileDescriptorProto.FromString(database.FindFileByName(name).SerializeToString())
    ours, theirs = facts(served), facts(vendor)
    for key in sorted(set(ours) | set(theirs)):
        compared += 1
        if ours.get(key) != theirs.get(key):
            differences += 1
            print(f"{name}: {key}: served {ours.get(key)}, the vendor has {theirs.get(key)}")
assert compared > 50, f"only {compared} facts were compared"
print(f"{compared} facts compared, {differences} differences")
sys.exit(differences > 0)
