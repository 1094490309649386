use std::sync::atomic::Ordering;

use jiff::SignedDuration;

use super::*;
use crate::{
    domain::{
        id::OrganizationId,
        limits::{STREAM_RECORDS_MAX, WRITE_RECORDS_MAX},
    },
    service::{
        audit::AuditTrail,
        clock::ManualClock,
        committer::CommitterLimits,
        testing::{Mishap, TestStore, caller, now, organization},
    },
    store::UsageStore,
};

struct Bench {
    store: Arc<TestStore>,
    clock: Arc<ManualClock>,
    committer: Arc<Committer>,
    usage: ProductUsage,
}

impl Bench {
    /// A service in which `acme` and `other` sell the same things.
    fn new() -> Self {
        let store = TestStore::with_catalog(&["acme", "other"]);
        let clock = Arc::new(ManualClock::new(now()));
        let shared: Arc<dyn UsageStore> = Arc::clone(&store) as _;
        let committer = Committer::start(
            Arc::clone(&shared),
            Arc::clone(&clock) as _,
            CommitterLimits::default(),
        )
        .unwrap();
        let audit = Arc::new(AuditTrail::new(Arc::clone(&shared), clock.clone()));
        let catalogs = Arc::new(Catalogs::load(Arc::clone(&shared), audit).unwrap());
        let usage = ProductUsage::new(
            Arc::clone(&committer),
            catalogs,
            Arc::clone(&clock) as _,
            AcceptanceWindow::default(),
        );
        Self { store, clock, committer, usage }
    }

    async fn write_as(
        &self,
        organization: &str,
        report: UsageReport,
    ) -> Result<Vec<RecordVerdict>, ServiceError> {
        let uuids: Vec<_> = report.records.iter().map(|record| record.uuid.clone()).collect();
        let caller = caller(organization);
        let written =
            self.usage.write(&caller, report, WRITE_RECORDS_MAX, Admission::Refuse).await?;
        assert_eq!(written.uuids, uuids, "as the caller spelled them");
        Ok(written.verdicts)
    }

    async fn write(&self, records: Vec<ReportedRecord>) -> Vec<RecordVerdict> {
        self.write_as("acme", report(records)).await.unwrap()
    }

    fn stored(&self) -> usize {
        self.store.memory.records().len()
    }
}

fn text(number: usize) -> String {
    crate::service::testing::uuid(number).to_string()
}

fn record(number: usize) -> ReportedRecord {
    ReportedRecord { uuid: text(number), sku_id: "sku".into(), quantity: 5, timestamp: Some(now()) }
}

fn report(records: Vec<ReportedRecord>) -> UsageReport {
    UsageReport { target: product("product"), records, validate_only: false }
}

fn product(id: &str) -> ReportedTarget {
    ReportedTarget::Product(id.into())
}

fn instance(id: &str) -> ReportedTarget {
    ReportedTarget::Instance(id.into())
}

fn rejected(reason: RejectionReason) -> RecordVerdict {
    RecordVerdict::Rejected { reason, conflict: false }
}

const ACCEPTED: RecordVerdict = RecordVerdict::Accepted;
const REPEATED: RecordVerdict =
    RecordVerdict::Rejected { reason: RejectionReason::Duplicate, conflict: false };
const CONFLICT: RecordVerdict =
    RecordVerdict::Rejected { reason: RejectionReason::Duplicate, conflict: true };

#[tokio::test]
async fn accepted_records_are_stored_as_reported() {
    let bench = Bench::new();
    assert_eq!(bench.write(vec![record(0), record(1)]).await, [ACCEPTED; 2]);
    let stored = bench.store.memory.records();
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[0].record.uuid.to_string(), text(0));
    assert_eq!(stored[0].record.sku.as_str(), "sku");
    assert_eq!(stored[0].record.quantity.get(), 5);
    assert_eq!(stored[0].record.usage_time, now());
    assert_eq!(stored[0].stored_time, now());
    assert_eq!(stored[0].target.product.as_str(), "product");
    assert_eq!(stored[0].target.instance, None);
    assert_eq!(stored[0].client.as_str(), "client");
}

#[tokio::test]
async fn an_instance_stands_for_its_product() {
    let bench = Bench::new();
    let report = UsageReport { target: instance("instance"), ..report(vec![record(0)]) };
    assert_eq!(bench.write_as("acme", report).await.unwrap(), [ACCEPTED]);
    let target = &bench.store.memory.records()[0].target;
    assert_eq!(target.product.as_str(), "product");
    assert_eq!(target.instance.as_ref().unwrap().as_str(), "instance");
}

