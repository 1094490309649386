//! Reports of product usage and their verdicts, for three vendor services and our stream.

use crate::{
    api::pb::{
        meterd::v1 as ours,
        yandex::cloud::marketplace::{metering::v1 as newer, v1::metering as older},
    },
    domain::verdict::RejectionReason,
    service::{
        ServiceError,
        product_usage::{Judged, RecordVerdict, ReportedRecord, ReportedTarget, UsageReport},
    },
};

use super::time;

macro_rules! reported_record {
    ($module:ident :: $record:ident) => {
        impl From<$module::$record> for ReportedRecord {
            fn from(record: $module::$record) -> Self {
                Self {
                    uuid: record.uuid,
                    sku_id: record.sku_id,
                    quantity: record.quantity,
                    timestamp: record.timestamp.and_then(time::from_proto),
                }
            }
        }
    };
}

reported_record!(older::UsageRecord);
reported_record!(newer::UsageRecord);
reported_record!(ours::ProductUsageRecord);

fn records<T: Into<ReportedRecord>>(records: Vec<T>) -> Vec<ReportedRecord> {
    records.into_iter().map(Into::into).collect()
}

impl From<older::WriteImageProductUsageRequest> for UsageReport {
    fn from(request: older::WriteImageProductUsageRequest) -> Self {
        let target = ReportedTarget::Product(request.product_id);
        let validate_only = request.validate_only;
        Self { target, records: records(request.usage_records), validate_only }
    }
}

impl From<newer::WriteImageProductUsageRequest> for UsageReport {
    fn from(request: newer::WriteImageProductUsageRequest) -> Self {
        let target = ReportedTarget::Product(request.product_id);
        let validate_only = request.validate_only;
        Self { target, records: records(request.usage_records), validate_only }
    }
}

impl From<newer::WriteUsageRequest> for UsageReport {
    fn from(request: newer::WriteUsageRequest) -> Self {
        let target = ReportedTarget::Instance(request.product_instance_id);
        Self { target, records: records(request.usage_records), validate_only: request.dry_run }
    }
}

/// A message of the stream; its target is a oneof, so it can be missing.
pub(in crate::api) fn from_stream(
    request: ours::StreamProductUsageRequest,
) -> Result<UsageReport, ServiceError> {
    use ours::stream_product_usage_request::Target;

    let target = match request.target {
        Some(Target::ProductId(id)) => ReportedTarget::Product(id),
        Some(Target::ProductInstanceId(id)) => ReportedTarget::Instance(id),
        None => {
            return Err(ServiceError::invalid("target", "set product_id or product_instance_id"));
        }
    };
    let validate_only = request.validate_only;
    Ok(UsageReport { target, records: records(request.usage_records), validate_only })
}

/// The vendor's number of a reason, the same in every package.
fn reason_number(reason: RejectionReason) -> i32 {
    let reason = match reason {
        RejectionReason::Duplicate => ours::RejectionReason::Duplicate,
        RejectionReason::Expired => ours::RejectionReason::Expired,
        RejectionReason::InvalidTimestamp => ours::RejectionReason::InvalidTimestamp,
        RejectionReason::InvalidSkuId => ours::RejectionReason::InvalidSkuId,
        RejectionReason::InvalidProductId => ours::RejectionReason::InvalidProductId,
        RejectionReason::InvalidQuantity => ours::RejectionReason::InvalidQuantity,
        RejectionReason::InvalidId => ours::RejectionReason::InvalidId,
    };
    reason.into()
}

/// The accepted and the rejected of a call, and the uuids of conflicting duplicates.
pub(in crate::api) struct Verdicts {
    accepted: Vec<String>,
    rejected: Vec<(String, i32)>,
    pub(in crate::api) conflicts: Vec<String>,
}

impl Verdicts {
    pub(in crate::api) fn new(Judged { uuids, verdicts }: Judged) -> Self {
        let mut sorted = Self {
            accepted: Vec::with_capacity(uuids.len()),
            rejected: Vec::new(),
            conflicts: Vec::new(),
        };
        for (uuid, verdict) in uuids.into_iter().zip(verdicts) {
            match verdict {
                RecordVerdict::Accepted => sorted.accepted.push(uuid),
                RecordVerdict::Rejected { reason, conflict } => {
                    if conflict {
                        sorted.conflicts.push(uuid.clone());
                    }
                    sorted.rejected.push((uuid, reason_number(reason)));
                }
            }
        }
        sorted
    }
}

macro_rules! write_response {
    ($module:ident :: $response:ident) => {
        impl From<Verdicts> for $module::$response {
            fn from(verdicts: Verdicts) -> Self {
                let accepted =
                    verdicts.accepted.into_iter().map(|uuid| $module::AcceptedUsageRecord { uuid });
                let rejected = verdicts
                    .rejected
                    .into_iter()
                    .map(|(uuid, reason)| $module::RejectedUsageRecord { uuid, reason });
                Self { accepted: accepted.collect(), rejected: rejected.collect() }
            }
        }
    };
}

write_response!(older::WriteImageProductUsageResponse);
write_response!(newer::WriteImageProductUsageResponse);
write_response!(newer::WriteUsageResponse);

/// The answer to a message of the stream.
pub(in crate::api) fn to_stream(
    sequence: u64,
    Judged { uuids, verdicts }: Judged,
) -> ours::StreamProductUsageResponse {
    let mut response = ours::StreamProductUsageResponse { sequence, ..Default::default() };
    for ((index, uuid), verdict) in (0..).zip(uuids).zip(verdicts) {
        match verdict {
            RecordVerdict::Accepted => response.accepted_count += 1,
            RecordVerdict::Rejected { reason, conflict } => {
                response.rejected.push(ours::RejectedProductUsage {
                    uuid,
                    reason: reason_number(reason),
                    conflict,
                    index,
                })
            }
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_reasons_have_the_vendors_numbers() {
        use newer::rejected_usage_record::Reason as NewerReason;
        use older::rejected_usage_record::Reason as OlderReason;

        let pairs = [
            (RejectionReason::Duplicate, OlderReason::Duplicate, NewerReason::Duplicate, 1),
            (RejectionReason::Expired, OlderReason::Expired, NewerReason::Expired, 2),
            (
                RejectionReason::InvalidTimestamp,
                OlderReason::InvalidTimestamp,
                NewerReason::InvalidTimestamp,
                3,
            ),
            (
                RejectionReason::InvalidSkuId,
                OlderReason::InvalidSkuId,
                NewerReason::InvalidSkuId,
                4,
            ),
            (
                RejectionReason::InvalidProductId,
                OlderReason::InvalidProductId,
                NewerReason::InvalidProductId,
                5,
            ),
            (
                RejectionReason::InvalidQuantity,
                OlderReason::InvalidQuantity,
                NewerReason::InvalidQuantity,
                6,
            ),
            (RejectionReason::InvalidId, OlderReason::InvalidId, NewerReason::InvalidId, 7),
        ];
        for (reason, older, newer, number) in pairs {
            assert_eq!([reason_number(reason), older.into(), newer.into()], [number; 3]);
        }
    }
}
