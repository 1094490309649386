//! What rows of usage queries say: filters, groups, metrics and their members.

use meterd::{
    api::pb::meterd::v1::{
        CreateClientAggregatesJobRequest, CreateOrganizationAggregatesJobRequest, Cursors,
        GetClientAggregatesJobRequest, GetOrganizationAggregatesJobRequest,
        GetSimpleSearchResultRequest, OrganizationUsage, QueryResult,
        StartOrganizationQueryRequest, StartSimpleSearchRequest, UsageClient, UsageUser,
    },
    domain::api_usage::HttpMethod,
};
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    queries::{JOBS, QUERY, SEARCH, record, result, rows, start},
    server::TestServer,
    usage::Calls,
};

const DAY: &str = "2026-11-20/P1D";

/// A server with calls of every class, client, user and platform on 2026-11-20.
async fn server_of_kinds() -> TestServer {
    let server = TestServer::start().await;
    let kind = |client, user, platform, method, status, count| {
        let template = if count < 100 { "/v1/small" } else { "/v1/large" };
        let calls = Calls { client, user, template, method, platform, status, count };
        ("2026-11-20T09:00:00Z", calls)
    };
    let calls = [
        kind("ann", "u1", "web", HttpMethod::Get, 200, 1),
        kind("ann", "u1", "web", HttpMethod::Get, 302, 2),
        kind("ann", "", "", HttpMethod::Post, 404, 4),
        kind("ann", "", "", HttpMethod::Post, 429, 8),
        kind("bob", "u2", "ios", HttpMethod::Trace, 500, 16),
        kind("bob", "u2", "ios", HttpMethod::Get, 100, 32),
        kind("bob", "", "web", HttpMethod::Delete, 204, 128),
    ];
    record(&*server.store, "default", &calls);
    server
}

