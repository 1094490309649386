//! The edge of the server: credentials, health, reflection, request ids, deadlines, limits, shutdown.

use std::{sync::Arc, time::Duration};

use meterd::{
    api::{
        CallLimits,
        pb::{
            self,
            meterd::v1::{ListProductsRequest, catalog_service_client::CatalogServiceClient},
            yandex::cloud::marketplace::metering::v1::{
                UsageRecord, WriteImageProductUsageRequest,
            },
        },
    },
    service::committer::CommitterLimits,
    store::UsageStore,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Request, codec::CompressionEncoding};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt as _;

use crate::support::{
    blocking_store::BlockingStore,
    server::{Setup, TOKEN, TestServer, fresh_uuid, proto_time},
};

fn write_one() -> WriteImageProductUsageRequest {
    let record = UsageRecord {
        uuid: fresh_uuid(),
        sku_id: "gb-hour".into(),
        quantity: 1,
        timestamp: proto_time("2026-11-20T12:00:00Z"),
    };
    WriteImageProductUsageRequest {
        validate_only: false,
        product_id: "storage".into(),
        usage_records: vec![record],
    }
}

/// A plain HTTP/1.1 GET; the whole answer as text.
async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: meterd\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn credentials_are_wanted_and_checked() {
    let server = TestServer::start().await;
    let call = async |header: Option<&str>| {
        let mut request = Request::new(ListProductsRequest::default());
        if let Some(header) = header {
            request.metadata_mut().insert("authorization", header.parse().unwrap());
        }
        CatalogServiceClient::new(server.channel()).list_products(request).await
    };
    let status = call(None).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("authorization: Bearer"), "{}", status.message());
    assert_eq!(status.get_error_details().error_info().unwrap().reason, "UNAUTHENTICATED");
    for header in ["Bearer wrong-token", "Basic dXNlcjpwYXNz", TOKEN] {
        assert_eq!(call(Some(header)).await.unwrap_err().code(), Code::Unauthenticated, "{header}");
    }
    let answer = call(Some(&format!("Bearer {TOKEN}"))).await.unwrap();
    assert_eq!(answer.get_ref().products.len(), 3);
}

#[tokio::test]
async fn health_reflection_and_probes_answer_without_credentials() {
    let server = TestServer::start().await;
    let mut health = HealthClient::new(server.channel());
    for service in ["", "meterd.v1.UsageIngestService"] {
        let request = HealthCheckRequest { service: service.into() };
        assert_eq!(health.check(request).await.unwrap().get_ref().status(), ServingStatus::Serving);
    }

    let listed = {
        use v1::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut client = ServerReflectionClient::new(server.channel());
        let mut answers = client
            .server_reflection_info(tokio_stream::iter([request]))
            .await
            .unwrap()
            .into_inner();
        match answers.message().await.unwrap().unwrap().message_response.unwrap() {
            MessageResponse::ListServicesResponse(list) => list.service,
            other => panic!("{other:?}"),
        }
    };
    let names: Vec<&str> = listed.iter().map(|service| service.name.as_str()).collect();
    for name in [
        "yandex.cloud.marketplace.v1.metering.ImageProductUsageService",
        "yandex.cloud.marketplace.metering.v1.ImageProductUsageService",
        "yandex.cloud.marketplace.metering.v1.ProductUsageService",
        "meterd.v1.UsageIngestService",
        "meterd.v1.UsageReportService",
        "meterd.v1.CatalogService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }

    {
        use v1alpha::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let symbol = "meterd.v1.CatalogService".to_owned();
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::FileContainingSymbol(symbol)),
        };
        let mut client = ServerReflectionClient::new(server.channel());
        let mut answers = client
            .server_reflection_info(tokio_stream::iter([request]))
            .await
            .unwrap()
            .into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)));
    }

    assert!(get(server.admin, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(server.admin, "/readyz").await.ends_with("ready\n"));
    server.image().write(write_one()).await.unwrap();
    let metrics = get(server.admin, "/metrics").await;
    let write = "method=\"/yandex.cloud.marketplace.metering.v1.ImageProductUsageService/Write\",code=\"OK\"";
    assert!(metrics.contains(&format!("meterd_calls_total{{{write}}} 1")), "{metrics}");
    assert!(metrics.contains("meterd_records_total{verdict=\"accepted\"} 1"), "{metrics}");
    assert!(metrics.contains("meterd_store_records 1"), "{metrics}");
}

