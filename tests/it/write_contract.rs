//! The vendor's three write methods over a real socket.

use std::sync::Arc;

use jiff::SignedDuration;
use meterd::api::pb::{
    meterd::v1::GetUsageRecordRequest,
    yandex::cloud::marketplace::{
        metering::v1::{
            UsageRecord, WriteImageProductUsageRequest, WriteUsageRequest,
            rejected_usage_record::Reason,
        },
        v1::metering as older,
    },
};
use meterd::store::sled::{SledStore, StoreOptions};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::server::{Setup, TestServer, fresh_uuid, proto_time};

const NOON: &str = "2026-11-20T12:00:00Z";

fn record(uuid: &str, sku: &str, quantity: i64, timestamp: &str) -> UsageRecord {
    UsageRecord {
        uuid: uuid.into(),
        sku_id: sku.into(),
        quantity,
        timestamp: proto_time(timestamp),
    }
}

fn write(product: &str, usage_records: Vec<UsageRecord>) -> WriteImageProductUsageRequest {
    WriteImageProductUsageRequest {
        validate_only: false,
        product_id: product.into(),
        usage_records,
    }
}

#[tokio::test]
async fn every_reason_in_the_order_of_the_contract() {
    let server = TestServer::start().await;
    let good = fresh_uuid();
    let unknown = UsageRecord { timestamp: None, ..record(&fresh_uuid(), "gb-hour", 1, NOON) };
    let impossible = UsageRecord {
        timestamp: Some(prost_types::Timestamp { seconds: 1 << 50, nanos: 0 }),
        ..record(&fresh_uuid(), "gb-hour", 1, NOON)
    };
    // Each breaks one rule and all that come after it, but for the uuid being taken.
    let records = vec![
        record("not-a-uuid", "nope", 0, "2020-01-01T00:00:00Z"),
        record(&fresh_uuid().replace('-', ""), "gb-hour", 1, NOON),
        record(&good, "nope", 0, "2020-01-01T00:00:00Z"),
        record(&good, "", 0, "2020-01-01T00:00:00Z"),
        record(&good, "old", 0, "2020-01-01T00:00:00Z"),
        record(&good, "seat", 0, "2020-01-01T00:00:00Z"),
        record(&good, "gb-hour", 0, "2030-01-01T00:00:00Z"),
        record(&good, "gb-hour", -5, "2030-01-01T00:00:00Z"),
        record(&good, "gb-hour", 1, "2026-11-20T12:00:30.000000001Z"),
        unknown,
        impossible,
        record(&good, "gb-hour", 1, "2026-11-20T10:59:59.999999999Z"),
        record(&good, "gb-hour", 1, NOON),
        record(&good.to_uppercase(), "gb-hour", 1, NOON),
        record(&fresh_uuid(), "gb-hour", i64::MAX, "2026-11-20T12:00:30Z"),
        record(&fresh_uuid(), "requests", 1, "2026-11-20T11:00:00Z"),
    ];
    let accepted: Vec<String> = [12, 14, 15].map(|at: usize| records[at].uuid.clone()).into();
    let response =
        server.image().write(write("storage", records.clone())).await.unwrap().into_inner();
    let uuids = response.accepted.into_iter().map(|record| record.uuid).collect::<Vec<_>>();
    assert_eq!(uuids, accepted);
    let reasons: Vec<(String, Reason)> =
        response.rejected.iter().map(|record| (record.uuid.clone(), record.reason())).collect();
    let expected = [
        (0, Reason::InvalidId),
        (1, Reason::InvalidId),
        (2, Reason::InvalidSkuId),
        (3, Reason::InvalidSkuId),
        (4, Reason::InvalidSkuId),
        (5, Reason::InvalidSkuId),
        (6, Reason::InvalidQuantity),
        (7, Reason::InvalidQuantity),
        (8, Reason::InvalidTimestamp),
        (9, Reason::InvalidTimestamp),
        (10, Reason::InvalidTimestamp),
        (11, Reason::Expired),
        (13, Reason::Duplicate),
    ];
    assert_eq!(
        reasons,
        expected.map(|(at, reason): (usize, _)| (records[at].uuid.clone(), reason))
    );
}

