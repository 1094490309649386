//! Envoy's access log service over a real socket. What entries count as is tested beside the rules.

use meterd::api::pb::{
    envoy::{
        config::core::v3::{Node, RequestMethod},
        data::accesslog::v3::{
            AccessLogCommon, HttpAccessLogEntry, HttpRequestProperties, HttpResponseProperties,
            TcpAccessLogEntry,
        },
        service::accesslog::v3::{
            StreamAccessLogsMessage,
            access_log_service_client::AccessLogServiceClient,
            stream_access_logs_message::{
                HttpAccessLogEntries, Identifier, LogEntries, TcpAccessLogEntries,
            },
        },
    },
    meterd::v1::CreateClientRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    http::call,
    server::{Setup, TestServer, proto_time},
};

fn identifier() -> Option<Identifier> {
    let node = Some(Node { id: "edge-1".into(), cluster: "edge".into() });
    Some(Identifier { node, log_name: "shop".into() })
}

fn entry(path: &str) -> HttpAccessLogEntry {
    HttpAccessLogEntry {
        common_properties: Some(Box::new(AccessLogCommon {
            start_time: proto_time("2026-11-20T11:59:00Z"),
            ..Default::default()
        })),
        request: Some(Box::new(HttpRequestProperties {
            request_method: RequestMethod::Get.into(),
            path: path.into(),
            ..Default::default()
        })),
        response: Some(HttpResponseProperties { response_code: Some(200) }),
    }
}

/// A message of so many calls. The first one says who sends.
fn message(is_first: bool, calls: usize) -> StreamAccessLogsMessage {
    let log_entry = (0..calls).map(|id| entry(&format!("/v1/products/{id}"))).collect();
    StreamAccessLogsMessage {
        identifier: if is_first { identifier() } else { None },
        log_entries: Some(LogEntries::HttpLogs(HttpAccessLogEntries { log_entry })),
    }
}

/// The lines on access logs in the metrics, without their common beginning.
async fn counted(server: &TestServer) -> Vec<String> {
    let metrics = call(http::Method::GET, "/metrics").anonymous().send(server.admin).await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("meterd_access_log_"));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn what_a_proxy_sends_is_counted() {
    let server = TestServer::start().await;
    let impossible = HttpAccessLogEntry {
        response: Some(HttpResponseProperties { response_code: Some(1000) }),
        ..entry("/")
    };
    let mixed = vec![entry("/"), impossible, HttpAccessLogEntry::default()];
    let messages = [
        message(true, 3000),
        StreamAccessLogsMessage::default(),
        StreamAccessLogsMessage {
            // Sent again by mistake, which is no harm.
            identifier: identifier(),
            log_entries: Some(LogEntries::HttpLogs(HttpAccessLogEntries { log_entry: mixed })),
        },
        StreamAccessLogsMessage {
            identifier: None,
            log_entries: Some(LogEntries::TcpLogs(TcpAccessLogEntries {
                log_entry: vec![TcpAccessLogEntry {}; 7],
            })),
        },
    ];
    server.access_logs().stream_access_logs(tokio_stream::iter(messages)).await.unwrap();
    let mut lines = counted(&server).await;
    lines.sort();
    assert_eq!(
        lines,
        [
            "calls_total 3001",
            r#"entries_dropped_total{reason="invalid_status"} 1"#,
            r#"entries_dropped_total{reason="not_http"} 7"#,
            r#"entries_dropped_total{reason="unknown_method"} 1"#,
        ]
    );
    server.stop().await;
}

#[tokio::test]
async fn a_stream_begins_with_who_sends() {
    let server = TestServer::start().await;
    let stream = |messages: Vec<StreamAccessLogsMessage>| {
        let mut client = server.access_logs();
        async move { client.stream_access_logs(tokio_stream::iter(messages)).await }
    };
    let status = stream(vec![message(false, 1), message(true, 1)]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "identifier: must be set in the first message");
    assert_eq!(counted(&server).await, ["calls_total 0"]);
    stream(Vec::new()).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn only_those_who_may_report_api_usage_send_logs() {
    let server = TestServer::start().await;
    for (id, permission, expected) in [
        ("edge", "usage:api:write", None),
        ("other", "usage:product:write", Some(Code::PermissionDenied)),
    ] {
        let request = CreateClientRequest {
            client_id: id.into(),
            permissions: vec![permission.into()],
            ..Default::default()
        };
        let key = server.access().create_client(request).await.unwrap().into_inner().api_key;
        let mut request = Request::new(tokio_stream::iter([message(true, 1)]));
        request.metadata_mut().insert("api-key", key.parse().unwrap());
        let mut client = AccessLogServiceClient::new(server.channel());
        let code = client.stream_access_logs(request).await.err().map(|status| status.code());
        assert_eq!(code, expected, "{permission}");
    }
    assert_eq!(counted(&server).await, ["calls_total 1"]);
    server.stop().await;
}

#[tokio::test]
async fn what_was_read_of_a_proxy_that_is_gone_is_counted() {
    let server = TestServer::start().await;
    let (sender, receiver) = mpsc::channel(1);
    let mut client = server.access_logs();
    let streaming =
        tokio::spawn(async move { client.stream_access_logs(ReceiverStream::new(receiver)).await });
    sender.send(message(true, 2)).await.unwrap();
    // Counted while the stream is open: Envoy never ends one.
    while counted(&server).await != ["calls_total 2"] {
        tokio::task::yield_now().await;
    }
    streaming.abort();
    server.stop().await;
}

/// Proxies never end their streams, and would hold up every shutdown until the drain timeout.
#[tokio::test]
async fn a_shutdown_ends_the_streams() {
    let mut server = TestServer::with(Setup {
        drain_timeout: std::time::Duration::from_secs(600),
        ..Setup::default()
    })
    .await;
    let (sender, receiver) = mpsc::channel(1);
    let mut client = server.access_logs();
    let streaming =
        tokio::spawn(async move { client.stream_access_logs(ReceiverStream::new(receiver)).await });
    sender.send(message(true, 1)).await.unwrap();
    while counted(&server).await != ["calls_total 1"] {
        tokio::task::yield_now().await;
    }
    server.begin_stop().await.unwrap();
    let status: Status = streaming.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.get_error_details().error_info().unwrap().reason, "SHUTTING_DOWN");
    drop(sender);
}
