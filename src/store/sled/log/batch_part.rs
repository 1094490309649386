//! Batches of asset usage in the log. A batch of a thousand does not fit one value, so it is cut into parts, which
//! follow each other and are written in one step.
//!
//! Layout after the link, little-endian:
//!
//! ```text
//! kind:u8 = 2 (part of a batch) | stored_time:i64 ns | organization:u32 | client:text | batch:long text
//! part:u16 (from 0) | parts:u16 | usages:u16 { asset:text quantity:varint day:zigzag, from 1970-01-01 }
//! ```

use jiff::Timestamp;

use super::{CHUNK_BYTES_MAX, Draft, Kind, log_nanos, timestamp};
use crate::{
    domain::{
        asset_usage::{AssetBatch, AssetUsage, UsageDay},
        id::{AssetId, BatchId, ClientId},
        quantity::Quantity,
        usage::LogSequence,
    },
    store::{
        StoreError,
        sled::{
            codec::{self, Malformed, Reader},
            organizations::OrganizationNumber,
        },
    },
};

/// Largest encoding of one usage (a text of at most 1 + 200 bytes, and two numbers), and of everything before the
/// usages (the client's id, and a text of at most 2 + 512 bytes).
const USAGE_BYTES_MAX: usize = 201 + 10 + 5;
const HEADER_BYTES_MAX: usize =
    codec::FRAME_BYTES + 1 + 8 + 4 + codec::CLIENT_TEXT_BYTES_MAX + 514 + 3 * 2;

const _: () = assert!(HEADER_BYTES_MAX + USAGE_BYTES_MAX <= CHUNK_BYTES_MAX);

/// A part of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::sled) struct BatchPart {
    pub(in crate::store::sled) sequence: LogSequence,
    pub(in crate::store::sled) stored_time: Timestamp,
    pub(in crate::store::sled) organization: OrganizationNumber,
    pub(in crate::store::sled) client: ClientId,
    pub(in crate::store::sled) batch: BatchId,
    /// Which part, from 0.
    pub(in crate::store::sled) part: u16,
    /// Of how many.
    pub(in crate::store::sled) parts: u16,
    pub(in crate::store::sled) usages: Vec<AssetUsage>,
}

impl BatchPart {
    pub(super) fn parse(sequence: LogSequence, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let stored_time = timestamp(reader.i64()?);
        let organization = OrganizationNumber(reader.u32()?);
        let client = ClientId::new(reader.text()?).map_err(|_| Malformed::Content)?;
        let batch = BatchId::new(reader.long_text()?).map_err(|_| Malformed::Content)?;
        let (part, parts) = (reader.u16()?, reader.u16()?);
        if part >= parts {
            return Err(Malformed::Content);
        }
        let count = reader.u16()?;
        let usages = (0..count).map(|_| parse_usage(reader)).collect::<Result<_, _>>()?;
        Ok(Self { sequence, stored_time, organization, client, batch, part, parts, usages })
    }
}

fn parse_usage(reader: &mut Reader<'_>) -> Result<AssetUsage, Malformed> {
    let asset = AssetId::new(reader.text()?).map_err(|_| Malformed::Content)?;
    let quantity = reader.varint_u64()?.try_into().ok().and_then(Quantity::new);
    let day = UsageDay::from_number(reader.varint_i64()?);
    Ok(AssetUsage {
        asset,
        quantity: quantity.ok_or(Malformed::Content)?,
        day: day.ok_or(Malformed::Content)?,
    })
}

/// The values that a batch becomes, the first at sequence `first`.
pub(in crate::store::sled) fn encode(
    batch: &AssetBatch,
    organization: OrganizationNumber,
    first: LogSequence,
    stored_time: Timestamp,
) -> Result<Vec<Draft>, StoreError> {
    let mut begun = Draft::start(first, Kind::BatchPart);
    let header = &mut begun.frame;
    header.extend_from_slice(&log_nanos(stored_time)?.to_le_bytes());
    header.extend_from_slice(&organization.0.to_le_bytes());
    codec::put_text(header, batch.caller.client.as_str());
    codec::put_long_text(header, batch.id.as_str());
    let cut = cut(&batch.usages, CHUNK_BYTES_MAX - header.len() - 3 * 2);
    let parts = u16::try_from(cut.len())
        .map_err(|_| StoreError::Unrepresentable("a batch of more than 65,535 parts"))?;
    let encoded = cut.into_iter().zip(0..parts).map(|((count, usages), part)| {
        let mut draft = begun.clone();
        draft.sequence = LogSequence(first.0 + u64::from(part));
        for number in [part, parts, count] {
            draft.frame.extend_from_slice(&number.to_le_bytes());
        }
        draft.frame.extend_from_slice(&usages);
        draft
    });
    Ok(encoded.collect())
}