#[tokio::test]
async fn rows_have_what_was_asked_for_and_nothing_else() {
    let server = server_of_kinds().await;
    let with = |mut body: Value, more: Value| {
        body["interval"] = DAY.into();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (target, body, expected) in [
        (
            QUERY,
            json!({}),
            json!([{"requests": 191, "status200": 129, "status300": 2, "status400": 12, "status429": 8, "status500": 16}]),
        ),
        (QUERY, json!({"metrics": ["Requests"]}), json!([{"requests": 191}])),
        (
            QUERY,
            json!({"metrics": ["Status429", "Status429"], "granularity": "Day"}),
            json!([{"status429": 8, "date": "2026-11-20T00:00:00.000Z"}]),
        ),
        (
            QUERY,
            json!({"metrics": ["Status300"], "groupBy": ["OrganizationId"]}),
            json!([{"organizationId": "default", "status300": 2}]),
        ),
        (
            QUERY,
            json!({"metrics": ["Requests"], "groupBy": ["OAuthClientId"]}),
            json!([
                {"clientId": "ann", "clientName": "ann", "requests": 15},
                {"clientId": "bob", "clientName": "bob", "requests": 176},
            ]),
        ),
        (
            QUERY,
            json!({"metrics": ["Requests"], "groupBy": ["UserId"]}),
            json!([
                {"userId": "", "requests": 140}, {"userId": "u1", "requests": 3}, {"userId": "u2", "requests": 48},
            ]),
        ),
        (
            "/api/v2/oauth/clients/bob/usage/query",
            json!({"metrics": ["Requests"], "groupBy": ["HttpMethod", "TemplateUri"]}),
            json!([
                {"httpMethod": "DELETE", "templateUri": "/v1/large", "requests": 128},
                {"httpMethod": "GET", "templateUri": "/v1/small", "requests": 32},
                {"httpMethod": "TRACE", "templateUri": "/v1/small", "requests": 16},
            ]),
        ),
        (
            SEARCH,
            json!({"metrics": ["ClientName", "Status200"]}),
            json!([
                {"clientName": "ann", "status200": 1}, {"clientName": "bob", "status200": 128},
            ]),
        ),
        (SEARCH, json!({"metrics": ["Date"]}), json!([{"date": "2026-11-20T00:00:00.000Z"}])),
        (
            SEARCH,
            json!({"metrics": ["Status500"], "oauthClientNames": ["ann", "nobody"]}),
            json!([{"status500": 0}]),
        ),
        (SEARCH, json!({"metrics": ["Status500"], "oauthClientNames": ["nobody"]}), json!([])),
        (
            SEARCH,
            json!({"metrics": ["HttpMethod", "Status400"], "httpMethods": ["POST", "TRACE"]}),
            json!([
                {"httpMethod": "POST", "status400": 12}, {"httpMethod": "TRACE", "status400": 0},
            ]),
        ),
        (
            SEARCH,
            json!({"oauthClientNames": ["bob"], "templateUris": ["/v1/large"]}),
            json!([{
                "date": "2026-11-20T00:00:00.000Z", "clientName": "bob", "httpMethod": "DELETE",
                "templateUri": "/v1/large", "status200": 128, "status300": 0, "status400": 0,
                "status429": 0, "status500": 0,
            }]),
        ),
        (
            JOBS,
            json!({"metrics": ["Requests"], "groupBy": ["OauthClientName"]}),
            json!([
                {"date": "2026-11-20", "oauthClient": {"name": "ann"}, "requestCount": 15},
                {"date": "2026-11-20", "oauthClient": {"name": "bob"}, "requestCount": 176},
            ]),
        ),
        (
            JOBS,
            json!({"metrics": ["Status200"], "groupBy": ["UserId", "Platform"], "platforms": ["web"]}),
            json!([
                {"date": "2026-11-20", "platform": "web", "status200": 128},
                {"date": "2026-11-20", "platform": "web", "user": {"id": "u1", "selfUri": "/api/v2/users/u1"}, "status200": 1},
            ]),
        ),
        (
            JOBS,
            json!({"metrics": ["Requests"], "groupBy": ["HttpMethod"], "oauthClientIds": ["bob"], "userIds": ["u2"]}),
            json!([
                {"date": "2026-11-20", "httpMethod": "GET", "requestCount": 32},
                {"date": "2026-11-20", "httpMethod": "TRACE", "requestCount": 16},
            ]),
        ),
        (
            JOBS,
            json!({"oauthClientIds": ["bob"], "templateUris": ["/v1/large"], "httpMethods": ["DELETE"]}),
            json!([{
                "date": "2026-11-20", "oauthClient": {"id": "bob", "name": "bob", "selfUri": "/api/v2/oauth/clients/bob"},
                "platform": "web", "httpMethod": "DELETE", "templateUri": "/v1/large", "requestCount": 128,
                "status200": 128, "status300": 0, "status400": 0, "status429": 0, "status500": 0,
            }]),
        ),
        (
            JOBS,
            json!({"metrics": ["Requests"], "groupBy": ["HttpMethod"], "sortBy": [{"fieldName": "requestcount", "order": "Desc"}]}),
            json!([
                {"date": "2026-11-20", "httpMethod": "DELETE", "requestCount": 128},
                {"date": "2026-11-20", "httpMethod": "GET", "requestCount": 35},
                {"date": "2026-11-20", "httpMethod": "TRACE", "requestCount": 16},
                {"date": "2026-11-20", "httpMethod": "POST", "requestCount": 12},
            ]),
        ),
        (
            "/api/v2/usage/client/ann/aggregates/query/jobs",
            json!({"metrics": ["Requests"], "groupBy": ["OrganizationId"]}),
            json!([
                {"date": "2026-11-20", "organizationId": "default", "requestCount": 15},
            ]),
        ),
        (
            "/api/v2/usage/client/ann/aggregates/query/jobs",
            json!({"organizationIds": ["elsewhere"]}),
            json!([]),
        ),
    ] {
        let body = with(body, json!({}));
        let found = rows(server.api, target, &body).await;
        assert_eq!(Value::Array(found), expected, "{target} {body}");
    }
    server.stop().await;
}

#[tokio::test]
async fn grpc_says_the_same() {
    let server = server_of_kinds().await;
    let (mut queries, interval) = (server.queries(), DAY.to_owned());
    let request = StartSimpleSearchRequest {
        interval: interval.clone(),
        metrics: vec!["ClientName".into(), "Status200".into()],
        ..Default::default()
    };
    let started = queries.start_simple_search(request).await.unwrap().into_inner();
    result(server.api, &started.results_uri).await;
    let request = GetSimpleSearchResultRequest {
        execution_id: started.execution_id,
        page_size: 1,
        ..Default::default()
    };
    let QueryResult { results, cursors, query_status, failure } =
        queries.get_simple_search_result(request).await.unwrap().into_inner();
    assert_eq!((query_status.as_str(), failure), ("Complete", None));
    assert!(matches!(cursors, Some(Cursors { before: None, after: Some(_) })));
    let [row] = &results[..] else { panic!("{results:?}") };
    assert_eq!((row.client_name.as_deref(), row.status200), (Some("ann"), Some(1)));
    assert_eq!(
        (&row.date, &row.client_id, row.requests, row.status500),
        (&None, &None, None, None)
    );

    let request = CreateOrganizationAggregatesJobRequest {
        interval: interval.clone(),
        metrics: vec!["Requests".into()],
        group_by: vec!["OauthClientId".into(), "UserId".into()],
        user_ids: vec!["u1".into()],
        ..Default::default()
    };
    let job = queries.create_organization_aggregates_job(request).await.unwrap().into_inner();
    result(server.api, &job.results_uri).await;
    let request = GetOrganizationAggregatesJobRequest { job_id: job.id, ..Default::default() };
    let found = queries.get_organization_aggregates_job(request).await.unwrap().into_inner();
    assert_eq!((found.query_status.as_str(), found.next_uri), ("Succeeded", None));
    let expected = OrganizationUsage {
        date: "2026-11-20".into(),
        oauth_client: Some(UsageClient {
            id: Some("ann".into()),
            name: Some("ann".into()),
            self_uri: Some("/api/v2/oauth/clients/ann".into()),
        }),
        user: Some(UsageUser { id: "u1".into(), self_uri: "/api/v2/users/u1".into() }),
        request_count: Some(3),
        ..Default::default()
    };
    assert_eq!(found.entities, [expected]);

    let request = CreateClientAggregatesJobRequest {
        client_id: "bob".into(),
        interval,
        ..Default::default()
    };
    let job = queries.create_client_aggregates_job(request).await.unwrap().into_inner();
    result(server.api, &job.results_uri).await;
    let request = GetClientAggregatesJobRequest {
        client_id: "bob".into(),
        job_id: job.id,
        ..Default::default()
    };
    let found = queries.get_client_aggregates_job(request).await.unwrap().into_inner();
    let counts: Vec<_> = found.entities.iter().map(|row| row.request_count).collect();
    assert_eq!(counts, [Some(128), Some(32), Some(16)]);
    let uri = start(server.api, SEARCH, &json!({"interval": DAY, "metrics": ["Date"]})).await;
    assert!(result(server.api, &uri).await.get("failure").is_none_or(|failure| failure == ""));
    server.stop().await;
}

#[tokio::test]
async fn grpc_names_the_same_fields() {
    let server = TestServer::start().await;
    let named = |status: &tonic::Status| -> Vec<String> {
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        let bad = status.get_details_bad_request().unwrap();
        bad.field_violations.into_iter().map(|violation| violation.field).collect()
    };
    let mut queries = server.queries();
    let request = StartOrganizationQueryRequest {
        interval: DAY.into(),
        group_by: vec!["OauthClientId".into()],
        ..Default::default()
    };
    let refused = queries.start_organization_query(request).await.unwrap_err();
    assert_eq!(named(&refused), ["group_by[0]"]);
    assert!(refused.message().contains("OAuthClientId, OrganizationId"), "{refused}");
    let request = StartSimpleSearchRequest { interval: DAY.into(), ..Default::default() };
    let id = queries.start_simple_search(request).await.unwrap().into_inner().execution_id;
    for (after, page_size, field) in
        [("", 1001, "page_size"), ("", -1, "page_size"), ("x", 1, "after")]
    {
        let request = GetSimpleSearchResultRequest {
            execution_id: id.clone(),
            after: after.into(),
            page_size,
        };
        let refused = queries.get_simple_search_result(request).await.unwrap_err();
        assert_eq!(named(&refused), [field]);
    }
    server.stop().await;
}
