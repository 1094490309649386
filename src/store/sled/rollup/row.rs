//! One series' totals of one period: key and value.
//!
//! Body, version 1: included_through:u64 | slots:u8 { slot:u8 records:varint quantity:varint }, slots
//! ascending.

use std::collections::BTreeMap;

use jiff::civil;

use super::chunk_index;
use crate::{
    domain::{
        api_usage::{ApiSeries, StatusClass},
        asset_usage::{AssetSeries, AssetUsage, UsageDay},
        calendar::QuarterHour,
        id::{
            AssetId, ClientId, PlatformName, ProductId, ProductInstanceId, SkuId, TemplateUri,
            UserId,
        },
        quantity::{Total, TotalOverflow},
        totals::Series,
        usage::{LogSequence, UsageTarget},
    },
    store::{
        StoreError,
        sled::{
            codec::{self, Malformed, Reader},
            keyspace::{KeySpace, push_part},
            organizations::OrganizationNumber,
        },
    },
};

pub(super) const VERSION: u8 = 1;
const PERIOD_BYTES: usize = 4;

/// More than any slot of a row.
const SLOTS_MAX: u8 = 192;

/// What has usage in a row's period, by slot: quarter hours of a day (0 to 95); days of a month (0 to 30); or days of a
/// month times classes of statuses (0 to 185).
pub(in crate::store::sled) type Slots = BTreeMap<u8, Total>;

/// The key of a row: organization, product, instance, SKU, client and UTC day; organization, asset, client and month; or
/// organization, client, template, method, user, platform and month. Days are counted from 1970-01-01, months from January
/// of year 0. Those of the chunk index are organization and block.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::store::sled) struct RowKey(Box<[u8]>);

impl RowKey {
    /// The key of a series' day, counted from 1970-01-01.
    pub(in crate::store::sled) fn new(
        organization: OrganizationNumber,
        series: &Series,
        day: i64,
    ) -> Result<Self, StoreError> {
        Self::in_period(&series_prefix(organization, series), day)
    }

    /// The key of a period of the series whose keys begin with `prefix`.
    pub(in crate::store::sled) fn in_period(
        prefix: &[u8],
        period: i64,
    ) -> Result<Self, StoreError> {
        Ok(Self([prefix, &period_bytes(period)?].concat().into_boxed_slice()))
    }

    /// The key and slot of a usage of an asset.
    pub(in crate::store::sled) fn of_asset_usage(
        organization: OrganizationNumber,
        client: &ClientId,
        usage: &AssetUsage,
    ) -> Result<(Self, u8), StoreError> {
        let mut key = asset_prefix(organization, &usage.asset);
        push_part(&mut key, client.as_str());
        let (month, slot) = month_and_slot(usage.day);
        key.extend_from_slice(&period_bytes(month)?);
        Ok((Self(key.into_boxed_slice()), slot))
    }

    /// The key of API usage on a day. What is counted there has the slot that [`api_slot`] says.
    pub(in crate::store::sled) fn of_api_usage(
        organization: OrganizationNumber,
        series: &ApiSeries,
        day: UsageDay,
    ) -> Result<Self, StoreError> {
        Self::in_period(&api_series_prefix(organization, series), month_and_slot(day).0)
    }

    pub(in crate::store::sled) fn from_bytes(key: &[u8]) -> Self {
        Self(key.into())
    }

    pub(in crate::store::sled) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Everything before the period.
    pub(in crate::store::sled) fn series_bytes(&self) -> &[u8] {
        split_period(&self.0).0
    }

    /// The day or month.
    pub(in crate::store::sled) fn period(&self) -> i64 {
        split_period(&self.0).1
    }

    /// The series of product usage that the key names.
    pub(in crate::store::sled) fn series(&self) -> Result<Series, StoreError> {
        parse_series(self.series_bytes()).ok_or_else(|| self.unreadable())
    }

    /// The series of asset usage that the key names.
    pub(in crate::store::sled) fn asset_series(&self) -> Result<AssetSeries, StoreError> {
        parse_asset_series(self.series_bytes()).ok_or_else(|| self.unreadable())
    }

    /// The series of API usage that the key names.
    pub(in crate::store::sled) fn api_series(&self) -> Result<ApiSeries, StoreError> {
        parse_api_series(self.series_bytes()).ok_or_else(|| self.unreadable())
    }

