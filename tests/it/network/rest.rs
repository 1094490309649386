//! One write over REST, each over a connection of its own.

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tonic::Status;

use super::{
    calls::{Failure, Verdicts, judged},
    connections::Connections,
    usage::{Identity, Message, Target, Verdict},
    wire::{API_PORT, connect},
};
use crate::support::server::TOKEN;

const WRITE: &str = "/marketplace/metering/v1/imageProductUsage/write";

fn passing(error: impl std::fmt::Display) -> Failure {
    Failure::Passing(Status::unavailable(error.to_string()))
}

pub async fn write(message: &Message, connections: &Connections) -> Result<Verdicts, Failure> {
    let Target::Product(product) = message.target else {
        unreachable!("the plan has products only");
    };
    let records: Vec<Value> = message
        .records
        .iter()
        .map(|record| {
            json!({
                "uuid": record.uuid.to_string(), "skuId": record.sku,
                "quantity": record.quantity.to_string(), "timestamp": record.time.to_string(),
            })
        })
        .collect();
    let body = json!({"productId": product, "usageRecords": records});
    let (status, body) =
        exchange(connections, API_PORT, Method::POST, WRITE, &body.to_string()).await?;
    match status {
        StatusCode::OK => {}
        StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::GATEWAY_TIMEOUT => return Err(passing(status)),
        _ => return Err(Failure::Wrong(format!("answered with {status}: {body}"))),
    }
    let answer: Value =
        serde_json::from_str(&body).map_err(|error| Failure::Wrong(format!("{error}: {body}")))?;
    let mut verdicts = Vec::new();
    for (member, verdict) in [("accepted", Verdict::Accepted), ("rejected", Verdict::Duplicate)] {
        for record in answer[member].as_array().into_iter().flatten() {
            let uuid = record["uuid"].as_str().unwrap_or_default().to_owned();
            if verdict == Verdict::Duplicate && record["reason"] != "DUPLICATE" {
                return Err(Failure::Wrong(format!("rejected: {record}")));
            }
            verdicts.push((uuid, verdict));
        }
    }
    judged(message.records.iter().map(|record| record.uuid), verdicts, Identity::Record)
}

/// One request over HTTP/1.1; the answer's status and text.
pub async fn exchange(
    connections: &Connections,
    port: u16,
    method: Method,
    path: &str,
    body: &str,
) -> Result<(StatusCode, String), Failure> {
    let stream = connect(port, connections).await.map_err(passing)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(passing)?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "meterd")
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(bytes::Bytes::copy_from_slice(body.as_bytes())))
        .expect("the parts are valid");
    let answer = sender.send_request(request).await.map_err(passing)?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(passing)?.to_bytes();
    connection.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
