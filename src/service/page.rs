//! Pages and their tokens.
//!
//! A token is opaque to callers: a position, encrypted with a secret of the store and bound to the query it belongs to, so
//! that it tells nothing of the log, and one that was altered or that belongs to another query is refused rather than misread.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;

use serde::{Serialize, de::DeserializeOwned};

use super::{ServiceError, sealing::SealingKey};
use crate::domain::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

const VERSION: u8 = 2;
/// Positions are filled up to a multiple of this, so that the length of a token does not tell how large a number in it is. A
/// place in the log always fits.
const POSITION_BYTES: usize = 48;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// How to ask for the next one; empty at the end.
    pub next_page_token: String,
}

/// Which page a caller wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageRequest {
    /// Most items; 0 for the default.
    pub page_size: i32,
    /// Token of the page before; empty for the first page.
    pub page_token: String,
}

impl PageRequest {
    /// The page's size in items.
    ///
    /// # Errors
    /// [`ServiceError::InvalidArgument`] if it is negative or over [`PAGE_SIZE_MAX`].
    pub(super) fn size(&self) -> Result<usize, ServiceError> {
        match usize::try_from(self.page_size) {
            Ok(0) => Ok(PAGE_SIZE_DEFAULT),
            Ok(size) if size <= PAGE_SIZE_MAX => Ok(size),
            _ => Err(ServiceError::invalid(
                "page_size",
                format!("must be between 1 and {PAGE_SIZE_MAX}, or 0 for {PAGE_SIZE_DEFAULT}"),
            )),
        }
    }
}

/// Makes and reads the tokens of one query.
pub(super) struct PageTokens {
    key: SealingKey,
    query: Vec<u8>,
    // The member of the request that has the token, and where callers get one.
    field: &'static str,
    source: &'static str,
}

impl PageTokens {
    /// Tokens for the query that `query` describes; the caller's organization is part of it.
    pub(super) fn new(secret: [u8; 16], query: &impl Serialize) -> Result<Self, ServiceError> {
        let query = serde_json::to_vec(query)
            .map_err(|error| ServiceError::Internal(error.to_string().into()))?;
        let key = SealingKey::derive(secret, "page token")?;
        let (field, source) = ("page_token", "next_page_token of its page before");
        Ok(Self { key, query, field, source })
    }

    /// As a vendor calls them.
    pub(super) fn called(self, field: &'static str, source: &'static str) -> Self {
        Self { field, source, ..self }
    }

    pub(super) fn encode(&self, position: &impl Serialize) -> Result<String, ServiceError> {
        let mut token = vec![VERSION];
        serde_json::to_writer(&mut token, position)
            .map_err(|error| ServiceError::Internal(error.to_string().into()))?;
        // Spaces after a JSON value mean nothing.
        token.resize(token.len().next_multiple_of(POSITION_BYTES), b' ');
        self.key.seal(&self.query, token)
    }

    /// The position in a token; `None` for the first page.
    pub(super) fn decode<T: DeserializeOwned>(
        &self,
        token: &str,
    ) -> Result<Option<T>, ServiceError> {
        if token.is_empty() {
            return Ok(None);
        }
        let refused = || {
            let description = format!("is not a token of this query; use {}", self.source);
            ServiceError::invalid(self.field, description)
        };
        let content = self.key.open(&self.query, token).ok_or_else(refused)?;
        match content.split_first() {
            Some((&VERSION, position)) => {
                serde_json::from_slice(position).map(Some).map_err(|_| refused())
            }
            _ => Err(refused()),
        }
    }

    /// That a token is one of this query, or none, before work is done for it.
    ///
    /// # Errors
    /// What [`Self::decode`] says.
    pub(super) fn check(&self, token: &str) -> Result<(), ServiceError> {
        self.decode::<serde::de::IgnoredAny>(token).map(drop)
    }
}

/// One page of entries that come by id.
pub(super) fn list<T, I: Iterator<Item = (String, T)>>(
    tokens: &PageTokens,
    page: &PageRequest,
    after: impl FnOnce(Option<&str>) -> I,
) -> Result<Page<T>, ServiceError> {
    let size = page.size()?;
    let last: Option<String> = tokens.decode(&page.page_token)?;
    let mut entries = after(last.as_deref());
    let mut items = Vec::new();
    let mut last_id = String::new();
    for (id, item) in entries.by_ref().take(size) {
        items.push(item);
        last_id = id;
    }
    let next_page_token =
        if entries.next().is_some() { tokens.encode(&last_id)? } else { String::new() };
    Ok(Page { items, next_page_token })
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn a_token_reads_back_for_its_query_alone() {
        let tokens = PageTokens::new([1; 16], &("query", 1)).unwrap();
        let token = tokens.encode(&(5, "x")).unwrap();
        assert_eq!(tokens.decode::<(i32, String)>(&token).unwrap(), Some((5, "x".into())));
        assert_eq!(tokens.decode::<(i32, String)>("").unwrap(), None);
        assert!(
            PageTokens::new([1; 16], &("query", 2))
                .unwrap()
                .decode::<(i32, String)>(&token)
                .is_err()
        );
        assert!(
            PageTokens::new([2; 16], &("query", 1))
                .unwrap()
                .decode::<(i32, String)>(&token)
                .is_err()
        );
    }

    #[test]
    fn every_altered_character_is_refused() {
        let tokens = PageTokens::new([1; 16], &"query").unwrap();
        let token = tokens.encode(&12345).unwrap();
        for at in 0..token.len() {
            for replacement in ["A", "z", "_", "=", ""] {
                let mut altered = token.clone();
                altered.replace_range(at..=at, replacement);
                if altered != token {
                    assert!(tokens.decode::<i32>(&altered).is_err(), "{altered}");
                }
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let tokens = PageTokens::new([1; 16], &"query").unwrap();
        let token = URL_SAFE_NO_PAD.decode(tokens.encode(&12345).unwrap()).unwrap();
        for bit in 0..token.len() * 8 {
            let mut altered = token.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let altered = URL_SAFE_NO_PAD.encode(altered);
            assert!(tokens.decode::<i32>(&altered).is_err(), "bit {bit}");
        }
        for length in 1..token.len() {
            let cut = URL_SAFE_NO_PAD.encode(&token[..length]);
            assert!(tokens.decode::<i32>(&cut).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn token_tells_nothing_of_its_position() {
        let tokens = PageTokens::new([1; 16], &"query").unwrap();
        let of = |position: (u64, u32)| tokens.encode(&position).unwrap();
        assert_eq!(of((2, 0)).len(), of((u64::MAX, u32::MAX)).len());
        let (one, next) = (of((2, 0)), of((3, 0)));
        let alike = one.bytes().zip(next.bytes()).take_while(|(one, next)| one == next).count();
        assert!(alike < 8, "{one} and {next} begin alike");
        assert_eq!(one, of((2, 0)), "and is the same for the same page");
    }

    #[test]
    fn sizes_have_a_default_and_a_limit() {
        let size = |page_size| PageRequest { page_size, page_token: String::new() }.size().ok();
        assert_eq!(
            [size(0), size(1), size(1000), size(1001), size(-1)],
            [Some(100), Some(1), Some(1000), None, None]
        );
    }
}