    /// What a slot of the row stands for, for people.
    pub(in crate::store::sled) fn describe(&self, slot: u8) -> String {
        let is_in = |space: KeySpace| self.0.first() == Some(&(space as u8));
        let described = if is_in(KeySpace::AssetRollup) {
            self.asset_series().map(|series| {
                let day = day_of(self.period(), slot).unwrap_or_default();
                format!("{series:?} on {}", day.date())
            })
        } else if is_in(KeySpace::ApiRollup) {
            self.api_series().map(|series| {
                let (day, class) = api_day_of(self.period(), slot).unzip();
                format!("{series:?} on {}, {class:?}", day.unwrap_or_default().date())
            })
        } else if is_in(KeySpace::ChunkIndex) {
            let organization = self.series_bytes().get(1..).unwrap_or_default();
            Ok(chunk_index::describe(organization, self.period(), slot))
        } else {
            self.series().map(|series| {
                let quarter = QuarterHour::from_day_and_slot(self.period(), slot);
                format!("{series:?} at {}", quarter.start().unwrap_or_default())
            })
        };
        described.unwrap_or_else(|error| error.to_string())
    }

    fn unreadable(&self) -> StoreError {
        StoreError::Damaged(format!("totals row {:02x?}: {}", self.0, Malformed::Content).into())
    }
}

/// The month of a day, counted from January of year 0, and the day's place in it (0 to 30).
pub(in crate::store::sled) fn month_and_slot(day: UsageDay) -> (i64, u8) {
    let date = day.date();
    let month = i64::from(date.year()) * 12 + i64::from(date.month()) - 1;
    (month, u8::try_from(date.day() - 1).unwrap_or_default())
}

/// The day of a month and slot; `None` if the month has no such day.
pub(in crate::store::sled) fn day_of(month: i64, slot: u8) -> Option<UsageDay> {
    let year = i16::try_from(month.div_euclid(12)).ok()?;
    let month = i8::try_from(month.rem_euclid(12) + 1).ok()?;
    let day = i8::try_from(slot.checked_add(1)?).ok()?;
    civil::Date::new(year, month, day).ok().map(UsageDay::of)
}

/// The slot of a class of statuses on a day of a month.
pub(in crate::store::sled) fn api_slot(day: UsageDay, class: StatusClass) -> u8 {
    let classes = StatusClass::ALL.len() as u8;
    month_and_slot(day).1 * classes + class as u8
}

/// The day and class of a month and slot; `None` if the month has no such day.
pub(in crate::store::sled) fn api_day_of(month: i64, slot: u8) -> Option<(UsageDay, StatusClass)> {
    let classes = StatusClass::ALL.len() as u8;
    let class = StatusClass::ALL.get(usize::from(slot % classes))?;
    Some((day_of(month, slot / classes)?, *class))
}

/// All rows of a client's API usage begin with this.
pub(in crate::store::sled) fn api_prefix(
    organization: OrganizationNumber,
    client: &ClientId,
) -> Vec<u8> {
    let mut key = KeySpace::ApiRollup.of_organization(organization);
    push_part(&mut key, client.as_str());
    key
}

/// All rows of a series of API usage begin with this.
pub(in crate::store::sled) fn api_series_prefix(
    organization: OrganizationNumber,
    series: &ApiSeries,
) -> Vec<u8> {
    let mut key = api_prefix(organization, &series.client);
    push_part(&mut key, series.template_uri.as_str());
    push_part(&mut key, series.method.as_str());
    push_part(&mut key, series.user.as_ref().map_or("", UserId::as_str));
    push_part(&mut key, series.platform.as_ref().map_or("", PlatformName::as_str));
    key
}

/// All rows of an asset begin with this.
pub(in crate::store::sled) fn asset_prefix(
    organization: OrganizationNumber,
    asset: &AssetId,
) -> Vec<u8> {
    let mut key = KeySpace::AssetRollup.of_organization(organization);
    push_part(&mut key, asset.as_str());
    key
}

/// All rows of a series of product usage begin with this.
pub(in crate::store::sled) fn series_prefix(
    organization: OrganizationNumber,
    series: &Series,
) -> Vec<u8> {
    let mut key = KeySpace::Rollup.of_organization(organization);
    push_part(&mut key, series.target.product.as_str());
    push_part(&mut key, series.target.instance.as_ref().map_or("", ProductInstanceId::as_str));
    push_part(&mut key, series.sku.as_str());
    push_part(&mut key, series.client.as_str());
    key
}

/// All rows of a product begin with this.
pub(in crate::store::sled) fn product_prefix(
    organization: OrganizationNumber,
    product: &ProductId,
) -> Vec<u8> {
    let mut key = KeySpace::Rollup.of_organization(organization);
    push_part(&mut key, product.as_str());
    key
}

/// A period as it stands at the end of a key: big-endian, shifted so that those before 0 sort first.
pub(super) fn period_bytes(period: i64) -> Result<[u8; PERIOD_BYTES], StoreError> {
    let period = i32::try_from(period)
        .map_err(|_| StoreError::Unrepresentable("a day outside the calendar"))?;
    Ok((period.cast_unsigned() ^ (1 << 31)).to_be_bytes())
}

