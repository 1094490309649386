//! Chunks: up to a few hundred records in one value.
//!
//! Records of one chunk share a small table of dimensions (who, what), so that a record takes about
//! 26 bytes. Layout after the link, little-endian:
//!
//! ```text
//! kind:u8 = 1 (product usage) | stored_time:i64 ns | earliest:i64 ns | latest:i64 ns
//! dimensions:u16 { organization:u32 client:text product:text instance:text("" = none) sku:text }
//! records:u16    { uuid:16 dimension:varint quantity:varint usage_time − stored_time:zigzag ns }
//! ```

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    CHUNK_BYTES_MAX, Draft, Kind, log_nanos, malformed,
    packer::{OVERHEAD_BYTES, Packer},
    timestamp,
};
use crate::{
    domain::{
        id::{ClientId, ProductId, ProductInstanceId, SkuId},
        quantity::Quantity,
        totals::Series,
        usage::{LogSequence, UsageTarget},
    },
    store::{
        StoreError,
        sled::{
            codec::{self, Malformed, Reader},
            engine::VALUE_BYTES_MAX,
            organizations::OrganizationNumber,
        },
    },
};

/// Smallest encoding of one record (16 + 1 + 1 + 1 bytes).
const RECORD_BYTES_MIN: usize = 19;
/// Largest encoding of one record (16 + 3 + 10 + 10 bytes), and of one dimension (4 bytes, the client's id, and three
/// texts of at most 1 + 200 bytes).
const RECORD_BYTES_MAX: usize = 39;
const DIMENSION_BYTES_MAX: usize = 4 + codec::CLIENT_TEXT_BYTES_MAX + 3 * 201;
const HEADER_BYTES: usize = 3 * 8;

const _: () = assert!(CHUNK_BYTES_MAX <= VALUE_BYTES_MAX);
const _: () = assert!(
    OVERHEAD_BYTES + HEADER_BYTES + DIMENSION_BYTES_MAX + RECORD_BYTES_MAX <= CHUNK_BYTES_MAX
);

/// Who reported usage of what: the part of a record that many share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::store::sled) struct Dimension {
    pub(in crate::store::sled) organization: OrganizationNumber,
    pub(in crate::store::sled) series: Series,
}

/// A record of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::sled) struct ChunkRecord {
    pub(in crate::store::sled) uuid: Uuid,
    /// Index into the chunk's dimensions.
    pub(in crate::store::sled) dimension: u16,
    pub(in crate::store::sled) quantity: Quantity,
    pub(in crate::store::sled) usage_time: Timestamp,
}

/// A decoded chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::sled) struct Chunk {
    pub(in crate::store::sled) sequence: LogSequence,
    pub(in crate::store::sled) stored_time: Timestamp,
    pub(in crate::store::sled) earliest_usage: Timestamp,
    pub(in crate::store::sled) latest_usage: Timestamp,
    pub(in crate::store::sled) dimensions: Vec<Dimension>,
    pub(in crate::store::sled) records: Vec<ChunkRecord>,
}

impl Chunk {
    pub(super) fn parse(sequence: LogSequence, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (mut chunk, stored_nanos) = Self::parse_header(sequence, reader)?;
        let count = reader.u16()?;
        chunk.dimensions = (0..count).map(|_| parse_dimension(reader)).collect::<Result<_, _>>()?;
        let count = reader.count(RECORD_BYTES_MIN)?;
        chunk.records.reserve(usize::from(count));
        for _ in 0..count {
            let record = parse_record(reader, stored_nanos)?;
            if usize::from(record.dimension) >= chunk.dimensions.len() {
                return Err(Malformed::Content);
            }
            chunk.records.push(record);
        }
        Ok(chunk)
    }

    /// As if the chunk had no records but those of `uuid`, and no other dimensions than theirs: most of what reading one
    /// record costs is the texts of all the others.
    pub(super) fn parse_only(
        sequence: LogSequence,
        reader: &mut Reader<'_>,
        uuid: Uuid,
    ) -> Result<Self, Malformed> {
        let (mut chunk, stored_nanos) = Self::parse_header(sequence, reader)?;
        let count = reader.u16()?;
        let dimensions = reader.clone();
        (0..count).try_for_each(|_| skip_dimension(reader))?;
        for _ in 0..reader.u16()? {
            let mut record = parse_record(reader, stored_nanos)?;
            if record.dimension >= count {
                return Err(Malformed::Content);
            }
            if record.uuid == uuid {
                let mut dimensions = dimensions.clone();
                (0..record.dimension).try_for_each(|_| skip_dimension(&mut dimensions))?;
                record.dimension =
                    u16::try_from(chunk.dimensions.len()).map_err(|_| Malformed::Content)?;
                chunk.dimensions.push(parse_dimension(&mut dimensions)?);
                chunk.records.push(record);
            }
        }
        reader.end()?;
        Ok(chunk)
    }

