//! Usage queries that are refused, and what the refusal says.

use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    http::call,
    queries::{
        CLIENT_JOBS, CLIENT_QUERY, JOBS, QUERY, SEARCH, error_fields, get, post, record, start,
    },
    server::TestServer,
    usage::Calls,
};

const DAY: &str = "2026-11-20/2026-11-21";

async fn server() -> TestServer {
    let server = TestServer::start().await;
    record(&*server.store, "default", &[("2026-11-20T11:00:00Z", Calls::default())]);
    server
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() {
    let server = server().await;
    let names = |count: usize| vec!["name"; count];
    let long = "x".repeat(51);
    for (target, body, fields, says) in [
        // Words are the vendor's, in the spelling of the operation.
        (
            QUERY,
            json!({"groupBy": ["OauthClientId"]}),
            vec!["groupBy[0]"],
            "\"OauthClientId\" is none of OAuthClientId, OrganizationId, UserId, TemplateUri, HttpMethod",
        ),
        (
            JOBS,
            json!({"groupBy": ["Platform", "OAuthClientId"]}),
            vec!["groupBy[1]"],
            "\"OAuthClientId\" is none of OauthClientName, OauthClientId, UserId, HttpMethod, TemplateUri, Platform",
        ),
        (
            CLIENT_QUERY,
            json!({"groupBy": ["UserId"]}),
            vec!["groupBy[0]"],
            "OAuthClientId, OrganizationId, TemplateUri, HttpMethod",
        ),
        (
            CLIENT_JOBS,
            json!({"groupBy": ["UserId"]}),
            vec!["groupBy[0]"],
            "OrganizationId, HttpMethod, TemplateUri, Platform",
        ),
        (
            QUERY,
            json!({"metrics": ["requests"]}),
            vec!["metrics[0]"],
            "Requests, Status200, Status300, Status400, Status429, Status500",
        ),
        (
            SEARCH,
            json!({"metrics": ["Requests"]}),
            vec!["metrics[0]"],
            "Date, ClientName, HttpMethod, TemplateUri, Status200",
        ),
        (
            QUERY,
            json!({"granularity": "day"}),
            vec!["granularity"],
            "\"day\" is none of Day, Week, Month",
        ),
        (JOBS, json!({"granularity": "Hour"}), vec!["granularity"], "Day, Week, Month"),
        (SEARCH, json!({"httpMethods": ["get"]}), vec!["httpMethods[0]"], "GET"),
        (
            JOBS,
            json!({"httpMethods": ["TRACE"]}),
            vec!["httpMethods[0]"],
            "GET, POST, PUT, PATCH, DELETE, HEAD",
        ),
        // Intervals.
        (QUERY, json!({"interval": ""}), vec!["interval"], "ISO 8601"),
        (QUERY, json!({"interval": "2026-11-20"}), vec!["interval"], "ISO 8601"),
        (QUERY, json!({"interval": "a/b"}), vec!["interval"], "\"a\""),
        (QUERY, json!({"interval": "P1D/P1D"}), vec!["interval"], "ISO 8601"),
        (
            QUERY,
            json!({"interval": "2026-11-20/2026-11-20"}),
            vec!["interval"],
            "must end after it starts",
        ),
        (QUERY, json!({"interval": "2025-11-20/2026-11-22"}), vec!["interval"], "at most 366"),
        (SEARCH, json!({"interval": "2025-11-20/2026-11-22"}), vec!["interval"], "at most 366"),
        (
            CLIENT_QUERY,
            json!({"interval": "2025-11-20/2026-11-22"}),
            vec!["interval"],
            "at most 366",
        ),
        (
            JOBS,
            json!({"interval": "2026-11-20/2026-11-19"}),
            vec!["interval"],
            "must not end before it starts",
        ),
        (
            JOBS,
            json!({"interval": "2025-11-19/2025-11-20"}),
            vec!["interval"],
            "must not start before 2025-11-20",
        ),
        (JOBS, json!({"interval": "2026-08-01/2026-10-31"}), vec!["interval"], "at most 90 days"),
        (
            CLIENT_JOBS,
            json!({"interval": "2026-08-01/2026-10-31"}),
            vec!["interval"],
            "at most 90 days",
        ),
        // Orders.
        (
            JOBS,
            json!({"sortBy": [{"fieldName": "Color"}]}),
            vec!["sortBy[0].fieldName"],
            "\"Color\" is none of Date, OauthClientName",
        ),
        (JOBS, json!({"sortBy": [{"fieldName": ""}]}), vec!["sortBy[0].fieldName"], "is none of"),
        (
            JOBS,
            json!({"sortBy": [{"fieldName": "Date", "order": "desc"}]}),
            vec!["sortBy[0].order"],
            "Asc, Desc",
        ),
        (
            JOBS,
            json!({"sortBy": [{"fieldName": "Date"}, {"fieldName": "date", "order": "Desc"}]}),
            vec!["sortBy[1].fieldName"],
            "twice",
        ),
        (
            JOBS,
            json!({"sortBy": [{"fieldName": "RequestCount"}, {"fieldName": "Requests"}]}),
            vec!["sortBy[1].fieldName"],
            "twice",
        ),
        (
            JOBS,
            json!({"groupBy": ["Platform"], "sortBy": [{"fieldName": "UserId"}]}),
            vec!["sortBy[0].fieldName"],
            "\"UserId\" is none of Date, Platform",
        ),
        (
            JOBS,
            json!({"metrics": ["Requests"], "sortBy": [{"fieldName": "Status500"}]}),
            vec!["sortBy[0].fieldName"],
            "\"Status500\" is none of Date",
        ),
        (JOBS, json!({"sortBy": vec![json!({"fieldName": "Date"}); 15]}), vec!["sortBy"], "15"),
        // Filters.
        (SEARCH, json!({"oauthClientNames": names(101)}), vec!["oauthClientNames"], "at most 100"),
        (SEARCH, json!({"templateUris": names(101)}), vec!["templateUris"], "at most 100"),
        (JOBS, json!({"templateUris": names(101)}), vec!["templateUris"], "at most 100"),
        (JOBS, json!({"platforms": names(101)}), vec!["platforms"], "at most 100"),
        (JOBS, json!({"userIds": names(101)}), vec!["userIds"], "at most 100"),
        (JOBS, json!({"oauthClientIds": names(101)}), vec!["oauthClientIds"], "at most 100"),
        (
            CLIENT_JOBS,
            json!({"organizationIds": names(101)}),
            vec!["organizationIds"],
            "at most 100",
        ),
        (JOBS, json!({"oauthClientIds": ["fine", long]}), vec!["oauthClientIds[1]"], "50"),
        (JOBS, json!({"userIds": [""]}), vec!["userIds[0]"], "empty"),
        (JOBS, json!({"platforms": ["a\nb"]}), vec!["platforms[0]"], "control"),
        (SEARCH, json!({"oauthClientNames": [""]}), vec!["oauthClientNames[0]"], "empty"),
        // All at once.
        (
            JOBS,
            json!({"interval": "?", "granularity": "?", "metrics": ["?"], "groupBy": ["?"], "platforms": [""]}),
            vec!["interval", "granularity", "metrics[0]", "groupBy[0]", "platforms[0]"],
            "?",
        ),
    ] {
        let mut body = body;
        if body.get("interval").is_none() {
            body["interval"] = DAY.into();
        }
        let answer = post(server.api, target, &body).await;
        let mut found = error_fields(&answer, StatusCode::BAD_REQUEST, "bad.request");
        found.sort();
        let mut expected = fields;
        expected.sort_unstable();
        assert_eq!(found, expected, "{target} {body}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(says), "{says:?} is not in {message:?}");
    }
    // What is just allowed.
    for (target, body) in [
        (QUERY, json!({"interval": "2025-11-20/2026-11-21"})),
        (JOBS, json!({"interval": "2025-11-20/2026-02-18"})),
        (
            JOBS,
            json!({"interval": DAY, "platforms": vec!["x"; 100], "sortBy": [
                {"fieldName": "STATUS500", "order": "Desc"}, {"fieldName": "oauthclientid"}, {"fieldName": "date"},
            ]}),
        ),
        (
            CLIENT_JOBS,
            json!({"interval": DAY, "sortBy": [{"fieldName": "OrganizationId", "order": "Desc"}]}),
        ),
        (SEARCH, json!({"interval": DAY, "oauthClientNames": vec!["x"; 100], "unknown": 1})),
    ] {
        start(server.api, target, &body).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn other_refusals_have_the_vendors_shape_too() {
    let server = server().await;
    let summary = |days: &str| format!("/api/v2/oauth/clients/client/usage/summary?days={days}");
    for days in ["0", "366", "-1", "seven", "1.5"] {
        let answer = get(server.api, &summary(days)).await;
        let fields = error_fields(&answer, StatusCode::BAD_REQUEST, "bad.request");
        assert_eq!(fields, ["days"], "{days}");
    }
    let body = json!({"interval": DAY});
    for (answer, status, code) in [
        (get(server.api, "/api/v2/usage/query/x/results").await, 404, "not.found"),
        (
            post(server.api, "/api/v2/oauth/clients/nobody/usage/query", &body).await,
            404,
            "not.found",
        ),
        (
            post(server.api, "/api/v2/usage/client/nobody/aggregates/query/jobs", &body).await,
            404,
            "not.found",
        ),
        (get(server.api, "/api/v2/oauth/clients/nobody/usage/summary").await, 404, "not.found"),
        (call(Method::POST, QUERY).json("{").send(server.api).await, 400, "bad.request"),
        (
            call(Method::POST, QUERY).json(json!({"interval": 7})).send(server.api).await,
            400,
            "bad.request",
        ),
        (
            call(Method::POST, QUERY).body("{}").send(server.api).await,
            415,
            "unsupported.media.type",
        ),
        (
            call(Method::POST, QUERY).anonymous().json(&body).send(server.api).await,
            401,
            "authentication.required",
        ),
        (
            call(Method::POST, QUERY)
                .anonymous()
                .header("authorization", "Bearer x")
                .json(&body)
                .send(server.api)
                .await,
            401,
            "authentication.required",
        ),
    ] {
        error_fields(&answer, StatusCode::from_u16(status).unwrap(), code);
    }
    server.stop().await;
}