fn split_period(key: &[u8]) -> (&[u8], i64) {
    let (series, period) =
        key.split_last_chunk::<PERIOD_BYTES>().unwrap_or((key, &[0; PERIOD_BYTES]));
    (series, i64::from((u32::from_be_bytes(*period) ^ (1 << 31)).cast_signed()))
}

fn parse_asset_series(prefix: &[u8]) -> Option<AssetSeries> {
    // One byte of key space and four of the organization come first.
    let mut parts = prefix.get(5..)?.strip_suffix(&[0])?.split(|byte| *byte == 0);
    let mut next = || std::str::from_utf8(parts.next()?).ok();
    let asset = AssetId::new(next()?).ok()?;
    let client = ClientId::new(next()?).ok()?;
    parts.next().is_none().then_some(AssetSeries { asset, client })
}

fn parse_api_series(prefix: &[u8]) -> Option<ApiSeries> {
    // One byte of key space and four of the organization come first.
    let mut parts = prefix.get(5..)?.strip_suffix(&[0])?.split(|byte| *byte == 0);
    let mut next = || std::str::from_utf8(parts.next()?).ok();
    let client = ClientId::new(next()?).ok()?;
    let template_uri = TemplateUri::new(next()?).ok()?;
    let method = next()?.parse().ok()?;
    let user = match next()? {
        "" => None,
        text => Some(UserId::new(text).ok()?),
    };
    let platform = match next()? {
        "" => None,
        text => Some(PlatformName::new(text).ok()?),
    };
    let series = ApiSeries { template_uri, method, client, user, platform };
    parts.next().is_none().then_some(series)
}

fn parse_series(prefix: &[u8]) -> Option<Series> {
    // One byte of key space and four of the organization come first.
    let mut parts = prefix.get(5..)?.strip_suffix(&[0])?.split(|byte| *byte == 0);
    let mut next = || std::str::from_utf8(parts.next()?).ok();
    let product = ProductId::new(next()?).ok()?;
    let instance = match next()? {
        "" => None,
        text => Some(ProductInstanceId::new(text).ok()?),
    };
    let sku = SkuId::new(next()?).ok()?;
    let client = ClientId::new(next()?).ok()?;
    let series = Series { target: UsageTarget { product, instance }, sku, client };
    parts.next().is_none().then_some(series)
}

/// A row as stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::store::sled) struct Row {
    /// Every record of this row up to this sequence is in it.
    pub(in crate::store::sled) included_through: LogSequence,
    pub(in crate::store::sled) slots: Slots,
}

impl Row {
    pub(in crate::store::sled) fn decode(key: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        codec::open_frame(value, VERSION, key).and_then(Self::parse).map_err(|error| {
            let what = RowKey::from_bytes(key).describe(0);
            StoreError::Damaged(format!("totals row of {what}: {error}").into())
        })
    }

    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let included_through = LogSequence(reader.u64()?);
        let mut slots = Slots::new();
        for _ in 0..reader.u8()? {
            let slot = reader.u8()?;
            let total = Total { records: reader.varint_u64()?, quantity: reader.varint()? };
            let ascends = slots.last_key_value().is_none_or(|(last, _)| *last < slot);
            if slot >= SLOTS_MAX || !ascends {
                return Err(Malformed::Content);
            }
            slots.insert(slot, total);
        }
        reader.end()?;
        Ok(Self { included_through, slots })
    }

    pub(in crate::store::sled) fn encode(&self, key: &[u8]) -> Vec<u8> {
        debug_assert!(self.slots.len() <= usize::from(SLOTS_MAX));
        let mut frame = codec::start_frame(9 + self.slots.len() * 12);
        frame.extend_from_slice(&self.included_through.0.to_le_bytes());
        frame.push(u8::try_from(self.slots.len()).unwrap_or(u8::MAX));
        for (slot, total) in &self.slots {
            frame.push(*slot);
            codec::put_varint(&mut frame, u128::from(total.records));
            codec::put_varint(&mut frame, total.quantity);
        }
        codec::finish_frame(&mut frame, VERSION, key);
        frame
    }
}

