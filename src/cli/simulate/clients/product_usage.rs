//! Reports of product usage.

use jiff::{SignedDuration, Timestamp};

use super::{Call, Clients, Fate, Moment, Report};
use crate::{
    cli::simulate::{
        figures::Figures,
        model::Model,
        plan::{Account, Customer, PRODUCTS, skus_of},
    },
    domain::caller::Caller,
    service::product_usage::{ReportedRecord, ReportedTarget, UsageReport},
};

/// A customer reports in one of so many rounds.
const CALL_EVERY: u64 = 6;

/// Records of one call, at most.
const RECORDS_MAX: u64 = 12;

/// Of a thousand calls, so many name nothing that is sold, and so many only ask what would be accepted.
const WRONG_TARGET_PER_MILLE: u64 = 8;
const VALIDATE_PER_MILLE: u64 = 15;

/// Of a thousand records, so many repeat an earlier one and have a fault.
const REPEATED_PER_MILLE: u64 = 60;
const FAULTY_PER_MILLE: u64 = 25;

/// How late usage may be, by the vendor's rule, and how early.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);
const SKEW: SignedDuration = SignedDuration::from_secs(30);

impl Clients {
    /// What a customer reports in a round, if anything.
    pub(super) fn product_call(
        &mut self,
        customer: &Customer,
        at: Moment,
        model: &Model,
        figures: &mut Figures,
    ) -> Option<Call> {
        if self.random.below(CALL_EVERY) != 0 {
            return None;
        }
        let count = 1 + self.random.below(RECORDS_MAX);
        let records = (0..count).map(|_| self.record(customer, at, model, figures)).collect();
        let mut call = Self::report(customer, records);
        if let Report::Product(report) = &mut call.report {
            self.repeat_within(report, figures);
            if self.random.below(1000) < WRONG_TARGET_PER_MILLE {
                report.target = self.wrong_target();
            }
            report.validate_only = self.random.below(1000) < VALIDATE_PER_MILLE;
        }
        Some(call)
    }

    /// Records that are new, right and of now, of a customer whose usage is taken at the moment.
    pub(in crate::cli::simulate) fn sure_product_call(
        &mut self,
        at: Moment,
        model: &Model,
    ) -> Option<Call> {
        let taken = |customer: &&Customer| model.takes_usage_of(customer);
        let customer = self.customers.iter().find(taken).cloned()?;
        let records = (1..4).map(|quantity| {
            let (uuid, sku_id) = (self.random.uuid().to_string(), "requests".to_owned());
            ReportedRecord { uuid, sku_id, quantity, timestamp: Some(at.server) }
        });
        Some(Self::report(&customer, records.collect()))
    }

    fn report(customer: &Customer, records: Vec<ReportedRecord>) -> Call {
        let target = match &customer.account {
            Account::Instance(instance) => ReportedTarget::Instance(instance.to_string()),
            Account::Client(_) => ReportedTarget::Product(customer.product.to_owned()),
        };
        let caller =
            Caller { organization: customer.organization.clone(), client: customer.client.clone() };
        let report = UsageReport { target, records, validate_only: false };
        Call { caller, report: Report::Product(report), fate: Fate::Answered }
    }

    fn record(
        &mut self,
        customer: &Customer,
        at: Moment,
        model: &Model,
        figures: &mut Figures,
    ) -> ReportedRecord {
        let dice = self.random.below(1000);
        if dice < REPEATED_PER_MILLE
            && let Some(repeated) = self.repeated_record(customer, at, model, figures)
        {
            return repeated;
        }
        let record = self.valid_record(customer, at, figures);
        if (REPEATED_PER_MILLE..REPEATED_PER_MILLE + FAULTY_PER_MILLE).contains(&dice) {
            return self.with_fault(record, customer);
        }
        record
    }

