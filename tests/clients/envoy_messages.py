"""Messages as Envoy sends them, made with the official protos (PyPI xds-protos): with all that a real proxy says, of which
meterd's own protos have little. Run with a path, writes them there, each after its length, as
tests/fixtures/envoy_access_log.bin has them: python tests/clients/envoy_messages.py tests/fixtures/envoy_access_log.bin"""

import sys
from datetime import datetime, timedelta, timezone

from envoy.config.core.v3 import address_pb2 as address
from envoy.config.core.v3 import base_pb2 as base
from envoy.data.accesslog.v3 import accesslog_pb2 as log
from envoy.service.accesslog.v3 import als_pb2 as als
from google.protobuf import any_pb2, wrappers_pb2
from google.protobuf.internal.encoder import _VarintBytes

NOON = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)
# What meterd makes of them; the Rust test of the fixture says it in full.
CALLS = 9
DROPPED = {"invalid_status": 1, "not_http": 2, "unknown_kind": 1, "unknown_method": 1}
IGNORED = {"client": 1, "time": 1}


def socket(host, port):
    return address.Address(socket_address=address.SocketAddress(address=host, port_value=port))


def fill(common, request, response):
    """Says all that is left."""
    rest = log.AccessLogCommon(
        sample_rate=1.0,
        downstream_local_address=socket("10.0.0.2", 443),
        downstream_direct_remote_address=socket("203.0.113.7", 53412),
        upstream_remote_address=socket("10.0.1.5", 8080),
        upstream_local_address=socket("10.0.0.2", 40112),
        stream_id="8f7f6a52-6f2c-4a8e-9d6e-3c0c9b7d1f00",
        downstream_wire_bytes_received=256,
        upstream_wire_bytes_sent=300,
        upstream_wire_bytes_received=600,
        custom_tags={"zone": "b"},
    )
    rest.time_to_last_rx_byte.FromMicroseconds(80)
    rest.time_to_first_upstream_tx_byte.FromMilliseconds(2)
    rest.time_to_last_downstream_tx_byte.FromMilliseconds(249)
    rest.tls_properties.tls_version = log.TLSProperties.TLSv1_3
    rest.tls_properties.tls_cipher_suite.value = 0x1301
    rest.tls_properties.tls_sni_hostname = "api.example.com"
    rest.tls_properties.peer_certificate_properties.subject_alt_name.add(uri="spiffe://example.com/shop")
    rest.response_flags.delay_injected = True
    rest.metadata.filter_metadata["envoy.filters.http.jwt_authn"].update({"sub": "u-1", "scopes": ["read"]})
    state = any_pb2.Any()
    state.Pack(wrappers_pb2.StringValue(value="kept"))
    rest.filter_state_objects["state"].CopyFrom(state)
    common.MergeFrom(rest)
    request.MergeFrom(
        log.HTTPRequestProperties(
            port=wrappers_pb2.UInt32Value(value=443),
            user_agent="curl/8.5.0",
            referer="https://example.com/",
            forwarded_for="203.0.113.7",
            request_id="0c2d6b1e-1c7a-4b52-8f0e-2f3a4b5c6d7e",
            request_body_bytes=30,
            upstream_header_bytes_sent=140,
            downstream_header_bytes_received=110,
        )
    )
    response.MergeFrom(
        log.HTTPResponseProperties(
            response_headers={"x-served-by": "shop-3"},
            response_trailers={"grpc-status": "0"},
            upstream_header_bytes_received=95,
            downstream_header_bytes_sent=99,
        )
    )


