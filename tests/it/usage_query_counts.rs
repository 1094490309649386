//! Counts: what one event may stand for, and sums that no reader of JSON can hold.

use http::StatusCode;
use meterd::api::pb::meterd::v1::{
    GetOrganizationAggregatesJobRequest, GetOrganizationQueryResultRequest,
    StartOrganizationQueryRequest,
};
use serde_json::{Value, json};

use crate::support::{
    queries::{
        CLIENT_JOBS, CLIENT_QUERY, JOBS, QUERY, SEARCH, id_of, post, record, result, rows, start,
    },
    server::{TestServer, fresh_uuid},
    usage::Calls,
};

const DAY: &str = "2026-11-20/P1D";
const TIME: &str = "2026-11-20T11:00:00Z";
/// 2^53 − 1.
const COUNT_MAX: i64 = 9_007_199_254_740_991;

fn event(count: i64) -> Value {
    json!({
        "uuid": fresh_uuid(), "templateUri": "/v1/things", "httpMethod": "GET", "status": 200,
        "timestamp": TIME, "count": count,
    })
}

#[tokio::test]
async fn event_counts_beyond_their_limit_are_rejected() {
    let server = TestServer::start().await;
    let events = [1, 1_000_000_000, 1_000_000_001, 1 << 40, i64::MAX, 0, -1].map(event);
    let answer = post(server.api, "/v1/apiUsage:record", &json!({"events": events})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    let answer = answer.json();
    assert_eq!(answer["acceptedCount"], 2);
    let rejected: Vec<(u64, &str)> = answer["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["index"].as_u64().unwrap(), event["reason"].as_str().unwrap()))
        .collect();
    let reason = "API_USAGE_REJECTION_REASON_INVALID_COUNT";
    assert_eq!(rejected, [2, 3, 4, 5, 6].map(|index| (index, reason)));
    let found = rows(server.api, QUERY, &json!({"interval": DAY})).await;
    assert_eq!(found[0]["requests"], 1_000_000_001);
    server.stop().await;
}

/// A store that was filled before there was a limit.
async fn poisoned() -> TestServer {
    let server = TestServer::start().await;
    let most = |template, status| Calls { template, status, count: i64::MAX, ..Calls::default() };
    let calls =
        [most("/a", 200), most("/a", 200), most("/a", 404), most("/a", 429), most("/b", 200)];
    for calls in calls {
        record(&*server.store, "default", &[(TIME, calls)]);
    }
    let small = Calls { template: "/c", count: COUNT_MAX, ..Calls::default() };
    record(&*server.store, "default", &[(TIME, small)]);
    server
}

#[tokio::test]
async fn counts_that_json_cannot_hold_saturate_with_a_flag() {
    let server = poisoned().await;
    for target in [QUERY, CLIENT_QUERY, JOBS, CLIENT_JOBS, SEARCH] {
        let body = match target {
            SEARCH => {
                json!({"interval": DAY, "metrics": ["TemplateUri", "Status200", "Status300"]})
            }
            _ => {
                json!({"interval": DAY, "groupBy": ["TemplateUri"], "metrics": ["Status200", "Status300"]})
            }
        };
        let found = rows(server.api, target, &body).await;
        let of = |template: &str| {
            let row = found.iter().find(|row| row["templateUri"] == template).unwrap();
            (
                row["status200"].clone(),
                row["status300"].clone(),
                row.get("countsSaturated").cloned(),
            )
        };
        let (most, none) = (json!(COUNT_MAX), json!(0));
        let saturated = Some(json!(true));
        assert_eq!(of("/a"), (most.clone(), none.clone(), saturated.clone()), "{target}");
        assert_eq!(of("/b"), (most.clone(), none.clone(), saturated), "{target}");
        assert_eq!(of("/c"), (most, none, None), "{target}: the largest that fits");
    }
    // Of what is not asked for nothing is said.
    let body = json!({"interval": DAY, "metrics": ["Status500"]});
    let found = rows(server.api, JOBS, &body).await;
    assert_eq!(found.iter().filter(|row| row.get("countsSaturated").is_some()).count(), 0);
    server.stop().await;
}

#[tokio::test]
async fn rows_beyond_json_are_still_in_their_order() {
    let server = poisoned().await;
    let body = json!({
        "interval": DAY, "groupBy": ["TemplateUri"],
        "sortBy": [{"fieldName": "Requests", "order": "Desc"}],
    });
    let found = rows(server.api, JOBS, &body).await;
    let order: Vec<&str> = found.iter().map(|row| row["templateUri"].as_str().unwrap()).collect();
    assert_eq!(order, ["/a", "/b", "/c"]);
    server.stop().await;
}

#[tokio::test]
async fn grpc_tells_the_same_counts_as_rest() {
    let server = poisoned().await;
    let uri = start(server.api, JOBS, &json!({"interval": DAY})).await;
    result(server.api, &uri).await;
    let request = GetOrganizationAggregatesJobRequest {
        job_id: id_of(&uri).to_owned(),
        ..Default::default()
    };
    let found = server.queries().get_organization_aggregates_job(request).await.unwrap();
    for row in found.into_inner().entities {
        let is_small = row.template_uri.as_deref() == Some("/c");
        assert_eq!(row.request_count, Some(COUNT_MAX));
        assert_eq!(row.counts_saturated, (!is_small).then_some(true));
    }
    let request = StartOrganizationQueryRequest { interval: DAY.into(), ..Default::default() };
    let started = server.queries().start_organization_query(request).await.unwrap().into_inner();
    result(server.api, &started.results_uri).await;
    let request = GetOrganizationQueryResultRequest { execution_id: started.execution_id };
    let found = server.queries().get_organization_query_result(request).await.unwrap();
    let row = found.into_inner().results.remove(0);
    assert_eq!((row.requests, row.counts_saturated), (Some(COUNT_MAX), Some(true)));
    server.stop().await;
}
