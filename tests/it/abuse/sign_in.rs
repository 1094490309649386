//! Floods of those who claim to be somebody.

use futures_util::{StreamExt as _, stream};
use http::{Method, StatusCode};
use meterd::api::pb::meterd::v1::{
    CreateClientRequest, access_service_client::AccessServiceClient,
};

use super::{siege::Siege, size};
use crate::support::http::{Answer, call};

/// More than there are places for calls of any kind.
const UNDER_WAY: usize = 1500;

async fn sign_in(siege: &Siege, id: &str, secret: &str) -> Answer {
    call(Method::POST, "/oauth/token")
        .anonymous()
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("grant_type=client_credentials&client_id={id}&client_secret={secret}"))
        .send(siege.api())
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_secrets_do_not_keep_right_ones_out() {
    let siege = Siege::begin("a flood of wrong secrets", &[]).await;
    let request = CreateClientRequest { client_id: "agent".into(), ..Default::default() };
    let created = AccessServiceClient::new(siege.authed()).create_client(request).await.unwrap();
    let secret = created.into_inner().secret;
    // All for one name, so that each waits as long as may be.
    let wrong = stream::iter(0..size(3000, 30_000)).map(|_| sign_in(&siege, "agent", "wrong"));
    let mut wrong = wrong.buffer_unordered(UNDER_WAY);
    let mut refused = 0;
    while let Some(answer) = wrong.next().await {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
        refused += 1;
        if refused % 100 == 0 {
            let right = sign_in(&siege, "agent", &secret).await;
            assert_eq!(right.status, StatusCode::OK, "{right:?}");
        }
    }
    drop(wrong);
    siege.end(256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_nobody_issued_keep_nobody_out() {
    let siege = Siege::begin("a flood of wrong tokens", &[]).await;
    let calls = stream::iter(0..size(3000, 30_000)).map(|number| {
        let token = format!("Bearer eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJ4In0.{number:086}");
        call(Method::GET, "/v1/catalog/products")
            .anonymous()
            .header("authorization", &token)
            .send(siege.api())
    });
    let mut calls = calls.buffer_unordered(UNDER_WAY);
    while let Some(answer) = calls.next().await {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    }
    drop(calls);
    siege.end(256).await;
}
