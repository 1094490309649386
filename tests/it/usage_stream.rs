//! The usage stream over a real socket.

use std::sync::Arc;

use meterd::{
    api::pb::meterd::v1::{
        ListUsageRecordsRequest, ProductUsageRecord, RejectionReason, StreamProductUsageRequest,
        stream_product_usage_request::Target,
    },
    store::{
        UsageStore,
        sled::{SledStore, StoreOptions},
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::server::{Setup, TestServer, fresh_uuid, proto_time};

fn record(uuid: String, quantity: i64) -> ProductUsageRecord {
    ProductUsageRecord {
        uuid,
        sku_id: "gb-hour".into(),
        quantity,
        timestamp: proto_time("2026-11-20T11:59:00Z"),
    }
}

fn message(sequence: u64, usage_records: Vec<ProductUsageRecord>) -> StreamProductUsageRequest {
    StreamProductUsageRequest {
        sequence,
        target: Some(Target::ProductId("storage".into())),
        usage_records,
        validate_only: false,
    }
}

#[tokio::test]
async fn messages_are_answered_in_order_and_what_is_answered_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(SledStore::open(StoreOptions::new(directory.path())).unwrap());
    let server =
        TestServer::with(Setup { store: Arc::<SledStore>::clone(&store), ..Setup::default() })
            .await;
    let messages: Vec<_> = (0..50)
        .map(|sequence| {
            message(1000 - sequence, (0..1000).map(|_| record(fresh_uuid(), 2)).collect())
        })
        .collect();
    let mut answers = server
        .ingest()
        .stream_product_usage(tokio_stream::iter(messages))
        .await
        .unwrap()
        .into_inner();
    for sequence in 0..50 {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!((answer.sequence, answer.accepted_count), (1000 - sequence, 1000));
        assert!(
            store.statistics().records >= (sequence + 1) * 1000,
            "answered before it was stored"
        );
    }
    assert!(answers.message().await.unwrap().is_none());
    server.stop().await;
}

#[tokio::test]
async fn rejected_records_say_where_why_and_whether_they_conflict() {
    let server = TestServer::start().await;
    let uuid = fresh_uuid();
    let records = vec![
        record(uuid.clone(), 1),
        record(uuid.clone(), 1),
        record(uuid.clone(), 2),
        record("?".into(), 1),
    ];
    let instance = StreamProductUsageRequest {
        target: Some(Target::ProductInstanceId("saas-1".into())),
        ..message(8, vec![ProductUsageRecord { sku_id: "seat".into(), ..record(fresh_uuid(), 1) }])
    };
    let messages = tokio_stream::iter([message(7, records), instance]);
    let mut answers = server.ingest().stream_product_usage(messages).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!((answer.sequence, answer.accepted_count), (7, 1));
    let rejected: Vec<_> = answer
        .rejected
        .iter()
        .map(|record| (record.index, record.reason(), record.conflict))
        .collect();
    assert_eq!(
        rejected,
        [
            (1, RejectionReason::Duplicate, false),
            (2, RejectionReason::Duplicate, true),
            (3, RejectionReason::InvalidId, false),
        ]
    );
    assert_eq!(answers.message().await.unwrap().unwrap().accepted_count, 1);
}

#[tokio::test]
async fn a_message_that_breaks_the_rules_ends_the_stream_after_those_before_it() {
    let server = TestServer::start().await;
    let good = message(1, vec![record(fresh_uuid(), 1)]);
    let too_many = message(2, (0..1001).map(|_| record(fresh_uuid(), 1)).collect());
    let messages = tokio_stream::iter([good, too_many, message(3, vec![record(fresh_uuid(), 1)])]);
    let mut answers = server.ingest().stream_product_usage(messages).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().sequence, 1);
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "message with sequence 2: usage_records: has 1001 records, between 1 and 1000 are allowed"
    );

    let no_target =
        StreamProductUsageRequest { target: None, ..message(9, vec![record(fresh_uuid(), 1)]) };
    let mut answers = server
        .ingest()
        .stream_product_usage(tokio_stream::iter([no_target]))
        .await
        .unwrap()
        .into_inner();
    let status = answers.message().await.unwrap_err();
    assert_eq!(
        status.message(),
        "message with sequence 9: target: set product_id or product_instance_id"
    );
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_undo_what_it_sent() {
    let server = TestServer::start().await;
    let (sender, receiver) = mpsc::channel(1);
    let mut answers = server
        .ingest()
        .stream_product_usage(ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    sender.send(message(1, vec![record(fresh_uuid(), 1)])).await.unwrap();
    answers.message().await.unwrap().unwrap();
    for sequence in 2..6 {
        sender.send(message(sequence, vec![record(fresh_uuid(), 1)])).await.unwrap();
    }
    drop((sender, answers));
    // Whatever arrived is stored once, as a whole.
    let mut last = 0;
    while last < 1 {
        last = server.store.statistics().records;
        tokio::task::yield_now().await;
    }
    assert!((1..=5).contains(&last));
    server.stop().await;
}

/// The first message with a uuid wins, however many are under way at once, and records stand in the log in the
/// order in which they were sent.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_decided_in_the_order_in_which_they_were_sent() {
    let server = TestServer::start().await;
    let mut sent = Vec::new();
    let mut messages = Vec::new();
    for sequence in 0..400 {
        let uuid = fresh_uuid();
        // The first of each pair takes longer to judge.
        let others = (0..if sequence % 3 == 0 { 300 } else { 0 }).map(|_| record("?".into(), 1));
        messages.push(message(2 * sequence, others.chain([record(uuid.clone(), 1)]).collect()));
        messages.push(message(2 * sequence + 1, vec![record(uuid.clone(), 2)]));
        sent.push(uuid);
    }
    let mut answers = server
        .ingest()
        .stream_product_usage(tokio_stream::iter(messages))
        .await
        .unwrap()
        .into_inner();
    while let Some(answer) = answers.message().await.unwrap() {
        assert_eq!(answer.accepted_count, 1 - answer.sequence as u32 % 2, "{}", answer.sequence);
        if answer.sequence % 2 == 1 {
            assert!(answer.rejected[0].conflict);
        }
    }
    let request = ListUsageRecordsRequest { page_size: 1000, ..Default::default() };
    let records = server.reports().list_usage_records(request).await.unwrap().into_inner().records;
    let stored: Vec<String> = records.into_iter().map(|record| record.uuid).collect();
    assert_eq!(stored, sent);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_after_a_message_that_breaks_the_rules_is_taken() {
    let server = TestServer::start().await;
    let good = |sequence| message(sequence, vec![record(fresh_uuid(), 1)]);
    for _ in 0..50 {
        let messages = [good(1), message(2, Vec::new()), good(3), good(4)];
        let before = server.store.statistics().records;
        let stream = server.ingest().stream_product_usage(tokio_stream::iter(messages)).await;
        let mut answers = stream.unwrap().into_inner();
        assert_eq!(answers.message().await.unwrap().unwrap().sequence, 1);
        assert_eq!(answers.message().await.unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(server.store.statistics().records, before + 1);
    }
    server.stop().await;
}