/// Adds one set of slots to another.
pub(in crate::store::sled) fn add_slots(to: &mut Slots, from: &Slots) -> Result<(), TotalOverflow> {
    from.iter().try_for_each(|(slot, total)| to.entry(*slot).or_default().add(*total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::api_usage::HttpMethod, store::sled::engine::VALUE_BYTES_MAX};

    fn series(product: &str, instance: Option<&str>) -> Series {
        let target = UsageTarget {
            product: ProductId::new(product).unwrap(),
            instance: instance.map(|text| ProductInstanceId::new(text).unwrap()),
        };
        Series { target, sku: SkuId::new("s").unwrap(), client: ClientId::new("c").unwrap() }
    }

    #[test]
    fn keys_read_back_and_sort_by_series_and_then_day() {
        let organization = OrganizationNumber(258);
        let mut keys = Vec::new();
        for series in [series("a", None), series("a", Some("i")), series("ab", None)] {
            for day in [-1, 0, 1, 20_777] {
                let key = RowKey::new(organization, &series, day).unwrap();
                assert_eq!((key.series().unwrap(), key.period()), (series.clone(), day));
                keys.push(key);
            }
        }
        assert!(keys.is_sorted());
        assert!(
            keys[0]
                .as_bytes()
                .starts_with(&product_prefix(organization, &ProductId::new("a").unwrap()))
        );
        assert!(
            !keys[8]
                .as_bytes()
                .starts_with(&product_prefix(organization, &ProductId::new("a").unwrap()))
        );
    }

    #[test]
    fn keys_of_api_usage_read_back_and_sort_by_client() {
        let series = |client: &str, user: Option<&str>| ApiSeries {
            template_uri: TemplateUri::new("/v1/things/{id}").unwrap(),
            method: HttpMethod::Delete,
            client: ClientId::new(client).unwrap(),
            user: user.map(|text| UserId::new(text).unwrap()),
            platform: user.map(|text| PlatformName::new(text).unwrap()),
        };
        let organization = OrganizationNumber(1);
        let leap_day = UsageDay::of(civil::date(2024, 2, 29));
        for series in [series("a", None), series("ab", Some("u"))] {
            let key = RowKey::of_api_usage(organization, &series, leap_day).unwrap();
            assert_eq!(key.api_series().unwrap(), series);
            assert_eq!(
                key.as_bytes().starts_with(&api_prefix(organization, &ClientId::new("a").unwrap())),
                series.client.as_str() == "a"
            );
            for class in StatusClass::ALL {
                let slot = api_slot(leap_day, class);
                assert!(slot < SLOTS_MAX);
                assert_eq!(api_day_of(key.period(), slot), Some((leap_day, class)));
                assert!(key.describe(slot).contains("2024-02-29"));
            }
        }
        assert_eq!(api_day_of(2024 * 12 + 1, 29 * 6), None);
    }

    #[test]
    fn slots_out_of_order_are_refused() {
        let read = |slots: &[u8]| {
            let included_through = [0; 8];
            let slots = slots.iter().flat_map(|slot| [*slot, 1, 7]);
            let mut body = included_through.to_vec();
            body.push(2);
            body.extend(slots);
            Row::decode(b"key", &codec::frame(&body, VERSION, b"key"))
                .map(|row| row.slots.len())
                .ok()
        };
        assert_eq!(read(&[3, 4]), Some(2));
        assert_eq!((read(&[4, 3]), read(&[3, 3]), read(&[3, SLOTS_MAX])), (None, None, None));
    }

    #[test]
    fn keys_with_more_at_their_end_name_no_series() {
        let organization = OrganizationNumber(1);
        let api_series = ApiSeries {
            template_uri: TemplateUri::new("/v1/things").unwrap(),
            method: HttpMethod::Get,
            client: ClientId::new("c").unwrap(),
            user: None,
            platform: None,
        };
        let usage = AssetUsage {
            asset: AssetId::new("a").unwrap(),
            quantity: crate::domain::quantity::Quantity::new(1).unwrap(),
            day: UsageDay::default(),
        };
        let client = ClientId::new("c").unwrap();
        let asset = RowKey::of_asset_usage(organization, &client, &usage).unwrap().0;
        let api = RowKey::of_api_usage(organization, &api_series, UsageDay::default()).unwrap();
        let product = RowKey::new(organization, &series("p", Some("i")), 7).unwrap();
        let named = |key: &RowKey| {
            key.asset_series().is_ok() || key.api_series().is_ok() || key.series().is_ok()
        };
        for key in [asset, api, product] {
            assert!(named(&key));
            // What is no text counts, too.
            for more in [&b"x\0"[..], b"\xFF\0", b"\0"] {
                let longer = [key.series_bytes(), more, &[0; PERIOD_BYTES]].concat();
                assert!(!named(&RowKey::from_bytes(&longer)), "{longer:02x?}");
            }
        }
    }

    #[test]
    fn the_fullest_row_reads_back_and_is_no_blob() {
        let largest = Total { records: u64::MAX, quantity: u128::MAX };
        let row = Row {
            included_through: LogSequence(u64::MAX),
            slots: (0..186).map(|slot| (slot, largest)).collect(),
        };
        let value = row.encode(b"key");
        assert!(value.len() <= VALUE_BYTES_MAX);
        assert_eq!(Row::decode(b"key", &value).unwrap(), row);
        assert!(Row::decode(b"kex", &value).is_err());
    }
}