    /// A chunk without records, and its time in nanoseconds.
    fn parse_header(
        sequence: LogSequence,
        reader: &mut Reader<'_>,
    ) -> Result<(Self, i64), Malformed> {
        let stored_nanos = reader.i64()?;
        let header = Self {
            sequence,
            stored_time: timestamp(stored_nanos),
            earliest_usage: timestamp(reader.i64()?),
            latest_usage: timestamp(reader.i64()?),
            dimensions: Vec::new(),
            records: Vec::new(),
        };
        Ok((header, stored_nanos))
    }

    /// The dimension of one of the chunk's records.
    pub(in crate::store::sled) fn dimension(
        &self,
        record: &ChunkRecord,
    ) -> Result<&Dimension, StoreError> {
        self.dimensions
            .get(usize::from(record.dimension))
            .ok_or_else(|| malformed(self.sequence, Malformed::Content))
    }
}

fn parse_record(reader: &mut Reader<'_>, stored_nanos: i64) -> Result<ChunkRecord, Malformed> {
    let uuid = Uuid::from_bytes(reader.array()?);
    let dimension = u16::try_from(reader.varint_u64()?).map_err(|_| Malformed::Content)?;
    let quantity = reader.varint_u64()?.try_into().ok().and_then(Quantity::new);
    let usage_nanos = stored_nanos.checked_add(reader.varint_i64()?).ok_or(Malformed::Content)?;
    Ok(ChunkRecord {
        uuid,
        dimension,
        quantity: quantity.ok_or(Malformed::Content)?,
        usage_time: timestamp(usage_nanos),
    })
}

fn skip_dimension(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    reader.u32()?;
    // Client, product, instance, SKU.
    (0..4).try_for_each(|_| reader.skip_text())
}

fn parse_dimension(reader: &mut Reader<'_>) -> Result<Dimension, Malformed> {
    let organization = OrganizationNumber(reader.u32()?);
    let client = ClientId::new(reader.text()?).map_err(|_| Malformed::Content)?;
    let product = ProductId::new(reader.text()?).map_err(|_| Malformed::Content)?;
    let instance = match reader.text()? {
        "" => None,
        text => Some(ProductInstanceId::new(text).map_err(|_| Malformed::Content)?),
    };
    let sku = SkuId::new(reader.text()?).map_err(|_| Malformed::Content)?;
    let target = UsageTarget { product, instance };
    Ok(Dimension { organization, series: Series { target, sku, client } })
}

/// Builds one chunk after another.
pub(in crate::store::sled) struct ChunkWriter {
    stored_nanos: i64,
    packer: Packer,
    earliest_nanos: i64,
    latest_nanos: i64,
}

impl ChunkWriter {
    /// Starts with the chunk of sequence `first`.
    pub(in crate::store::sled) fn new(
        first: LogSequence,
        stored_time: Timestamp,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            stored_nanos: log_nanos(stored_time)?,
            packer: Packer::new(Kind::ProductUsage, first),
            earliest_nanos: i64::MAX,
            latest_nanos: i64::MIN,
        })
    }

    /// Makes room for one more record, whatever its size, and says which sequence it will have.
    pub(in crate::store::sled) fn next_sequence(&mut self) -> LogSequence {
        if self.packer.lacks_room(HEADER_BYTES + DIMENSION_BYTES_MAX + RECORD_BYTES_MAX) {
            self.cut();
        }
        self.packer.sequence()
    }

    /// Appends a record. `number` identifies the dimension within the group of this writer.
    pub(in crate::store::sled) fn push(
        &mut self,
        number: usize,
        dimension: &Dimension,
        uuid: Uuid,
        quantity: Quantity,
        usage_nanos: i64,
    ) {
        let index = self.packer.dimension(number, |out| put_dimension(out, dimension));
        let since_stored = usage_nanos.saturating_sub(self.stored_nanos);
        self.packer.record(|out| {
            out.extend_from_slice(uuid.as_bytes());
            codec::put_varint_u64(out, index as u64);
            codec::put_varint_u64(out, quantity.get().unsigned_abs());
            codec::put_varint_i64(out, since_stored);
        });
        self.earliest_nanos = self.earliest_nanos.min(usage_nanos);
        self.latest_nanos = self.latest_nanos.max(usage_nanos);
    }

    fn cut(&mut self) {
        if self.packer.is_empty() {
            return;
        }
        let times = [self.stored_nanos, self.earliest_nanos, self.latest_nanos];
        self.packer.cut(&times.map(i64::to_le_bytes).concat());
        self.earliest_nanos = i64::MAX;
        self.latest_nanos = i64::MIN;
    }

    /// The finished chunks, in order, and the sequence after the last.
    pub(in crate::store::sled) fn finish(mut self) -> (Vec<Draft>, LogSequence) {
        self.cut();
        self.packer.finished()
    }
}