#[tokio::test]
async fn unknown_and_retired_products_reject_every_record() {
    let server = TestServer::start().await;
    for product in ["nowhere", "gone"] {
        let records =
            vec![record("x", "gb-hour", 1, NOON), record(&fresh_uuid(), "gb-hour", 0, NOON)];
        let response = server.image().write(write(product, records)).await.unwrap().into_inner();
        let reasons: Vec<Reason> = response.rejected.iter().map(|record| record.reason()).collect();
        assert_eq!(reasons, [Reason::InvalidId, Reason::InvalidProductId]);
    }
    for instance in ["nowhere", "saas-old", "saas"] {
        let request = WriteUsageRequest {
            dry_run: false,
            product_instance_id: instance.into(),
            usage_records: vec![record(&fresh_uuid(), "seat", 1, NOON)],
        };
        let response = server.instance().write(request).await.unwrap().into_inner();
        assert_eq!(response.rejected[0].reason(), Reason::InvalidProductId);
    }
}

#[tokio::test]
async fn a_uuid_is_taken_across_methods_and_conflicts_are_told_apart() {
    let server = TestServer::start().await;
    let (same, differs) = (fresh_uuid(), fresh_uuid());
    let records = vec![record(&same, "seat", 3, NOON), record(&differs, "seat", 3, NOON)];
    let request = WriteUsageRequest {
        dry_run: false,
        product_instance_id: "saas-1".into(),
        usage_records: records.clone(),
    };
    let first = server.instance().write(request.clone()).await.unwrap();
    assert_eq!(first.get_ref().accepted.len(), 2);
    assert!(first.metadata().get("meterd-duplicate-conflicts").is_none());

    // A mere repetition is no conflict.
    let again = server.instance().write(request).await.unwrap();
    assert_eq!(again.get_ref().rejected.len(), 2);
    assert!(again.metadata().get("meterd-duplicate-conflicts").is_none());

    let changed = WriteUsageRequest {
        dry_run: false,
        product_instance_id: "saas-1".into(),
        usage_records: vec![records[0].clone(), record(&differs.to_uppercase(), "seat", 4, NOON)],
    };
    let response = server.instance().write(changed).await.unwrap();
    let conflicts = response.metadata().get("meterd-duplicate-conflicts").unwrap();
    assert_eq!(conflicts.to_str().unwrap(), differs.to_uppercase(), "in the caller's spelling");

    // The same uuid through another method is a duplicate too, of another product, so in conflict.
    let older_record = older::UsageRecord {
        uuid: same.clone(),
        sku_id: "gb-hour".into(),
        quantity: 3,
        timestamp: proto_time(NOON),
    };
    let request = older::WriteImageProductUsageRequest {
        validate_only: false,
        product_id: "storage".into(),
        usage_records: vec![older_record],
    };
    let response = server.older_image().write(request).await.unwrap();
    assert_eq!(
        response.metadata().get("meterd-duplicate-conflicts").unwrap().to_str().unwrap(),
        same
    );
    assert_eq!(
        response.get_ref().rejected[0].reason(),
        older::rejected_usage_record::Reason::Duplicate
    );
}