/// Every record breaks one rule and all that come after it in the order of the contract.
#[tokio::test]
async fn the_first_broken_rule_is_the_reason() {
    use RejectionReason::*;
    let late = now() + SignedDuration::from_secs(31);
    let old = now() - SignedDuration::from_secs(3601);
    let bench = Bench::new();
    bench.write(vec![record(0)]).await;
    let broken = |uuid: &str, sku: &str, quantity, timestamp| ReportedRecord {
        uuid: uuid.into(),
        sku_id: sku.into(),
        quantity,
        timestamp,
    };
    let known = text(0);
    let of_unknown_product = vec![
        (broken("nonsense", "no-such-sku", 0, None), InvalidId),
        (broken(&known, "no-such-sku", 0, None), InvalidProductId),
    ];
    let of_product = vec![
        (broken("nonsense", "no-such-sku", 0, None), InvalidId),
        (broken(&known, "no-such-sku", 0, None), InvalidSkuId),
        (broken(&known, "sku", 0, None), InvalidQuantity),
        (broken(&known, "sku", 5, None), InvalidTimestamp),
        (broken(&known, "sku", 5, Some(late)), InvalidTimestamp),
        (broken(&known, "sku", 5, Some(old)), Expired),
        (broken(&known, "sku", 5, Some(now())), Duplicate),
    ];
    for (target, table) in [("no-such-product", of_unknown_product), ("product", of_product)] {
        let (records, reasons): (Vec<_>, Vec<_>) = table.into_iter().unzip();
        let report = UsageReport { target: product(target), ..report(records) };
        let expected: Vec<_> = reasons.into_iter().map(rejected).collect();
        assert_eq!(bench.write_as("acme", report).await.unwrap(), expected, "{target}");
    }
    assert_eq!(bench.stored(), 1);
}

#[tokio::test]
async fn only_the_hyphenated_form_is_a_uuid_in_any_case() {
    let bench = Bench::new();
    let good = "936DA01F-9abd-4d9d-80c7-02af85c822a8";
    let plain = good.replace('-', "");
    let misplaced = format!("{}-{}", &plain[..30], &plain[30..]);
    let cases = [
        "",
        "x",
        "936da01f-9abd-4d9d-80c7-02af85c822ag",
        "936da01f-9abd-4d9d-80c7-02af85c822a",
        "-36da01f-9abd-4d9d-80c7-02af85c822a8",
        &plain,
        &misplaced,
        &format!("{{{}}}", &plain[..32]),
    ];
    for bad in cases {
        let verdicts = bench.write(vec![ReportedRecord { uuid: bad.into(), ..record(0) }]).await;
        assert_eq!(verdicts, [rejected(RejectionReason::InvalidId)], "{bad}");
    }
    let same = [good, &good.to_lowercase(), &good.to_uppercase()]
        .map(|uuid| ReportedRecord { uuid: uuid.into(), ..record(0) });
    assert_eq!(bench.write(same.to_vec()).await, [ACCEPTED, REPEATED, REPEATED]);
}

#[tokio::test]
async fn what_is_retired_or_of_another_product_takes_no_usage() {
    use RejectionReason::*;
    let bench = Bench::new();
    let targets = [
        (product("retired-product"), "sku", InvalidProductId),
        (instance("retired-instance"), "sku", InvalidProductId),
        (instance("instance-of-retired"), "sku", InvalidProductId),
        (instance("no-such-instance"), "sku", InvalidProductId),
        // Ids of products and instances are not mixed up.
        (instance("product"), "sku", InvalidProductId),
        (product("instance"), "sku", InvalidProductId),
        (product("product"), "retired-sku", InvalidSkuId),
        (product("product"), "foreign-sku", InvalidSkuId),
        (product("product"), "", InvalidSkuId),
        (instance("instance"), "foreign-sku", InvalidSkuId),
    ];
    for (target, sku, reason) in targets {
        let records = vec![ReportedRecord { sku_id: sku.into(), ..record(0) }];
        let report = UsageReport { target: target.clone(), ..report(records) };
        let verdicts = bench.write_as("acme", report).await.unwrap();
        assert_eq!(verdicts, [rejected(reason)], "{target:?} {sku}");
    }
    let unknown = bench.write_as("nobody", report(vec![record(0)])).await.unwrap();
    assert_eq!(unknown, [rejected(InvalidProductId)]);
    assert!(bench.store.groups().is_empty(), "nothing of it reached the committer");
}