fn put_dimension(out: &mut Vec<u8>, dimension: &Dimension) {
    let series = &dimension.series;
    out.extend_from_slice(&dimension.organization.0.to_le_bytes());
    codec::put_text(out, series.client.as_str());
    codec::put_text(out, series.target.product.as_str());
    codec::put_text(out, series.target.instance.as_ref().map_or("", ProductInstanceId::as_str));
    codec::put_text(out, series.sku.as_str());
}

#[cfg(test)]
mod tests {
    use super::{
        super::{LogEntry, sealed},
        *,
    };

    fn dimension(number: usize) -> Dimension {
        let target = UsageTarget {
            product: ProductId::new(&format!("product-{}", number % 3)).unwrap(),
            instance: (number % 2 == 1)
                .then(|| ProductInstanceId::new("ж".repeat(50).as_str()).unwrap()),
        };
        let sku = SkuId::new(&format!("{number:050}")).unwrap();
        let series = Series { target, sku, client: ClientId::new("c").unwrap() };
        Dimension { organization: OrganizationNumber(7), series }
    }

    fn write(records: usize, dimensions: usize) -> Vec<(LogSequence, Vec<u8>)> {
        let stored: Timestamp = "2026-11-20T12:00:00.123456789Z".parse().unwrap();
        let mut writer = ChunkWriter::new(LogSequence(5), stored).unwrap();
        for record in 0..records {
            writer.next_sequence();
            let number = record % dimensions;
            let quantity = Quantity::new(i64::MAX - record as i64).unwrap();
            let nanos = log_nanos(stored).unwrap() - (record as i64) * 1_000_000_007;
            writer.push(
                number,
                &dimension(number),
                Uuid::from_u128(record as u128),
                quantity,
                nanos,
            );
        }
        sealed(writer.finish().0)
    }

    fn decode(sequence: LogSequence, value: &[u8]) -> Result<Chunk, StoreError> {
        match LogEntry::decode(sequence, value)? {
            LogEntry::Records(chunk) => Ok(chunk),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn records_read_back_across_chunks() {
        for dimensions in [1, 2, 100] {
            let chunks = write(1000, dimensions);
            let mut seen = 0;
            for (at, (sequence, value)) in chunks.iter().enumerate() {
                assert_eq!(sequence.0, 5 + at as u64);
                let chunk = decode(*sequence, value).unwrap();
                for record in &chunk.records {
                    assert_eq!(record.uuid.as_u128(), seen);
                    assert_eq!(
                        *chunk.dimension(record).unwrap(),
                        dimension(seen as usize % dimensions)
                    );
                    assert_eq!(record.quantity.get(), i64::MAX - seen as i64);
                    let alone = LogEntry::decode_only(*sequence, value, record.uuid).unwrap();
                    let alone = alone.unwrap();
                    let [found] = alone.records.as_slice() else { panic!("{alone:?}") };
                    assert_eq!(alone.dimension(found).unwrap(), chunk.dimension(record).unwrap());
                    assert_eq!(ChunkRecord { dimension: record.dimension, ..*found }, *record);
                    assert_eq!(alone.stored_time, chunk.stored_time);
                    assert!(
                        chunk.earliest_usage <= record.usage_time
                            && record.usage_time <= chunk.latest_usage
                    );
                    seen += 1;
                }
            }
            assert_eq!(seen, 1000);
        }
    }

    #[test]
    fn nothing_written_is_no_chunk() {
        assert!(write(0, 1).is_empty());
    }

    #[test]
    fn every_flipped_byte_is_noticed_and_named() {
        let (sequence, value) = write(10, 2).remove(0);
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 0x40;
            let error = decode(sequence, &damaged).unwrap_err().to_string();
            assert!(error.contains("log chunk 5"), "{error}");
        }
        assert!(decode(LogSequence(6), &value).is_err(), "a chunk under another key");
    }
}
