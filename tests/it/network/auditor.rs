//! The last client: sends everything once more, so that all of it counts, and compares what the server then reports
//! with the plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use http::{Method, StatusCode};
use meterd::api::pb::meterd::v1::{
    AssetUsageDimension, ListUsageRecordsRequest, QueryAssetUsageRequest, QueryProductUsageRequest,
    UsageDimension, usage_report_service_client::UsageReportServiceClient,
};
use tonic::transport::Channel;

use super::{
    audit::{batches_of, records_of, spelled, used},
    book::Book,
    client::Client,
    host::CONNECTIONS_GONE,
    plan::{ClientPlan, Order, Plan},
    reader::{DAY, MONTH, Sum},
    rest,
    usage::Identity,
    wire::{self, ADMIN_PORT},
};
use crate::support::server::Authed;

pub const NAME: &str = "auditor";
const PATIENCE: Duration = Duration::from_secs(5);
const PAGE: i32 = 1000;

pub struct Auditor {
    plan: Plan,
    book: Book,
    sender: Rc<Client>,
}

impl Auditor {
    pub fn new(plan: &Plan, seed: u64, book: Book) -> Self {
        let once_more = |order: &Order| Order {
            report: order.report.clone(),
            gives_up_after: None,
            pause: Duration::ZERO,
            is_hedged: false,
        };
        let orders = plan.orders().map(once_more).collect();
        let client = ClientPlan { name: NAME.into(), lanes: vec![orders], patience: PATIENCE };
        let sender = Client::new(client, seed, book.clone(), None);
        Self { plan: plan.clone(), book, sender }
    }

    /// The process.
    pub async fn run(self) -> turmoil::Result {
        self.sender.report_all().await;
        let channel = wire::channel(self.sender.connections());
        let client = || UsageReportServiceClient::new(wire::authed(&channel));
        Box::pin(self.compare_product_usage(client())).await?;
        Box::pin(self.compare_asset_usage(client())).await?;
        Box::pin(self.count_records(client())).await?;
        drop::<Channel>(channel);
        Box::pin(self.look_for_leaks()).await
    }

    async fn compare_product_usage(&self, mut client: Reports) -> turmoil::Result {
        let group_by =
            [UsageDimension::Product, UsageDimension::ProductInstance, UsageDimension::Sku];
        let request = QueryProductUsageRequest {
            interval: DAY.into(),
            group_by: group_by.map(Into::into).into(),
            page_size: PAGE,
            ..Default::default()
        };
        let answer = client.query_product_usage(request).await?.into_inner();
        let mut reported = BTreeMap::new();
        for row in answer.rows {
            let sum = Sum { count: row.record_count, quantity: row.quantity.parse()? };
            reported.insert((row.product_id, row.product_instance_id, row.sku_id), sum);
        }
        let everything: BTreeSet<Identity> = records_of(&self.plan).into_keys().collect();
        let used = used(&self.plan, &everything);
        let used = used.iter().map(|(key, sum)| (spelled(key), *sum)).collect();
        self.compare("product usage", &reported, &used);
        Ok(())
    }

    async fn compare_asset_usage(&self, mut client: Reports) -> turmoil::Result {
        let request = QueryAssetUsageRequest {
            interval: MONTH.into(),
            group_by: vec![AssetUsageDimension::Asset.into()],
            page_size: PAGE,
            ..Default::default()
        };
        let answer = client.query_asset_usage(request).await?.into_inner();
        let mut reported = BTreeMap::new();
        for row in answer.rows {
            let sum = Sum { count: row.usage_count, quantity: row.quantity.parse()? };
            reported.insert(row.asset_id, sum);
        }
        let mut used: BTreeMap<String, Sum> = BTreeMap::new();
        for line in batches_of(&self.plan).into_values().flat_map(|(_, lines)| lines) {
            used.entry(line.asset.clone()).or_default().add(1, line.quantity);
        }
        self.compare("asset usage", &reported, &used);
        Ok(())
    }

    async fn count_records(&self, mut client: Reports) -> turmoil::Result {
        let mut request = ListUsageRecordsRequest { page_size: PAGE, ..Default::default() };
        let mut listed = Vec::new();
        loop {
            let page = client.list_usage_records(request.clone()).await?.into_inner();
            listed.extend(page.records.into_iter().map(|record| record.uuid));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        listed.sort();
        let records = records_of(&self.plan).into_values();
        let mut sent: Vec<_> = records.map(|(_, record)| record.uuid.to_string()).collect();
        sent.sort();
        self.compare("records", &listed, &sent);
        let mut book = self.book.open();
        book.figures.add("records counted", sent.len() as u64);
        book.figures.add("batches counted", batches_of(&self.plan).len() as u64);
        Ok(())
    }

    /// Nothing is left of connections and calls whose clients are gone.
    async fn look_for_leaks(&self) -> turmoil::Result {
        tokio::time::sleep(CONNECTIONS_GONE).await;
        let asked =
            rest::exchange(self.sender.connections(), ADMIN_PORT, Method::GET, "/metrics", "")
                .await;
        let (status, metrics) = asked.map_err(|failure| format!("{failure:?}"))?;
        self.compare("the status of metrics", &status, &StatusCode::OK);
        // This one asks.
        for gauge in ["meterd_connections 1", "meterd_calls_in_flight 0", "meterd_queued_records 0"]
        {
            if !metrics.lines().any(|line| line == gauge) {
                let name = gauge.split(' ').next().unwrap_or_default();
                let found: Vec<_> = metrics.lines().filter(|it| it.starts_with(name)).collect();
                self.book.violate(format!("instead of {gauge}: {found:?}"));
            }
        }
        Ok(())
    }

    fn compare<T: PartialEq + std::fmt::Debug>(&self, what: &str, reported: &T, used: &T) {
        if reported != used {
            self.book.violate(format!("{what}: reported {reported:?}, used {used:?}"));
        }
    }
}

type Reports = UsageReportServiceClient<Authed>;
