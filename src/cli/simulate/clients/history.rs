//! What clients say twice, by mistake: records of any age, in every way in which uuids can come again.

use super::{Clients, Moment};
use crate::{
    cli::{
        random::Random,
        simulate::{
            figures::Figures,
            model::{Kept, Model},
            plan::Customer,
        },
    },
    domain::limits::WRITE_RECORDS_MAX,
    service::product_usage::{ReportedRecord, UsageReport},
};

/// Of a hundred calls, so many have a record twice.
const WITHIN_CALL_PERCENT: u64 = 2;

impl Clients {
    /// A record under a uuid that was taken before.
    pub(super) fn repeated_record(
        &mut self,
        customer: &Customer,
        at: Moment,
        model: &Model,
        figures: &mut Figures,
    ) -> Option<ReportedRecord> {
        let mut count = |kind: &str| figures.count("uuids sent again", kind, 1);
        let valid = |uuid: String, random: &mut Random| ReportedRecord {
            uuid,
            sku_id: "requests".into(),
            quantity: 1 + random.below(1000).cast_signed(),
            timestamp: Some(at.truth),
        };
        match self.random.below(10) {
            0..4 => {
                let kept = model.product.of_customer(customer, self.random.next(), true)?;
                let same = as_it_was(kept);
                if self.random.below(4) == 0 {
                    count("the same record, its uuid in capitals");
                    return Some(ReportedRecord { uuid: same.uuid.to_uppercase(), ..same });
                }
                count("the same record");
                Some(same)
            }
            4..6 => {
                let kept = model.product.of_customer(customer, self.random.next(), false)?;
                count("another record of the same customer");
                Some(valid(kept.record.uuid.to_string(), &mut self.random))
            }
            6..8 => {
                let kept = model.product.any(&customer.organization, self.random.next())?;
                count("another record of the organization");
                Some(valid(kept.record.uuid.to_string(), &mut self.random))
            }
            8 => {
                let other = self.organizations.iter().find(|id| **id != customer.organization)?;
                let kept = model.product.any(other, self.random.next())?;
                count("a uuid of the other organization");
                Some(valid(kept.record.uuid.to_string(), &mut self.random))
            }
            _ => {
                let event = model.api.any(&customer.organization, self.random.next())?;
                count("a uuid of an event of API usage");
                Some(valid(event.uuid.to_string(), &mut self.random))
            }
        }
    }

    /// Says something twice in one call, now and then.
    pub(super) fn repeat_within(&mut self, report: &mut UsageReport, figures: &mut Figures) {
        if self.random.below(100) >= WITHIN_CALL_PERCENT
            || report.records.len() >= WRITE_RECORDS_MAX
        {
            return;
        }
        let Some(first) = report.records.first().cloned() else { return };
        let quantity = if self.random.below(2) == 0 { first.quantity } else { 7 };
        figures.count("uuids sent again", "within one call", 1);
        report.records.push(ReportedRecord { quantity, ..first });
    }
}

/// A record as it was reported. It may be too old by now.
fn as_it_was(kept: &Kept) -> ReportedRecord {
    ReportedRecord {
        uuid: kept.record.uuid.to_string(),
        sku_id: kept.record.sku.to_string(),
        quantity: kept.record.quantity.get(),
        timestamp: Some(kept.record.usage_time),
    }
}
