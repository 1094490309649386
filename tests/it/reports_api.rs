//! Reports and records over a real socket.

use meterd::api::pb::{
    meterd::v1::{
        Granularity, ListUsageRecordsRequest, ProductUsageFilter, ProductUsageRow,
        QueryProductUsageRequest, UsageDimension, UsageOrder,
    },
    yandex::cloud::marketplace::metering::v1::{
        UsageRecord, WriteImageProductUsageRequest, WriteUsageRequest,
    },
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::server::{TestServer, fresh_uuid, proto_time};

fn record(sku: &str, quantity: i64, timestamp: &str) -> UsageRecord {
    UsageRecord {
        uuid: fresh_uuid(),
        sku_id: sku.into(),
        quantity,
        timestamp: proto_time(timestamp),
    }
}

/// Usage of two products within the hour before noon.
async fn with_usage() -> TestServer {
    let server = TestServer::start().await;
    let usage_records = vec![
        record("gb-hour", i64::MAX, "2026-11-20T11:05:00Z"),
        record("gb-hour", i64::MAX, "2026-11-20T11:20:00Z"),
        record("gb-hour", i64::MAX, "2026-11-20T11:59:59.999Z"),
        record("requests", 7, "2026-11-20T11:20:00Z"),
        record("requests", 1, "2026-11-20T12:00:00Z"),
    ];
    let request = WriteImageProductUsageRequest {
        validate_only: false,
        product_id: "storage".into(),
        usage_records,
    };
    assert_eq!(server.image().write(request).await.unwrap().into_inner().accepted.len(), 5);
    let request = WriteUsageRequest {
        dry_run: false,
        product_instance_id: "saas-2".into(),
        usage_records: vec![record("seat", 4, "2026-11-20T11:30:00Z")],
    };
    assert_eq!(server.instance().write(request).await.unwrap().into_inner().accepted.len(), 1);
    server
}

fn said(row: &ProductUsageRow) -> String {
    let time = |time: &Option<prost_types::Timestamp>| {
        jiff::Timestamp::from_second(time.as_ref().unwrap().seconds).unwrap().to_string()
    };
    format!(
        "{}/{} {}|{}|{}|{} {} in {}",
        time(&row.start_time),
        time(&row.end_time),
        row.product_id,
        row.product_instance_id,
        row.sku_id,
        row.client_id,
        row.quantity,
        row.record_count
    )
}

#[tokio::test]
async fn totals_are_exact_beyond_64_bits_and_follow_grouping_filter_and_zone() {
    let server = with_usage().await;
    let query = QueryProductUsageRequest {
        interval: "2026-11-20/P1D".into(),
        granularity: Granularity::Hour.into(),
        group_by: vec![UsageDimension::Product.into(), UsageDimension::Sku.into()],
        ..Default::default()
    };
    let answer = server.reports().query_product_usage(query.clone()).await.unwrap().into_inner();
    let three = (3 * (i64::MAX as u128)).to_string();
    let rows: Vec<String> = answer.rows.iter().map(said).collect();
    assert_eq!(
        rows,
        [
            "2026-11-20T11:00:00Z/2026-11-20T12:00:00Z saas||seat| 4 in 1".to_owned(),
            format!("2026-11-20T11:00:00Z/2026-11-20T12:00:00Z storage||gb-hour| {three} in 3"),
            "2026-11-20T11:00:00Z/2026-11-20T12:00:00Z storage||requests| 7 in 1".to_owned(),
            "2026-11-20T12:00:00Z/2026-11-20T13:00:00Z storage||requests| 1 in 1".to_owned(),
        ]
    );
    assert_eq!(answer.total_record_count, 6);

    // Kathmandu is 5:45 ahead: its hours begin at a quarter past.
    let query = QueryProductUsageRequest {
        interval: "2026-11-20T16:45:00/2026-11-20T17:45:00".into(),
        granularity: Granularity::Hour.into(),
        time_zone: "Asia/Kathmandu".into(),
        filter: Some(ProductUsageFilter { sku_ids: vec!["requests".into()], ..Default::default() }),
        group_by: vec![UsageDimension::Client.into()],
        ..Default::default()
    };
    let answer = server.reports().query_product_usage(query).await.unwrap().into_inner();
    let rows: Vec<String> = answer.rows.iter().map(said).collect();
    assert_eq!(rows, ["2026-11-20T11:15:00Z/2026-11-20T12:00:00Z |||admin 7 in 1"]);

    let query = QueryProductUsageRequest {
        interval: "2026-11-20/P1D".into(),
        filter: Some(ProductUsageFilter {
            product_instance_ids: vec!["saas-2".into()],
            ..Default::default()
        }),
        group_by: vec![UsageDimension::ProductInstance.into()],
        ..Default::default()
    };
    let answer = server.reports().query_product_usage(query).await.unwrap().into_inner();
    let rows: Vec<String> = answer.rows.iter().map(said).collect();
    assert_eq!(rows, ["2026-11-20T00:00:00Z/2026-11-21T00:00:00Z |saas-2|| 4 in 1"]);
}

#[tokio::test]
async fn pages_put_together_are_the_whole_in_every_order() {
    let server = with_usage().await;
    for order in [
        UsageOrder::TimeAsc,
        UsageOrder::TimeDesc,
        UsageOrder::QuantityAsc,
        UsageOrder::QuantityDesc,
    ] {
        let mut query = QueryProductUsageRequest {
            interval: "2026-11-20T11:00:00Z/2026-11-20T13:00:00Z".into(),
            granularity: Granularity::Hour.into(),
            group_by: vec![UsageDimension::Sku.into(), UsageDimension::ProductInstance.into()],
            order_by: order.into(),
            ..Default::default()
        };
        let whole = server.reports().query_product_usage(query.clone()).await.unwrap().into_inner();
        assert_eq!((whole.rows.len(), whole.next_page_token.as_str()), (4, ""));
        for page_size in 1..4 {
            query.page_size = page_size;
            query.page_token = String::new();
            let mut rows = Vec::new();
            loop {
                let page =
                    server.reports().query_product_usage(query.clone()).await.unwrap().into_inner();
                assert!(page.rows.len() <= page_size as usize);
                assert_eq!(page.total_quantity, whole.total_quantity);
                rows.extend(page.rows);
                if page.next_page_token.is_empty() {
                    break;
                }
                query.page_token = page.next_page_token;
            }
            assert_eq!(rows, whole.rows, "{order:?} in pages of {page_size}");
        }
        // A token of one query is no token of another.
        if !query.page_token.is_empty() {
            query.time_zone = "Europe/Berlin".into();
            let status = server.reports().query_product_usage(query).await.unwrap_err();
            assert!(status.message().starts_with("page_token: "), "{}", status.message());
        }
    }
}

#[tokio::test]
async fn records_come_in_the_order_of_arrival_with_filters_and_pages() {
    let server = with_usage().await;
    let mut request = ListUsageRecordsRequest { page_size: 2, ..Default::default() };
    let mut listed = Vec::new();
    loop {
        let page = server.reports().list_usage_records(request.clone()).await.unwrap().into_inner();
        listed.extend(page.records);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let skus: Vec<&str> = listed.iter().map(|record| record.sku_id.as_str()).collect();
    assert_eq!(skus, ["gb-hour", "gb-hour", "gb-hour", "requests", "requests", "seat"]);
    assert_eq!(listed[5].product_instance_id, "saas-2");
    assert_eq!(listed[5].product_id, "saas");
    assert_eq!(listed[5].client_id, "admin");

    let request = ListUsageRecordsRequest {
        usage_interval: "2026-11-20T11:20:00Z/PT1M".into(),
        stored_interval: "2026-11-20T12:00:00Z/PT1S".into(),
        product_ids: vec!["storage".into()],
        ..Default::default()
    };
    let page = server.reports().list_usage_records(request).await.unwrap().into_inner();
    assert_eq!(page.records.len(), 2);
    let request = ListUsageRecordsRequest {
        stored_interval: "2026-11-20T12:00:00.001Z/PT1S".into(),
        ..Default::default()
    };
    assert!(
        server.reports().list_usage_records(request).await.unwrap().into_inner().records.is_empty()
    );
}

#[tokio::test]
async fn bad_queries_name_every_member_at_fault() {
    let server = TestServer::start().await;
    let query = QueryProductUsageRequest {
        interval: "yesterday".into(),
        time_zone: "Mars/Olympus".into(),
        filter: Some(ProductUsageFilter {
            product_ids: vec!["ok".into(), String::new()],
            sku_ids: vec!["s".into(); 101],
            ..Default::default()
        }),
        page_size: 1001,
        ..Default::default()
    };
    let status = server.reports().query_product_usage(query.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let fields: Vec<&str> = details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    assert_eq!(fields, ["time_zone", "filter.product_ids[1]", "filter.sku_ids", "page_size"]);

    let message = async |query: QueryProductUsageRequest| {
        server.reports().query_product_usage(query).await.unwrap_err().message().to_owned()
    };
    let with_interval = |interval: &str| QueryProductUsageRequest {
        interval: interval.into(),
        ..Default::default()
    };
    assert!(
        message(with_interval("yesterday"))
            .await
            .starts_with("interval: must be an ISO 8601 interval")
    );
    assert!(
        message(with_interval("2026-11-20T00:07:00Z/PT1H"))
            .await
            .contains("does not fall on a quarter of an hour")
    );
    assert!(
        message(with_interval("2000-01-01/2026-01-01")).await.contains("longer than 3660 days")
    );
    let unknown = QueryProductUsageRequest {
        granularity: 77,
        group_by: vec![0, 99],
        ..with_interval("2026-11-20/P1D")
    };
    assert_eq!(
        message(unknown).await,
        "granularity: has the value 77, which means nothing here; group_by[0]: has the value 0, which means \
         nothing here; group_by[1]: has the value 99, which means nothing here"
    );
    let request = ListUsageRecordsRequest {
        product_ids: vec!["a\u{0}".into()],
        page_token: "x".into(),
        ..Default::default()
    };
    let status = server.reports().list_usage_records(request).await.unwrap_err();
    assert_eq!(
        status.message(),
        "product_ids[0]: must not contain control characters, but has U+0000"
    );
}