#[tokio::test]
async fn the_ends_of_the_window_are_inside() {
    let bench = Bench::new();
    let nanosecond = SignedDuration::from_nanos(1);
    let (earliest, latest) =
        (now() - SignedDuration::from_hours(1), now() + SignedDuration::from_secs(30));
    let times = [
        (earliest, ACCEPTED),
        (earliest - nanosecond, rejected(RejectionReason::Expired)),
        (latest, ACCEPTED),
        (latest + nanosecond, rejected(RejectionReason::InvalidTimestamp)),
        (Timestamp::MIN, rejected(RejectionReason::Expired)),
        (Timestamp::MAX, rejected(RejectionReason::InvalidTimestamp)),
    ];
    let (records, expected): (Vec<_>, Vec<_>) = (0..)
        .zip(times)
        .map(|(at, (time, verdict))| {
            (ReportedRecord { timestamp: Some(time), ..record(at) }, verdict)
        })
        .unzip();
    assert_eq!(bench.write(records).await, expected);
    bench.clock.advance(SignedDuration::from_hours(2));
    assert_eq!(bench.write(vec![record(90)]).await, [rejected(RejectionReason::Expired)]);
}

#[tokio::test]
async fn quantities_are_positive() {
    let bench = Bench::new();
    let cases = [(i64::MIN, false), (-1, false), (0, false), (1, true), (i64::MAX, true)];
    for (at, (quantity, good)) in cases.into_iter().enumerate() {
        let verdicts = bench.write(vec![ReportedRecord { quantity, ..record(at) }]).await;
        let expected = if good { ACCEPTED } else { rejected(RejectionReason::InvalidQuantity) };
        assert_eq!(verdicts, [expected], "{quantity}");
    }
}

#[tokio::test]
async fn a_rejected_record_does_not_use_up_its_uuid() {
    let bench = Bench::new();
    let bad = ReportedRecord { quantity: 0, ..record(0) };
    let verdicts = bench.write(vec![bad.clone(), record(0), bad, record(0)]).await;
    let invalid = rejected(RejectionReason::InvalidQuantity);
    assert_eq!(verdicts, [invalid, ACCEPTED, invalid, REPEATED]);
    let expired = ReportedRecord { timestamp: Some(Timestamp::UNIX_EPOCH), ..record(1) };
    assert_eq!(bench.write(vec![expired]).await, [rejected(RejectionReason::Expired)]);
    assert_eq!(bench.write(vec![record(1)]).await, [ACCEPTED]);
}

#[tokio::test]
async fn a_repetition_and_a_conflict_are_told_apart() {
    let bench = Bench::new();
    bench.write(vec![record(0)]).await;
    let earlier = now() - SignedDuration::from_secs(1);
    let again = vec![
        record(0),
        ReportedRecord { quantity: 6, ..record(0) },
        record(1),
        ReportedRecord { sku_id: "other-sku".into(), ..record(0) },
        ReportedRecord { sku_id: "other-sku".into(), ..record(1) },
        ReportedRecord { timestamp: Some(earlier), ..record(0) },
        record(1),
    ];
    let expected = [REPEATED, CONFLICT, ACCEPTED, CONFLICT, CONFLICT, CONFLICT, REPEATED];
    assert_eq!(bench.write(again).await, expected);
    let elsewhere = UsageReport { target: instance("instance"), ..report(vec![record(0)]) };
    assert_eq!(bench.write_as("acme", elsewhere).await.unwrap(), [CONFLICT]);
}

