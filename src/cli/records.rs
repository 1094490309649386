//! `meterd records`: the records themselves.

use std::io::{self, Write as _};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::{
    CommandResult,
    connection::{ServerOptions, call_failed},
    filters::FilterOptions,
    output::{self, grouped, table},
    terminal::tell,
    wire_time,
};
use crate::{
    api::pb::meterd::v1::{
        GetUsageRecordRequest, ListUsageRecordsRequest, UsageRecord,
        usage_report_service_client::UsageReportServiceClient,
    },
    domain::limits::PAGE_SIZE_MAX,
};

/// List the records that were accepted, in the order of their arrival
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct RecordsCommand {
    #[command(subcommand)]
    one: Option<OneRecord>,
    #[command(flatten)]
    list: ListOptions,
}

#[derive(Debug, Subcommand)]
enum OneRecord {
    /// Print the record that was accepted under a uuid
    Get {
        /// The uuid
        uuid: String,
        /// Form of the output
        #[arg(long, short, value_enum, default_value_t)]
        output: RecordForm,
        #[command(flatten)]
        server: ServerOptions,
    },
}

#[derive(Debug, Args)]
struct ListOptions {
    /// Only usage of this time: an ISO 8601 interval, ends without an offset in UTC
    #[arg(long, value_name = "INTERVAL")]
    interval: Option<String>,
    /// Only records stored in this time
    #[arg(long, value_name = "INTERVAL")]
    stored_interval: Option<String>,
    /// Most records to print; 0 for all of them
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    output: RecordForm,
    #[command(flatten)]
    filter: FilterOptions,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum RecordForm {
    #[default]
    Table,
    /// One object a line, in the form that `meterd write` reads
    Json,
    /// With a header, in the form that `meterd write` reads: byte for byte, so a spreadsheet may take an id for a formula
    Csv,
}

/// What a program gets to see of a record. The names that `write` reads come first.
#[derive(Serialize)]
pub(super) struct PrintedRecord<'a> {
    uuid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    product_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    product_instance_id: &'a str,
    sku_id: &'a str,
    quantity: i64,
    timestamp: String,
    stored_time: String,
    client_id: &'a str,
}

/// Their names.
pub(super) const COLUMNS: [&str; 8] = [
    "uuid",
    "product_id",
    "product_instance_id",
    "sku_id",
    "quantity",
    "timestamp",
    "stored_time",
    "client_id",
];

impl RecordsCommand {
    pub(super) async fn run(self) -> CommandResult {
        match self.one {
            Some(OneRecord::Get { uuid, output, server }) => {
                let mut client = UsageReportServiceClient::new(server.connect().await?);
                let response = client
                    .get_usage_record(GetUsageRecordRequest { uuid })
                    .await
                    .map_err(|error| call_failed(&error))?;
                let record = response.into_inner().record.unwrap_or_default();
                print(output, &[record], true)
            }
            None => self.list.run().await,
        }
    }
}

impl ListOptions {
    async fn run(self) -> CommandResult {
        let mut client = UsageReportServiceClient::new(self.server.connect().await?);
        let mut left = if self.limit == 0 { u64::MAX } else { self.limit };
        let mut request = ListUsageRecordsRequest {
            usage_interval: self.interval.unwrap_or_default(),
            stored_interval: self.stored_interval.unwrap_or_default(),
            product_ids: self.filter.product,
            product_instance_ids: self.filter.instance,
            sku_ids: self.filter.sku,
            client_ids: self.filter.client,
            ..ListUsageRecordsRequest::default()
        };
        let mut first = true;
        loop {
            let page_size = usize::try_from(left).unwrap_or(usize::MAX).min(PAGE_SIZE_MAX);
            request.page_size = i32::try_from(page_size).unwrap_or(i32::MAX);
            let page = client
                .list_usage_records(request.clone())
                .await
                .map_err(|error| call_failed(&error))?
                .into_inner();
            left = left.saturating_sub(page.records.len() as u64);
            let last = page.next_page_token.is_empty();
            // A page may be empty though more follow; an empty first one still owes its header.
            if !page.records.is_empty() || (first && last) {
                print(self.output, &page.records, first)?;
                first = false;
            }
            if last {
                return Ok(());
            }
            if left == 0 {
                tell(format_args!(
                    "the first {} records; there may be more (--limit 0 for all)",
                    grouped(self.limit)
                ));
                return Ok(());
            }
            request.page_token = page.next_page_token;
        }
    }
}

fn print(form: RecordForm, records: &[UsageRecord], header: bool) -> CommandResult {
    let mut out = io::stdout().lock();
    match form {
        RecordForm::Table => {
            let columns = COLUMNS.map(|name| match name {
                "product_id" => "product",
                "product_instance_id" => "instance",
                "sku_id" => "sku",
                "client_id" => "client",
                "timestamp" => "used",
                "stored_time" => "stored",
                other => other,
            });
            let mut table = table::table(&columns, &["quantity"]);
            for record in records {
                table.add_row(row(record, &record.product_id));
            }
            Ok(out.write_all(table::render(&table).as_bytes())?)
        }
        RecordForm::Json => {
            for record in records {
                output::json_line(&mut out, &printed(record))?;
            }
            Ok(())
        }
        RecordForm::Csv => {
            let rows: Vec<Vec<String>> = records.iter().map(cells).collect();
            output::csv_rows(out, header.then_some(COLUMNS.as_slice()), &rows)
        }
    }
}

/// A record in the form that `write` reads.
pub(super) fn printed(record: &UsageRecord) -> PrintedRecord<'_> {
    // What was reported for an instance is written for that instance again.
    let of_instance = !record.product_instance_id.is_empty();
    PrintedRecord {
        uuid: &record.uuid,
        product_id: if of_instance { "" } else { &record.product_id },
        product_instance_id: &record.product_instance_id,
        sku_id: &record.sku_id,
        quantity: record.quantity,
        timestamp: wire_time::text(record.usage_time.as_ref()),
        stored_time: wire_time::text(record.stored_time.as_ref()),
        client_id: &record.client_id,
    }
}

/// The cells of a record, in the form that `write` reads.
pub(super) fn cells(record: &UsageRecord) -> Vec<String> {
    row(record, printed(record).product_id)
}

fn row(record: &UsageRecord, product: &str) -> Vec<String> {
    vec![
        record.uuid.clone(),
        product.to_owned(),
        record.product_instance_id.clone(),
        record.sku_id.clone(),
        record.quantity.to_string(),
        wire_time::text(record.usage_time.as_ref()),
        wire_time::text(record.stored_time.as_ref()),
        record.client_id.clone(),
    ]
}