#[tokio::test]
async fn what_is_no_method_is_answered_in_its_own_protocol() {
    let server = TestServer::start().await;
    let answer = get(server.api, "/no/such/thing").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(answer.contains("\"code\":5") && answer.contains("NO_SUCH_PATH"), "{answer}");
    assert!(answer.contains("x-request-id: "), "{answer}");

    let mut client = tonic::client::Grpc::new(server.channel());
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/meterd.v1.CatalogService/NoSuchMethod");
    let codec = tonic_prost::ProstCodec::<ListProductsRequest, pb::meterd::v1::ListProductsResponse>::default();
    let status =
        client.unary(Request::new(ListProductsRequest::default()), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn request_ids_come_back_and_compressed_calls_are_understood() {
    let server = TestServer::start().await;
    let mut request = Request::new(ListProductsRequest::default());
    request.metadata_mut().insert("x-request-id", "caller-chose-this".parse().unwrap());
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = server.catalog().send_compressed(encoding).accept_compressed(encoding);
        let mut request = Request::new(ListProductsRequest::default());
        request.metadata_mut().insert("x-request-id", "caller-chose-this".parse().unwrap());
        let answer = client.list_products(request).await.unwrap();
        assert_eq!(answer.metadata().get("x-request-id").unwrap(), "caller-chose-this");
        assert_eq!(answer.get_ref().products.len(), 3);
    }
    let answer = server.catalog().list_products(ListProductsRequest::default()).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap().len(), 36);
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_with_the_limit() {
    let server = TestServer::start().await;
    let mut request = write_one();
    request.usage_records[0].uuid = "x".repeat(5 << 20);
    let status = server.image().write(request).await.unwrap_err();
    assert!([Code::OutOfRange, Code::ResourceExhausted].contains(&status.code()), "{status:?}");
    assert!(status.message().contains("4194304"), "{}", status.message());
    server.image().write(write_one()).await.unwrap();
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_with_when_to_come_back() {
    let store = Arc::new(BlockingStore::new());
    let calls = CallLimits { calls_in_flight_max: 2, ..CallLimits::default() };
    let server = TestServer::with(Setup {
        store: Arc::<BlockingStore>::clone(&store),
        calls,
        ..Setup::default()
    })
    .await;
    store.block();
    let stuck: Vec<_> = (0..2)
        .map(|_| {
            let mut client = server.image();
            tokio::spawn(async move { client.write(write_one()).await })
        })
        .collect();
    store.wait_until_blocked(1).await;
    let status = loop {
        // Until both are in, a third may still find a place; it would wait for its turn like the others.
        match tokio::time::timeout(
            Duration::from_millis(200),
            server.catalog().list_products(ListProductsRequest::default()),
        )
        .await
        {
            Ok(Err(status)) => break status,
            Ok(Ok(_)) | Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("more than 2 calls"), "{}", status.message());
    assert!(status.get_error_details().retry_info().is_some());
    let request = HealthCheckRequest { service: String::new() };
    assert!(
        HealthClient::new(server.channel()).check(request).await.is_ok(),
        "health does not count"
    );
    store.unblock();
    for call in stuck {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_full_write_queue_refuses_unary_calls_and_loses_nothing() {
    let store = Arc::new(BlockingStore::new());
    let committer = CommitterLimits { queued_records_max: 2, ..CommitterLimits::default() };
    let server = TestServer::with(Setup {
        store: Arc::<BlockingStore>::clone(&store),
        committer,
        ..Setup::default()
    })
    .await;
    store.block();
    let mut stuck = Vec::new();
    let status = loop {
        let mut client = server.image();
        let call = tokio::spawn(async move { client.write(write_one()).await });
        tokio::select! {
            () = store.wait_until_blocked(1), if stuck.is_empty() => stuck.push(call),
            () = tokio::time::sleep(Duration::from_millis(100)), if !call.is_finished() => stuck.push(call),
            else => break call.await.unwrap().unwrap_err(),
        }
        if stuck.len() > 2 {
            break stuck.pop().unwrap().await.unwrap().unwrap_err();
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.get_error_details().retry_info().is_some(), "{status:?}");
    store.unblock();
    for call in stuck {
        assert_eq!(call.await.unwrap().unwrap().get_ref().accepted.len(), 1);
    }
}

#[tokio::test]
async fn a_deadline_ends_the_call_but_not_the_commit() {
    let store = Arc::new(BlockingStore::new());
    let server =
        TestServer::with(Setup { store: Arc::<BlockingStore>::clone(&store), ..Setup::default() })
            .await;
    store.block();
    assert_eq!(raw_write(&server, "50m").await, "4", "DEADLINE_EXCEEDED");
    store.unblock();
    while store.statistics().records == 0 {
        tokio::task::yield_now().await;
    }

    assert_eq!(raw_write(&server, "soon").await, "3", "INVALID_ARGUMENT");
}

/// A write over bare HTTP/2, since tonic's client keeps deadlines itself; answers the gRPC code.
async fn raw_write(server: &TestServer, timeout: &str) -> String {
    let stream = TcpStream::connect(server.api).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let uri = format!(
        "http://{}/yandex.cloud.marketplace.metering.v1.ImageProductUsageService/Write",
        server.api
    );
    let request = http::Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("grpc-timeout", timeout)
        .body(())
        .unwrap();
    let (response, mut body) = client.send_request(request, false).unwrap();
    let message = prost::Message::encode_to_vec(&write_one());
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&message);
    body.send_data(frame.into(), true).unwrap();
    let response = response.await.unwrap();
    response.headers().get("grpc-status").unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_shutdown_lets_calls_finish_and_stores_what_was_queued() {
    let store = Arc::new(BlockingStore::new());
    let mut server =
        TestServer::with(Setup { store: Arc::<BlockingStore>::clone(&store), ..Setup::default() })
            .await;
    store.block();
    let mut client = server.image();
    let call = tokio::spawn(async move { client.write(write_one()).await });
    store.wait_until_blocked(1).await;
    let serving = server.begin_stop();
    while !get(server.admin, "/readyz").await.ends_with("shutting down\n") {
        tokio::task::yield_now().await;
    }
    assert!(TcpStream::connect(server.api).await.is_err(), "nothing new is taken");
    store.unblock();
    assert_eq!(call.await.unwrap().unwrap().get_ref().accepted.len(), 1);
    serving.await.unwrap();
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let mut server =
        TestServer::with(Setup { drain_timeout: Duration::from_millis(200), ..Setup::default() })
            .await;
    // A stream that its caller never ends.
    let (_sender, receiver) = tokio::sync::mpsc::channel(1);
    let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = server.ingest().stream_product_usage(receiver).await.unwrap().into_inner();
    let waiting = tokio::spawn(async move { answers.message().await });
    server.begin_stop().await.unwrap();
    let _ = waiting.await.unwrap();
}

#[tokio::test]
async fn a_failed_store_is_not_ready_and_says_why() {
    let store = Arc::new(BlockingStore::new());
    let server =
        TestServer::with(Setup { store: Arc::<BlockingStore>::clone(&store), ..Setup::default() })
            .await;
    store.fail("disk full");
    let status = server.image().write(write_one()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        !status.message().contains("disk full"),
        "internal texts stay inside: {}",
        status.message()
    );
    let answer = get(server.admin, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("disk full"), "{answer}");
    let mut health = HealthClient::new(server.channel());
    let request = HealthCheckRequest { service: String::new() };
    while health.check(request.clone()).await.unwrap().get_ref().status()
        != ServingStatus::NotServing
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Reading goes on.
    server.catalog().list_products(ListProductsRequest::default()).await.unwrap();
}