    fn valid_record(
        &mut self,
        customer: &Customer,
        at: Moment,
        figures: &mut Figures,
    ) -> ReportedRecord {
        let [first, second, third] = skus_of(customer.product);
        // The last one comes on the way; some report it too early.
        let newest = format!("{}-new", customer.product);
        let sku_id = match self.random.below(8) {
            0..3 => first,
            3..5 => second,
            5..7 => third,
            _ => newest,
        };
        let quantity = match self.random.below(200) {
            // A few of these pass 64 bits.
            0 => i64::MAX,
            _ => 1 + self.random.below(1000).cast_signed(),
        };
        let timestamp = Some(self.usage_time(customer, at, figures));
        ReportedRecord { uuid: self.random.uuid().to_string(), sku_id, quantity, timestamp }
    }

    /// When something was used: lately as a rule; late, at the edges of what is accepted and of quarter hours now and
    /// then. By the customer's clock.
    fn usage_time(&mut self, customer: &Customer, at: Moment, figures: &mut Figures) -> Timestamp {
        let seconds = |seconds: u64| SignedDuration::from_secs(seconds.cast_signed());
        let ago = |ago: SignedDuration| at.truth.saturating_sub(ago).unwrap_or(at.truth);
        let nanosecond = SignedDuration::from_nanos(1);
        if at.is_fresh {
            return ago(seconds(self.random.below(600)));
        }
        let dice = self.random.below(1000);
        let used = match dice {
            0..20 => {
                figures.count("late usage", "more than an hour late", 1);
                ago(WINDOW + seconds(1 + self.random.below(3 * 86_400)))
            }
            20..130 => {
                figures.count("late usage", "up to an hour late", 1);
                ago(seconds(1_200 + self.random.below(2_390)))
            }
            // The edges are the server's.
            130..134 => return at.server.saturating_sub(WINDOW).unwrap_or(at.server),
            134..138 => return at.server.saturating_sub(WINDOW + nanosecond).unwrap_or(at.server),
            138..142 => return at.server.saturating_add(SKEW).unwrap_or(at.server),
            142..146 => return at.server.saturating_add(SKEW + nanosecond).unwrap_or(at.server),
            146..166 => {
                figures.count("late usage", "at the edge of a quarter of an hour", 1);
                let quarter = at.truth.as_second().div_euclid(900) * 900;
                let edge = Timestamp::from_second(quarter).unwrap_or(at.truth);
                let before = self.random.below(2) == 0;
                return if before { edge.saturating_sub(nanosecond).unwrap_or(edge) } else { edge };
            }
            _ => ago(seconds(self.random.below(1_200)) + self.fraction()),
        };
        if !customer.clock_error.is_zero() {
            figures.count("clients", "usage times of wrong clocks", 1);
        }
        used.saturating_add(customer.clock_error).unwrap_or(used)
    }

    fn fraction(&mut self) -> SignedDuration {
        SignedDuration::from_nanos(self.random.below(1_000_000_000).cast_signed())
    }

    fn with_fault(&mut self, record: ReportedRecord, customer: &Customer) -> ReportedRecord {
        let other = PRODUCTS.iter().find(|product| **product != customer.product);
        match self.random.below(8) {
            0 => ReportedRecord { uuid: "not-a-uuid".into(), ..record },
            1 => ReportedRecord { uuid: record.uuid.replace('-', ""), ..record },
            2 => ReportedRecord { sku_id: "no-such-sku".into(), ..record },
            3 => {
                let [of_other, ..] = skus_of(other.unwrap_or(&customer.product));
                ReportedRecord { sku_id: of_other, ..record }
            }
            4 => ReportedRecord { quantity: 0, ..record },
            5 => ReportedRecord { quantity: -record.quantity, ..record },
            6 => ReportedRecord { timestamp: None, ..record },
            _ => ReportedRecord { uuid: String::new(), ..record },
        }
    }

    fn wrong_target(&mut self) -> ReportedTarget {
        match self.random.below(3) {
            0 => ReportedTarget::Product("no-such-product".into()),
            1 => ReportedTarget::Instance("no-such-customer".into()),
            // An id of the other kind.
            _ => ReportedTarget::Instance(self.random.pick(&PRODUCTS).into()),
        }
    }
}
