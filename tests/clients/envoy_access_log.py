"""Sends an access log as Envoy does, with the official protos (PyPI xds-protos), and compares what reflection tells of the
service with them; and reads examples/envoy.yaml with them. Arguments: address, token, the server's time, address of the metrics."""

import pathlib
import re
import sys
import urllib.request

import envoy.extensions.access_loggers.grpc.v3.als_pb2 as als_config
import envoy.extensions.filters.http.router.v3.router_pb2
import envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 as http_connection_manager_pb2
import envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 as header_mutation
import envoy.extensions.upstreams.http.v3.http_protocol_options_pb2
import grpc
import yaml
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.service.accesslog.v3 import als_pb2_grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from envoy_messages import CALLS, DROPPED, IGNORED, NOON, messages

address, token, now_text, metrics_address = sys.argv[1:]
assert now_text == f"{NOON:%Y-%m-%dT%H:%M:%SZ}", "the messages are of another day than the server"
CREDENTIALS = (("authorization", f"Bearer {token}"),)
SERVICE = "envoy.service.accesslog.v3.AccessLogService"
FILES = [
    "envoy/service/accesslog/v3/als.proto",
    "envoy/data/accesslog/v3/accesslog.proto",
    "envoy/config/core/v3/base.proto",
]
channel = grpc.insecure_channel(address)


def streams():
    stream = als_pb2_grpc.AccessLogServiceStub(channel).StreamAccessLogs
    stream(iter(messages()), metadata=CREDENTIALS)

    def refused(sent, metadata):
        try:
            stream(iter(sent), metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
        return None

    assert refused(messages()[1:], CREDENTIALS) == grpc.StatusCode.INVALID_ARGUMENT, "no identifier"
    assert refused(messages(), ()) == grpc.StatusCode.UNAUTHENTICATED, "no credentials"

    with urllib.request.urlopen(f"http://{metrics_address}/metrics") as answer:
        text = answer.read().decode()
    counted = int(re.search(r"^meterd_access_log_calls_total (\d+)$", text, re.MULTILINE)[1])
    lost = {
        name: {value: int(count) for value, count in re.findall(rf'^meterd_access_log_{name}_total{{\w+="(\w+)"}} (\d+)$', text, re.MULTILINE)}
        for name in ("entries_dropped", "values_ignored")
    }
    assert (counted, lost) == (CALLS, {"entries_dropped": DROPPED, "values_ignored": IGNORED}), (counted, lost)


def facts(file):
    """Everything of a file that is on the wire."""
    found = {}

    def enum(value, prefix):
        found[f"{prefix}.{value.name}"] = [(member.name, member.number) for member in value.value]

    def message(value, prefix):
        name = f"{prefix}.{value.name}"
        found[name] = "message"
        for field in value.field:
            oneof = value.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
            found[f"{name}#{field.number}"] = (field.name, field.type, field.label, field.type_name, oneof)
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
            found[f"{file.package}.{service.name}/{method.name}"] = (
                method.input_type, method.output_type, method.client_streaming, method.server_streaming,
            )
    return found


def compares():
    """All that is served is Envoy's; what is left out is skipped by those who read it."""
    database = ProtoReflectionDescriptorDatabase(channel)
    assert SERVICE in database.get_services()
    compared = 0
    for name in FILES:
        official = descriptor_pb2.FileDescriptorProto()
        descriptor_pool.Default().FindFileByName(name).CopyToProto(official)
        served = database.FindFileByName(name)
        assert (served.package, served.syntax) == (official.package, official.syntax), name
        theirs = facts(official)
        for key, fact in facts(served).items():
            assert theirs.get(key) == fact, f"{name}: {key}: served {fact}, Envoy has {theirs.get(key)}"
            compared += 1
    assert compared > 30, f"only {compared} facts were compared"
    return compared


def reads_example():
    """The configuration in the examples says only what Envoy knows."""
    text = (pathlib.Path(__file__).parents[2] / "examples/envoy.yaml").read_text()
    bootstrap = json_format.ParseDict(yaml.safe_load(text), bootstrap_pb2.Bootstrap())
    assert bootstrap.static_resources.clusters, bootstrap
    # Callers from outside must not say who they are.
    manager = http_connection_manager_pb2.HttpConnectionManager()
    filters = bootstrap.static_resources.listeners[0].filter_chains[0].filters
    filters[0].typed_config.Unpack(manager)
    removed, logged = header_mutation.HeaderMutation(), als_config.HttpGrpcAccessLogConfig()
    manager.early_header_mutation_extensions[0].typed_config.Unpack(removed)
    manager.access_log[0].typed_config.Unpack(logged)
    names = {mutation.remove for mutation in removed.mutations}
    assert set(logged.additional_request_headers_to_log) == names, names


reads_example()
streams()
print(f"{CALLS} calls counted, {compares()} facts compared")
