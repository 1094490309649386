//! Tokens: made up, altered, and never made by us.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

use super::{PageTokens, VERSION};
use crate::{
    domain::fuzzing::{Choices, made_up, text},
    service::sealing::TAG_BYTES,
};

/// A token reads back for its query and its key alone; one that was altered, or that was never made here, is refused; and a
/// position of another kind is refused, too.
///
/// # Panics
/// If not.
pub fn tokens(input: &[u8]) {
    let mut choices = Choices::new(input);
    let key = [choices.byte(); 16];
    let query = (made_up::name(&mut choices), choices.number());
    let tokens = made(key, &query);
    match choices.pick(5) {
        // A name, a row of a result and a record: what positions are.
        0 => {
            let name = made_up::name(&mut choices);
            position(&tokens, key, &query, &name, &mut choices);
        }
        1 => {
            let row = choices.number();
            position(&tokens, key, &query, &row, &mut choices);
        }
        2 => {
            let record = (choices.number(), choices.number() as u32);
            position(&tokens, key, &query, &record, &mut choices);
        }
        3 => sealed(&tokens, choices.rest()),
        _ => not_sealed(&tokens, choices.rest()),
    }
}

fn made(key: [u8; 16], query: &impl Serialize) -> PageTokens {
    PageTokens::new(key, query).expect("a text and a number")
}

fn position<T>(
    tokens: &PageTokens,
    key: [u8; 16],
    query: &(String, u64),
    position: &T,
    choices: &mut Choices<'_>,
) where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let token = tokens.encode(position).expect("texts and numbers");
    assert_eq!(tokens.decode::<T>(&token).ok().flatten().as_ref(), Some(position));
    assert!(tokens.check(&token).is_ok());

    let mut other_key = key;
    if let Some(byte) = other_key.get_mut(choices.pick(16)) {
        *byte ^= choices.byte().max(1);
    }
    let other_query = (query.0.clone(), query.1 ^ choices.number().max(1));
    for other in [made(other_key, query), made(key, &other_query)] {
        assert!(other.decode::<T>(&token).is_err() && other.check(&token).is_err(), "{token}");
    }

    let mut bytes = URL_SAFE_NO_PAD.decode(&token).expect("base64");
    let place = choices.place(bytes.len() - 1);
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= choices.byte().max(1);
    }
    assert!(tokens.decode::<T>(&URL_SAFE_NO_PAD.encode(&bytes)).is_err(), "{token}");
    let cut = token.get(1..=choices.place(token.len() - 2)).unwrap_or_default();
    assert!(cut.is_empty() || tokens.decode::<T>(cut).is_err(), "{token}");
}

/// Whatever was sealed here is a position, or refused.
fn sealed(tokens: &PageTokens, content: &[u8]) {
    for bytes in [content.to_vec(), [&[VERSION], content].concat()] {
        let token = tokens.key.seal(&tokens.query, bytes).expect("a short text");
        read::<String>(tokens, &token);
        read::<u64>(tokens, &token);
        read::<(u64, u32)>(tokens, &token);
    }
}

fn read<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    tokens: &PageTokens,
    token: &str,
) {
    if let Ok(Some(position)) = tokens.decode::<T>(token) {
        let again = tokens.encode(&position).expect("texts and numbers");
        assert_eq!(tokens.decode::<T>(&again).ok().flatten(), Some(position));
        assert!(tokens.check(token).is_ok());
    }
}

/// What was never sealed is refused, as text and as bytes.
fn not_sealed(tokens: &PageTokens, input: &[u8]) {
    let as_bytes = URL_SAFE_NO_PAD.encode(input);
    for token in text(input).into_iter().chain([as_bytes.as_str()]).filter(|text| !text.is_empty())
    {
        assert!(tokens.check(token).is_err(), "{token:?}");
    }
    assert!(input.len() < TAG_BYTES || tokens.decode::<u64>(&as_bytes).is_err());
}
