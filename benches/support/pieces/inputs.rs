//! Submissions that are the same in every run.

use jiff::{SignedDuration, Timestamp};
use meterd::domain::{
    caller::Caller,
    id::{ClientId, OrganizationId, ProductId, SkuId},
    quantity::Quantity,
    usage::{Submission, UsageRecord, UsageTarget},
};
use uuid::Uuid;

/// Records of one call.
pub(super) const RECORDS: usize = 25;
const PRODUCTS: u64 = 20;
const SKUS: u64 = 10;
const DAYS: u64 = 30;

pub(super) fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// Numbers that look random: SplitMix64.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) const fn from(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn uuid(&mut self) -> Uuid {
        let bits = Uuid::from_u64_pair(self.next(), self.next());
        uuid::Builder::from_random_bytes(bits.into_bytes()).into_uuid()
    }

    /// One call's records: new uuids, one of 20 products, its 10 SKUs, times of the last 30 days.
    pub(super) fn submission(&mut self) -> Submission {
        let product = ProductId::new(&format!("product-{}", self.next() % PRODUCTS)).unwrap();
        Submission {
            caller: Caller {
                organization: OrganizationId::new("acme").unwrap(),
                client: ClientId::new("agent").unwrap(),
            },
            target: UsageTarget { product, instance: None },
            records: (0..RECORDS).map(|_| self.record()).collect(),
            validate_only: false,
        }
    }

    fn record(&mut self) -> UsageRecord {
        let ago = SignedDuration::from_secs((self.next() % (DAYS * 86_400)) as i64);
        UsageRecord {
            uuid: self.uuid(),
            sku: SkuId::new(&format!("sku-{}", self.next() % SKUS)).unwrap(),
            quantity: Quantity::new(1 + (self.next() % 1000) as i64).unwrap(),
            usage_time: now() - ago,
        }
    }
}
