//! Events of API usage in the log. Layout after the link, little-endian:
//!
//! ```text
//! kind:u8 = 3 (API events) | stored_time:i64 ns
//! dimensions:u16 { organization:u32 template:long text method:u8 client:text user:text platform:text ("" = none) }
//! events:u16     { uuid:16 dimension:varint status:u16 count:varint time − stored_time:zigzag ns }
//! ```

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    CHUNK_BYTES_MAX, Draft, Kind, log_nanos,
    packer::{OVERHEAD_BYTES, Packer},
    timestamp,
};
use crate::{
    domain::{
        api_usage::{ApiEvent, ApiSeries, HttpMethod, HttpStatus},
        id::{ClientId, PlatformName, TemplateUri, UserId},
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

/// Smallest encoding of one event (16 + 1 + 2 + 1 + 1 bytes).
const EVENT_BYTES_MIN: usize = 21;
/// Largest encoding of one event (16 + 3 + 2 + 10 + 10 bytes), and of one dimension (4 + 1 bytes, a text of at most 2 +
/// 800, the client's id, and two texts of at most 1 + 200).
const EVENT_BYTES_MAX: usize = 41;
const DIMENSION_BYTES_MAX: usize = 4 + 1 + 802 + codec::CLIENT_TEXT_BYTES_MAX + 2 * 201;
const HEADER_BYTES: usize = 8;

const _: () = assert!(
    OVERHEAD_BYTES + HEADER_BYTES + DIMENSION_BYTES_MAX + EVENT_BYTES_MAX <= CHUNK_BYTES_MAX
);

/// What calls are counted by: the part of an event that many share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::store::sled) struct ApiDimension {
    pub(in crate::store::sled) organization: OrganizationNumber,
    pub(in crate::store::sled) series: ApiSeries,
}

/// Events of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::sled) struct ApiEvents {
    pub(in crate::store::sled) sequence: LogSequence,
    pub(in crate::store::sled) stored_time: Timestamp,
    /// Each with its organization.
    pub(in crate::store::sled) events: Vec<(OrganizationNumber, ApiEvent)>,
}

impl ApiEvents {
    pub(super) fn parse(sequence: LogSequence, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let stored_nanos = reader.i64()?;
        let count = reader.u16()?;
        let dimensions: Vec<ApiDimension> =
            (0..count).map(|_| parse_dimension(reader)).collect::<Result<_, _>>()?;
        let count = reader.count(EVENT_BYTES_MIN)?;
        let mut events = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let uuid = Uuid::from_bytes(reader.array()?);
            let dimension = usize::try_from(reader.varint_u64()?).ok();
            let dimension =
                dimension.and_then(|at| dimensions.get(at)).ok_or(Malformed::Content)?;
            let status = HttpStatus::new(reader.u16()?).ok_or(Malformed::Content)?;
            let count = reader.varint_u64()?.try_into().ok().and_then(Quantity::new);
            let nanos = stored_nanos.checked_add(reader.varint_i64()?).ok_or(Malformed::Content)?;
            let event = ApiEvent {
                uuid,
                series: dimension.series.clone(),
                status,
                time: timestamp(nanos),
                count: count.ok_or(Malformed::Content)?,
            };
            events.push((dimension.organization, event));
        }
        Ok(Self { sequence, stored_time: timestamp(stored_nanos), events })
    }
}

fn parse_dimension(reader: &mut Reader<'_>) -> Result<ApiDimension, Malformed> {
    let organization = OrganizationNumber(reader.u32()?);
    let template_uri = TemplateUri::new(reader.long_text()?).map_err(|_| Malformed::Content)?;
    let method = HttpMethod::from_number(reader.u8()?).ok_or(Malformed::Content)?;
    let client = ClientId::new(reader.text()?).map_err(|_| Malformed::Content)?;
    let user = match reader.text()? {
        "" => None,
        text => Some(UserId::new(text).map_err(|_| Malformed::Content)?),
    };
    let platform = match reader.text()? {
        "" => None,
        text => Some(PlatformName::new(text).map_err(|_| Malformed::Content)?),
    };
    let series = ApiSeries { template_uri, method, client, user, platform };
    Ok(ApiDimension { organization, series })
}

/// Builds one value after another.
pub(in crate::store::sled) struct ApiEventsWriter {
    stored_nanos: i64,
    packer: Packer,
}

