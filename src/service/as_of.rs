//! The moment that an answer is of, as callers are told it.
//!
//! It is a place in the log, whose number would tell how much all other organizations write, and so does whether two of
//! them are equal. Callers get a text that only this server can read, and that is a new one each time.

use super::{FieldViolation, ServiceError, sealing::SealingKey};
use crate::{
    domain::{id::OrganizationId, usage::LogSequence},
    store::UsageStore,
};

const RANDOM_BYTES: usize = 8;

/// The text that an organization gets for a moment.
pub(super) fn text(
    store: &dyn UsageStore,
    organization: &OrganizationId,
    sequence: LogSequence,
) -> Result<String, ServiceError> {
    let mut content = vec![0; RANDOM_BYTES];
    getrandom::fill(&mut content)
        .map_err(|error| ServiceError::Internal(format!("no randomness: {error}").into()))?;
    content.extend_from_slice(&sequence.0.to_le_bytes());
    key(store)?.seal(organization.as_str().as_bytes(), content)
}

/// The moment of a text; that it is of another organization, or no such text at all, is a violation of `field`.
pub(super) fn parse(
    store: &dyn UsageStore,
    organization: &OrganizationId,
    field: &str,
    text: &str,
) -> Result<LogSequence, ServiceError> {
    let content = key(store)?.open(organization.as_str().as_bytes(), text);
    let sequence = content.as_deref().and_then(|content| {
        let (random, sequence) = content.split_last_chunk()?;
        (random.len() == RANDOM_BYTES).then(|| LogSequence(u64::from_le_bytes(*sequence)))
    });
    sequence.ok_or_else(|| {
        let description = "is not the as_of of an answer to this organization";
        ServiceError::InvalidArgument(vec![FieldViolation::new(field, description)])
    })
}

fn key(store: &dyn UsageStore) -> Result<SealingKey, ServiceError> {
    SealingKey::derive(store.token_key(), "as of")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn organization(name: &str) -> OrganizationId {
        OrganizationId::new(name).unwrap()
    }

    #[test]
    fn moment_reads_back_for_its_organization_alone() {
        let store = MemoryStore::new();
        let (acme, other) = (organization("acme"), organization("other"));
        for sequence in [0, 1, 255, u64::MAX].map(LogSequence) {
            let moment = text(&store, &acme, sequence).unwrap();
            assert_eq!(parse(&store, &acme, "through", &moment).unwrap(), sequence);
            let refused = parse(&store, &other, "through", &moment).unwrap_err();
            let ServiceError::InvalidArgument(violations) = refused else { panic!("{refused:?}") };
            assert_eq!(violations[0].field, "through");
        }
        assert!(parse(&store, &acme, "through", "").is_err());
    }

    #[test]
    fn equal_moments_are_unlike_texts_of_one_length() {
        let store = MemoryStore::new();
        let acme = organization("acme");
        let one = text(&store, &acme, LogSequence(1)).unwrap();
        let same = text(&store, &acme, LogSequence(1)).unwrap();
        let large = text(&store, &acme, LogSequence(u64::MAX)).unwrap();
        assert_ne!(one, same);
        assert_eq!((one.len(), same.len()), (large.len(), large.len()));
    }

    #[test]
    fn page_token_is_no_moment() {
        let store = MemoryStore::new();
        let acme = organization("acme");
        let pages = SealingKey::derive(store.token_key(), "page token").unwrap();
        let token = pages.seal(b"acme", vec![0; 16]).unwrap();
        assert!(parse(&store, &acme, "through", &token).is_err());
    }
}
