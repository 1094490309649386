//! Makes up what is done to a store. The same seed makes the same up.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use meterd::{
    domain::{
        api_usage::{ApiReport, HttpMethod, NewSeries},
        asset::Asset,
        asset_usage::{AssetBatch, AssetUsage, UsageDay},
        catalog::{Catalog, Product, ProductInstance, Sku, State},
        id::{AssetId, BatchId, ProductId, ProductInstanceId, SkuId},
        quantity::Quantity,
        usage::Submission,
    },
    store::document::{Collection, DocumentChange, Page},
};

use super::deeds::{BOOKS, Deed, ORGANIZATIONS, OWNER, Usage};
use crate::support::{
    random::Random,
    usage::{Calls, caller, event, organization, record, target},
};

const START_SECONDS: i64 = 1_790_000_000;

/// Makes deeds up, one after the other.
pub struct Author<'a> {
    random: &'a mut Random,
    now: Timestamp,
    uuids: u64,
    catalog: Catalog,
}

impl<'a> Author<'a> {
    pub fn new(random: &'a mut Random) -> Self {
        let now = Timestamp::from_second(START_SECONDS).unwrap();
        Self { random, now, uuids: 0, catalog: Catalog::default() }
    }

    pub fn usage(&mut self) -> Deed {
        // The clock may also step back.
        self.now += SignedDuration::from_secs(self.random.below(40) as i64 - 5);
        let some = |random: &mut Random, most: usize| random.below(most + 1);
        let submissions = 1 + some(self.random, 3);
        let reports = some(self.random, 4).saturating_sub(2);
        let batches = some(self.random, 4).saturating_sub(2);
        Deed::Usage(Usage {
            now: self.now,
            submissions: (0..submissions).map(|_| Arc::new(self.submission())).collect(),
            reports: (0..reports).map(|_| self.report()).collect(),
            batches: (0..batches).map(|_| self.batch()).collect(),
        })
    }

    /// New mostly, sometimes one that came before.
    fn number(&mut self) -> u64 {
        if self.uuids > 0 && self.random.below(5) == 0 {
            return self.random.below(self.uuids as usize) as u64;
        }
        self.uuids += 1;
        self.uuids - 1
    }

    fn uuid(&mut self) -> u128 {
        // Uuids of clients are spread over all there are.
        u128::from(Random::new(self.number()).next()) << 64
    }

    fn submission(&mut self) -> Submission {
        let records = 1 + self.random.below(25);
        let records = (0..records).map(|_| {
            let ago = SignedDuration::from_secs(self.random.below(90_000) as i64);
            let sku = format!("sku-{}", self.random.below(3));
            record(self.uuid(), &sku, 1 + self.random.below(1000) as i64, self.now - ago)
        });
        let records = records.collect();
        let client = format!("client-{}", self.random.below(2));
        Submission {
            caller: caller(self.random.one_of(&ORGANIZATIONS), &client),
            target: target(&format!("product-{}", self.random.below(2)), None),
            records,
            validate_only: false,
        }
    }

    fn report(&mut self) -> ApiReport {
        let events = 1 + self.random.below(20);
        let events = (0..events).map(|_| {
            let calls = Calls {
                client: &format!("client-{}", self.random.below(2)),
                user: self.random.one_of(&["", "ann", "bob"]),
                template: &format!("/v1/{:0100}/{{id}}", self.random.below(3)),
                method: self.random.one_of(HttpMethod::ALL),
                status: 200 + 100 * self.random.below(4) as u16,
                count: 1 + self.random.below(50) as i64,
                ..Calls::default()
            };
            let ago = SignedDuration::from_hours(self.random.below(2000) as i64);
            event(self.uuid(), &calls, self.now - ago)
        });
        let events = events.collect();
        ApiReport {
            caller: caller(self.random.one_of(&ORGANIZATIONS), "reporter"),
            events,
            new_series: NewSeries::Refused,
        }
    }