#[tokio::test]
async fn a_rejected_record_does_not_use_up_its_uuid_and_validation_stores_nothing() {
    let server = TestServer::start().await;
    let uuid = fresh_uuid();
    let records = vec![
        record(&uuid, "gb-hour", 0, NOON),
        record(&uuid, "gb-hour", 1, NOON),
        record(&uuid, "gb-hour", 2, NOON),
    ];
    let request =
        WriteImageProductUsageRequest { validate_only: true, ..write("storage", records.clone()) };
    for _ in 0..2 {
        let response = server.image().write(request.clone()).await.unwrap();
        assert_eq!(response.get_ref().accepted.len(), 1);
        let reasons: Vec<Reason> =
            response.get_ref().rejected.iter().map(|record| record.reason()).collect();
        assert_eq!(reasons, [Reason::InvalidQuantity, Reason::Duplicate]);
        assert_eq!(
            response.metadata().get("meterd-duplicate-conflicts").unwrap().to_str().unwrap(),
            uuid
        );
    }
    let get = GetUsageRecordRequest { uuid: uuid.clone() };
    assert_eq!(
        server.reports().get_usage_record(get.clone()).await.unwrap_err().code(),
        Code::NotFound
    );
    let response = server.image().write(write("storage", records)).await.unwrap().into_inner();
    assert_eq!(response.accepted.len(), 1);
    let stored = server.reports().get_usage_record(get).await.unwrap().into_inner().record.unwrap();
    assert_eq!(stored.quantity, 1);
}

#[tokio::test]
async fn the_window_moves_with_the_clock() {
    let server = TestServer::start().await;
    let (early, late) = (fresh_uuid(), fresh_uuid());
    server.clock.advance(SignedDuration::from_hours(-2));
    let write_one = async |uuid: &str| {
        let request = write("storage", vec![record(uuid, "gb-hour", 1, NOON)]);
        let response = server.image().write(request).await.unwrap().into_inner();
        response.rejected.first().map(|record| record.reason())
    };
    assert_eq!(write_one(&early).await, Some(Reason::InvalidTimestamp));
    server.clock.advance(SignedDuration::from_hours(3));
    assert_eq!(write_one(&early).await, None);
    server.clock.advance(SignedDuration::from_nanos(1));
    assert_eq!(write_one(&late).await, Some(Reason::Expired));
    // The contract's order: too old comes before taken.
    assert_eq!(write_one(&early).await, Some(Reason::Expired));
}

#[tokio::test]
async fn whole_request_violations_are_named_all_at_once() {
    let server = TestServer::start().await;
    let mut records = vec![record(&fresh_uuid(), "gb-hour", 1, NOON); 26];
    records[3].uuid = "x".repeat(37);
    records[25].sku_id = "ж".repeat(51);
    let status = server.image().write(write(&"p".repeat(51), records)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let fields: Vec<(String, String)> = details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .map(|violation| (violation.field.clone(), violation.description.clone()))
        .collect();
    let expected = [
        ("product_id", "has 51 characters, at most 50 are allowed"),
        ("usage_records", "has 26 records, between 1 and 25 are allowed"),
        ("usage_records[3].uuid", "has 37 characters, at most 36 are allowed"),
        ("usage_records[25].sku_id", "has 51 characters, at most 50 are allowed"),
    ];
    assert_eq!(fields, expected.map(|(field, text)| (field.to_owned(), text.to_owned())));

    let status = server.image().write(write("", vec![])).await.unwrap_err();
    assert_eq!(
        status.message(),
        "product_id: must not be empty; usage_records: has 0 records, between 1 and 25 are allowed"
    );
    let request = WriteUsageRequest {
        dry_run: true,
        product_instance_id: String::new(),
        usage_records: vec![],
    };
    let status = server.instance().write(request).await.unwrap_err();
    assert!(
        status.message().starts_with("product_instance_id: must not be empty"),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn of_64_concurrent_calls_with_one_uuid_exactly_one_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SledStore::open(StoreOptions::new(directory.path())).unwrap());
    let server = TestServer::with(Setup { store, ..Setup::default() }).await;
    for _ in 0..100 {
        let request = write("storage", vec![record(&fresh_uuid(), "gb-hour", 1, NOON)]);
        let calls = (0..64).map(|_| {
            let (mut client, request) = (server.image(), request.clone());
            tokio::spawn(
                async move { client.write(request).await.unwrap().into_inner().accepted.len() },
            )
        });
        let mut accepted = 0;
        for call in calls.collect::<Vec<_>>() {
            accepted += call.await.unwrap();
        }
        assert_eq!(accepted, 1);
    }
}