def entry(method, path, code, *, ago=10.0, route="", kind=log.DownstreamEnd, original="", headers=None, intermediate=False, full=False):
    """An entry on a call that took a quarter of a second and began so many seconds before noon; if full, with nearly all that
    an entry can have."""
    common = log.AccessLogCommon(
        downstream_remote_address=socket("203.0.113.7", 53412),
        upstream_cluster="shop",
        route_name=route,
        upstream_request_attempt_count=1,
        intermediate_log_entry=intermediate,
        downstream_wire_bytes_sent=512,
        access_log_type=kind,
    )
    common.start_time.FromDatetime(NOON - timedelta(seconds=ago))
    common.duration.FromMilliseconds(250)
    request = log.HTTPRequestProperties(
        request_method=method, scheme="https", authority="api.example.com", path=path, original_path=original,
        request_headers_bytes=120, request_headers=headers or {},
    )
    response = log.HTTPResponseProperties(response_headers_bytes=90, response_body_bytes=400, response_code_details="via_upstream")
    if full:
        fill(common, request, response)
    if code is None:
        common.response_flags.downstream_connection_termination = True
    else:
        response.response_code.value = code
    return log.HTTPAccessLogEntry(
        common_properties=common, protocol_version=log.HTTPAccessLogEntry.HTTP2, request=request, response=response
    )


def identifier():
    node = base.Node(id="edge-1", cluster="edge", user_agent_name="envoy", client_features=["envoy.lb.does_not_support_overprovisioning"])
    node.metadata.update({"role": "edge"})
    node.locality.zone = "b"
    node.user_agent_build_version.version.major_number = 1
    return als.StreamAccessLogsMessage.Identifier(node=node, log_name="meterd")


def messages():
    who = {"x-client-id": "shop", "x-user-id": "u-1", "x-platform": "web"}
    order = "/v1/orders/{order}"
    ended = [
        entry(base.GET, "/v1/orders/17?expand=items", 200, route=order, headers=who, full=True),
        entry(base.GET, "/v1/orders/18", 200, ago=5, route=order, headers=who),
        entry(base.POST, "/v1/products/42?color=red", 201, route="products"),
        entry(base.PATCH, "/internal/43", 404, route="products", original="/v1/products/43?x#y"),
        entry(base.DELETE, "/secret/4711", 503),
        # The client has gone.
        entry(base.GET, "/v1/orders/19", None, route=order, headers=who, full=True),
        entry(base.GET, "/healthz", 429, route="health", headers={"x-client-id": "c" * 51}),
        # From before the types.
        entry(base.HEAD, "/v1/products/1", 304, kind=log.NotSet),
        # Two hours late.
        entry(base.OPTIONS, "/v1/products/1", 204, ago=7200),
    ]
    others = [
        entry(base.GET, "/v1/orders/17", None, route=order, kind=log.DownstreamStart),
        entry(base.GET, "/v1/orders/17", 200, route=order, kind=log.DownstreamPeriodic, intermediate=True),
        entry(base.GET, "/v1/orders/17", 200, route=order, kind=log.NotSet, intermediate=True),
        entry(base.CONNECT, "", 200, kind=log.DownstreamTunnelSuccessfullyEstablished),
        entry(base.GET, "/v1/orders/17", None, route=order, kind=log.UpstreamPoolReady),
        entry(base.GET, "/v1/orders/17", 200, route=order, kind=log.UpstreamEnd),
        # PROPFIND
        entry(base.METHOD_UNSPECIFIED, "/v1/orders/17", 207, route=order),
        entry(base.GET, "/v1/orders/17", 999, route=order),
        # From a later version.
        entry(base.GET, "/v1/orders/17", 200, route=order, kind=99),
    ]
    http = als.StreamAccessLogsMessage.HTTPAccessLogEntries
    connection = log.ConnectionProperties(received_bytes=10, sent_bytes=20)
    tcp = [
        log.TCPAccessLogEntry(common_properties=ended[0].common_properties, connection_properties=connection)
        for _ in range(2)
    ]
    return [
        als.StreamAccessLogsMessage(identifier=identifier(), http_logs=http(log_entry=ended)),
        als.StreamAccessLogsMessage(http_logs=http(log_entry=others)),
        als.StreamAccessLogsMessage(tcp_logs=als.StreamAccessLogsMessage.TCPAccessLogEntries(log_entry=tcp)),
    ]


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as file:
        for message in messages():
            encoded = message.SerializeToString(deterministic=True)
            file.write(_VarintBytes(len(encoded)) + encoded)