    fn batch(&mut self) -> AssetBatch {
        // Some take several chunks of the log, which are written together or not at all.
        let lines = if self.random.below(5) == 0 {
            200 + self.random.below(200)
        } else {
            1 + self.random.below(20)
        };
        let usage = |random: &mut Random| AssetUsage {
            asset: asset_id(random.below(12)),
            quantity: Quantity::new(1 + random.below(1000) as i64).unwrap(),
            day: UsageDay::from_number(20_777 - random.below(400) as i64).unwrap(),
        };
        let id = format!("batch-{}", self.number());
        AssetBatch {
            caller: caller(self.random.one_of(&ORGANIZATIONS), "client-0"),
            id: BatchId::new(&id).unwrap(),
            usages: (0..lines).map(|_| usage(self.random)).collect(),
        }
    }

    /// Something beside usage.
    pub fn side(&mut self) -> Deed {
        match self.random.below(6) {
            0 | 1 => Deed::Documents(self.documents(4)),
            2 => {
                let pages = 1 + self.random.below(6) as u64;
                let page = |first: u64, random: &mut Random| Page {
                    first: first * 10,
                    body: body(random, 6_144),
                };
                Deed::Pages {
                    book: self.random.one_of(&BOOKS),
                    pages: (0..pages).map(|first| page(first, self.random)).collect(),
                    documents: self.documents(1),
                }
            }
            3 => Deed::RemoveBook { book: self.random.one_of(&BOOKS), document: self.document() },
            4 => {
                self.change_catalog();
                Deed::Catalog { after: self.catalog.clone(), documents: self.documents(2) }
            }
            _ => {
                let put = (0..self.random.below(30)).map(|_| self.asset()).collect();
                let remove = (0..self.random.below(5)).map(|_| self.random.below(200));
                Deed::Assets {
                    put,
                    remove: remove.map(asset_id).collect(),
                    documents: self.documents(1),
                }
            }
        }
    }

    fn documents(&mut self, most: usize) -> Vec<DocumentChange> {
        (0..self.random.below(most + 1)).map(|_| self.document()).collect()
    }

    fn document(&mut self) -> DocumentChange {
        let collection = self.random.one_of(&[
            Collection::Clients,
            Collection::AuditEvents,
            Collection::Queries,
        ]);
        let removed = self.random.below(5) == 0;
        DocumentChange {
            collection,
            organization: organization(OWNER),
            name: format!("{:020}", self.random.below(40)),
            body: (!removed).then(|| body(self.random, 2_000)),
        }
    }

    fn asset(&mut self) -> Asset {
        let name = format!("asset no. {}", self.random.below(1000));
        let state = self.random.one_of(&[State::Active, State::Retired]);
        Asset { id: asset_id(self.random.below(200)), name, state }
    }

    fn change_catalog(&mut self) {
        let id = ProductId::new(&format!("product-{}", self.random.below(6))).unwrap();
        let instance =
            ProductInstanceId::new(&format!("instance-{}", self.random.below(6))).unwrap();
        if self.random.below(4) == 0 {
            let sold: Vec<_> = self
                .catalog
                .instances()
                .filter(|instance| instance.product == id)
                .map(|instance| instance.id.clone())
                .collect();
            sold.iter().for_each(|sold| drop(self.catalog.remove_instance(sold.as_str())));
            self.catalog.remove_product(id.as_str());
            return;
        }
        let name = format!("name {}", self.random.below(1000));
        let sku = |number: usize| Sku {
            id: SkuId::new(&format!("sku-{number}")).unwrap(),
            name: format!("{name} of {number}"),
            usage_unit: "gigabyte-hour".into(),
            state: State::Active,
        };
        let skus = (0..1 + self.random.below(5)).map(|number| (sku(number).id, sku(number)));
        let product = Product {
            id: id.clone(),
            name: name.clone(),
            state: State::Active,
            skus: skus.collect(),
        };
        self.catalog.put_product(product);
        let sold = ProductInstance { id: instance, product: id, name, state: State::Active };
        self.catalog.put_instance(sold);
    }
}

fn asset_id(number: usize) -> AssetId {
    AssetId::new(&format!("{number:048}")).unwrap()
}

fn body(random: &mut Random, most: usize) -> Vec<u8> {
    let bytes = random.below(most + 1);
    (0..bytes).map(|_| random.next() as u8).collect()
}