impl ApiEventsWriter {
    /// Starts with the value of sequence `first`.
    pub(in crate::store::sled) fn new(
        first: LogSequence,
        stored_time: Timestamp,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            stored_nanos: log_nanos(stored_time)?,
            packer: Packer::new(Kind::ApiEvents, first),
        })
    }

    /// Makes room for one more event, whatever its size, and says which sequence it will have.
    pub(in crate::store::sled) fn next_sequence(&mut self) -> LogSequence {
        if self.packer.lacks_room(HEADER_BYTES + DIMENSION_BYTES_MAX + EVENT_BYTES_MAX) {
            self.cut();
        }
        self.packer.sequence()
    }

    /// Appends an event at `nanos`. `number` identifies its dimension within the group of this writer.
    pub(in crate::store::sled) fn push(
        &mut self,
        number: usize,
        dimension: &ApiDimension,
        event: &ApiEvent,
        nanos: i64,
    ) {
        let index = self.packer.dimension(number, |out| put_dimension(out, dimension));
        let since_stored = nanos.saturating_sub(self.stored_nanos);
        self.packer.record(|out| {
            out.extend_from_slice(event.uuid.as_bytes());
            codec::put_varint(out, index as u128);
            out.extend_from_slice(&event.status.get().to_le_bytes());
            codec::put_varint(out, u128::from(event.count.get().unsigned_abs()));
            codec::put_varint_i64(out, since_stored);
        });
    }

    fn cut(&mut self) {
        if !self.packer.is_empty() {
            self.packer.cut(&self.stored_nanos.to_le_bytes());
        }
    }

    /// The finished values, in order, and the sequence after the last.
    pub(in crate::store::sled) fn finish(mut self) -> (Vec<Draft>, LogSequence) {
        self.cut();
        self.packer.finished()
    }
}

fn put_dimension(out: &mut Vec<u8>, dimension: &ApiDimension) {
    let ApiSeries { template_uri, method, client, user, platform } = &dimension.series;
    out.extend_from_slice(&dimension.organization.0.to_le_bytes());
    codec::put_long_text(out, template_uri.as_str());
    out.push(*method as u8);
    codec::put_text(out, client.as_str());
    codec::put_text(out, user.as_ref().map_or("", UserId::as_str));
    codec::put_text(out, platform.as_ref().map_or("", PlatformName::as_str));
}

#[cfg(test)]
mod tests {
    use super::{
        super::{LogEntry, sealed},
        *,
    };

    fn event(number: usize) -> ApiEvent {
        let wide = |of: usize| "ж".repeat(of);
        ApiEvent {
            uuid: Uuid::from_u128(number as u128),
            series: ApiSeries {
                template_uri: TemplateUri::new(&format!("/{}/{}", number % 7, wide(150))).unwrap(),
                method: HttpMethod::ALL[number % 9],
                client: ClientId::new("client").unwrap(),
                user: number.is_multiple_of(2).then(|| UserId::new(&wide(50)).unwrap()),
                platform: number.is_multiple_of(3).then(|| PlatformName::new("web").unwrap()),
            },
            status: HttpStatus::new(100 + (number % 500) as u16).unwrap(),
            time: Timestamp::from_nanosecond(1_795_000_000_123_456_789 - number as i128).unwrap(),
            count: Quantity::new(i64::MAX - number as i64).unwrap(),
        }
    }

    #[test]
    fn events_read_back_across_values() {
        let stored: Timestamp = "2026-11-20T12:00:00.123456789Z".parse().unwrap();
        let mut writer = ApiEventsWriter::new(LogSequence(5), stored).unwrap();
        for number in 0..500 {
            let event = event(number);
            writer.next_sequence();
            let dimension =
                ApiDimension { organization: OrganizationNumber(7), series: event.series.clone() };
            let nanos = log_nanos(event.time).unwrap();
            writer.push(number % 126, &dimension, &event, nanos);
        }
        let (drafts, next) = writer.finish();
        let values = sealed(drafts);
        assert_eq!(next.0, 5 + values.len() as u64);
        assert!(values.len() > 5, "{}", values.len());
        let mut read = Vec::new();
        for (sequence, value) in &values {
            let LogEntry::ApiEvents(found) = LogEntry::decode(*sequence, value).unwrap() else {
                panic!("another kind");
            };
            assert_eq!(found.stored_time, stored);
            assert!(found.events.iter().all(|(of, _)| *of == OrganizationNumber(7)));
            read.extend(found.events.into_iter().map(|(_, event)| event));
        }
        assert_eq!(read, (0..500).map(event).collect::<Vec<_>>());
        let (sequence, value) = &values[0];
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 0x40;
            assert!(LogEntry::decode(*sequence, &damaged).is_err(), "{at}");
        }
    }
}
