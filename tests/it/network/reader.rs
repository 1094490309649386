//! A client that asks for totals while usage pours in: what was acknowledged before it asked must be in, and nothing
//! may be in that nobody has sent.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, time::Duration};

use meterd::api::pb::meterd::v1::{
    GetUsageRecordRequest, QueryAssetUsageRequest, QueryProductUsageRequest,
    usage_report_service_client::UsageReportServiceClient,
};

use super::{
    book::Book,
    calls::Failure,
    connections::Connections,
    usage::{Identity, Record, Report},
    wire,
};
use crate::support::random::Random;

pub const NAME: &str = "reader";
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// All usage of the plan is of these times.
pub const DAY: &str = "2026-11-20/P1D";
pub const MONTH: &str = "2026-11-01/P1M";

/// How many, and how much they add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sum {
    pub count: u64,
    pub quantity: u128,
}

impl Sum {
    pub fn add(&mut self, count: u64, quantity: impl Into<i128>) {
        self.count += count;
        self.quantity += u128::try_from(quantity.into()).expect("quantities are positive");
    }
}

/// What everything of a plan adds to totals.
#[derive(Debug, Default)]
pub struct Contents {
    pub records: BTreeMap<Identity, Record>,
    pub batches: BTreeMap<Identity, Sum>,
}

impl Contents {
    pub fn new<'a>(reports: impl Iterator<Item = &'a Report>) -> Self {
        let mut contents = Self::default();
        for report in reports {
            for record in report.messages().iter().flat_map(|message| &message.records) {
                contents.records.insert(Identity::Record(record.uuid), record.clone());
            }
            if let Report::Batch { id, lines } = report {
                let mut sum = Sum::default();
                lines.iter().for_each(|line| sum.add(1, line.quantity));
                contents.batches.insert(Identity::Batch(id.clone()), sum);
            }
        }
        contents
    }

    fn of_records<'a>(&self, identities: impl Iterator<Item = &'a Identity>) -> Sum {
        let mut sum = Sum::default();
        for record in identities.filter_map(|identity| self.records.get(identity)) {
            sum.add(1, record.quantity);
        }
        sum
    }

    fn of_batches<'a>(&self, identities: impl Iterator<Item = &'a Identity>) -> Sum {
        let mut sum = Sum::default();
        for batch in identities.filter_map(|identity| self.batches.get(identity)) {
            sum.count += batch.count;
            sum.quantity += batch.quantity;
        }
        sum
    }
}

pub struct Reader {
    pub contents: Contents,
    pub book: Book,
    pub connections: Connections,
    pub random: std::cell::RefCell<Random>,
    pub stop: Cell<bool>,
}

impl Reader {
    /// The process: asks until it is told to stop, and stays.
    pub async fn run(self: Rc<Self>) -> turmoil::Result {
        let _connections = self.connections.closed_by_system();
        self.ask().await;
        std::future::pending().await
    }

    async fn ask(&self) {
        let mut channel = wire::channel(&self.connections);
        // Of what was read last: usage does not go away.
        let (mut records, mut assets) = (Sum::default(), Sum::default());
        while !self.stop.get() {
            let pause = 100 + self.random.borrow_mut().below(500);
            tokio::time::sleep(Duration::from_millis(pause as u64)).await;
            let client = UsageReportServiceClient::new(wire::authed(&channel));
            let which = self.random.borrow_mut().below(4);
            let asking = async {
                match which {
                    0 => self.ask_for_assets(client, &mut assets).await,
                    1 => self.ask_for_record(client).await,
                    _ => self.ask_for_records(client, &mut records).await,
                }
            };
            let answered = tokio::time::timeout(PATIENCE, Box::pin(asking)).await;
            match answered.unwrap_or_else(|_| Err(super::calls::silence())) {
                Ok(()) => self.book.count("reads"),
                Err(Failure::Wrong(text)) => self.book.violate(format!("a report: {text}")),
                Err(Failure::Passing(_)) => {
                    self.book.count("reads that failed");
                    channel = wire::channel(&self.connections);
                }
            }
        }
    }

    async fn ask_for_records(&self, mut client: Client, last: &mut Sum) -> Answered {
        let least = self.contents.of_records(self.book.open().ledger.acknowledged());
        let request = QueryProductUsageRequest { interval: DAY.into(), ..Default::default() };
        let answer = client.query_product_usage(request).await?.into_inner();
        let most = self.contents.of_records(self.book.open().ledger.sent());
        let sum = Sum {
            count: answer.total_record_count,
            quantity: answer.total_quantity.parse().expect("a number"),
        };
        self.judge(least, sum, most, last)
    }

    async fn ask_for_assets(&self, mut client: Client, last: &mut Sum) -> Answered {
        let least = self.contents.of_batches(self.book.open().ledger.acknowledged());
        let request = QueryAssetUsageRequest { interval: MONTH.into(), ..Default::default() };
        let answer = client.query_asset_usage(request).await?.into_inner();
        let most = self.contents.of_batches(self.book.open().ledger.sent());
        let sum = Sum {
            count: answer.total_usage_count,
            quantity: answer.total_quantity.parse().expect("a number"),
        };
        self.judge(least, sum, most, last)
    }

    /// A record that was acknowledged is there, and says what was sent.
    async fn ask_for_record(&self, mut client: Client) -> Answered {
        let acknowledged: Vec<Identity> = {
            let book = self.book.open();
            let records = self.contents.records.keys();
            records.filter(|record| book.ledger.is_acknowledged(record)).cloned().collect()
        };
        if acknowledged.is_empty() {
            return Ok(());
        }
        let identity = self.random.borrow_mut().one_of(&acknowledged);
        let record = &self.contents.records[&identity];
        let request = GetUsageRecordRequest { uuid: record.uuid.to_string() };
        let answer = client.get_usage_record(request).await?.into_inner();
        let found = answer.record.unwrap_or_default();
        if (found.sku_id.as_str(), found.quantity) == (record.sku, record.quantity) {
            return Ok(());
        }
        Err(Failure::Wrong(format!("{identity} was sent as {record:?} and is {found:?}")))
    }

    fn judge(&self, least: Sum, sum: Sum, most: Sum, last: &mut Sum) -> Answered {
        self.book.note(NAME, format_args!("reads {} in {}", sum.quantity, sum.count));
        let is_between = least.count <= sum.count
            && sum.count <= most.count
            && least.quantity <= sum.quantity
            && sum.quantity <= most.quantity;
        if !is_between {
            let text = format!("{sum:?}; acknowledged before: {least:?}, sent: {most:?}");
            return Err(Failure::Wrong(text));
        }
        if sum.count < last.count || sum.quantity < last.quantity {
            let text = format!("{sum:?}, after an answer of {last:?}");
            return Err(Failure::Wrong(text));
        }
        *last = sum;
        Ok(())
    }
}

type Answered = Result<(), Failure>;
type Client = UsageReportServiceClient<crate::support::server::Authed>;