#[tokio::test]
async fn originals_are_read_for_duplicates_alone() {
    let bench = Bench::new();
    bench.write(vec![record(0), record(1)]).await;
    assert_eq!(bench.store.originals_read.load(Ordering::SeqCst), 0);
    bench.write(vec![record(1), record(2)]).await;
    assert_eq!(bench.store.originals_read.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn validating_stores_nothing_and_judges_the_same() {
    let bench = Bench::new();
    bench.write(vec![record(0)]).await;
    let records = vec![
        record(0),
        ReportedRecord { quantity: 6, ..record(0) },
        ReportedRecord { quantity: -1, ..record(1) },
        record(1),
        record(1),
        ReportedRecord { quantity: 6, ..record(1) },
    ];
    let validate = UsageReport { validate_only: true, ..report(records.clone()) };
    let validated = bench.write_as("acme", validate).await.unwrap();
    let invalid = rejected(RejectionReason::InvalidQuantity);
    assert_eq!(validated, [REPEATED, CONFLICT, invalid, ACCEPTED, REPEATED, CONFLICT]);
    assert_eq!(bench.stored(), 1);
    assert_eq!(bench.write(records).await, validated);
}

#[tokio::test]
async fn organizations_do_not_see_each_others_uuids() {
    let bench = Bench::new();
    for name in ["acme", "other"] {
        let verdicts = bench.write_as(name, report(vec![record(0)])).await.unwrap();
        assert_eq!(verdicts, [ACCEPTED], "{name}");
    }
    let name = |stored: &crate::domain::usage::StoredRecord| stored.organization.clone();
    let owners: Vec<OrganizationId> = bench.store.memory.records().iter().map(name).collect();
    assert_eq!(owners, [organization("acme"), organization("other")]);
}

fn fields(result: Result<Vec<RecordVerdict>, ServiceError>) -> Vec<(String, String)> {
    let Err(ServiceError::InvalidArgument(violations)) = result else { panic!("{result:?}") };
    violations.into_iter().map(|it| (it.field, it.description)).collect()
}

#[tokio::test]
async fn a_request_that_breaks_rules_as_a_whole_hears_of_all_of_them() {
    let bench = Bench::new();
    let mut records: Vec<_> = (0..26).map(record).collect();
    records[3].uuid = "x".repeat(37);
    records[3].sku_id = "x".repeat(51);
    records[25].uuid = "ж".repeat(37);
    let long = UsageReport { target: instance(&"i".repeat(51)), ..report(records) };
    let found = fields(bench.write_as("acme", long).await);
    let expected = [
        ("product_instance_id", "50"),
        ("usage_records", "25"),
        ("usage_records[3].uuid", "36"),
        ("usage_records[3].sku_id", "50"),
        ("usage_records[25].uuid", "36"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((field, description), (expected, limit)) in found.iter().zip(expected) {
        assert_eq!(field, expected);
        assert!(description.contains(limit), "{field}: {description}");
    }
    let empty = UsageReport { target: product(""), ..report(vec![]) };
    let found = fields(bench.write_as("acme", empty).await);
    let names: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(names, ["product_id", "usage_records"]);
}

#[tokio::test]
async fn lengths_at_the_limit_are_judged_record_by_record() {
    let bench = Bench::new();
    // 50 and 36 characters, though more bytes.
    let longest = ReportedRecord { uuid: "ж".repeat(36), sku_id: "ж".repeat(50), ..record(0) };
    let target = product(&"ж".repeat(50));
    let verdicts =
        bench.write_as("acme", UsageReport { target, ..report(vec![longest; 25]) }).await.unwrap();
    assert_eq!(verdicts, [rejected(RejectionReason::InvalidId); 25]);
}

#[tokio::test]
async fn a_stream_takes_a_thousand_records() {
    let bench = Bench::new();
    let write = async |count| {
        let report = report((0..count).map(record).collect());
        let caller = caller("acme");
        let written = bench.usage.write(&caller, report, STREAM_RECORDS_MAX, Admission::Wait).await;
        written.map(|judged| judged.verdicts)
    };
    assert_eq!(fields(write(1001).await)[0].0, "usage_records");
    assert_eq!(write(1000).await.unwrap(), [ACCEPTED; 1000]);
}

#[tokio::test]
async fn what_the_committer_says_is_passed_on() {
    let bench = Bench::new();
    bench.store.plan(Mishap::Fail);
    let failed = bench.write_as("acme", report(vec![record(0)])).await;
    assert!(matches!(failed, Err(ServiceError::Unavailable(_))), "{failed:?}");
    bench.committer.shut_down();
    let late = bench.write_as("acme", report(vec![record(0)])).await;
    assert!(matches!(late, Err(ServiceError::Unavailable(_))), "{late:?}");
    // Nothing of this one needs the committer.
    let bad = ReportedRecord { quantity: 0, ..record(0) };
    assert_eq!(bench.write(vec![bad]).await, [rejected(RejectionReason::InvalidQuantity)]);
}