/// Usages in as many pieces as they need, of at most `bytes_max` each: how many usages, and their bytes.
fn cut(usages: &[AssetUsage], bytes_max: usize) -> Vec<(u16, Vec<u8>)> {
    let mut pieces = Vec::new();
    let (mut count, mut piece) = (0, Vec::new());
    for usage in usages {
        let mut bytes = Vec::with_capacity(32);
        codec::put_text(&mut bytes, usage.asset.as_str());
        codec::put_varint(&mut bytes, u128::from(usage.quantity.get().unsigned_abs()));
        codec::put_varint_i64(&mut bytes, usage.day.number());
        debug_assert!(bytes.len() <= USAGE_BYTES_MAX, "a usage of {} bytes", bytes.len());
        if piece.len() + bytes.len() > bytes_max {
            pieces.push((count, std::mem::take(&mut piece)));
            count = 0;
        }
        piece.append(&mut bytes);
        count += 1;
    }
    pieces.push((count, piece));
    pieces
}

#[cfg(test)]
mod tests {
    use super::{
        super::{LogEntry, sealed},
        *,
    };
    use crate::domain::{caller::Caller, id::OrganizationId};

    fn batch(usages: usize, asset: impl Fn(usize) -> String) -> AssetBatch {
        let usage = |number: usize| AssetUsage {
            asset: AssetId::new(&asset(number)).unwrap(),
            quantity: Quantity::new(number as i64 * 4_000_000 + 1).unwrap(),
            day: UsageDay::from_number(20_777 - number as i64 * 30).unwrap(),
        };
        let caller = Caller {
            organization: OrganizationId::new("o").unwrap(),
            client: ClientId::new("ж".repeat(50).as_str()).unwrap(),
        };
        let id = BatchId::new("ж".repeat(128).as_str()).unwrap();
        AssetBatch { caller, id, usages: (0..usages).map(usage).collect() }
    }

    #[test]
    fn batches_read_back_whole() {
        let stored: Timestamp = "2026-11-20T12:00:00.123456789Z".parse().unwrap();
        let wide = |n: usize| format!("{n:04}{}", "🦀".repeat(46));
        for (batch, parts) in [
            (batch(1, |n| n.to_string()), 1..=1),
            (batch(1000, |n| format!("{n:09}")), 2..=4),
            (batch(1000, wide), 30..=40),
        ] {
            let drafts = encode(&batch, OrganizationNumber(7), LogSequence(5), stored).unwrap();
            let encoded = sealed(drafts);
            assert!(parts.contains(&encoded.len()), "{}", encoded.len());
            let mut read = Vec::new();
            for (at, (sequence, value)) in encoded.iter().enumerate() {
                assert_eq!(sequence.0, 5 + at as u64);
                let LogEntry::BatchPart(part) = LogEntry::decode(*sequence, value).unwrap() else {
                    panic!("another kind");
                };
                assert_eq!((usize::from(part.part), usize::from(part.parts)), (at, encoded.len()));
                assert_eq!((&part.batch, &part.client), (&batch.id, &batch.caller.client));
                assert_eq!((part.organization, part.stored_time), (OrganizationNumber(7), stored));
                read.extend(part.usages);
            }
            assert_eq!(read, batch.usages);
        }
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let batch = batch(10, |n| n.to_string());
        let encoded = sealed(
            encode(&batch, OrganizationNumber(7), LogSequence(5), Timestamp::UNIX_EPOCH).unwrap(),
        );
        let (sequence, value) = &encoded[0];
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 0x40;
            let error = LogEntry::decode(*sequence, &damaged).unwrap_err().to_string();
            assert!(error.contains("log chunk 5"), "{error}");
        }
    }
}
