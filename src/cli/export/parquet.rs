//! Apache Parquet: a column for each member, groups of a hundred thousand records.

use std::sync::Arc;

use anyhow::Context as _;
use parquet::{
    basic::{Compression, ZstdLevel},
    data_type::{ByteArray, ByteArrayType, DataType, Int64Type},
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::parser::parse_message_type,
};

use super::{
    formats::RecordWriter,
    target::{Target, Written},
};
use crate::{
    api::pb::meterd::v1::UsageRecord,
    cli::{CommandResult, wire_time},
};

const SCHEMA: &str = "
    message usage_record {
        required binary uuid (string);
        required binary product_id (string);
        optional binary product_instance_id (string);
        required binary sku_id (string);
        required int64 quantity;
        required int64 usage_time (timestamp(nanos, true));
        required int64 stored_time (timestamp(nanos, true));
        required binary client_id (string);
    }";

/// Records that are in memory before they are written as a group.
const GROUP_RECORDS: usize = 100_000;

/// Collects records and writes them group by group.
pub(super) struct Parquet {
    file: SerializedFileWriter<Target>,
    waiting: Vec<UsageRecord>,
}

impl Parquet {
    pub(super) fn new(target: Target) -> CommandResult<Self> {
        let schema = Arc::new(parse_message_type(SCHEMA).context("the schema cannot be read")?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(concat!("meterd ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let file = SerializedFileWriter::new(target, schema, Arc::new(properties))
            .context("cannot write Parquet")?;
        Ok(Self { file, waiting: Vec::new() })
    }

    fn write_group(&mut self) -> CommandResult {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut self.waiting);
        let cannot = "cannot write Parquet";
        let mut group = self.file.next_row_group().context(cannot)?;
        texts(&mut group, &records, |record| &record.uuid)?;
        texts(&mut group, &records, |record| &record.product_id)?;
        instances(&mut group, &records)?;
        texts(&mut group, &records, |record| &record.sku_id)?;
        numbers(&mut group, &records, |record| record.quantity)?;
        numbers(&mut group, &records, |record| nanos(record.usage_time.as_ref()))?;
        numbers(&mut group, &records, |record| nanos(record.stored_time.as_ref()))?;
        texts(&mut group, &records, |record| &record.client_id)?;
        group.close().context(cannot)?;
        Ok(())
    }
}

impl RecordWriter for Parquet {
    fn write(&mut self, records: &[UsageRecord]) -> CommandResult {
        self.waiting.extend_from_slice(records);
        if self.waiting.len() >= GROUP_RECORDS { self.write_group() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> CommandResult<Written> {
        self.write_group()?;
        self.file.into_inner().context("cannot write Parquet")?.finish()
    }
}

type Group<'a> = SerializedRowGroupWriter<'a, Target>;

fn texts(
    group: &mut Group<'_>,
    records: &[UsageRecord],
    text: impl Fn(&UsageRecord) -> &str,
) -> CommandResult {
    let values: Vec<ByteArray> = records.iter().map(|record| text(record).into()).collect();
    column::<ByteArrayType>(group, &values, None)
}

/// Empty ones are absent.
fn instances(group: &mut Group<'_>, records: &[UsageRecord]) -> CommandResult {
    let named = records.iter().map(|record| record.product_instance_id.as_str());
    let values: Vec<ByteArray> =
        named.clone().filter(|text| !text.is_empty()).map(ByteArray::from).collect();
    let levels: Vec<i16> = named.map(|text| i16::from(!text.is_empty())).collect();
    column::<ByteArrayType>(group, &values, Some(&levels))
}

fn numbers(
    group: &mut Group<'_>,
    records: &[UsageRecord],
    number: impl Fn(&UsageRecord) -> i64,
) -> CommandResult {
    let values: Vec<i64> = records.iter().map(number).collect();
    column::<Int64Type>(group, &values, None)
}

fn column<T: DataType>(
    group: &mut Group<'_>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> CommandResult {
    let cannot = "cannot write Parquet";
    let column = group.next_column().context(cannot)?;
    let mut column = column.context("the schema has fewer columns")?;
    column.typed::<T>().write_batch(values, levels, None).context(cannot)?;
    Ok(column.close().context(cannot)?)
}

/// Nanoseconds since 1970; usage is accepted only where they fit.
fn nanos(time: Option<&prost_types::Timestamp>) -> i64 {
    wire_time::from_wire(time)
        .and_then(|instant| i64::try_from(instant.as_nanosecond()).ok())
        .unwrap_or_default()
}
