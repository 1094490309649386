//! The end of a server that strangers hold on to.

use bytes::Bytes;
use prost::Message as _;
use tokio::net::TcpStream;
use uuid::Uuid;

use super::{
    crowds::connect_and_say,
    frames::{self, PREFACE},
    siege::Siege,
    size,
    slow::{WRITE, begin_call},
    unread::{LARGE_DOCUMENT, ask_and_take_nothing},
};
use crate::support::{load::request, server::TOKEN};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_it_whoever_holds_on_and_callers_get_their_answers() {
    let siege = Siege::begin("the end of a siege", &["--drain-timeout", "3s"]).await;
    let api = siege.api();
    let opened = [PREFACE, &frames::settings(&[])].concat();
    let sayings = [&b""[..], b"GET / HT", &PREFACE[..20], &opened];
    let mut crowd = Vec::new();
    for number in 0..size(400, 4000) {
        crowd.push(connect_and_say(api, sayings[number % sayings.len()]).await);
    }
    let mut connections = Vec::new();
    for _ in 0..size(1, 10) {
        connections.push(ask_and_take_nothing(&siege, &[], LARGE_DOCUMENT).await);
        connections.push(begin_call(&siege, WRITE, &[], 100).await);
        let iam = "/yandex.cloud.iam.v1.IamTokenService/Create";
        connections.push(begin_call(&siege, iam, &[], 100).await);
    }

    // A caller is in the middle of a call when the end comes.
    let (mut client, mut connection) =
        h2::client::handshake(TcpStream::connect(api).await.unwrap()).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let connection = tokio::spawn(connection);
    let call = http::Request::post(format!("http://{api}{WRITE}"))
        .header("content-type", "application/grpc")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(())
        .unwrap();
    let message = frames::grpc_message(false, &request(&[Uuid::new_v4()]).encode_to_vec());
    let (first, second) = message.split_at(message.len() / 2);
    let (answer, mut body) = client.send_request(call, false).unwrap();
    body.send_data(Bytes::copy_from_slice(first), false).unwrap();
    // A ping may overtake what is sent in the same moment, and the second is sent after it.
    for _ in 0..2 {
        pings.ping(h2::Ping::opaque()).await.unwrap();
    }
    siege
        .end_meanwhile(async {
            while TcpStream::connect(api).await.is_ok() {
                tokio::task::yield_now().await;
            }
            body.send_data(Bytes::copy_from_slice(second), true).unwrap();
            let (parts, mut body) = answer.await.unwrap().into_parts();
            assert!(!parts.headers.contains_key("grpc-status"), "{parts:?}");
            while let Some(data) = body.data().await {
                let bytes = data.unwrap().len();
                body.flow_control().release_capacity(bytes).unwrap();
            }
            let trailers = body.trailers().await.unwrap().unwrap();
            assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
        })
        .await;
    connection.abort();
    drop((crowd, connections));
}
