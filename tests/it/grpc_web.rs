//! Browsers: gRPC-Web on the same port, and which pages may call.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{Method, StatusCode};
use meterd::api::{
    CrossOrigin,
    pb::meterd::v1::{GetProductRequest, GetProductResponse},
};
use prost::Message as _;

use crate::support::{
    http::{Answer, call},
    server::{Setup, TestServer},
};

const GET_PRODUCT: &str = "/meterd.v1.CatalogService/GetProduct";
const PAGE: &str = "https://app.example.com";

fn frame(message: &impl prost::Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

/// The message, if there is one, and the trailers, which are a frame at the end or the headers themselves.
fn unframed(answer: &Answer, mut body: Bytes) -> (Option<Bytes>, String) {
    let mut message = None;
    let mut trailers = format!("{:?}", answer.headers);
    while body.has_remaining() {
        let flag = body.get_u8();
        let length = body.get_u32() as usize;
        let part = body.split_to(length);
        if flag & 0x80 == 0 {
            message = Some(part);
        } else {
            trailers = String::from_utf8(part.to_vec()).unwrap();
        }
    }
    (message, trailers)
}

#[tokio::test]
async fn binary_and_text_frames_over_http_1() {
    let server = TestServer::start().await;
    let ask = |id: &str| frame(&GetProductRequest { product_id: id.into() });
    let answer = call(Method::POST, GET_PRODUCT)
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .body(ask("storage"))
        .send(server.api)
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let (message, trailers) = unframed(&answer, answer.body.clone());
    let product = GetProductResponse::decode(message.unwrap()).unwrap().product.unwrap();
    assert_eq!(product.id, "storage");
    assert!(trailers.contains("grpc-status:0"), "{trailers}");

    let answer = call(Method::POST, GET_PRODUCT)
        .header("content-type", "application/grpc-web-text")
        .header("accept", "application/grpc-web-text")
        .body(BASE64_STANDARD.encode(ask("saas")))
        .send(server.api)
        .await;
    // Each frame is encoded on its own, so padding may stand in the middle.
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let mut body = Vec::new();
    for part in text.as_bytes().chunks(4) {
        body.extend(BASE64_STANDARD.decode(part).unwrap());
    }
    let (message, _) = unframed(&answer, body.into());
    assert_eq!(GetProductResponse::decode(message.unwrap()).unwrap().product.unwrap().id, "saas");

    for (call, status) in [
        (call(Method::POST, GET_PRODUCT).body(ask("nope")), "5"),
        (call(Method::POST, GET_PRODUCT).anonymous().body(ask("storage")), "16"),
        (call(Method::POST, "/meterd.v1.CatalogService/Nope").body(ask("")), "12"),
    ] {
        let answer = call.header("content-type", "application/grpc-web").send(server.api).await;
        let (message, trailers) = unframed(&answer, answer.body.clone());
        assert!(message.is_none());
        assert!(
            trailers.contains(&format!("grpc-status:{status}"))
                || trailers.contains(&format!("\"grpc-status\": \"{status}\"")),
            "{trailers}"
        );
    }
    server.stop().await;
}

fn preflight(target: &str, origin: &str, method: &str) -> crate::support::http::Call {
    call(Method::OPTIONS, target)
        .anonymous()
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "authorization,content-type,x-grpc-web")
}

#[tokio::test]
async fn pages_may_call_only_where_it_says_so() {
    let closed = TestServer::start().await;
    let answer = preflight("/v1/usageRecords", PAGE, "GET").send(closed.api).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control")));
    closed.stop().await;

    let cross_origin = CrossOrigin::parse(&[PAGE.to_owned()]).unwrap();
    let server = TestServer::with(Setup { cross_origin, ..Setup::default() }).await;
    for target in ["/v1/usageRecords", GET_PRODUCT] {
        let answer = preflight(target, PAGE, "POST").send(server.api).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.headers["access-control-allow-origin"], PAGE);
        let allowed = answer.headers["access-control-allow-headers"].to_str().unwrap();
        for header in ["authorization", "content-type", "x-grpc-web", "grpc-timeout"] {
            assert!(allowed.contains(header), "{allowed}");
        }
        let answer = preflight(target, "https://evil.example.com", "POST").send(server.api).await;
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    let answer =
        call(Method::GET, "/v1/usageRecords").header("origin", PAGE).send(server.api).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["access-control-allow-origin"], PAGE);
    let exposed = answer.headers["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("meterd-duplicate-conflicts"), "{exposed}");
    server.stop().await;
}
