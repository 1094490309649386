//! Rows of totals and their keys, made up and damaged.

use super::row::{Row, RowKey, Slots, VERSION, api_day_of, api_slot, day_of, month_and_slot};
use crate::{
    domain::{
        api_usage::StatusClass,
        fuzzing::{Choices, damaged, made_up},
        usage::LogSequence,
    },
    store::sled::{
        codec::{self, FRAME_BYTES},
        fuzzing::is_sealed,
        keyspace::KeySpace,
        organizations::OrganizationNumber,
        retention,
    },
};

/// Slots of the fullest row: days of a month times classes of statuses.
const SLOTS: usize = 186;

/// Rows and keys read back as they were written; a row that was changed is refused; and whatever can be read says the same
/// when it is written again.
///
/// # Panics
/// If not.
pub fn rows(input: &[u8]) {
    let mut choices = Choices::new(input);
    match choices.pick(7) {
        0 => row(&mut choices),
        1 => body(choices.rest()),
        2 => product_key(&mut choices),
        3 => asset_key(&mut choices),
        4 => api_key(&mut choices),
        5 => key_bytes(choices.rest()),
        _ => retention::fuzzing::retired_row(&mut choices),
    }
}

/// Any row.
pub(in crate::store::sled) fn made_up_row(choices: &mut Choices<'_>) -> Row {
    let slots: Slots = (0..choices.place(SLOTS))
        .map(|_| (choices.pick(SLOTS) as u8, made_up::total(choices)))
        .collect();
    Row { included_through: LogSequence(choices.number()), slots }
}

/// The key of any row.
pub(in crate::store::sled) fn made_up_key(choices: &mut Choices<'_>) -> RowKey {
    let organization = organization(choices);
    let key = match choices.pick(3) {
        0 => RowKey::new(organization, &made_up::series(choices), choices.byte().into()),
        1 => {
            let (client, usage) = (made_up::client(choices), made_up::asset_usage(choices));
            RowKey::of_asset_usage(organization, &client, &usage).map(|(key, _)| key)
        }
        _ => {
            let series = made_up::api_series(choices);
            RowKey::of_api_usage(organization, &series, made_up::day(choices))
        }
    };
    key.expect("days of the calendar")
}

fn row(choices: &mut Choices<'_>) {
    let row = made_up_row(choices);
    let key = [KeySpace::Rollup as u8, choices.byte(), choices.byte()];
    let value = row.encode(&key);
    assert_eq!(Row::decode(&key, &value).ok(), Some(row));
    is_sealed(&value, &key, choices, |key, value| Row::decode(key, value).is_ok());
    let bytes = value.get(FRAME_BYTES..).unwrap_or_default().to_vec();
    body(&damaged(bytes, choices));
}

fn body(body: &[u8]) {
    let key = b"key";
    let value = codec::frame(body, VERSION, key);
    let Ok(row) = Row::decode(key, &value) else { return };
    let again = row.encode(key);
    assert_eq!(Row::decode(key, &again).ok(), Some(row));
    // Numbers may be written in more bytes than they need; all else has one form.
    assert!(again.len() <= value.len());
    assert!(again.len() < value.len() || again == value);
}

fn organization(choices: &mut Choices<'_>) -> OrganizationNumber {
    OrganizationNumber(choices.number() as u32)
}

fn product_key(choices: &mut Choices<'_>) {
    let (organization, series) = (organization(choices), made_up::series(choices));
    let day = i64::from(choices.number() as i32);
    let key = RowKey::new(organization, &series, day).expect("32 bits");
    assert_eq!((key.series().ok(), key.period()), (Some(series.clone()), day));
    let next = RowKey::new(organization, &series, day + 1);
    assert!(next.is_err() || next.is_ok_and(|next| key < next), "later days come later");
    key_bytes(&damaged(key.as_bytes().to_vec(), choices));
}

fn asset_key(choices: &mut Choices<'_>) {
    let (organization, client) = (organization(choices), made_up::client(choices));
    let usage = made_up::asset_usage(choices);
    let (key, slot) = RowKey::of_asset_usage(organization, &client, &usage).expect("32 bits");
    let series = key.asset_series().expect("it has one");
    assert_eq!((series.asset, series.client), (usage.asset, client));
    assert_eq!(day_of(key.period(), slot), Some(usage.day));
    key_bytes(&damaged(key.as_bytes().to_vec(), choices));
}

fn api_key(choices: &mut Choices<'_>) {
    let (organization, series) = (organization(choices), made_up::api_series(choices));
    let (day, class) = (made_up::day(choices), choices.of(&StatusClass::ALL));
    let key = RowKey::of_api_usage(organization, &series, day).expect("32 bits");
    assert_eq!(key.api_series().ok(), Some(series));
    assert_eq!(api_day_of(key.period(), api_slot(day, class)), Some((day, class)));
    key_bytes(&damaged(key.as_bytes().to_vec(), choices));
}

/// Any bytes as the key of a row. What is a series there is the one that leads to the key.
fn key_bytes(bytes: &[u8]) {
    let key = RowKey::from_bytes(bytes);
    let slot = bytes.last().copied().unwrap_or_default();
    assert!(!key.describe(slot).is_empty());
    if let Some(day) = day_of(key.period(), slot) {
        assert_eq!(month_and_slot(day), (key.period(), slot));
    }
    if let Some((day, class)) = api_day_of(key.period(), slot) {
        assert_eq!((month_and_slot(day).0, api_slot(day, class)), (key.period(), slot));
    }
    let Some((space, rest)) = bytes.split_first() else { return };
    let Some((number, _)) = rest.split_first_chunk() else { return };
    let organization = OrganizationNumber(u32::from_be_bytes(*number));
    if let Ok(series) = key.series()
        && *space == KeySpace::Rollup as u8
    {
        assert_eq!(RowKey::new(organization, &series, key.period()).ok(), Some(key.clone()));
    }
    if let Ok(series) = key.api_series()
        && *space == KeySpace::ApiRollup as u8
        && let Some(day) = day_of(key.period(), 0)
    {
        assert_eq!(RowKey::of_api_usage(organization, &series, day).ok(), Some(key));
    }
}
